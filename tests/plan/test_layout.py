"""The choice of parallelism: every layout covers the batch, and the preferred one comes first."""

import dataclasses
import re

import pytest
from encore.errors import UsageError
from encore.model.config import ModelConfig, padded_vocabulary
from encore.plan import layout, sizing
from encore.plan.overrides import Overrides
from hypothesis import assume, given
from hypothesis import strategies as st

SMALL = ModelConfig(15, 768, 12, 64, 3072, 2048, 0)
LARGE = ModelConfig(42, 4096, 32, 128, 16384, 2048, 0)


def at_degree(model: ModelConfig) -> layout.ModelAt:
    return lambda degree: dataclasses.replace(
        model, padded_vocab_size=padded_vocabulary(50257, tensor_parallel=degree)
    )


def devices(count: int, memory_gib: float | None = 64.0, largest: int = 16) -> layout.Devices:
    return layout.Devices(count, min(count, 8), memory_gib, "bf16", largest)


@given(
    st.sampled_from([1, 2, 4, 8, 16, 32, 64]),
    st.sampled_from([256, 512, 1024]),
    st.sampled_from([SMALL, LARGE]),
)
def test_a_layout_covers_the_batch_and_the_devices(
    count: int, batch: int, model: ModelConfig
) -> None:
    chosen, _ = layout.choose_layout(at_degree(model), devices(count), batch, 2048, Overrides())
    assert chosen.tensor_parallel * chosen.pipeline_parallel * chosen.data_parallel == count
    assert batch % (chosen.micro_batch_size * chosen.data_parallel) == 0


@given(st.sampled_from([8, 16, 64]), st.floats(8, 200))
def test_what_is_said_to_fit_fits(count: int, memory_gib: float) -> None:
    chosen, fits = layout.choose_layout(
        at_degree(LARGE), devices(count, memory_gib), 1024, 2048, Overrides()
    )
    assert layout.fits(at_degree(LARGE), chosen, devices(count, memory_gib), 2048) == fits


def test_a_small_model_is_neither_split_nor_recomputed() -> None:
    chosen, fits = layout.choose_layout(at_degree(SMALL), devices(8), 256, 2048, Overrides())
    assert fits
    assert (chosen.tensor_parallel, chosen.activation_checkpointing) == (1, False)


def test_a_model_that_fits_nowhere_is_said_not_to_fit() -> None:
    assert (
        layout.choose_layout(at_degree(LARGE), devices(1, 16), 1024, 2048, Overrides())[1] is False
    )


def test_unknown_memory_fits_everything() -> None:
    assert (
        layout.choose_layout(at_degree(LARGE), devices(1, None), 1024, 2048, Overrides())[1] is True
    )


def test_what_the_user_fixes_stays_fixed() -> None:
    overrides = Overrides(
        {
            "tensor_parallel": 4,
            "pipeline_parallel": 2,
            "micro_batch_size": 2,
            "activation_checkpointing": True,
        }
    )
    chosen, _ = layout.choose_layout(at_degree(LARGE), devices(16), 64, 2048, overrides)
    assert chosen == sizing.Layout(4, 2, 2, 2, True)


@pytest.mark.parametrize(("count", "batch"), [(3, 256), (8, 100), (512, 256)])
def test_a_batch_that_no_degree_divides_is_refused(count: int, batch: int) -> None:
    with pytest.raises(UsageError, match=f"do not divide a global batch of {batch}"):
        layout.choose_layout(
            at_degree(SMALL), devices(count), batch, 2048, Overrides({"tensor_parallel": 1})
        )


@pytest.mark.parametrize(
    ("overrides", "count", "reason", "advice"),
    [
        (
            {"pipeline_parallel": 2},
            8,
            "pipeline_parallel=2 does not divide the model's 15 layers (1, 3, 5 and 15 do)",
            "--set pipeline_parallel=1",
        ),
        (
            {"tensor_parallel": 5},
            8,
            "tensor_parallel=5 does not divide the model's 12 heads and feed-forward size of 3072",
            "--set tensor_parallel=1, 2 or 4",
        ),
        (
            {"pipeline_parallel": 3},
            8,
            "tensor_parallel=1 × pipeline_parallel=3 = 3 devices for one model do not divide 8",
            "--set pipeline_parallel=1; or --nodes 3 or 6",
        ),
        (
            {"tensor_parallel": 1},
            24,
            "24 data-parallel devices do not divide a global batch of 256",
            "--nodes 1, 2, 4 or 8; or --set global_batch_size=240 or 264",
        ),
        (
            {"micro_batch_size": 3},
            8,
            "micro_batch_size=3 × 8 data-parallel devices = 24 do not divide a global batch of 256",
            "--set micro_batch_size=1, 2, 4, 8, 16 or 32; or --set global_batch_size=240 or 264",
        ),
    ],
)
def test_a_refusal_names_its_own_reason_and_what_would_help(
    overrides: dict[str, int], count: int, reason: str, advice: str
) -> None:
    with pytest.raises(UsageError) as raised:
        layout.choose_layout(at_degree(SMALL), devices(count), 256, 2048, Overrides(overrides))
    assert reason in str(raised.value)
    assert advice in raised.value.hint


@given(
    st.sampled_from([SMALL, LARGE]),
    st.integers(1, 12),
    st.integers(1, 300),
    st.fixed_dictionaries(
        {},
        optional={
            "tensor_parallel": st.integers(1, 12),
            "pipeline_parallel": st.integers(1, 12),
            "micro_batch_size": st.integers(1, 40),
        },
    ),
)
def test_every_value_that_a_refusal_offers_gives_a_layout(
    model: ModelConfig, nodes: int, batch: int, overrides: dict[str, int]
) -> None:
    asked = layout.Devices(8 * nodes, 8, 64.0, "bf16", 16)
    try:
        layout.choose_layout(at_degree(model), asked, batch, 2048, Overrides(overrides))
        return
    except UsageError as error:
        hint = error.hint
    assert hint
    for option, values in re.findall(r"--(?:set )?(\w+)[= ]([0-9, or]+)", hint):
        for value in map(int, re.findall("[0-9]+", values)):
            size, changed, other = batch, overrides, asked
            if option == "nodes":
                other = dataclasses.replace(asked, count=8 * value)
            elif option == "global_batch_size":
                size = value
            else:
                changed = overrides | {option: value}
            layout.choose_layout(at_degree(model), other, size, 2048, Overrides(changed))


@given(st.sampled_from([2, 4, 8]))
def test_heads_are_never_split_unevenly(degree: int) -> None:
    odd = dataclasses.replace(SMALL, num_attention_heads=7)
    assume(odd.num_attention_heads % degree)
    with pytest.raises(UsageError):
        layout.choose_layout(
            at_degree(odd), devices(8), 256, 2048, Overrides({"tensor_parallel": degree})
        )
