"""The tags are those of a genuine run, and a validation set's name is read from its tag alone."""

from encore.curves import event_file, tags
from helpers.event_files import GENUINE


def test_the_names_are_those_of_a_genuine_run() -> None:
    (file,) = GENUINE.iterdir()
    written = set(event_file.read(file).series)
    for base in (tags.TRAINING_LOSS, tags.VALIDATION_LOSS.format("valid")):
        assert {
            base + suffix for suffix in ("", *tags.SUFFIXES.values(), tags.FLOPS_SUFFIX)
        } <= written
    assert {
        form.format(unit=unit) for form in (tags.STEPS_VS, tags.VS_STEPS) for unit in tags.SUFFIXES
    } <= written


def test_validation_sets_are_told_by_their_tags() -> None:
    assert tags.validation_set("lm-loss-validation/c4/lm loss validation") == "c4"
    ppl = "lm-loss-validation/c4/lm loss validation ppl"
    for other in (tags.TRAINING_LOSS, ppl, "lm-loss-validation//lm loss validation", ""):
        assert tags.validation_set(other) is None
