#!/usr/bin/env python3
"""Fit scaling laws of repeated data, say how sure the fit is, and ask it what to train.

RUNS is a CSV file with the columns params, tokens, unique_tokens, loss (nats per token) and, if you
like, name; without it the paper's 182 runs are taken. Every coefficient is free unless it is fixed;
--published holds the base that the paper held fixed. All distinct minima are shown, with bootstrap
intervals, and a sentence where the runs do not say what a coefficient is.

examples:
  tools/fit_scaling.py fit
  tools/fit_scaling.py fit --published
  tools/fit_scaling.py fit runs.csv --law penalty --fix kappa=0.5
  tools/fit_scaling.py compare
  tools/fit_scaling.py predict --params 6.34e9 --tokens 242e9 --unique 25e9 --published
  tools/fit_scaling.py allocate --flops 1e22 --unique 25e9 --render
  tools/fit_scaling.py ask epochs --params 146e6 --unique 100e6 --loss 3.8
  tools/fit_scaling.py recover --law data-only --data-sets 20
  tools/fit_scaling.py design --params 20e6 100e6 --unique 100e6 --epochs 1 4 16 64 --factor 1.5
  tools/fit_scaling.py report --out law.html
"""

if __name__ == "__main__":
    # first: an interrupt while the rest is loaded is one line too
    from encore import interrupts

    interrupts.end_at_once()

import argparse
import collections
import dataclasses
import math
import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from encore import cli, files, human
from encore.errors import UsageError

# What fits needs numpy: it is imported where it is used, so that help works without it.
if TYPE_CHECKING:
    from encore.scaling.analysis import Analysis
    from encore.scaling.laws import Law
    from encore.scaling.runs import Array, Runs

LAWS = (
    "repetition",
    "penalty",
    "chinchilla",
    "data-only",
    "parameters-only",
    "geometric",
    "exponent",
)
_DEFAULT_LAW = "repetition"
_LOGARITHMS = {"a": "A", "b": "B", "e": "E"}
_TABLE_POINTS = 9


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = cli.parser(__doc__)
    commands = parser.add_subparsers(
        dest="command",
        required=True,
        metavar="fit|compare|predict|allocate|ask|recover|design|report",
    )
    add = commands.add_parser
    fit = add("fit", help="fit one law: minima, intervals, profiles", allow_abbrev=False)
    compare = add("compare", help="cross-validate all laws", allow_abbrev=False)
    predict = add("predict", help="the loss of a model, with an interval", allow_abbrev=False)
    allocate = add("allocate", help="the best use of a budget", allow_abbrev=False)
    ask = add(
        "ask", help="what it takes to reach a loss, and what data is worth", allow_abbrev=False
    )
    recover = add("recover", help="fit synthetic runs of a known truth", allow_abbrev=False)
    design = add("design", help="the cheapest runs that identify R_D", allow_abbrev=False)
    report = add("report", help="one HTML page with all of it", allow_abbrev=False)

    for command in (fit, compare, predict, allocate, ask, recover, design, report):
        _add_fit_options(command)
    for command in (fit, compare, report):
        command.add_argument(
            "--folds", type=human.amount, default=5, metavar="K", help="of the cross-validation"
        )
    for command in (fit, report):
        # what the minima are compared by, and what the report allocates
        command.add_argument(
            "--flops", type=_positive, default=1e22, metavar="C", help="a budget; default: 1e22"
        )
        command.add_argument(
            "--unique",
            type=_positive,
            default=25e9,
            metavar="COUNT",
            help="unique tokens; default: 25e9",
        )
    for name in ("--params", "--tokens", "--unique"):
        predict.add_argument(name, type=_positive, required=True, metavar="COUNT")
    allocate.add_argument("--flops", type=_positive, required=True, metavar="C", help="6·N·D")
    allocate.add_argument("--unique", type=_positive, required=True, metavar="COUNT")
    allocate.add_argument(
        "--render", action="store_true", help="print the render_sbatch.py command of the answer"
    )
    allocate.add_argument(
        "--picture", type=human.path, metavar="FILE", help="draw the frontier: .svg, .pdf or .png"
    )
    _add_questions(ask)
    recover.add_argument(
        "--noise", type=_positive, default=0.01, metavar="S", help="of log losses; default: 0.01"
    )
    recover.add_argument("--data-sets", type=human.amount, default=200, metavar="M")
    design.add_argument(
        "--params", type=_positive, nargs="+", required=True, metavar="COUNT", help="sizes on offer"
    )
    design.add_argument("--unique", type=_positive, nargs="+", required=True, metavar="COUNT")
    design.add_argument("--epochs", type=_positive, nargs="+", required=True, metavar="E")
    design.add_argument("--noise", type=_positive, default=0.01, metavar="S")
    design.add_argument(
        "--target", default="R_D", metavar="NAME", help="what is to be known; default: R_D"
    )
    design.add_argument(
        "--factor",
        type=_positive,
        default=1.5,
        metavar="F",
        help="the 95%% interval reaches from 1/F to F times the value; default: 1.5",
    )
    design.add_argument(
        "--from-scratch", action="store_true", help="do not count the runs that are there already"
    )
    report.add_argument("--out", type=human.path, required=True, metavar="FILE.html")
    return parser


def _add_fit_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add(
        "runs",
        type=human.path,
        nargs="?",
        metavar="RUNS",
        help="a CSV file; default: the paper's runs",
    )
    add("--law", choices=LAWS, default=_DEFAULT_LAW, help=f"default: {_DEFAULT_LAW}")
    add(
        "--fix",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="hold coefficients: A, B, E, alpha, beta, R_D, …; a, b, e are their logarithms",
    )
    add("--untie", action="store_true", help="let beta differ from alpha")
    add(
        "--published",
        action="store_true",
        help="fit: hold the paper's base fixed; elsewhere: take the paper's coefficients",
    )
    add("--starts", type=human.amount, default=32, metavar="N", help="of a descent; default: 32")
    add("--replicates", type=human.amount, default=1000, metavar="N", help="of the bootstrap")
    add("--seed", type=human.amount, default=0, metavar="N")
    add("--json", action="store_true", help="print the result as JSON")


def _add_questions(ask: argparse.ArgumentParser) -> None:
    ask.add_argument(
        "question",
        choices=("epochs", "unique", "value", "worth"),
        help="epochs: of a size, to a loss; unique: tokens for a loss at a budget; value: the loss"
        " for each amount of unique tokens at a budget; worth: of one more epoch",
    )
    for name, about in (
        ("--params", "epochs"),
        ("--unique", "epochs, worth"),
        ("--loss", "epochs, unique"),
        ("--flops", "unique, value"),
    ):
        ask.add_argument(name, type=_positive, metavar="X", help=f"for {about}")
    ask.add_argument(
        "--share", type=_positive, default=0.5, help="for worth: of a fresh token; default: 0.5"
    )


def _positive(text: str) -> float:
    value = human.number(text)
    if value == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not above 0")
    return value


def main(argv: list[str] | None = None) -> int:
    """The command."""
    args = build_parser().parse_args(argv)
    commands: dict[str, Callable[[argparse.Namespace], int]] = {
        "fit": show_fit,
        "compare": show_comparison,
        "predict": show_prediction,
        "allocate": show_allocation,
        "ask": show_answer,
        "recover": show_recovery,
        "design": show_design,
        "report": write_report,
    }
    return commands[args.command](args)


def _fixed(args: argparse.Namespace) -> dict[str, float]:
    from encore.scaling import analysis

    fixed = analysis.published_base() if args.published else {}
    for item in args.fix:
        name, equals, text = item.partition("=")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not equals or not math.isfinite(value):
            raise UsageError(f"--fix {item!r}: write NAME=VALUE with a finite number")
        if name in _LOGARITHMS:
            name, value = _LOGARITHMS[name], math.exp(min(value, 300.0))
        fixed[name] = value
    return fixed


def _runs(args: argparse.Namespace) -> "Runs":
    from encore.scaling import runs

    if args.runs is None:
        return runs.of_paper()
    return runs.load(args.runs)


def _law(args: argparse.Namespace) -> "Law":
    from encore.scaling import laws

    if args.published and args.law != _DEFAULT_LAW:
        raise UsageError("--published is of --law repetition")
    return laws.LAWS[args.law]


def _analyse(args: argparse.Namespace) -> "Analysis":
    from encore.scaling import analysis

    return analysis.analyse(
        _law(args),
        _runs(args),
        _fixed(args),
        not args.untie,
        args.starts,
        args.replicates,
        args.seed,
    )


def _point(args: argparse.Namespace, result: "Analysis") -> "Array":
    """The coefficients that answers are computed with."""
    from encore.scaling import analysis

    if args.published:
        return analysis.published_theta()
    return result.best.theta


def show_fit(args: argparse.Namespace) -> int:
    """fit: minima, intervals, cross-validation, remarks."""
    from encore.scaling import analysis, questions, runs, validation

    result = _analyse(args)
    regrets = questions.regrets(result.law, result.minima, args.flops, args.unique)
    scores = validation.cross_validate(
        [result.law], result.runs, _fixed(args), not args.untie, args.folds, args.seed
    )
    remarks = analysis.remarks(result)
    if args.json:
        cli.print_json(
            {
                "law": result.law.name,
                "formula": result.law.formula,
                "source": result.law.source,
                "runs": len(result.runs),
                "minima": _minima(result),
                "intervals": _intervals(result),
                "profiles": _profile_sets(result),
                "regrets": _regrets(regrets),
                "cross_validation": [dataclasses.asdict(score) for score in scores],
                "remarks": remarks,
            }
        )
        return 0
    print(f"{result.law.name}: {result.law.formula}")
    print(f"from {result.law.source}")
    print(runs.described(result.runs), end="\n\n")
    print(_minima_table(result), end="\n\n")
    print(_interval_table(result), end="\n\n")
    print(_score_table(scores))
    if len(result.minima) > 1:
        print(
            f"\nWhat the choice changes at {args.flops:.3g} FLOPs, {args.unique:.3g} unique tokens:"
        )
        print(_regret_table(regrets))
    for remark in remarks:
        print(f"\n{remark}")
    return 0


def _minima(result: "Analysis") -> list[dict[str, Any]]:
    return [
        {
            "parameters": _shown(result.law, minimum.theta),
            "huber": minimum.huber,
            "r_squared": result.r_squared(minimum),
        }
        for minimum in result.minima
    ]


def _shown(law: "Law", theta: "Array") -> dict[str, float]:
    pairs = zip(law.parameters, theta, strict=True)
    return {parameter.name: parameter.shown(float(value)) for parameter, value in pairs}


def _intervals(result: "Analysis") -> dict[str, dict[str, float]]:
    intervals = {}
    for index, name in enumerate(result.space.names):
        low, high = result.interval(name)
        intervals[name] = {
            "low": low,
            "high": high,
            "standard_error": _finite(float(result.errors[index])),
        }
    return intervals


def _finite(value: float) -> Any:
    return value if math.isfinite(value) else None


def _profile_sets(result: "Analysis") -> dict[str, Any]:
    sets = {}
    for profile in result.profiles:
        parameter = result.law.parameters[result.law.index(profile.name)]
        ends = {}
        for end, value in (("low", profile.lower), ("high", profile.upper)):
            ends[end] = None if value is None else parameter.shown(value)
        sets[profile.name] = ends
    return sets


def _minima_table(result: "Analysis") -> str:
    rows = []
    for minimum in result.minima:
        values = _shown(result.law, minimum.theta).values()
        cells = [f"{value:.6g}" for value in values]
        rows.append([*cells, f"{minimum.huber:.8f}", f"{result.r_squared(minimum):.4f}"])
    return human.table(rows, [*result.law.names, "huber", "R²"])


def _interval_table(result: "Analysis") -> str:
    sets = _profile_sets(result)
    rows = []
    for name, interval in _intervals(result).items():
        error = interval["standard_error"]
        parameter = result.law.parameters[result.law.index(name)]
        unit = " of its log" if parameter.is_log else ""
        rows.append(
            (
                name,
                f"{interval['low']:.5g} … {interval['high']:.5g}",
                f"{_end(sets[name]['low'])} … {_end(sets[name]['high'])}",
                "unknown" if error is None else f"{error:.3g}{unit}",
            )
        )
    return human.table(rows, ("", "95% bootstrap", "95% profile", "standard error"))


def _end(value: float | None) -> str:
    return "unbounded" if value is None else f"{value:.5g}"


def _score_table(scores: list[Any]) -> str:
    rows = []
    for score in scores:
        rows.append(
            (
                score.law,
                score.split,
                score.runs,
                f"{100 * score.rmse:.2f}%",
                f"{100 * score.median:.2f}%",
                f"{100 * score.bias:+.2f}%",
            )
        )
    return human.table(rows, ("law", "left out", "runs", "rms error", "median", "bias"))


def show_comparison(args: argparse.Namespace) -> int:
    """compare: every law on the same folds and hold-outs."""
    from encore.scaling import laws, validation

    scores = validation.cross_validate(
        list(laws.LAWS.values()), _runs(args), _fixed(args), not args.untie, args.folds, args.seed
    )
    if args.json:
        cli.print_json([dataclasses.asdict(score) for score in scores])
    else:
        print(_score_table(scores))
    return 0


def show_prediction(args: argparse.Namespace) -> int:
    """predict: a loss and its interval."""
    import numpy as np
    from encore.scaling import allocate, questions
    from encore.scaling.runs import Points

    result = _analyse(args)
    point = Points(*(np.array([value]) for value in (args.params, args.tokens, args.unique)))
    loss = float(allocate.predict(result.law, _point(args, result), point)[0, 0])
    draws = allocate.predict(result.law, result.theta_draws, point)[:, 0]
    low, high = (float(value) for value in np.percentile(draws, [2.5, 97.5]))
    outside = questions.outside(result.runs, args.params, args.tokens, args.unique)
    if args.json:
        cli.print_json({"loss": loss, "low": low, "high": high, "outside_the_runs": outside})
        return 0
    print(f"{loss:.5f}  (95% {low:.4f} to {high:.4f})")
    _warn_outside(outside)
    return 0


def _warn_outside(outside: bool) -> None:
    if outside:
        cli.warn("this lies outside the fitted runs' sizes, tokens and epochs: it is extrapolated")


def show_allocation(args: argparse.Namespace) -> int:
    """allocate: parameters, tokens, epochs; intervals, regrets, frontier."""
    import numpy as np
    from encore.scaling import allocate, questions

    result = _analyse(args)
    law = result.law
    flops, unique = np.array(args.flops), np.array(args.unique)
    best = allocate.allocate(law, _point(args, result), flops, unique)
    draws = allocate.allocate(law, result.theta_draws, flops, unique)
    params, tokens = float(best.params[0]), float(best.tokens[0])
    outside = questions.outside(result.runs, params, tokens, args.unique)
    table = questions.regrets(law, result.minima, args.flops, args.unique)
    changes = questions.sensitivity(law, _point(args, result), args.flops, args.unique)
    ranges = {}
    for name in ("params", "tokens", "epochs", "loss"):
        low, high = np.percentile(getattr(draws, name), [2.5, 97.5])
        ranges[name] = (float(low), float(high))
    if args.picture:
        from encore.scaling import frontier, paper_figures

        draws_of_fit = result.theta_draws
        paper_figures.draw(
            lambda: frontier.frontier(law, _point(args, result), draws_of_fit, args.unique),
            [args.picture],
        )
    answer = {
        "parameters": params,
        "tokens": tokens,
        "epochs": float(best.epochs[0]),
        "loss": float(best.loss[0]),
    }
    command = _render_command(params, args.flops, args.unique)
    if args.json:
        intervals = {("parameters" if key == "params" else key): v for key, v in ranges.items()}
        extra = {
            "intervals": intervals,
            "minima": _minima(result),
            "regrets": _regrets(table),
            "sensitivity": {name: change.tolist() for name, change in changes.items()},
            "outside_the_runs": outside,
        }
        cli.print_json(answer | extra | {"render": shlex.join(command)})
        return 0
    rows = [
        ("parameters", f"{params:.4g}", _span(ranges["params"])),
        ("tokens", f"{tokens:.4g}", _span(ranges["tokens"])),
        ("epochs", f"{answer['epochs']:.4g}", _span(ranges["epochs"])),
        ("loss", f"{answer['loss']:.5f}", _span(ranges["loss"])),
    ]
    print(human.table(rows, ("", "best", "95% of the bootstrap's fits")))
    cells = [(name, *(f"{value:+.3f}%" for value in change)) for name, change in changes.items()]
    print(f"\n{human.table(cells, ('1% more of', 'parameters', 'tokens', 'loss'))}")
    if len(result.minima) > 1:
        print(f"\n{_regret_table(table)}")
    if args.render:
        print(f"\n{shlex.join(command)}")
    _warn_outside(outside)
    return 0


def _span(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.4g} … {ends[1]:.4g}"


def _regrets(table: Any) -> dict[str, Any]:
    return {
        "parameters": table.allocations.params.tolist(),
        "epochs": table.allocations.epochs.tolist(),
        "loss_above_best": table.losses.tolist(),
    }


def _regret_table(table: Any) -> str:
    count = len(table.losses)
    rows = []
    for index in range(count):
        size, epochs = table.allocations.params[index], table.allocations.epochs[index]
        losses = [f"{value:.4f}" for value in table.losses[index]]
        rows.append((f"minimum {index + 1}", f"{size:.3g}", f"{epochs:.3g}", *losses))
    header = [f"if {index + 1} is true" for index in range(count)]
    return human.table(rows, ("loss above best, following", "params", "epochs", *header))


def _render_command(params: float, flops: float, unique: float) -> list[str]:
    """The command that renders the nearest size of the paper at this budget."""
    from encore.plan import run_name
    from encore.registry.models import load_models

    labels = load_models().labels
    label = min(labels, key=lambda name: abs(math.log(labels[name].parameters / params)))
    tokens = flops / 6 / labels[label].parameters
    amounts = [run_name.amount_label(_two_digits(count)) for count in (tokens, min(unique, tokens))]
    command = ["tools/render_sbatch.py", label + "".join(amounts)]
    # a name can be read in several ways: the parts say which
    for option, part in zip(("params", "tokens", "unique"), (label, *amounts), strict=True):
        command += [f"--{option}", part]
    return command


def _two_digits(count: float) -> int:
    """A count that a name can state: 1.25 billion, not 1.2537."""
    scale = 10 ** max(0, math.floor(math.log10(count)) - 2)
    return int(round(count / scale) * scale)


def show_answer(args: argparse.Namespace) -> int:
    """ask: the inverse questions."""
    import numpy as np
    from encore.scaling import questions

    needs = {
        "epochs": ("params", "unique", "loss"),
        "unique": ("flops", "loss"),
        "value": ("flops",),
        "worth": ("unique",),
    }
    missing = [f"--{name}" for name in needs[args.question] if getattr(args, name) is None]
    if missing:
        raise UsageError(f"ask {args.question} needs {' and '.join(missing)}")
    result = _analyse(args)
    law, theta = result.law, _point(args, result)
    answer: dict[str, Any]
    if args.question == "epochs":
        epochs = questions.epochs_for(law, theta, args.params, args.unique, args.loss)
        answer = {"epochs": epochs, "tokens": epochs * args.unique}
        text = f"{epochs:.4g} epochs, {epochs * args.unique:.4g} tokens"
    elif args.question == "unique":
        tokens = questions.unique_tokens_for(law, theta, args.flops, args.loss)
        answer = {"unique_tokens": tokens}
        text = f"{tokens:.4g} unique tokens"
    elif args.question == "worth":
        rate = questions.rate(law, theta)
        epoch = questions.epoch_worth_less_than(rate, args.share)
        flops = questions.compute_for_epochs(law, theta, args.unique, epoch)
        answer = {"epoch": epoch, "flops": flops}
        text = (
            f"from epoch {epoch:.3g} on a token is worth less than {args.share:.0%} of a fresh one;"
            f" a budget is best spent on that many epochs from {flops:.4g} FLOPs on"
        )
    else:
        amounts = np.geomspace(args.flops**0.5 / 1e3, args.flops**0.5 * 10, _TABLE_POINTS)
        best = questions.loss_by_unique_tokens(law, theta, args.flops, amounts)
        rows = list(zip(amounts, best.params, best.epochs, best.loss, strict=True))
        answer = {
            "unique_tokens": amounts.tolist(),
            "parameters": best.params.tolist(),
            "epochs": best.epochs.tolist(),
            "loss": best.loss.tolist(),
        }
        cells = [(f"{u:.3g}", f"{n:.3g}", f"{e:.3g}", f"{loss:.4f}") for u, n, e, loss in rows]
        text = human.table(cells, ("unique tokens", "parameters", "epochs", "loss"))
    if args.json:
        cli.print_json(answer)
    else:
        print(text)
    return 0


def show_recovery(args: argparse.Namespace) -> int:
    """recover: does the fit find a truth that is known?"""
    from encore.scaling import design, fit

    runs = _runs(args)
    law = _law(args)
    space = fit.coordinates(law, _fixed(args), not args.untie)
    truth = fit.minima(space, runs, args.starts, args.seed)[0].theta
    coverage = design.recover(
        space, truth, runs, args.noise, args.data_sets, args.replicates, args.seed
    )
    if args.json:
        cli.print_json([dataclasses.asdict(one) for one in coverage])
        return 0
    rows = []
    for one in coverage:
        share = f"{one.covered} of {one.data_sets}"
        rows.append((one.name, f"{one.truth:.5g}", share, f"{one.width:.3g}"))
    print(human.table(rows, ("", "truth", "within its 95% interval", "width")))
    return 0


def show_design(args: argparse.Namespace) -> int:
    """design: the runs to add."""
    from encore.scaling import design, fit

    if args.factor <= 1:
        raise UsageError(f"--factor {args.factor:g} has to be above 1")
    runs = _runs(args)
    law = _law(args)
    space = fit.coordinates(law, _fixed(args), not args.untie)
    truth = fit.minima(space, runs, args.starts, args.seed)[0].theta
    chosen = design.cheapest_runs(
        space,
        truth,
        None if args.from_scratch else runs,
        design.grid(args.params, args.unique, args.epochs),
        args.noise,
        args.target,
        args.factor,
    )
    if args.json:
        cli.print_json([dataclasses.asdict(one) for one in chosen])
        return 0
    if not chosen:
        print(f"{args.target} is known that well already: no run is needed")
        return 0
    times = collections.Counter((one.params, one.unique_tokens, one.tokens) for one in chosen)
    rows = []
    for (size, unique, tokens), count in times.items():
        numbers = (size, unique, tokens / unique, 6 * size * tokens * count)
        rows.append((count, *(f"{number:.4g}" for number in numbers)))
    print(human.table(rows, ("seeds", "params", "unique", "epochs", "FLOPs in all")))
    print(f"{args.target} would be known within a factor of {chosen[-1].factor:.3g}")
    print(f"{len(chosen)} runs, {sum(one.flops for one in chosen):.4g} FLOPs")
    return 0


def write_report(args: argparse.Namespace) -> int:
    """report: one HTML page."""
    from encore.scaling import laws, report_page, validation

    result = _analyse(args)
    scores = validation.cross_validate(
        list(laws.LAWS.values()),
        result.runs,
        None,
        not args.untie,
        args.folds,
        args.seed,
    )
    page = report_page.page(result, scores, args.flops, args.unique)
    files.write_text(args.out, page)
    cli.say(f"{args.out}: {human.byte_size(len(page.encode()))}")
    return 0


if __name__ == "__main__":
    cli.run(main, extra="analysis")
