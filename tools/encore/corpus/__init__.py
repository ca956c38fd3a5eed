"""Text before it is tokens."""
