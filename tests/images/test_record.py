"""Bases, records, digests: what an image is made of can be told, and what is not it is told apart."""

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from encore.errors import DataError, EncoreError, RegistryError, UnknownNameError
from encore.images import base_digest, definition
from encore.images import record as images
from encore.registry import strict_yaml
from encore.registry.images import _Images, load_images
from helpers.sif_file import sif

DIGEST = "sha256:" + "ab" * 32


class Registry(http.server.BaseHTTPRequestHandler):
    """A container registry that wants a token, as Docker Hub does, and knows one tag."""

    def do_HEAD(self) -> None:
        host = f"http://{self.headers['Host']}"
        if self.headers.get("Authorization") != "Bearer secret":
            self.send_response(401)
            challenge = f'Bearer realm="{host}/token",service="here",scope="repository:a/b:pull"'
            self.send_header("WWW-Authenticate", challenge)
        elif self.path == "/v2/a/b/manifests/1.0":
            self.send_response(200)
            self.send_header("Docker-Content-Digest", DIGEST)
        elif self.path == "/v2/a/b/manifests/odd":
            self.send_response(200)
        else:
            self.send_response(404)
        self.end_headers()

    def do_GET(self) -> None:
        assert self.path == "/token?service=here&scope=repository%3Aa%2Fb%3Apull"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"token": "secret"}).encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def registry() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("localhost", 0), Registry) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"localhost:{server.server_port}"
        server.shutdown()


def test_a_tag_becomes_a_digest_with_the_token_that_the_registry_wants(registry: str) -> None:
    assert base_digest.digest("docker", f"{registry}/a/b:1.0") == DIGEST
    assert base_digest.pinned(f"{registry}/a/b:1.0", DIGEST) == f"{registry}/a/b@{DIGEST}"
    assert base_digest.digest("docker", f"nvcr.io/nvidia/pytorch@{DIGEST}") == DIGEST


@pytest.mark.parametrize(
    ("tag", "says"),
    [("2.0", "cannot be pulled: .*404|cannot be pulled: Not Found"), ("odd", "names no digest")],
)
def test_a_base_that_cannot_be_pulled_is_named(registry: str, tag: str, says: str) -> None:
    with pytest.raises(EncoreError, match=says) as raised:
        base_digest.digest("docker", f"{registry}/a/b:{tag}")
    assert raised.value.hint


def test_a_registry_that_does_not_answer_is_one_clear_error() -> None:
    with pytest.raises(EncoreError, match="the base localhost:1/a/b:1 cannot be pulled"):
        base_digest.digest("docker", "localhost:1/a/b:1")


@pytest.mark.parametrize("name", ["", "UPPER/case:1", "a b", "x:", "-", "a/b:1\n", "a;ls"])
def test_what_is_no_image_name_is_refused(name: str) -> None:
    with pytest.raises(DataError, match="is not the name of a container image"):
        base_digest.digest("docker", name)


def test_a_file_is_a_base_by_its_content(tmp_path: Path) -> None:
    base = sif(tmp_path / "base.sif")
    first = base_digest.digest("localimage", str(base))
    sif(base, rest=b"other")
    assert first.startswith("sha256:") and base_digest.digest("localimage", str(base)) != first
    with pytest.raises(EncoreError, match=r"none\.sif is not there"):
        base_digest.digest("localimage", str(tmp_path / "none.sif"))
    with pytest.raises(DataError, match="cannot tell the digest of a base of kind yum"):
        base_digest.digest("yum", "x")


@pytest.mark.parametrize(("code", "named"), [(b"04\0", "arm64"), (b"99\0", "architecture 99")])
def test_another_architecture_is_refused_by_name(tmp_path: Path, code: bytes, named: str) -> None:
    image = sif(tmp_path / "encore-cpu.sif", code)
    with pytest.raises(DataError, match=f"is for {named}"):
        images.identify(image)
    with pytest.raises(DataError, match=f"is for {named}"):
        base_digest.digest("localimage", str(image))


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", b"\0" * 200])
def test_what_is_no_image_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "encore-cpu.sif"
    path.write_bytes(content)
    with pytest.raises(DataError, match="is not a container image"):
        definition.architecture(path)


def record(digest: str | None) -> images.BuildRecord:
    return images.BuildRecord(
        "cpu", "1", "c", "now", "apptainer", "docker", "b", DIGEST, {}, digest
    )


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    image = tmp_path / "x.sif"
    assert images.read_record(image) is None
    images.write_record(image, record(DIGEST))
    assert images.read_record(image) == record(DIGEST)
    for damaged in ("{", "[]", "{}", '{"image": 1, "other": 2}'):
        images.record_path(image).write_text(damaged)
        with pytest.raises(DataError, match="is not a record of a build"):
            images.read_record(image)


def test_an_image_is_known_by_its_record_or_its_name_and_else_refused(tmp_path: Path) -> None:
    image = sif(tmp_path / "encore-cpu.sif")
    found = images.identify(image)
    assert (found.name, found.is_named) == ("cpu", None)
    other = sif(tmp_path / "mine.sif")
    with pytest.raises(DataError, match="none of the kit's images"):
        images.identify(other)
    images.write_record(other, record(found.digest))
    assert images.identify(other).name == "cpu"
    images.write_record(other, record(DIGEST))
    assert images.identify(other).is_named is False


def test_the_registrys_digest_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image, file = sif(tmp_path / "encore-cpu.sif"), tmp_path / "images.yml"
    file.write_text(images.REGISTRY_FILE.read_text())
    digest = images.identify(image).digest
    base = load_images()["cpu"].bases[0].name
    images.write_digests("cpu", base, DIGEST, digest, file)
    written = strict_yaml.load(file, _Images).images
    monkeypatch.setattr(images, "load_images", lambda: written)
    assert written["cpu"].bases[0].digest == DIGEST
    assert images.identify(image).is_named is True
    assert images.identify(sif(image, rest=b"changed")).is_named is False


@pytest.mark.parametrize("name", sorted(load_images()))
def test_writing_digests_changes_those_two_lines_and_no_other(tmp_path: Path, name: str) -> None:
    for base in load_images()[name].bases:
        file = tmp_path / "images.yml"
        before = images.REGISTRY_FILE.read_text()
        file.write_text(before)
        images.write_digests(name, base.name, DIGEST, "sha256:" + "cd" * 32, file)
        lines = zip(before.splitlines(), file.read_text().splitlines(), strict=True)
        changed = [new.strip() for old, new in lines if old != new]
        assert changed == [f'digest: "{DIGEST}"', f'digest: "sha256:{"cd" * 32}"']
        loaded = strict_yaml.load(file, _Images).images[name]
        assert loaded.digest == "sha256:" + "cd" * 32
        assert [b.digest for b in loaded.bases if b.name == base.name] == [DIGEST]


def test_a_registry_without_the_line_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "images.yml"
    file.write_text("images:\n  cpu:\n    title: x\n")
    with pytest.raises(RegistryError, match="no line `digest:` for its image and base"):
        images.write_digests("cpu", "b", DIGEST, DIGEST, file)
    assert file.read_text() == "images:\n  cpu:\n    title: x\n"


def test_an_image_that_is_none_lists_those_that_are() -> None:
    with pytest.raises(UnknownNameError) as raised:
        definition.of("cpus")
    assert "cpu" in raised.value.hint
