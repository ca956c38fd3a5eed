"""Names that torch, NumPy and Python have removed since 2023, restored where they are missing."""

import importlib
import math


def six() -> dict[str, object]:
    """torch._six: the only name that a fork imports from it."""
    return {"inf": math.inf}


def restore_numpy_names() -> None:
    """np.float, np.int, np.bool, np.object: aliases of Python's own types."""
    import numpy

    for kind in (float, int, bool, object):
        # NumPy 2 has np.bool again, as its own scalar type: what exists stays
        if kind.__name__ not in vars(numpy):
            setattr(numpy, kind.__name__, kind)


def distutils_util() -> dict[str, object]:
    """distutils.util.strtobool, as its documentation defines it."""
    words = dict.fromkeys(("y", "yes", "t", "true", "on", "1"), 1)
    words |= dict.fromkeys(("n", "no", "f", "false", "off", "0"), 0)

    def strtobool(value: str) -> int:
        if value.lower() not in words:
            raise ValueError(f"invalid truth value {value!r}")
        return words[value.lower()]

    return {"strtobool": strtobool}


def pkg_resources() -> dict[str, object]:
    """pkg_resources.packaging, from the package that it bundled."""
    importlib.import_module("packaging.version")
    return {"packaging": importlib.import_module("packaging")}


def vision_datasets() -> dict[str, object]:
    """torchvision.datasets: the one class that a fork derives from at import."""
    return {"VisionDataset": object}
