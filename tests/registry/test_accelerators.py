"""The accelerators are those that people have, with plausible figures."""

from encore.registry.accelerators import load_accelerators


def test_accelerators_are_those_that_people_have() -> None:
    accelerators = load_accelerators()
    common = {"mi250x-gcd", "a100-40gb", "a100-80gb", "h100", "h200", "gh200", "cpu"}
    assert common <= set(accelerators)
    for accelerator in accelerators.values():
        if accelerator.vendor == "cpu":
            assert accelerator.peak_bf16_flops is None and accelerator.memory_gib is None
        else:
            assert 1e14 < accelerator.peak_bf16_flops < 1e16 and 39 < accelerator.memory_gib < 300
    assert accelerators["mi250x-gcd"].peak_bf16_flops == 383e12 / 2
