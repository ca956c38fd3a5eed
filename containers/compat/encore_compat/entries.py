"""What is put right, entry by entry: why, where the forks need it, and the change.

`where` names files of turkunlp 6732bc9 or of deepspeedai 4efb479; bigscience 8387ae17 and turkunlp's a1088c1 have the
former's lines unless said. A stand-in serves only where the image has nothing of that name.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from encore_compat import apex, attributes, cpu, extensions, kernels, training

Contents = Callable[[], dict[str, object]]
Mend = Callable[[ModuleType], None]


@dataclass(frozen=True)
class Entry:
    """One thing put right; a change is a stand-in module, attributes to set, or a module to mend after its import."""

    name: str
    why: str
    where: tuple[str, ...]
    stand_ins: dict[str, Contents] = field(default_factory=dict)
    mends: dict[str, Mend] = field(default_factory=dict)
    at_once: Callable[[], None] | None = None
    wanted: Callable[[], bool] = lambda: True
    # whether the stand-ins come before what the image has: all of a family or none of it
    instead: bool = False


@dataclass(frozen=True)
class Changes:
    """All entries' changes for one checkout, as encore_compat.hook applies them."""

    instead: dict[str, Contents]
    if_missing: dict[str, Contents]
    mends: dict[str, Mend]


ENTRIES = (
    Entry(
        "torch._six",
        "torch 2.0 removed it; the forks want its `inf`",
        (
            "turkunlp megatron/optimizer/clip_grads.py:19",
            "deepspeedai megatron/optimizer/clip_grads.py:7 (in a try)",
        ),
        stand_ins={"torch._six": attributes.six},
    ),
    Entry(
        "np.float, np.int",
        "NumPy 1.24 removed these names of Python's own types",
        (
            "turkunlp megatron/data/indexed_dataset.py:102, 276",
            "turkunlp and deepspeedai megatron/data/autoaugment.py:196",
        ),
        at_once=attributes.restore_numpy_names,
    ),
    Entry(
        "distutils, pkg_resources",
        "Python 3.12 removed distutils, setuptools 82 removed pkg_resources; forks read versions and flags with them",
        ("turkunlp megatron/testing_utils.py:28", "deepspeedai megatron/model/transformer.py:1707"),
        stand_ins={
            "distutils": dict,
            "distutils.util": attributes.distutils_util,
            "pkg_resources": attributes.pkg_resources,
        },
    ),
    Entry(
        "apex and amp_C",
        "apex has to be compiled for each torch and is not in every base; torch has AdamW (fused), SGD, layer norm and"
        " foreach operations. Only where apex or amp_C is missing; then all of it is ours, for the two belong together",
        (
            "turkunlp megatron/optimizer/__init__.py:18-19 (bigscience :16-17)",
            "turkunlp megatron/optimizer/optimizer.py:23-24, clip_grads.py:21-22, megatron/utils.py:27-28",
            "deepspeedai megatron/optimizer/__init__.py:5-6, megatron/model/__init__.py:10, fused_layer_norm.py:26",
        ),
        stand_ins=apex.MODULES,
        wanted=apex.incomplete,
        instead=True,
    ),
    Entry(
        "torchvision",
        "imported with every trainer for the vision models beside them, which text training never calls; a text image"
        " need not hold it",
        (
            "deepspeedai megatron/training.py:51 through megatron/data/vit_dataset.py:6-7 and image_folder.py:35",
        ),
        stand_ins={
            "torchvision": dict,
            "torchvision.transforms": dict,
            "torchvision.datasets": attributes.vision_datasets,
        },
    ),
    Entry(
        "fused_weight_gradient_mlp_cuda",
        "a part of apex that the fork refuses to start without and, its call being commented out, never calls",
        ("deepspeedai megatron/core/tensor_parallel/layers.py:49-53, 361, 592",),
        stand_ins={"fused_weight_gradient_mlp_cuda": dict},
    ),
    Entry(
        "DeepSpeed is given its configuration once",
        "DeepSpeed 0.9 and later refuse a configuration both as an argument and in args.deepspeed_config; both name the"
        " same file here",
        ("turkunlp megatron/training.py:425 (bigscience :424)",),
        at_once=training.give_configuration_once,
    ),
    Entry(
        "deepspeed.compression.compress",
        "DeepSpeed 0.19 no longer has it; imported always, called with --compression-training only, which is refused",
        ("deepspeedai megatron/training.py:57, 243, 561",),
        stand_ins={"deepspeed.compression.compress": training.compression},
    ),
    Entry(
        "core attention of several sequences",
        "the fork cuts query, key and value out of one tensor and takes a view that such a cut does not have, so that"
        " without flash attention a micro-batch above 1 ends in an error; they are made contiguous first",
        ("deepspeedai megatron/model/transformer.py:736-739, 301-304, 352",),
        mends={"megatron.model.transformer": training.make_attention_inputs_contiguous},
    ),
    Entry(
        "fused kernels",
        "the forks compile them at each start beside their source, which is read-only in an image, for architectures"
        " that today's compilers no longer know (sm_70 in CUDA 13). Compiled once when the image is built and found"
        " again; where an image has none, torch's own operators stand in, and the log says so",
        (
            "turkunlp megatron/fused_kernels/__init__.py:31; deepspeedai the same (load)",
            "turkunlp megatron/fused_kernels/layer_norm_cuda_kernel.cu:249 goes by a macro of ROCm that torch renamed",
            "turkunlp megatron/model/fused_layer_norm.py:75 imports the layer norm even with --no-layer-norm-fusion",
            "turkunlp megatron/model/fused_softmax.py:92 imports scaled_softmax_cuda, which no file of it compiles",
        ),
        stand_ins=kernels.MODULES,
        mends={"megatron.fused_kernels": extensions.find_instead_of_compiling},
    ),
    Entry(
        "data helpers",
        "megatron/data/helpers is compiled with make at each start; in a read-only image it is compiled already",
        (
            "turkunlp megatron/data/dataset_utils.py:81",
            "deepspeedai megatron/data/dataset_utils.py:82",
        ),
        mends={"megatron.data.dataset_utils": extensions.keep_compiled_helpers},
    ),
    Entry(
        "torch.load of checkpoints",
        "torch 2.6 made weights_only the default, which refuses the argparse.Namespace that the forks save; it is put"
        " on torch's list of safe types, with what numpy's random state is made of",
        (
            "turkunlp megatron/checkpointing.py:324, 333",
            "deepspeedai megatron/checkpointing.py:430, 440",
        ),
        at_once=training.allow_saved_types,
    ),
    Entry(
        "a CPU in place of the GPU",
        "the forks ask torch.cuda for everything; on a machine without a GPU, and with ENCORE_COMPAT_CPU=1 only, its"
        " names answer for the CPU, so that an image can be tested where it is built",
        (
            "turkunlp megatron/initialize.py:83 and 60 more places",
            "deepspeedai megatron/initialize.py:46",
        ),
        mends=cpu.MENDS,
        at_once=cpu.stand_in,
        wanted=lambda: os.environ.get("ENCORE_COMPAT_CPU") == "1",
    ),
)


def changes(checkout: Path) -> Changes:
    """Apply what can be applied at once and return the rest, for the fork in `checkout`."""
    extensions.kernels_folder = checkout.parent.parent / "kernels" / checkout.name
    found = Changes({}, {}, {})
    # the CPU's environment variables have to be there before DeepSpeed is imported
    for entry in sorted(ENTRIES, key=lambda entry: entry.at_once is not cpu.stand_in):
        if entry.wanted():
            (found.instead if entry.instead else found.if_missing).update(entry.stand_ins)
            found.mends.update(entry.mends)
            if entry.at_once:
                entry.at_once()
    return found
