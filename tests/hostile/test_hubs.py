"""Hubs that lie, over real HTTP: nothing changes outside --out, and one line says why.

Each row is what such a hub answers to `tools/hub.py pull`, and words of the error. Whatever it
answers, no file takes its name before its bytes are those that the listing states.
"""

import gzip
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from encore.hub import client
from helpers.commands import run_command
from helpers.hub_bench import below, some_bytes
from helpers.hub_here import hub_of_this_process
from helpers.hub_server import Handler, Hub, git_sha1

RUN, REPO = "146m14b400m", "datablations/lm1-misc"
SMALL, BIG = f"{RUN}/latest", f"{RUN}/global_step5/big.pt"
FILES = {SMALL: b"global_step5", BIG: some_bytes(1, 40_000), f"{RUN}/global_step5/a.pt": b"x"}
INFO, TREE, CONTENT, CDN = "/revision/main$", "/tree/", "/resolve/", "/cdn/"
# the longest answer that is read, and what a socket's buffers hold before the reader closes it
_MOST_BYTES = client.ANSWER_BYTES + (16 << 20)
_MOST_FILE_BYTES = 16 << 20

Hijack = Callable[[Handler], None]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_of_this_process(tmp_path / "cache", monkeypatch) as server:
        server.add(REPO, FILES)
        yield server


def refused(hub: Hub, home: Path, *words: str) -> None:
    """A pull fails with one line, reads little, and leaves everything but its own folder alone."""
    deep = home / "home" / "of" / "someone"
    (deep / "out").mkdir(parents=True)
    (deep / "out" / "mine.txt").write_text("mine")
    (home / "outside").write_text("mine")
    before = below(home)
    ended = run_command("hub", "pull", RUN, "--out", "out", "--jobs", "1", cwd=deep)
    errors = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert ended.returncode == 1 and len(errors) == 1, ended.stderr
    assert ended.stderr.endswith(f"{errors[0]}\n") and "Traceback" not in ended.stderr
    assert errors[0].isprintable() and len(errors[0]) < 700, len(errors[0])
    for word in words:
        assert word in errors[0]
    assert hub.body_bytes < _MOST_BYTES
    after = below(home)
    added = {name: data for name, data in after.items() if before.get(name) != data}
    assert not before.keys() - after.keys()
    for name, data in added.items():
        # whole files of the listing, beside the one that was refused
        assert name.startswith("home/of/someone/out/") and data in FILES.values(), name


# what the listing states of a file

PATHS = {
    "a path upwards": f"{RUN}/global_step5/../../../../outside",
    "a path upwards at its end": f"{RUN}/global_step5/..",
    "a path of dots": f"{RUN}/./big.pt",
    "an absolute path": "/outside",
    "an absolute path below the run": f"{RUN}//outside",
    "an empty path": "",
    "a folder's slash at the end": f"{RUN}/global_step5/",
    "a backslash": f"{RUN}/global_step5/..\\..\\outside",
    "a drive": "C:outside",
    "a NUL": f"{RUN}/global_step5/a\0.pt",
    "a line break": f"{RUN}/global_step5/a\nerror: b",
    "an escape sequence": f"{RUN}/global_step5/\x1b[2Ja",
    "a control character of eight bits": f"{RUN}/global_step5/\x9b2Ja",
    "half of a surrogate pair": f"{RUN}/global_step5/\ud800.pt",
    "a name of 5,000 characters": f"{RUN}/global_step5/{'a' * 5000}",
    "a name of 256 bytes": f"{RUN}/global_step5/{'é' * 128}",
    "a path of a thousand folders": f"{RUN}/" + "deep/" * 1000 + "x",
    "git's hooks": f"{RUN}/global_step5/.git/hooks/pre-commit",
    "git's hooks in capitals": f"{RUN}/.GIT/config",
    "mercurial's settings": f"{RUN}/.hg/hgrc",
    "the kit's own manifest": f"{RUN}/global_step5/../hub-manifest.json",
    "a path that is a number": 7,
    "no path": None,
    "a path that is a list": ["a"],
    "a folder in place of a file": f"{RUN}/latest/global_step5/a.pt",
}
SIZES = {
    "a negative size": -1,
    "a size in words": "many",
    "no size": None,
    "a fraction": 1.5,
    "true": True,
    "a list": [12],
    "more than any disk": 10**30,
    "infinity": float("inf"),
    "not a number": float("nan"),
}
DIGESTS = {
    "a digest that leads out": "/../../../../../outside",
    "a digest with a path at its end": "0" * 40 + "/../../outside",
    "capitals": "A" * 40,
    "a short digest": "0" * 39,
    "a long digest": "0" * 41,
    "a line break behind it": "0" * 39 + "\n",
    "a number": 7,
    "no digest": None,
    "a list": ["0" * 40],
    "digits of another script": "٠" * 40,
    "another file's": git_sha1(b"other"),
}
LARGE_STORAGE = {
    "a digest that leads out, of a large file": {
        "oid": "/../../../../../outside",
        "size": 40_000,
        "pointerSize": 1,
    },
    "large storage without a digest": {"size": 40_000, "pointerSize": 1},
    "large storage without a size": {"oid": "0" * 64, "pointerSize": 1},
    "large storage of a negative size": {"oid": "0" * 64, "size": -5, "pointerSize": 1},
    "large storage that is a number": 7,
    "large storage that is a text": "yes",
    "large storage that is a list": [1],
    "a digest of large storage that is a number": {"oid": 5, "size": 40_000, "pointerSize": 1},
    "a digest of large storage that is short": {"oid": "0" * 40, "size": 1, "pointerSize": 1},
}
LIES: dict[str, tuple[str, dict[str, Any]]] = {}
for kind, field, values in (
    ("path", "path", PATHS),
    ("size", "size", SIZES),
    ("digest", "oid", DIGESTS),
):
    for title, value in values.items():
        LIES[f"{kind}: {title}"] = (f"{RUN}/global_step5/a.pt", {field: value})
for title, value in LARGE_STORAGE.items():
    LIES[title] = (BIG, {"lfs": value})
LIES["no kind of entry"] = (BIG, {"type": None})


@pytest.mark.parametrize("name", LIES)
def test_what_a_listing_states_is_checked(name: str, hub: Hub, tmp_path: Path) -> None:
    path, lie = LIES[name]
    hub.lies[path] = lie
    refused(hub, tmp_path)


# answers that are no JSON of a Hub's


def body(data: bytes, status: int = 200, **headers: str) -> Hijack:
    """An answer with this body."""

    def answer(handler: Handler) -> None:
        handler.send_response(status)
        for name, value in ({"Content_Length": str(len(data))} | headers).items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        if handler.command != "HEAD":
            handler.pour(data)
        handler.close_connection = True

    return answer


def endless(handler: Handler) -> None:
    """Bytes until the reader has gone."""
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    while True:
        handler.wfile.write(b"10000\r\n")
        handler.pour(b"[" * 0x10000)
        handler.wfile.write(b"\r\n")


def raw(data: bytes) -> Hijack:
    """Bytes in place of an answer."""

    def answer(handler: Handler) -> None:
        handler.wfile.write(data)
        handler.close_connection = True

    return answer


def redirect(target: str) -> Hijack:
    """A redirect to another address, or to the same where that is empty."""

    def answer(handler: Handler) -> None:
        body(b"", 302, Location=target or handler.path)(handler)

    return answer


def pages(target: str, entries: bytes = b"[]") -> Hijack:
    """A page of a listing that names another: `target`, with {} for a number that never repeats."""
    numbers = itertools.count()

    def answer(handler: Handler) -> None:
        following = target.format(next(numbers))
        body(entries, Link=f'<{handler.hub.url}{following}>; rel="next"')(handler)

    return answer


BOMB = gzip.compress(b"[" * (200 << 20), 1)
NO_JSON: dict[str, Hijack] = {
    "nothing": body(b""),
    "a login page": body(b"<html>Please log in</html>", Content_Type="text/html"),
    "null": body(b"null"),
    "a number": body(b"7"),
    "a text": body(b'"hub"'),
    "a list of numbers": body(b"[1, 2]"),
    "a list of lists": body(b"[[[]]]"),
    "a list of null": body(b"[null]"),
    "an object of null": body(b'{"id": null, "sha": null, "path": null, "type": null}'),
    "deep nesting": body(b"[" * 200_000),
    "bytes of no text": body(b"\xff\xfe\x00[]"),
    "half of an answer": body(b'{"id": "x", "sha'),
    "a number of 5,000 digits": body(b'[{"type": "file", "size": %s}]' % (b"9" * 5000)),
    "a size that floats overflow at": body(b'[{"type": "file", "size": 1e999, "path": "x"}]'),
    "a bomb of gzip": body(BOMB, Content_Encoding="gzip"),
    "gzip that is none": body(b"{}", Content_Encoding="gzip"),
    "an endless answer": endless,
    "an answer of 10^15 bytes": body(b"[]", Content_Length=str(10**15)),
    "a body that is cut off": body(b"[]", Content_Length="1000"),
    "a negative length": body(b"[]", Content_Length="-5"),
    "two lengths": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n[]x"),
    "no HTTP": raw(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "a header of a megabyte": raw(b"HTTP/1.1 200 OK\r\nX: " + b"a" * (1 << 20) + b"\r\n\r\n"),
    "a chunk without an end": raw(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFF\r\n[]"
    ),
    "no content": body(b"", 204),
    "not modified": body(b"", 304),
    "a redirect to itself": redirect(""),
    "a redirect to a file": redirect("file:///etc/passwd"),
    "a redirect without an address": redirect("http://"),
    "a redirect to no port": redirect("http://127.0.0.1:99999/"),
    "too many requests, for 30 years": body(b"", 429, Retry_After="999999999"),
    "a wait until 2099": body(b"", 429, Retry_After="Wed, 21 Oct 2099 07:28:00 GMT"),
    "a limit that ends in years": body(b"", 429, ratelimit='"api";r=0;t=99999999'),
    "teapot": body(b"", 418),
    "an error with an endless reason": body(b"x" * 100, 500, Content_Length=str(10**15)),
}
PAGES: dict[str, Hijack] = {
    "a page that names itself": pages("/api/models/x/tree/"),
    "pages without an end": pages("/api/models/x/tree/?cursor={}"),
    "a next page that is no address": body(b"[]", Link='<:::>; rel="next"'),
    "a next page that is a file": body(b"[]", Link='<file:///etc/passwd>; rel="next"'),
}
SHAS: dict[str, object] = {
    "no hash": None,
    "a number": 7,
    "a list": [],
    "nothing": "",
    "a branch": "main",
    "a path": "../../../outside",
    "capitals": "A" * 40,
    "a hash and a line break": "0" * 40 + "\n",
}


@pytest.mark.parametrize("route", [INFO, TREE])
@pytest.mark.parametrize("name", NO_JSON)
def test_an_answer_that_is_none_of_a_hub(name: str, route: str, hub: Hub, tmp_path: Path) -> None:
    hub.hijack("GET", route, NO_JSON[name])
    refused(hub, tmp_path, REPO)


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_a_listing_comes_to_an_end(name: str, hub: Hub, tmp_path: Path) -> None:
    hub.hijack("GET", TREE, PAGES[name])
    refused(hub, tmp_path, REPO)
    assert len(hub.requests) < 1100


@pytest.mark.parametrize("name", SHAS)
def test_a_commit_is_a_hash(name: str, hub: Hub, tmp_path: Path) -> None:
    hub.hijack("GET", INFO, body(json.dumps({"id": REPO, "sha": SHAS[name]}).encode()))
    refused(hub, tmp_path, REPO)


# a file's bytes


def a_byte_at_a_time(handler: Handler) -> None:
    """One more byte of the right ones, then the end of the connection."""
    data = FILES[BIG]
    start = int((handler.headers.get("Range") or "bytes=0-")[6:-1])
    handler.send_response(206 if start else 200)
    handler.send_header("Content-Length", str(len(data) - start))
    handler.end_headers()
    handler.pour(data[start : start + 1])
    handler.close_connection = True


def too_much(handler: Handler) -> None:
    """The right bytes, and then others until the reader has gone."""
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    for chunk in itertools.chain([FILES[BIG]], itertools.repeat(bytes(1 << 16))):
        handler.wfile.write(b"%x\r\n" % len(chunk))
        handler.pour(chunk)
        handler.wfile.write(b"\r\n")


DOUBLE = gzip.compress(gzip.compress(bytes(100 << 20), 1), 1)
CONTENTS: dict[str, Hijack] = {
    **{name: NO_JSON[name] for name in NO_JSON if name not in ("nothing", "half of an answer")},
    "a byte at a time": a_byte_at_a_time,
    "more than it states, without an end": too_much,
    "a byte more than it states": body(FILES[BIG] + b"x"),
    "a byte less than it states": body(FILES[BIG][:-1]),
    "other bytes": body(bytes(40_000)),
    "nothing, forever": body(b""),
    "gzip in gzip": body(DOUBLE, Content_Encoding="gzip, gzip"),
    "zstd": body(b"x", Content_Encoding="zstd"),
    "a range that was not asked for": body(
        FILES[BIG][100:], 206, Content_Range="bytes 100-39999/40000"
    ),
    "a range that cannot be": body(b"", 416),
    "an answer in many steps": raw(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 200),
}


@pytest.mark.slow
@pytest.mark.parametrize("route", [CONTENT + f".*{BIG}$", CDN])
@pytest.mark.parametrize("name", CONTENTS)
def test_a_files_bytes_are_bounded_and_right(
    name: str, route: str, hub: Hub, tmp_path: Path
) -> None:
    hub.hijack("GET", route, CONTENTS[name])
    refused(hub, tmp_path, "big.pt")
    assert hub.body_bytes < _MOST_FILE_BYTES
    assert not (tmp_path / "home/of/someone/out" / BIG.partition("/")[2]).exists()


# oddities that are no lie


@pytest.mark.parametrize("name", ["NUL", "con.pt", "LATEST", "aux", " ", "-rf", "~", "$HOME", "é"])
def test_odd_names_are_files_like_others(name: str, hub: Hub, tmp_path: Path) -> None:
    path = f"{RUN}/global_step5/{name}"
    hub.add(REPO, {path: b"odd", f"{RUN}/global_step5/A.pt": b"another case"})
    ended = run_command("hub", "pull", RUN, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    came = below(tmp_path / RUN)
    assert came[f"global_step5/{name}"] == b"odd"
    assert came["global_step5/A.pt"] == b"another case" and came["global_step5/a.pt"] == b"x"


def test_an_entry_that_is_listed_twice_comes_once(hub: Hub, tmp_path: Path) -> None:
    hub.lies[f"{RUN}/global_step5/a.pt"] = {
        "path": SMALL,
        "oid": git_sha1(FILES[SMALL]),
        "size": 12,
    }
    ended = run_command("hub", "pull", RUN, cwd=tmp_path)
    assert ended.returncode == 0 and "downloaded 2 of 2 files" in ended.stderr


def test_the_table_is_long() -> None:
    rows = len(LIES) + 2 * len(NO_JSON) + len(PAGES) + len(SHAS) + 2 * len(CONTENTS)
    assert rows >= 84
