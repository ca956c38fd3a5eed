"""CPU time of scaling-law fits against the loop that published them.

The peer is the published set-up: the two rates free, torch's LBFGS (learning rate 0.1, history 10,
at most 20 iterations, strong Wolfe, 50 calls) from 16 starts, linspace(0, 20, 4) squared, in single
precision; the starts at 0 give NaN there too. Ours finds every minimum. All in one process, in CPU
seconds, with one thread: without OMP_NUM_THREADS=1 BLAS's threads spin and count. Imports are not
counted.

    OMP_NUM_THREADS=1 python tests/bench/bench_fit_scaling.py
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from encore import human
from encore.scaling import allocate, analysis, fit, laws, runs, uncertainty

_PEER_STARTS = np.linspace(0, 20, 4)
_PEER_CALLS = 50


def peer(paper: runs.Runs) -> float:
    """The loop of the notebook, written anew from its settings; returns the lowest loss."""
    base = torch.tensor(analysis.published_theta()[:5], dtype=torch.float32)
    a, b, e, alpha, beta = base
    best = laws.optimal_size(
        *np.float64([a, b, alpha, beta])[:, None, None], np.log(paper.unique_tokens)
    )[0][0]
    unique = torch.tensor(paper.unique_tokens, dtype=torch.float32)
    size = torch.tensor(np.minimum(np.exp(best), paper.params), dtype=torch.float32)
    repeats = torch.tensor(paper.epochs - 1, dtype=torch.float32)
    excess = torch.tensor(paper.params, dtype=torch.float32) / size - 1
    target = torch.log(torch.tensor(paper.loss, dtype=torch.float32))
    lowest = float("inf")
    for r_d in _PEER_STARTS:
        for r_n in _PEER_STARTS:
            rates = torch.nn.Parameter(torch.tensor([r_d, r_n], dtype=torch.float32))

            def loss(rates: torch.nn.Parameter = rates) -> torch.Tensor:
                effective_size = size * (1 + rates[1] * (1 - torch.exp(-excess / rates[1])))
                effective_tokens = unique * (1 + rates[0] * (1 - torch.exp(-repeats / rates[0])))
                terms = torch.stack(
                    [
                        a - alpha * torch.log(effective_size),
                        b - beta * torch.log(effective_tokens),
                        e.expand(len(target)),
                    ]
                )
                return torch.nn.functional.huber_loss(
                    torch.logsumexp(terms, dim=0), target, delta=fit.HUBER_DELTA, reduction="sum"
                )

            value = _minimise(loss, rates)
            if value < lowest:
                lowest = value
    return lowest


def _minimise(loss: Callable[[], torch.Tensor], rates: torch.nn.Parameter) -> float:
    optimizer = torch.optim.LBFGS(
        [rates], lr=0.1, history_size=10, max_iter=20, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    for _ in range(_PEER_CALLS):
        value = optimizer.step(closure)
    return float(value.detach())


def cpu_seconds(work: Callable[[], object], rounds: int = 1) -> float:
    """CPU time of one call, the median of several."""
    times = []
    for _ in range(rounds):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return float(np.median(times))


def main() -> None:
    """Print the figures."""
    torch.set_num_threads(1)
    paper = runs.of_paper()
    published = fit.coordinates(laws.REPETITION, analysis.published_base())
    joint = fit.coordinates(laws.REPETITION)
    two = fit.minima(published, paper)
    six = fit.minima(joint, paper)
    budgets = np.geomspace(1e18, 1e26, 100_000)
    theta = analysis.published_theta()

    lowest = peer(paper)
    theirs = cpu_seconds(lambda: peer(paper))
    ours = cpu_seconds(lambda: fit.minima(published, paper), 9)
    rows = [
        ("published fit, the notebook's loop", f"{theirs:.2f}", f"one minimum, {lowest:.8f}"),
        (
            "published fit, ours",
            f"{ours:.4f}",
            f"{theirs / ours:.0f} times; {len(two)} minima, lowest {two[0].huber:.8f}",
        ),
    ]
    for label, work in (
        ("1,000 bootstrap replicates of it", lambda: uncertainty.bootstrap(published, paper, two)),
        ("joint fit, 32 starts", lambda: fit.minima(joint, paper)),
        ("1,000 bootstrap replicates of it", lambda: uncertainty.bootstrap(joint, paper, six)),
        (
            "100,000 allocations",
            lambda: allocate.allocate(laws.REPETITION, theta, budgets, np.array(25e9)),
        ),
    ):
        rows.append((label, f"{cpu_seconds(work, 3):.3f}", ""))
    print(human.table(rows, ("work", "CPU s", "")))


if __name__ == "__main__":
    main()
