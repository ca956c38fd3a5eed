"""Bad inputs of tools/doctor.py."""

from helpers.bad_inputs import COUNT, NUMBER, Table, row
from hostile import request

_SKIP = "--skip runtime image data tokenizer space queue hub"
_LINE = f"500k500k100k --cluster local {_SKIP}"

TABLE = Table(
    tool="doctor",
    prepare=request.prepare,
    lines={"": _LINE},
    kinds={**request.KINDS, "--nodes": COUNT.also(2, "1000000000000"), "--wait": NUMBER},
    rows=(
        *request.config_rows(f"500k500k100k {_SKIP}"),
        row("", 2, "RUN"),
        row("500k500k100k --skip", 2, "--skip"),
        row(f"{_LINE} --set help", 2, "help"),
        row(f"{_LINE} --set lr=nan", 2, "lr"),
    ),
)
