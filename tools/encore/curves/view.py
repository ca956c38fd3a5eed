"""How curves are drawn, in pictures and when the page opens."""

from dataclasses import dataclass

# the counts that a curve may know of each point
COUNTS = ("steps", "samples", "tokens")
HOURS = "hours"
AXES = (*COUNTS, HOURS)
# Curves of fewer points are drawn with markers and are not smoothed: an average would lag behind.
FEW_POINTS = 40


@dataclass(frozen=True)
class View:
    """How curves are drawn.

    axis: one of AXES. smoothing: the moving average's weight, 0 (off) to below 1. unique_tokens:
    tokens per epoch, whose borders are marked where curves are drawn along tokens.
    """

    axis: str = "steps"
    smoothing: float = 0.0
    log_y: bool = False
    unique_tokens: int | None = None
