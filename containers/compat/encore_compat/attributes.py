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


def restore_jit_switches() -> None:
    """The switches of torch's older fusers do nothing where torch has no such fuser."""
    import torch

    names = ("set_profiling_mode", "set_profiling_executor", "override_can_fuse_on_cpu", "override_can_fuse_on_gpu")
    for name in (f"_jit_{name}" for name in names):
        if not hasattr(torch._C, name):
            setattr(torch._C, name, lambda *_: None)


def restore_collective_names() -> None:
    """The two collectives under the names that they had before torch 1.13."""
    import torch.distributed as dist

    for old, new in (("_all_gather_base", "all_gather_into_tensor"), ("_reduce_scatter_base", "reduce_scatter_tensor")):
        if not hasattr(dist, old):
            setattr(dist, old, getattr(dist, new))


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
