"""The forks' compiled parts: compiled once, while an image is built, and found again at each start.

`python -m encore_compat.extensions CHECKOUT` compiles a fork's data helpers and, where there is a GPU compiler and
ENCORE_KERNELS=compile, its fused kernels.
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

# set by encore_compat.entries.changes: where this checkout's kernels lie
kernels_folder = Path()


def find_instead_of_compiling(module: ModuleType) -> None:
    """megatron.fused_kernels: `load` takes what the image holds."""

    def load(args: Any) -> None:
        missing = [name for name in MODULES if name not in sys.modules and not _import(name)]
        if missing and getattr(args, "rank", 0) == 0:
            print(
                f"> fused kernels not compiled in this image, torch's operators instead: {', '.join(missing)}"
            )

    vars(module).update(load=load, compile_kernels=module.load)


def _import(name: str) -> bool:
    """Import a compiled kernel from the image's folder under its own name, if it is there."""
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
    """megatron.data.dataset_utils: `compile_helper` compiles only what is not there."""
    make = module.compile_helper

    def compile_helper() -> None:
        if importlib.util.find_spec("megatron.data.helpers") is None:
            make()

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
    """Run the fork's own build of its kernels, for the architectures that the image is for, into the image's folder."""
    sys.path.insert(0, str(checkout))
    import torch
    from torch.utils import cpp_extension

    compile_one = cpp_extension.load

    def load(**given: Any) -> Any:
        kernels_folder.mkdir(parents=True, exist_ok=True)
        flags = _flags(given.pop("extra_cuda_cflags", []), torch.version.hip is not None)
        return compile_one(
            **given | {"build_directory": str(kernels_folder)}, extra_cuda_cflags=flags
        )

    cpp_extension.load = load
    from megatron import fused_kernels

    wanted = os.environ.get("ENCORE_GPU_ARCHITECTURES", "")
    os.environ.update(TORCH_CUDA_ARCH_LIST=wanted, PYTORCH_ROCM_ARCH=wanted)
    try:
        fused_kernels.compile_kernels(SimpleNamespace(rank=0, masked_softmax_fusion=True))
    except (RuntimeError, OSError) as error:
        raise SystemExit(
            f"error: the kernels of {checkout.name} do not compile here ({str(error).splitlines()[0]});"
            " build with --build-arg kernels=torch to have torch's operators instead"
        ) from error


def _flags(flags: list[str], hip: bool) -> list[str]:
    """The compiler's flags without the forks' own -gencode pairs: TORCH_CUDA_ARCH_LIST says what to compile for.

    With the macro that the fork's ROCm code goes by and torch defined until 2.0, when it became __HIP_PLATFORM_AMD__
    (turkunlp megatron/fused_kernels/layer_norm_cuda_kernel.cu:249-323, 562, 692, 768, 809).
    """
    kept, skip = [], False
    for flag in flags:
        if not skip and flag != "-gencode":
            kept.append(flag)
        skip = flag == "-gencode"
    return [*kept, "-D__HIP_PLATFORM_HCC__=1"] if hip else kept


def main() -> None:
    """The command that an image's build runs, once per fork."""
    checkout = Path(sys.argv[1]).resolve()
    compile_helpers(checkout)
    if os.environ.get("ENCORE_KERNELS") == "compile":
        compile_kernels(checkout)


if __name__ == "__main__":
    main()
