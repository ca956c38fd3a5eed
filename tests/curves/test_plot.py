"""Pictures of a genuine run."""

from pathlib import Path

import pytest
from encore.curves import losses, plot

GENUINE = Path(__file__).parents[1] / "data" / "megatron_tiny" / "tp1" / "tensorboard"


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_a_picture_is_written_whole(ending: str, tmp_path: Path) -> None:
    target = tmp_path / f"loss.{ending}"
    curves = [losses.training_curve(GENUINE), *losses.validation_curves(GENUINE)]
    plot.draw_loss(curves, "a run", target, unique_tokens=3000)
    assert target.stat().st_size > 5000
    assert [path.name for path in tmp_path.iterdir()] == [target.name]
