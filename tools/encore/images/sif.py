"""The header of a SIF file, Apptainer's and Singularity's container image.

source: github.com/sylabs/sif, pkg/sif/sif.go: 32 bytes of launch script, 10 of magic, 3 of version,
then the architecture.
"""

from pathlib import Path

from encore.errors import DataError

_MAGIC = b"SIF_MAGIC\0"
_MAGIC_OFFSET = 32
_ARCHITECTURE_OFFSET = 45
_ARCHITECTURES = {
    "01": "386",
    "02": "amd64",
    "03": "arm",
    "04": "arm64",
    "05": "ppc64",
    "06": "ppc64le",
}


def architecture(image: Path) -> str:
    """The architecture that an image is for, in Go's names (amd64, arm64).

    Raises DataError for a file that is no SIF file.
    """
    with open(image, "rb") as file:
        header = file.read(_ARCHITECTURE_OFFSET + 3)
    if header[_MAGIC_OFFSET : _MAGIC_OFFSET + len(_MAGIC)] != _MAGIC:
        raise DataError(
            f"{image} is not a container image (SIF)", "name the .sif file that a build wrote"
        )
    # two digits and a NUL
    code = header[_ARCHITECTURE_OFFSET:].rstrip(b"\0").decode("ascii", "replace")
    return _ARCHITECTURES.get(code, f"architecture {code}")
