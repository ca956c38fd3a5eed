"""A file with the header of a SIF image."""

from pathlib import Path


def write_sif(path: Path, code: bytes = b"02\0", rest: bytes = b"content") -> Path:
    """A file with a SIF header, as far as the kit reads it."""
    path.write_bytes(b"#!/usr/bin/env run-singularity\n\0" + b"SIF_MAGIC\0" + b"01\0" + code + rest)
    return path
