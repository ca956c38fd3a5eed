"""How well laws predict runs left out of the fit: k folds, and hold-outs that extrapolate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from encore.errors import DataError
from encore.scaling import fit
from encore.scaling.laws import Law
from encore.scaling.runs import Array, Runs

FOLDS = 5
_HELD_OUT_SHARE = 0.25


@dataclass(frozen=True)
class Score:
    """Of one law on runs left out: root mean square, mean and median size of log residuals."""

    law: str
    split: str
    runs: int
    rmse: float
    bias: float
    median: float


def folds(runs: Runs, count: int, seed: int) -> list[Array]:
    """Masks [n] of the runs left out, one a fold.

    Runs of the same N, D and U (other seeds) are left out together: else a fold is predicted from
    its own twins.
    """
    keys = np.stack([runs.params, runs.tokens, runs.unique_tokens], axis=1)
    _, group = np.unique(keys, axis=0, return_inverse=True)
    group = group.reshape(-1)
    groups = int(group.max()) + 1
    if groups < count:
        raise DataError(f"{groups} different runs cannot make {count} folds", "use fewer --folds")
    order = np.random.default_rng(seed).permutation(groups)
    fold_of_group = np.empty(groups, dtype=int)
    fold_of_group[order] = np.arange(groups) % count
    return [fold_of_group[group] == fold for fold in range(count)]


def hold_outs(runs: Runs) -> dict[str, Array]:
    """Masks of the quarter of the runs that is largest in compute, in size, in epochs."""
    measures = {
        "large compute": runs.flops,
        "large models": runs.params,
        "many epochs": runs.epochs,
    }
    masks = {}
    for name, values in measures.items():
        limit = np.quantile(values, 1 - _HELD_OUT_SHARE)
        mask = values > limit
        if mask.any() and not mask.all():
            masks[name] = mask
    return masks


def cross_validate(
    laws: Sequence[Law],
    runs: Runs,
    fixed: Mapping[str, float] | None = None,
    tied: bool = True,
    count: int = FOLDS,
    seed: int = 0,
) -> list[Score]:
    """Scores of every law on all folds together and on each hold-out; laws that lack a fixed
    parameter, or have no free one, are left out.
    """
    splits = {f"{count} folds": folds(runs, count, seed)}
    for name, mask in hold_outs(runs).items():
        splits[name] = [mask]
    scores = []
    for law in laws:
        usable = {name: value for name, value in (fixed or {}).items() if name in law.names}
        if len(usable) == len(law.names):
            continue
        space = fit.coordinates(law, usable, tied)
        for split, masks in splits.items():
            residuals = []
            for mask in masks:
                rest = runs.subset(~mask)
                left_out = runs.subset(mask)
                best = fit.minima(space, rest, seed=seed)[0]
                predicted = law.evaluate(best.theta[None], left_out)[0][0]
                residuals.append(np.log(left_out.loss) - predicted)
            scores.append(_score(law.name, split, np.concatenate(residuals)))
    return scores


def _score(law: str, split: str, residuals: Array) -> Score:
    return Score(
        law,
        split,
        len(residuals),
        float(np.sqrt((residuals**2).mean())),
        float(residuals.mean()),
        float(np.median(np.abs(residuals))),
    )
