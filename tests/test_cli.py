"""Errors become one line and an exit code; bugs keep their traceback; talk goes to stderr."""

import contextlib
import errno
import fcntl
import io
import json
import os
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from encore import cli

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


def run_process(
    body: str, redirect: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """main() of this body in a process of its own, its streams redirected as a shell does it."""
    code = PREFIX + f"def main():\n    {body}\ncli.run(main)"
    return subprocess.run(
        ["sh", "-c", f'exec "$0" -c "$1" {redirect}', sys.executable, code],
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"]} | environment,
    )


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_under_stdout_is_one_line_and_a_failure(unbuffered: str) -> None:
    ended = run_process("print('x'); return 0", ">/dev/full", PYTHONUNBUFFERED=unbuffered)
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: No space left on device: standard output; ")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_help_that_cannot_be_written_is_a_failure(unbuffered: str) -> None:
    body = "cli.parser('x').parse_args(['--help'])"
    ended = run_process(body, ">/dev/full", PYTHONUNBUFFERED=unbuffered)
    assert ended.returncode == 1 and "standard output" in ended.stderr


def test_a_full_disk_under_stderr_changes_no_outcome() -> None:
    ended = run_process("cli.say('x'); print('y'); return 0", "2>/dev/full")
    assert (ended.returncode, ended.stdout) == (0, "y\n")


def test_a_closed_stdout_fails_only_what_prints() -> None:
    assert run_process("return 0", ">&-").returncode == 0
    ended = run_process("print('x'); return 0", ">&-")
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: Bad file descriptor: standard output; ")


def test_a_closed_stderr_changes_no_outcome() -> None:
    body = "cli.say('x')\n    with cli.byte_progress(1, 'y') as advance: advance(1)\n    return 0"
    assert run_process(body, "2>&-").returncode == 0


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_what_an_encoding_lacks_is_shown_by_its_number(encoding: str) -> None:
    body = "print('\\u2713'); cli.print_json({'\\u2713': '\\U0001f600'}); return 0"
    ended = run_process(body, PYTHONIOENCODING=encoding)
    assert ended.returncode == 0, ended.stderr
    first, _, document = ended.stdout.partition("\n")
    assert first == "\\u2713" and json.loads(document) == {"\u2713": "\U0001f600"}


def test_under_the_c_locale_nothing_fails() -> None:
    ended = run_process(
        "print('\\u2713'); return 0", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0"
    )
    assert (ended.returncode, ended.stdout) == (0, "\\u2713\n")


HOSTILE = "a\x1b[2Jb\x9bc\x07d\u202ee\x7ff\udcffg"
SHOWN = "a\\u001b[2Jb\\u009bc\\u0007d\\u202ee\\u007ff\\udcffg"


def test_no_control_character_of_a_name_reaches_the_terminal() -> None:
    body = f"name = {HOSTILE!a}; print(name); cli.say(name); cli.print_json([name])"
    ended = run_process(body + "; raise errors.DataError(name, name)")
    text, _, document = ended.stdout.partition("\n")
    assert text == SHOWN and json.loads(document) == [HOSTILE]
    assert ended.stderr == f"{SHOWN}\nerror: {SHOWN}; {SHOWN}\n"


def test_an_error_is_one_line_also_where_a_name_holds_line_feeds() -> None:
    ended = run_process("raise errors.DataError('a\\nerror: b')")
    assert ended.stderr == "error: a\\nerror: b\n"


@pytest.mark.parametrize("name", sorted(errno.errorcode.values()))
def test_any_error_that_names_a_path_is_one_line(name: str) -> None:
    def main() -> int:
        raise OSError(getattr(errno, name), "what happened", "/a/path")

    err = io.StringIO()
    with contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
        cli.run(main)
    assert ended.value.code == 1
    assert err.getvalue().startswith("error: what happened: /a/path; ")
    assert err.getvalue().count("\n") == 1


def test_both_paths_of_a_rename_are_named() -> None:
    ended = run_process("import os; os.rename('/nowhere', b'/there'.decode()); return 0")
    assert "/nowhere -> /there; " in ended.stderr and "Traceback" not in ended.stderr


def test_an_error_without_a_path_that_no_machine_explains_is_a_bug() -> None:
    assert "Traceback" in run_process("raise OSError(22, 'Invalid argument')").stderr


SLOW_IMPORT = "import os, signal; os.kill(os.getpid(), signal.SIGINT); import time; time.sleep(30)"


@pytest.mark.parametrize("tool", sorted(TOOLS.glob("*.py")), ids=lambda tool: tool.name)
def test_an_interrupt_while_modules_load_is_one_line(tool: Path, tmp_path: Path) -> None:
    # argparse stands for whatever a command loads: the interrupt comes within its import
    (tmp_path / "argparse.py").write_text(SLOW_IMPORT)
    ended = subprocess.run(
        [sys.executable, tool, "--help"],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "interrupted\n")


@pytest.mark.parametrize(
    "body", ["", "except KeyboardInterrupt: raise ImportError('numpy did not load') from None"]
)
def test_an_interrupt_is_one_line_whatever_a_library_makes_of_it(body: str) -> None:
    code = "import os, signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n" + PREFIX
    code += "def main():\n    try: os.kill(os.getpid(), signal.SIGINT); time.sleep(9)\n"
    code += f"    {body or 'finally: pass'}\nimport time\ncli.run(main)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (130, "interrupted\n")


def test_an_interrupt_that_is_ignored_stays_so() -> None:
    body = "import os, signal; os.kill(os.getpid(), signal.SIGINT); print('done'); return 0"
    code = PREFIX + "from encore import interrupts; interrupts.end_at_once()\n"
    code += f"def main():\n    {body}\ncli.run(main)"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    assert (ended.returncode, ended.stdout) == (0, "done\n")


@pytest.mark.parametrize("words", [[""], ["--x", ""], ["--x="], ["a", "", "b"]])
def test_an_empty_argument_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    parser = cli.parser("x")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--x")
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(words)
    assert ended.value.code == 2 and "an empty argument after" in capsys.readouterr().err


def test_an_option_that_may_be_empty_is_so() -> None:
    parser = cli.parser("x", may_be_empty=["--x"])
    parser.add_argument("--x")
    assert parser.parse_args(["--x", ""]).x == parser.parse_args(["--x="]).x == ""


def test_a_name_that_cannot_be_encoded_is_one_line() -> None:
    ended = run_process("'a\\udcff.json'.encode(); return 0")
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: 'a\\udcff.json' is no UTF-8; rename the file")


@pytest.mark.parametrize(
    "error",
    [
        "MemoryError()",
        "MemoryError('Unable to allocate 1 EiB')",
        "RuntimeError('[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can\\'t')",
        "type('OutOfMemoryError', (RuntimeError,), {})('CUDA out of memory')",
    ],
)
def test_too_little_memory_is_one_line(error: str) -> None:
    ended = run_process(f"raise {error}")
    assert ended.returncode == 1 and ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("error: not enough memory: ")


def test_a_bugs_traceback_holds_no_control_character() -> None:
    ended = run_process("raise KeyError('\\x1b[2J'); return 0")
    assert "Traceback" in ended.stderr
    ended = run_process("raise ValueError('\\x1b[2J'); return 0")
    assert ended.stderr.rstrip().endswith("ValueError: \\u001b[2J")
