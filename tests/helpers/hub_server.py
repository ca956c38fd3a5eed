"""A Hugging Face Hub on loopback: the endpoints that tools/hub.py calls, with faults on request.

Repositories are kept in memory, each commit as a listing. Files above LARGE bytes go through LFS:
they are answered by a redirect to another host name of the same server, as the Hub does with its
CDN, where no token may arrive. The shapes of requests and answers are those that huggingface_hub
2.4.0 sends and reads.
"""

import base64
import functools
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = 32 << 10
MULTIPART = 1 << 20
CHUNK = 256 << 10
TOKEN = "hf_loopback"


@functools.lru_cache(maxsize=1000)
def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@functools.lru_cache(maxsize=1000)
def git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Fault:
    """What goes wrong with the next `times` requests that match: a status, or a spoiled body."""

    method: str
    pattern: str
    kind: int | str  # a status code, "cut", "short", "wrong", "no-range", "lost"
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Repo:
    kind: str
    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    head: str = "0" * 40
    messages: list[str] = field(default_factory=list)

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits.get(self.head, {})

    def commit(self, changes: dict[str, bytes], message: str = "") -> str:
        listing = self.files | changes
        told = repr((self.head, sorted((path, git_sha1(data)) for path, data in listing.items())))
        self.head = hashlib.sha1(told.encode()).hexdigest()
        self.commits[self.head] = listing
        self.messages.append(message)
        return self.head


class Hub:
    """The server's state, for tests to fill and to look at."""

    def __init__(self) -> None:
        self.url = ""
        self.lock = threading.RLock()
        self.reset()

    def reset(self) -> None:
        """As new."""
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.parts: dict[str, dict[int, bytes]] = {}
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.page = 1000
        self.pace_s = (
            0.0  # a pause before every block of a body, so that a kill can come between two
        )
        self.in_xet: set[str] = set()
        # (method, pattern of the route, what writes the answer), for hubs that break HTTP or JSON
        self.hijacks: list[tuple[str, str, Callable[[Handler], None]]] = []
        self.body_bytes = 0  # of all answers, as far as they were sent
        # by path: what a lying Hub states of a file instead; None leaves the key out
        self.lies: dict[str, dict[str, Any]] = {}

    def add(self, name: str, files: dict[str, bytes], kind: str = "model") -> Repo:
        repo = self.repos.setdefault(name, Repo(kind))
        repo.commit(files)
        return repo

    def fault(
        self, method: str, pattern: str, kind: int | str, times: int = 1, **headers: str
    ) -> None:
        self.faults.append(
            Fault(
                method, pattern, kind, times, {k.replace("_", "-"): v for k, v in headers.items()}
            )
        )

    def hijack(self, method: str, pattern: str, answer: "Callable[[Handler], None]") -> None:
        self.hijacks.append((method, pattern, answer))

    def take_fault(self, method: str, path: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.times and fault.method == method and re.search(fault.pattern, path):
                    fault.times -= 1
                    return fault
        return None

    def asked(self, method: str, pattern: str) -> list[dict[str, str]]:
        return [
            headers
            for m, path, headers in self.requests
            if m == method and re.search(pattern, path)
        ]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    hub: Hub

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def answer(self) -> None:
        try:
            self.serve()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = answer  # noqa: N815 — the standard library's names

    def serve(self) -> None:
        parts = urlsplit(self.path)
        self.route, self.query = unquote(parts.path), parse_qs(parts.query)
        length = int(self.headers.get("Content-Length") or 0)
        self.body = (
            self.read_chunked()
            if self.headers.get("Transfer-Encoding")
            else self.rfile.read(length)
        )
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.hub.requests.append((self.command, self.route, headers))
        for method, pattern, answer in self.hub.hijacks:
            if method == self.command and re.search(pattern, self.route):
                answer(self)
                return
        self.fault = self.hub.take_fault(self.command, self.route)
        if self.fault and isinstance(self.fault.kind, int):
            self.fail(self.fault.kind, "fault", **self.fault.headers)
            return
        if length and len(self.body) < length:
            raise ConnectionError
        with self.hub.lock:
            answer = self.dispatch()
        if answer is not None:
            self.send(*answer)

    def read_chunked(self) -> bytes:
        data = b""
        while size := int(self.rfile.readline().strip() or b"0", 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def dispatch(self) -> tuple[Any, ...] | None:
        for method, pattern, handler in ROUTES:
            match = re.fullmatch(pattern, self.route)
            if match and self.command in method.split("|"):
                return getattr(self, handler)(**match.groupdict())
        return self.missing("RepoNotFound")

    # answers

    def pour(self, data: bytes) -> None:
        """Send a part of a body, and count it."""
        self.wfile.write(data)
        self.hub.body_bytes += len(data)

    def send(self, status: int, payload: Any, headers: dict[str, str] | None = None) -> None:
        data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self.send_bytes(status, data, {"Content-Type": "application/json"} | (headers or {}))

    def send_bytes(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        kind = self.fault.kind if self.fault else ""
        if kind == "lost":  # done, but the answer never arrives
            raise ConnectionError
        if kind == "wrong":
            data = bytes([data[0] ^ 1]) + data[1:]
        if kind == "short":
            data = data[: len(data) // 2]
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if kind == "cut":
            self.pour(data[: len(data) // 2])
            self.wfile.flush()
            raise ConnectionError
        for start in range(0, len(data), CHUNK):
            time.sleep(self.hub.pace_s)
            self.pour(data[start : start + CHUNK])

    def fail(self, status: int, code: str, **headers: str) -> None:
        self.send_bytes(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code} | headers)

    def missing(self, code: str) -> None:
        self.fail(404, code)

    # what is in the repositories

    def repo(self, name: str, kind: str | None) -> Repo | None:
        repo = self.hub.repos.get(name)
        if repo is None or (kind or "models").rstrip("/") != f"{repo.kind}s":
            return None
        return None if repo.private and not self.logged_in() else repo

    def logged_in(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def at(self, repo: Repo, revision: str) -> str | None:
        commit = repo.head if revision == "main" else revision
        return commit if commit in repo.commits or commit == repo.head else None

    def root(self) -> tuple[Any, ...]:
        return 200, b"hub"

    def info(self, kind: str, name: str, revision: str = "main") -> tuple[Any, ...] | None:
        repo = self.repo(name, kind)
        if repo is None:
            return self.missing("RepoNotFound")
        commit = self.at(repo, revision)
        if commit is None:
            return self.missing("RevisionNotFound")
        return 200, {"id": name, "sha": commit, "private": repo.private, "siblings": []}

    def tree(
        self, kind: str, name: str, revision: str, folder: str | None = None
    ) -> tuple[Any, ...] | None:
        repo = self.repo(name, kind)
        if repo is None:
            return self.missing("RepoNotFound")
        listing = repo.commits.get(self.at(repo, revision) or "", {})
        below = f"{folder}/" if folder else ""
        paths = sorted(path for path in listing if path.startswith(below))
        if folder and not paths:
            return self.missing("EntryNotFound")
        entries = [self.entry(path, listing[path]) for path in paths]
        if self.query.get("recursive", ["False"])[0].lower() != "true":
            direct = [path for path in paths if "/" not in path[len(below) :]]
            entries = [self.entry(path, listing[path]) for path in direct]
            folders = {
                path[: path.index("/", len(below))] for path in paths if "/" in path[len(below) :]
            }
            entries += [
                {"type": "directory", "oid": "0" * 40, "size": 0, "path": path}
                for path in sorted(folders)
            ]
        start = int(self.query.get("cursor", ["0"])[0])
        more = {}
        if start + self.hub.page < len(entries):
            recursive = self.query.get("recursive", ["False"])[0]
            address = f"{self.hub.url}{self.path.partition('?')[0]}"
            link = f"{address}?recursive={recursive}&cursor={start + self.hub.page}"
            more = {"Link": f'<{link}>; rel="next"'}
        return 200, entries[start : start + self.hub.page], more

    def entry(self, path: str, data: bytes) -> dict[str, Any]:
        found = {"type": "file", "oid": git_sha1(data), "size": len(data), "path": path}
        if len(data) > LARGE:
            found |= {"lfs": {"oid": sha256(data), "size": len(data), "pointerSize": 134}}
        if path in self.hub.in_xet:
            found["xetHash"] = "0" * 64
        lie = self.hub.lies.get(path, {})
        return {
            key: value
            for key, value in (found | lie).items()
            if key not in lie or lie[key] is not None
        }

    def resolve(
        self, name: str, revision: str, path: str, kind: str | None = None
    ) -> tuple[Any, ...] | None:
        repo = self.repo(name, kind)
        listing = repo.commits.get(self.at(repo, revision) or "", {}) if repo else {}
        if repo is None or path not in listing:
            return self.missing("EntryNotFound" if repo else "RepoNotFound")
        data = listing[path]
        headers = {"X-Repo-Commit": str(self.at(repo, revision)), "ETag": f'"{git_sha1(data)}"'}
        if len(data) > LARGE:
            digest = sha256(data)
            self.hub.objects[digest] = data
            other = self.hub.url.replace("127.0.0.1", "localhost")
            headers |= {"X-Linked-Size": str(len(data)), "X-Linked-Etag": f'"{digest}"'}
            self.fault = None if self.fault and self.command == "GET" else self.fault
            self.send_bytes(302, b"", headers | {"Location": f"{other}/cdn/{digest}"})
            return None
        return self.ranged(data, headers)

    def cdn(self, digest: str) -> tuple[Any, ...] | None:
        if "Authorization" in self.headers:
            return 400, b"a token came to the CDN"
        return self.ranged(self.hub.objects[digest], {})

    def ranged(self, data: bytes, headers: dict[str, str]) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        self.hub.lock.release()  # a slow body must not keep others waiting
        try:
            if asked and not (self.fault and self.fault.kind == "no-range"):
                start = int(asked[1])
                span = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
                self.send_bytes(206, data[start:], headers | span)
            else:
                self.send_bytes(200, data, headers)
        finally:
            self.hub.lock.acquire()

    # what comes in

    def whoami(self) -> tuple[Any, ...] | None:
        return (
            (200, {"name": "tester", "type": "user", "orgs": []})
            if self.logged_in()
            else self.fail(401, "")
        )

    def create(self) -> tuple[Any, ...] | None:
        if not self.logged_in():
            return self.fail(401, "")
        asked = json.loads(self.body)
        name = f"{asked['organization'] or 'tester'}/{asked['name']}"
        if name in self.hub.repos:
            return 409, {"url": f"{self.hub.url}/{name}", "error": "You already created this repo"}
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.hub.repos[name] = Repo(asked.get("type") or "model", private)
        return 200, {"url": f"{self.hub.url}/{name}", "id": name}

    def validate(self) -> tuple[Any, ...]:
        return 200, {"errors": [], "warnings": []}

    def preupload(self, kind: str, name: str, revision: str) -> tuple[Any, ...] | None:
        repo = self.repo(name, kind)
        if repo is None or not self.logged_in():
            return self.missing("RepoNotFound") if repo is None else self.fail(403, "")
        modes = []
        for file in json.loads(self.body)["files"]:
            large = file["size"] > LARGE
            there = repo.files.get(file["path"])
            oid = None if there is None else (sha256(there) if large else git_sha1(there))
            mode = "lfs" if large else "regular"
            modes.append(
                {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid}
            )
        return 200, {"files": modes}

    def batch(self, name: str, kind: str | None = None) -> tuple[Any, ...]:
        return 200, {
            "transfer": "basic",
            "objects": [self.instructions(o) for o in json.loads(self.body)["objects"]],
        }

    def instructions(self, wanted: dict[str, Any]) -> dict[str, Any]:
        if wanted["oid"] in self.hub.objects:
            return wanted
        target = f"{self.hub.url}/lfs/{wanted['oid']}"
        if wanted["size"] <= MULTIPART:
            return wanted | {
                "actions": {"upload": {"href": target}, "verify": {"href": f"{target}/verify"}}
            }
        count = -(-wanted["size"] // CHUNK)
        header = {"chunk_size": str(CHUNK)} | {str(i): f"{target}/{i}" for i in range(1, count + 1)}
        return wanted | {"actions": {"upload": {"href": f"{target}/complete", "header": header}}}

    def put_object(self, digest: str) -> tuple[Any, ...]:
        if sha256(self.body) != digest:
            return 400, b"other bytes than announced"
        self.hub.objects[digest] = self.body
        return 200, b""

    def put_part(self, digest: str, number: str) -> tuple[Any, ...]:
        self.hub.parts.setdefault(digest, {})[int(number)] = self.body
        return 200, b"", {"ETag": f'"{number}"'}

    def complete(self, digest: str) -> tuple[Any, ...]:
        parts = self.hub.parts.pop(digest, {})
        self.body = b"".join(parts[number] for number in sorted(parts))
        return self.put_object(digest)

    def verify(self, digest: str) -> tuple[Any, ...]:
        asked = json.loads(self.body)
        good = digest in self.hub.objects and len(self.hub.objects[digest]) == asked["size"]
        return (200 if good else 404), b"{}"

    def commit(self, kind: str, name: str, revision: str) -> tuple[Any, ...] | None:
        repo = self.repo(name, kind)
        if repo is None or not self.logged_in():
            return self.missing("RepoNotFound") if repo is None else self.fail(403, "")
        changes, message = {}, ""
        for line in self.body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "header":
                message = value["summary"]
            elif item["key"] == "file":
                changes[value["path"]] = base64.b64decode(value["content"])
            elif value["oid"] not in self.hub.objects:
                return 400, {"error": f"the object of {value['path']} was not uploaded"}
            else:
                changes[value["path"]] = self.hub.objects[value["oid"]]
        done = repo.commit(changes, message)
        return 200, {"commitUrl": f"{self.hub.url}/{name}/commit/{done}", "commitOid": done}


_KIND = r"(?P<kind>models|datasets)"
_NAME = r"(?P<name>[^/]+/[^/]+)"
ROUTES = [
    ("GET|HEAD", "/", "root"),
    ("GET", "/api/whoami-v2", "whoami"),
    ("POST", "/api/repos/create", "create"),
    ("POST", "/api/validate-yaml", "validate"),
    ("GET", rf"/api/{_KIND}/{_NAME}", "info"),
    ("GET", rf"/api/{_KIND}/{_NAME}/revision/(?P<revision>.+)", "info"),
    ("GET", rf"/api/{_KIND}/{_NAME}/tree/(?P<revision>[^/]+)", "tree"),
    ("GET", rf"/api/{_KIND}/{_NAME}/tree/(?P<revision>[^/]+)/(?P<folder>.+)", "tree"),
    ("POST", rf"/api/{_KIND}/{_NAME}/preupload/(?P<revision>[^/]+)", "preupload"),
    ("POST", rf"/api/{_KIND}/{_NAME}/commit/(?P<revision>[^/]+)", "commit"),
    ("POST", r"/(?P<kind>datasets/)?(?P<name>[^/]+/[^/]+)\.git/info/lfs/objects/batch", "batch"),
    ("PUT", r"/lfs/(?P<digest>\w{64})", "put_object"),
    ("PUT", r"/lfs/(?P<digest>\w{64})/(?P<number>\d+)", "put_part"),
    ("POST", r"/lfs/(?P<digest>\w{64})/complete", "complete"),
    ("POST", r"/lfs/(?P<digest>\w{64})/verify", "verify"),
    ("GET|HEAD", r"/cdn/(?P<digest>\w{64})", "cdn"),
    (
        "GET|HEAD",
        rf"/(?P<kind>datasets/)?{_NAME}/resolve/(?P<revision>[^/]+)/(?P<path>.+)",
        "resolve",
    ),
]


@contextmanager
def running() -> Iterator[Hub]:
    """A hub that answers at `url`, until the block ends."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
