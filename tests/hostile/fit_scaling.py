"""Bad inputs of tools/fit_scaling.py."""

from pathlib import Path

from helpers.bad_inputs import (
    CHOICE,
    COUNT,
    INPUT_FILE,
    NOTHING,
    NUMBER,
    Table,
    row,
)

_HEADER = "params,tokens,unique_tokens,loss\n"
_ROWS = {
    "no-rows": "",
    "text": "a,1e9,1e9,3\n",
    "nan": "nan,1e9,1e9,3\n",
    "infinite": "1e8,inf,1e9,3\n",
    "negative": "-1e8,1e9,1e9,3\n",
    "zero": "1e8,1e9,1e9,0\n",
    "short": "1e8,1e9\n",
    "unique": "1e8,1e9,2e9,3\n",
}
_POSITIVE = NUMBER.also(2, "0")
_AMOUNT = COUNT.but("zero")


def prepare(folder: Path) -> None:
    """Tables of runs that cannot be fitted."""
    for name, text in _ROWS.items():
        (folder / f"{name}.csv").write_text(_HEADER + text)
    (folder / "headless.csv").write_text("1e8,1e9,1e9,3\n")


_QUICK = "--replicates 1 --starts 1"

TABLE = Table(
    tool="fit_scaling",
    prepare=prepare,
    lines={
        "fit": f"fit {_QUICK}",
        "compare": f"compare {_QUICK}",
        "predict": f"predict --params 1e8 --tokens 1e9 --unique 1e9 {_QUICK}",
        "allocate": f"allocate --flops 1e21 --unique 1e9 {_QUICK}",
        "ask": f"ask value --flops 1e21 {_QUICK}",
        "recover": f"recover --data-sets 1 {_QUICK}",
        "design": f"design --params 1e8 --unique 1e8 --epochs 1 {_QUICK}",
        "report": f"report --out out.html {_QUICK}",
    },
    kinds={
        "fit runs": INPUT_FILE.but("fifo").also(
            1, "headless.csv", *(f"{name}.csv" for name in _ROWS)
        ),
        "runs": NOTHING,
        "question": CHOICE,
        "--fix": NOTHING,
        "--target": NOTHING,
        "--picture": NOTHING,
        "--out": NOTHING,
        **dict.fromkeys(("--folds", "--starts", "--replicates", "--seed"), _AMOUNT),
        **dict.fromkeys(("--data-sets",), _AMOUNT),
        **dict.fromkeys(
            (
                *("--params", "--tokens", "--unique", "--flops", "--epochs", "--noise"),
                *("--factor", "--loss", "--share"),
            ),
            _POSITIVE,
        ),
    },
    rows=(
        row("", 2, "fit"),
        row("no-such", 2, "no-such"),
        row("predict --params 1e8", 2, "--tokens"),
        row("ask epochs --params 1e8", 2, "--unique"),
        row("fit --published --law penalty", 2, "--published"),
        row("design --params 1e8 --unique 1e8 --epochs 1 --factor 1", 2, "--factor"),
    ),
)
