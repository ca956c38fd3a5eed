"""encore_compat: active for a fork only, and its stand-ins compute what they stand in for.

A package `megatron` made here imports what the forks import; tests/manual/train_forks.py trains the
forks themselves.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

COMPAT = Path(__file__).resolve().parents[2] / "containers" / "compat"
sys.path.insert(0, str(COMPAT))

from encore_compat import apex, extensions, kernels  # noqa: E402
from encore_compat.entries import ENTRIES  # noqa: E402

ASKS = """
import sys
import megatron.fused_kernels, megatron.data.dataset_utils
from torch._six import inf
from apex.optimizers import FusedAdam, FusedSGD
from apex.multi_tensor_apply import multi_tensor_applier
import amp_C, numpy as np, torch, distutils.util
from pkg_resources import packaging
import torchvision.transforms as T
from torchvision import datasets
class Images(datasets.VisionDataset): pass
import fused_weight_gradient_mlp_cuda
from deepspeed.compression.compress import init_compression
assert np.float is float and np.int is int and inf == float("inf")
assert distutils.util.strtobool("yes") == 1 and packaging.version.Version("2.1")
megatron.fused_kernels.load(type("Args", (), {"rank": 0}))
import fused_mix_prec_layer_norm_cuda, scaled_softmax_cuda
groups = [{"params": [torch.nn.Parameter(torch.ones(2))]}]
optimizer = FusedAdam(groups, lr=1.0, weight_decay=0.0, betas=(0.9, 0.95), eps=1e-8)
assert type(optimizer) is torch.optim.AdamW
print("asked and answered")
"""


@pytest.fixture
def fork(tmp_path: Path) -> Path:
    """A checkout with a package `megatron`, listed as an image lists its forks."""
    checkout = tmp_path / "trainers" / "turkunlp-causal"
    for name in ("megatron", "megatron/fused_kernels", "megatron/data"):
        (checkout / name).mkdir(parents=True)
        (checkout / name / "__init__.py").write_text("")
    (checkout / "megatron/fused_kernels/__init__.py").write_text(
        "def load(args):\n    raise SystemExit('compiles')\n"
    )
    (checkout / "megatron/data/dataset_utils.py").write_text(
        "def compile_helper():\n    raise SystemExit('makes')\n"
    )
    (checkout / "pretrain.py").write_text(ASKS)
    (tmp_path / "trainers" / "trainers.json").write_text(json.dumps({"turkunlp-causal": {}}))
    return checkout


def run(script: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run as an image does: encore_compat.pth in a site folder."""
    start = f"""
import os, runpy, site, sys
site.addsitedir({str(COMPAT)!r})
sys.argv = sys.argv[1:]
sys.path[0] = os.path.dirname(sys.argv[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""
    return subprocess.run(
        [sys.executable, *options, "-c", start, str(script)], capture_output=True, text=True
    )


def test_a_fork_gets_what_it_asks_for(fork: Path) -> None:
    done = run(fork / "pretrain.py")
    assert done.returncode == 0, done.stderr
    assert "asked and answered" in done.stdout
    assert "torch's operators instead" in done.stdout


def test_another_megatron_is_left_alone(fork: Path) -> None:
    (fork.parent / "trainers.json").write_text("{}")
    done = run(fork / "pretrain.py")
    assert "No module named 'torch._six'" in done.stderr


def test_it_imports_nothing_heavy_at_start(tmp_path: Path) -> None:
    script = tmp_path / "x.py"
    script.write_text(
        "import sys; print([m for m in ('torch', 'numpy', 'deepspeed') if m in sys.modules])"
    )
    assert run(script).stdout.strip() == "[]"


def test_a_kernel_that_the_image_holds_is_found(fork: Path) -> None:
    folder = fork.parents[1] / "kernels" / fork.name
    folder.mkdir(parents=True)
    # any extension module does for the lookup
    (folder / "scaled_softmax_cuda.so").write_bytes(Path(torch._C.__file__).read_bytes())
    (fork / "pretrain.py").write_text(
        "import megatron.fused_kernels as f\nf.load(type('A', (), {'rank': 0}))\n"
    )
    done = run(fork / "pretrain.py")
    # found and handed to the dynamic loader, which refuses it: it is another module's
    assert "PyInit_scaled_softmax_cuda" in done.stderr


def test_compiled_helpers_are_not_made_again(fork: Path) -> None:
    (fork / "pretrain.py").write_text(
        "from megatron.data.dataset_utils import compile_helper\ncompile_helper()\n"
    )
    assert "makes" in run(fork / "pretrain.py").stderr
    (fork / "megatron/data/helpers.py").write_text("")
    assert run(fork / "pretrain.py").returncode == 0


def test_the_configuration_is_given_once(fork: Path) -> None:
    (fork / "pretrain.py").write_text(
        "import argparse, deepspeed\n"
        "def initialize(args=None, **given):\n    return args.deepspeed_config\n"
        "deepspeed.initialize = initialize\n"
        "import megatron\n"
        "args = argparse.Namespace(deepspeed_config='x.json')\n"
        "both = deepspeed.initialize(args=args, config={'a': 1})\n"
        "one = deepspeed.initialize(args=args)\n"
        "print(both, one, args.deepspeed_config)\n"
    )
    assert run(fork / "pretrain.py").stdout.strip().splitlines()[-1] == "None x.json x.json"


def test_megatrons_own_checkpoints_load(fork: Path, tmp_path: Path) -> None:
    (fork / "pretrain.py").write_text(
        "import argparse, random, numpy as np, torch, megatron\n"
        "state = {'args': argparse.Namespace(lr=1.0), 'np': np.random.get_state()}\n"
        "state['random'] = random.getstate()\n"
        f"torch.save(state, {str(tmp_path / 'x.pt')!r})\n"
        f"print(torch.load({str(tmp_path / 'x.pt')!r})['args'].lr)\n"
    )
    done = run(fork / "pretrain.py")
    assert done.stdout.strip().endswith("1.0"), done.stderr


def test_each_entry_says_why_and_where() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "encore_compat"], cwd=COMPAT, capture_output=True, text=True
    )
    for entry in ENTRIES:
        assert entry.why and all(
            ":" in place or "(" in place or ".py" in place for place in entry.where
        )
        assert entry.name in done.stdout


def norm() -> dict[str, object]:
    return kernels.MODULES["fused_mix_prec_layer_norm_cuda"]()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_layer_norm_is_torchs(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    value = torch.randn(5, 3, 8, dtype=dtype, requires_grad=True)
    weight, bias = (torch.randn(8, dtype=dtype, requires_grad=True) for _ in range(2))
    expected = torch.nn.functional.layer_norm(value, (8,), weight, bias, 1e-5)
    gradient = torch.randn_like(expected)
    expected.backward(gradient)
    output, mean, inverse = norm()["forward_affine"](value.detach(), (8,), weight, bias, 1e-5)
    found = norm()["backward_affine"](
        gradient, mean, inverse, value.detach(), (8,), weight, bias, 1e-5
    )
    torch.testing.assert_close(output, expected.detach())
    for ours, theirs in zip(found, (value.grad, weight.grad, bias.grad), strict=True):
        torch.testing.assert_close(ours, theirs)


def reference(value: torch.Tensor, hidden: torch.Tensor | None, scale: float) -> torch.Tensor:
    scaled = value * scale
    return torch.softmax(scaled if hidden is None else scaled.masked_fill(hidden, -10000.0), -1)


@pytest.mark.parametrize(
    "name",
    [
        "scaled_upper_triang_masked_softmax_cuda",
        "scaled_masked_softmax_cuda",
        "scaled_softmax_cuda",
    ],
)
def test_the_softmax_kernels_compute_softmax_and_its_gradient(name: str) -> None:
    torch.manual_seed(0)
    module = kernels.MODULES[name]()
    scale, later = torch.tensor([0.5])[0], torch.ones(6, 6, dtype=torch.bool).triu(1)
    causal = name.startswith("scaled_upper")
    value = torch.randn(*((4, 6, 6) if causal else (2, 2, 6, 6)), requires_grad=True)
    hidden = later if causal else later.expand(2, 1, 6, 6) if "masked" in name else None
    expected = reference(value, hidden, 0.5)
    gradient = torch.randn_like(expected)
    expected.backward(gradient)
    given = (value.detach(), scale) if causal or hidden is None else (value.detach(), hidden, scale)
    output = module["forward"](*given)
    torch.testing.assert_close(output, expected.detach())
    torch.testing.assert_close(module["backward"](gradient, output, scale), value.grad)


def test_amp_c_norms_scales_and_reports_what_is_not_finite() -> None:
    amp, apply = (
        apex.MODULES["amp_C"](),
        apex.MODULES["apex.multi_tensor_apply"]()["multi_tensor_applier"],
    )
    tensors, overflow = (
        [torch.full((3,), 2.0), torch.full((2, 2), 1.0)],
        torch.zeros(1, dtype=torch.int),
    )
    total, each = apply(amp["multi_tensor_l2norm"], overflow, [tensors], True)
    assert total.item() == pytest.approx(4.0) and each.tolist() == pytest.approx([12**0.5, 2.0])
    target = [torch.empty(3), torch.empty(2, 2)]
    apply(amp["multi_tensor_scale"], overflow, [tensors, target], 0.5)
    assert target[0].tolist() == [1.0] * 3 and overflow.item() == 0
    apply(
        amp["multi_tensor_scale"], overflow, [[torch.tensor([float("inf")])], [torch.empty(1)]], 1.0
    )
    assert overflow.item() == 1


def test_the_forks_architectures_are_dropped_and_rocm_gets_its_macro() -> None:
    flags = [
        "-O3",
        "-gencode",
        "arch=compute_70,code=sm_70",
        "--use_fast_math",
        "-gencode",
        "arch=compute_80",
    ]
    assert extensions._compiler_flags(flags, is_hip=False) == ["-O3", "--use_fast_math"]
    assert extensions._compiler_flags(["-O3"], is_hip=True) == ["-O3", "-D__HIP_PLATFORM_HCC__=1"]


def test_kernels_that_do_not_compile_name_the_way_out(fork: Path) -> None:
    (fork / "megatron/fused_kernels/__init__.py").write_text(
        "def load(args):\n    raise RuntimeError('no nvcc')\n"
    )
    (fork / "pretrain.py").write_text(
        "from pathlib import Path\nfrom encore_compat import extensions\n"
        f"extensions.compile_kernels(Path({str(fork)!r}))\n"
    )
    done = run(fork / "pretrain.py")
    assert (
        "do not compile here (no nvcc)" in done.stderr
        and "--build-arg kernels=torch" in done.stderr
    )
