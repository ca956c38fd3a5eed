"""The names under which a run's numbers stand in TensorBoard: Megatron-DeepSpeed's, letter for letter.

Most numbers are written several times: against steps under their own tag, and against samples and tokens seen under the
same tag and a suffix; there, what TensorBoard calls the step is that count.
source: TurkuNLP 6732bc9 megatron/training.py (training_log, evaluate_and_print_results)
"""

TRAINING_LOSS = "lm-loss-training/lm loss"
VALIDATION_LOSS = "lm-loss-validation/{}/lm loss validation"
SUFFIXES = {"samples": " vs samples", "tokens": " vs tokens"}
FLOPS_SUFFIX = " vs gigaflos (without embeddings)"
STEPS_VS = "steps-vs-{unit}/y=steps,x={unit}"
VS_STEPS = "steps-vs-{unit}/y={unit},x=steps"


def validation_set(tag: str) -> str | None:
    """The validation set whose loss a tag is; None for any other tag."""
    before, after = VALIDATION_LOSS.split("{}")
    name = tag[len(before) : -len(after)]
    return name if name and tag == VALIDATION_LOSS.format(name) else None
