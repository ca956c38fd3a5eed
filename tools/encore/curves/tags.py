"""The tags of a run's numbers in TensorBoard, exactly as Megatron-DeepSpeed writes them.

Most numbers are written several times: against steps under their own tag, and against samples and
tokens seen under the same tag with a suffix. There, what TensorBoard calls the step is that count.
source: TurkuNLP 6732bc9 megatron/training.py (training_log, evaluate_and_print_results)
"""

from collections.abc import Iterable

TRAINING_LOSS = "lm-loss-training/lm loss"
VALIDATION_LOSS = "lm-loss-validation/{}/lm loss validation"
SUFFIXES = {"samples": " vs samples", "tokens": " vs tokens"}
# "gigaflos" is Megatron's spelling
FLOPS_SUFFIX = " vs gigaflos (without embeddings)"
# the same pairs of numbers, written both ways round
STEPS_VS = "steps-vs-{unit}/y=steps,x={unit}"
VS_STEPS = "steps-vs-{unit}/y={unit},x=steps"


def validation_set(tag: str) -> str | None:
    """The name of the validation set whose loss a tag is; None for any other tag."""
    before, after = VALIDATION_LOSS.split("{}")
    name = tag[len(before) : -len(after)]
    if name and tag == VALIDATION_LOSS.format(name):
        return name
    return None


def losses(tags: Iterable[str]) -> list[str]:
    """Those of the tags that are training or validation losses, in nats per token."""
    return [tag for tag in tags if tag == TRAINING_LOSS or validation_set(tag) is not None]
