"""Container images: definitions, builds, records."""
