"""Bad inputs of tools/render_sbatch.py."""

from helpers.bad_inputs import COUNT, OUTPUT_FILE, Table, row
from hostile import request

_LINE = "146m14b400m --cluster lumi --account project_1"

TABLE = Table(
    tool="render_sbatch",
    prepare=request.prepare,
    lines={"": f"{_LINE} --quiet"},
    kinds={
        **request.KINDS,
        "--nodes": COUNT.also(2, "1000000000000"),
        "--out": OUTPUT_FILE.but("fifo"),
    },
    rows=(
        *request.setting_rows(_LINE),
        *request.config_rows("146m14b400m --account project_1 --dry-run"),
        row("", 2, "RUN"),
        row("147m14b400m --cluster lumi", 2, "147m"),
        row(f"{_LINE} --check", 2, "--out"),
        row(f"{_LINE} --json", 2, "--dry-run"),
        row(f"{_LINE} --set help=1", 2, "help"),
        row(f"{_LINE} extra", 2, "extra"),
        row("146m14b400m --cluster cuda --account project_1 --set partition=", 2, "partition"),
        row("146m14b400m --cluster local --nodes 3", 2, "nodes"),
    ),
)
