"""The changes for the forks, entry by entry: why, where the forks need it, and the change itself.

`where` names files of turkunlp 6732bc9 or of deepspeedai 4efb479; bigscience 8387ae17 and
turkunlp's a1088c1 have the former's lines unless stated.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from encore_compat import apex, attributes, cpu, extensions, kernels, training

Contents = Callable[[], dict[str, object]]
Patch = Callable[[ModuleType], None]


@dataclass(frozen=True)
class Entry:
    """One change.

    stand_ins: modules by name, each with the function that returns its content; they serve where
    the image has no module of that name, or before it with `replaces`. patches: changes to a module
    after its import. at_once: a change to make when a fork is found. applies: whether it is needed
    here.
    """

    name: str
    why: str
    where: tuple[str, ...]
    stand_ins: dict[str, Contents] = field(default_factory=dict)
    patches: dict[str, Patch] = field(default_factory=dict)
    at_once: Callable[[], None] | None = None
    applies: Callable[[], bool] = lambda: True
    replaces: bool = False


@dataclass(frozen=True)
class Changes:
    """All entries' changes for one checkout, as encore_compat.hook applies them."""

    instead: dict[str, Contents]
    if_missing: dict[str, Contents]
    patches: dict[str, Patch]


ENTRIES = (
    # first: DeepSpeed reads the environment variables that it sets when it is imported
    Entry(
        "a CPU in place of the GPU",
        "the forks ask torch.cuda for everything; on a machine without a GPU, and only with"
        " ENCORE_COMPAT_CPU=1, its names answer for the CPU, so that an image can be tested where"
        " it is built",
        (
            "turkunlp megatron/initialize.py:83 and 60 more places",
            "deepspeedai megatron/initialize.py:46",
        ),
        patches=cpu.PATCHES,
        at_once=cpu.stand_in,
        applies=lambda: os.environ.get("ENCORE_COMPAT_CPU") == "1",
    ),
    Entry(
        "torch._six",
        "torch 2.0 removed it; the forks import its `inf`",
        (
            "turkunlp megatron/optimizer/clip_grads.py:19",
            "deepspeedai megatron/optimizer/clip_grads.py:7 (in a try)",
        ),
        stand_ins={"torch._six": attributes.six},
    ),
    Entry(
        "np.float, np.int",
        "NumPy 1.24 removed these aliases of Python's own types",
        (
            "turkunlp megatron/data/indexed_dataset.py:102, 276",
            "turkunlp and deepspeedai megatron/data/autoaugment.py:196",
        ),
        at_once=attributes.restore_numpy_names,
    ),
    Entry(
        "distutils, pkg_resources",
        "Python 3.12 removed distutils, setuptools 82 removed pkg_resources; the forks parse"
        " versions and flags with them",
        ("turkunlp megatron/testing_utils.py:28", "deepspeedai megatron/model/transformer.py:1707"),
        stand_ins={
            "distutils": dict,
            "distutils.util": attributes.distutils_util,
            "pkg_resources": attributes.pkg_resources,
        },
    ),
    Entry(
        "apex and amp_C",
        "apex has to be compiled for each torch and is not in every base; torch has AdamW (fused),"
        " SGD, layer norm and foreach operations. Only where apex or amp_C is missing; both are"
        " then replaced, since they belong together",
        (
            "turkunlp megatron/optimizer/__init__.py:18-19 (bigscience :16-17)",
            "turkunlp megatron/optimizer/optimizer.py:23-24, clip_grads.py:21-22",
            "turkunlp megatron/utils.py:27-28",
            "deepspeedai megatron/optimizer/__init__.py:5-6, megatron/model/__init__.py:10",
            "deepspeedai megatron/model/fused_layer_norm.py:26",
        ),
        stand_ins=apex.MODULES,
        applies=apex.incomplete,
        replaces=True,
    ),
    Entry(
        "torchvision",
        "every trainer imports it for the vision models beside them, which text training never"
        " calls; an image for text need not contain it",
        (
            "deepspeedai megatron/training.py:51 through megatron/data/vit_dataset.py:6-7 and"
            " image_folder.py:35",
        ),
        stand_ins={
            "torchvision": dict,
            "torchvision.transforms": dict,
            "torchvision.datasets": attributes.vision_datasets,
        },
    ),
    Entry(
        "fused_weight_gradient_mlp_cuda",
        "a part of apex without which the fork refuses to start, and which it never calls: the call"
        " is commented out",
        ("deepspeedai megatron/core/tensor_parallel/layers.py:49-53, 361, 592",),
        stand_ins={"fused_weight_gradient_mlp_cuda": dict},
    ),
    Entry(
        "DeepSpeed is given its configuration once",
        "DeepSpeed 0.9 and later refuse a configuration both as an argument and in"
        " args.deepspeed_config; both name the same file here",
        ("turkunlp megatron/training.py:425 (bigscience :424)",),
        at_once=training.give_configuration_once,
    ),
    Entry(
        "deepspeed.compression.compress",
        "DeepSpeed 0.19 no longer has it; it is always imported, but called only with"
        " --compression-training, which is refused",
        ("deepspeedai megatron/training.py:57, 243, 561",),
        stand_ins={"deepspeed.compression.compress": training.compression},
    ),
    Entry(
        "core attention of several sequences",
        "the fork slices query, key and value out of one tensor and takes a view that such a slice"
        " does not have, so that without flash attention a micro-batch above 1 fails; they are made"
        " contiguous first",
        ("deepspeedai megatron/model/transformer.py:736-739, 301-304, 352",),
        patches={"megatron.model.transformer": training.make_attention_inputs_contiguous},
    ),
    Entry(
        "fused kernels",
        "the forks compile them at each start beside their source, which is read-only in an image,"
        " for architectures that today's compilers no longer know (sm_70 in CUDA 13). They are"
        " compiled once, when the image is built; where an image has none, torch's operators stand"
        " in, and the log says so",
        (
            "turkunlp megatron/fused_kernels/__init__.py:31; deepspeedai the same (load)",
            "turkunlp megatron/fused_kernels/layer_norm_cuda_kernel.cu:249 tests a macro of ROCm"
            " that torch renamed",
            "turkunlp megatron/model/fused_layer_norm.py:75 imports the layer norm even with"
            " --no-layer-norm-fusion",
            "turkunlp megatron/model/fused_softmax.py:92 imports scaled_softmax_cuda, which no file"
            " of it compiles",
        ),
        stand_ins=kernels.MODULES,
        patches={"megatron.fused_kernels": extensions.load_instead_of_compiling},
    ),
    Entry(
        "data helpers",
        "megatron/data/helpers is compiled with make at each start; in a read-only image it is"
        " compiled already",
        (
            "turkunlp megatron/data/dataset_utils.py:81",
            "deepspeedai megatron/data/dataset_utils.py:82",
        ),
        patches={"megatron.data.dataset_utils": extensions.keep_compiled_helpers},
    ),
    Entry(
        "torch.load of checkpoints",
        "torch 2.6 made weights_only the default, which refuses the argparse.Namespace that the"
        " forks save; it is added to torch's list of safe types, with what NumPy's random state is"
        " made of",
        (
            "turkunlp megatron/checkpointing.py:324, 333",
            "deepspeedai megatron/checkpointing.py:430, 440",
        ),
        at_once=training.allow_saved_types,
    ),
)


def apply_entries(checkout: Path) -> Changes:
    """Apply what can be applied at once for the fork in `checkout`, and return the rest."""
    extensions.kernels_folder = checkout.parent.parent / "kernels" / checkout.name
    changes = Changes({}, {}, {})
    for entry in ENTRIES:
        if not entry.applies():
            continue
        if entry.replaces:
            changes.instead.update(entry.stand_ins)
        else:
            changes.if_missing.update(entry.stand_ins)
        changes.patches.update(entry.patches)
        if entry.at_once is not None:
            entry.at_once()
    return changes
