"""Text before tokenization: streams of documents, subsets of them, and the demo's own text."""
