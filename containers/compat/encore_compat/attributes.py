"""Names that torch, NumPy and Python have dropped since 2023, put back where they are missing."""

import importlib
import math


def six() -> dict[str, object]:
    """torch._six: all that a fork takes from it."""
    return {"inf": math.inf}


def restore_numpy_names() -> None:
    """np.float, np.int, np.bool, np.object: other names of Python's own types."""
    import numpy

    for name, kind in (("float", float), ("int", int), ("bool", bool), ("object", object)):
        if name not in vars(numpy):
            setattr(numpy, name, kind)


def distutils_util() -> dict[str, object]:
    """distutils.util.strtobool, as its documentation defines it."""
    answers = dict.fromkeys(("y", "yes", "t", "true", "on", "1"), 1)
    answers |= dict.fromkeys(("n", "no", "f", "false", "off", "0"), 0)

    def strtobool(value: str) -> int:
        if value.lower() not in answers:
            raise ValueError(f"invalid truth value {value!r}")
        return answers[value.lower()]

    return {"strtobool": strtobool}


def pkg_resources() -> dict[str, object]:
    """pkg_resources.packaging, from the package that it bundled."""
    importlib.import_module("packaging.version")
    return {"packaging": importlib.import_module("packaging")}


def vision_datasets() -> dict[str, object]:
    """torchvision.datasets: the one class that is derived from at import."""
    return {"VisionDataset": object}
