"""What would fail in the queue."""
