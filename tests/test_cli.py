"""Errors become one line and an exit code; bugs keep their traceback; talk goes to stderr."""

import fcntl
import os
import struct
import subprocess
import sys
import termios
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[1] / "tools"
PREFIX = f"import sys; sys.path.insert(0, {str(TOOLS)!r})\nfrom encore import cli, errors\n"


def run_main(body: str) -> subprocess.CompletedProcess[str]:
    code = PREFIX + f"def main():\n    {body}\ncli.run(main)"
    return subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)


def test_a_user_error_is_one_line_with_its_hint() -> None:
    ended = run_main("raise errors.DataError('a.jsonl:3: not JSON', 'fix that line')")
    assert (ended.returncode, ended.stdout, ended.stderr) == (
        1,
        "",
        "error: a.jsonl:3: not JSON; fix that line\n",
    )


def test_usage_errors_end_with_2() -> None:
    assert run_main("raise errors.UsageError('no', 'yes')").returncode == 2


def test_a_bug_keeps_its_traceback() -> None:
    ended = run_main("return 1 // 0")
    assert "Traceback" in ended.stderr and "ZeroDivisionError" in ended.stderr


def test_a_full_disk_and_a_missing_file_are_one_line() -> None:
    full = run_main("open('/dev/full', 'w').write('x' * 100000); return 0")
    missing = run_main("open('/nowhere/at/all'); return 0")
    for ended, word in ((full, "No space left"), (missing, "/nowhere/at/all")):
        assert ended.returncode == 1 and word in ended.stderr and "Traceback" not in ended.stderr


def test_a_reader_that_goes_away_is_no_error() -> None:
    code = f"import sys; sys.path.insert(0, {str(TOOLS)!r})\nfrom encore import cli\n"
    code += "cli.run(lambda: [print('line') for _ in range(100000)] and 0)"
    ended = subprocess.run(
        f'{sys.executable} -c "$CODE" | head -n 1',
        shell=True,
        check=False,
        capture_output=True,
        text=True,
        env={"CODE": code},
    )
    assert (ended.stdout, ended.stderr) == ("line\n", "")


def test_a_missing_distribution_names_the_extra_to_install() -> None:
    code = PREFIX + "def main():\n    import no_such_library.part\ncli.run(main, extra='convert')"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    step = "in the kit's folder: pip install -e '.[convert]'"
    assert ended.returncode == 1
    assert ended.stderr == f"error: no_such_library is not installed; {step}\n"


def test_a_missing_module_of_the_package_is_a_bug() -> None:
    code = PREFIX + "def main():\n    import encore.nothing\ncli.run(main, extra='convert')"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "Traceback" in ended.stderr


def test_what_the_package_logs_is_talk_on_stderr_once() -> None:
    body = "import logging; logging.basicConfig(); log = logging.getLogger('encore.x.y')"
    body += "; log.debug('no'); log.info('50%'); log.warning('%d', 3); return 0"
    ended = run_main(body)
    assert (ended.stdout, ended.stderr) == ("", "50%\nwarning: 3\n")


def test_without_a_terminal_progress_is_a_line_now_and_then() -> None:
    body = "cli._PROGRESS_EVERY_S = 0.0"
    body += "\n    with cli.byte_progress(4096, 'copying') as advance: advance(1024); advance(1024)"
    ended = run_main(body + "\n    return 0")
    assert ended.stderr == "copying: 1 KiB of 4 KiB\ncopying: 2 KiB of 4 KiB\n"


def test_on_a_terminal_progress_is_a_bar() -> None:
    code = PREFIX + "with cli.byte_progress(4, 'copying') as advance:\n    advance(4)"
    terminal, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    subprocess.run([sys.executable, "-c", code], stderr=slave, check=True)
    shown = os.read(terminal, 10_000).decode()
    assert "copying" in shown and "100%" in shown
