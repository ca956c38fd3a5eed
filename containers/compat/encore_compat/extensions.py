"""The forks' compiled parts: compiled once, while an image is built, and loaded at each start.

`python -m encore_compat.extensions CHECKOUT` compiles a fork's data helpers and, with
ENCORE_KERNELS=compile, which needs a GPU compiler, its fused kernels.
"""

import importlib.machinery
import importlib.util
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from encore_compat.kernels import MODULES

# where the kernels of the current checkout are; encore_compat.entries.apply_entries sets it
kernels_folder = Path()


def load_instead_of_compiling(module: ModuleType) -> None:
    """megatron.fused_kernels: `load` imports what the image holds."""

    def load(args: Any) -> None:
        missing = []
        for name in MODULES:
            if name not in sys.modules and not _import(name):
                missing.append(name)
        if missing and getattr(args, "rank", 0) == 0:
            names = ", ".join(missing)
            print(f"> fused kernels not compiled in this image, torch's operators instead: {names}")

    vars(module).update(load=load, compile_kernels=module.load)


def _import(name: str) -> bool:
    """Import a compiled kernel from the image's folder under its own name; False without one."""
    file = kernels_folder / f"{name}.so"
    if not file.is_file():
        return False
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        return False
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
    return True


def keep_compiled_helpers(module: ModuleType) -> None:
    """megatron.data.dataset_utils: `compile_helper` compiles only what is missing."""
    compile_by_make = module.compile_helper

    def compile_helper() -> None:
        if importlib.util.find_spec("megatron.data.helpers") is None:
            compile_by_make()

    vars(module).update(compile_helper=compile_helper)


def compile_helpers(checkout: Path) -> None:
    """Compile megatron/data/helpers.cpp beside it, for this Python."""
    import pybind11

    source = checkout / "megatron/data/helpers.cpp"
    target = source.with_name(f"helpers{sysconfig.get_config_var('EXT_SUFFIX')}")
    includes = [f"-I{folder}" for folder in (sysconfig.get_path("include"), pybind11.get_include())]
    compiler = os.environ.get("CXX", "c++")
    subprocess.run(
        [compiler, "-O3", "-shared", "-std=c++17", "-fPIC", *includes, source, "-o", target],
        check=True,
    )


def compile_kernels(checkout: Path) -> None:
    """Run the fork's own build of its kernels, for the image's GPUs, into the image's folder."""
    sys.path.insert(0, str(checkout))
    import torch
    from torch.utils import cpp_extension

    compile_one = cpp_extension.load

    def load(**settings: Any) -> Any:
        kernels_folder.mkdir(parents=True, exist_ok=True)
        flags = settings.get("extra_cuda_cflags", [])
        settings["extra_cuda_cflags"] = _compiler_flags(flags, torch.version.hip is not None)
        settings["build_directory"] = str(kernels_folder)
        return compile_one(**settings)

    cpp_extension.load = load
    from megatron import fused_kernels

    # torch's names of the same setting: the first for NVIDIA, the second for AMD
    architectures = os.environ.get("ENCORE_GPU_ARCHITECTURES", "")
    os.environ.update(TORCH_CUDA_ARCH_LIST=architectures, PYTORCH_ROCM_ARCH=architectures)
    try:
        fused_kernels.compile_kernels(SimpleNamespace(rank=0, masked_softmax_fusion=True))
    except (RuntimeError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise SystemExit(
            f"error: the kernels of {checkout.name} do not compile here ({reason});"
            " build with --build-arg kernels=torch to use torch's operators instead"
        ) from error


def _compiler_flags(flags: list[str], is_hip: bool) -> list[str]:
    """The compiler's flags for today's toolkits."""
    result = []
    words = iter(flags)
    for flag in words:
        if flag == "-gencode":
            # with its value: the forks' architectures, which CUDA 13 no longer knows
            next(words, None)
        else:
            result.append(flag)
    if is_hip:
        # torch defined this until 2.0, now it is __HIP_PLATFORM_AMD__; the fork's ROCm code tests
        # it (turkunlp megatron/fused_kernels/layer_norm_cuda_kernel.cu:249-323, 562, 692, 768, 809)
        result.append("-D__HIP_PLATFORM_HCC__=1")
    return result


def main() -> None:
    """The command that an image's build runs, once per fork."""
    checkout = Path(sys.argv[1]).resolve()
    compile_helpers(checkout)
    if os.environ.get("ENCORE_KERNELS") == "compile":
        compile_kernels(checkout)


if __name__ == "__main__":
    main()
