"""The base digests, records and identities of images."""

import dataclasses
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from encore import kit
from encore.errors import DataError, EncoreError, UnknownNameError
from encore.images import base_digest, sif
from encore.images.definition import load_definition
from encore.images.record import (
    BuildRecord,
    identify,
    read_record,
    record_path,
    registry_entry,
    write_record,
)
from encore.registry.images import load_images
from helpers.sif_file import write_sif

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
    assert base_digest.look_up("docker", f"{registry}/a/b:1.0") == DIGEST
    assert base_digest.pinned(f"{registry}/a/b:1.0", DIGEST) == f"{registry}/a/b@{DIGEST}"
    assert base_digest.look_up("docker", f"nvcr.io/nvidia/pytorch@{DIGEST}") == DIGEST


@pytest.mark.parametrize(
    ("tag", "says"),
    [("2.0", "cannot be pulled: .*404|cannot be pulled: Not Found"), ("odd", "names no digest")],
)
def test_a_base_that_cannot_be_pulled_is_named(registry: str, tag: str, says: str) -> None:
    with pytest.raises(EncoreError, match=says) as raised:
        base_digest.look_up("docker", f"{registry}/a/b:{tag}")
    assert raised.value.hint


def test_a_registry_that_does_not_answer_is_one_clear_error() -> None:
    with pytest.raises(EncoreError, match="the base localhost:1/a/b:1 cannot be pulled"):
        base_digest.look_up("docker", "localhost:1/a/b:1")


@pytest.mark.parametrize("name", ["", "UPPER/case:1", "a b", "x:", "-", "a/b:1\n", "a;ls"])
def test_what_is_no_image_name_is_refused(name: str) -> None:
    with pytest.raises(DataError, match="is not the name of a container image"):
        base_digest.look_up("docker", name)


def test_a_file_is_a_base_by_its_content(tmp_path: Path) -> None:
    base = write_sif(tmp_path / "base.sif")
    first = base_digest.look_up("localimage", str(base))
    write_sif(base, rest=b"other")
    assert first.startswith("sha256:") and base_digest.look_up("localimage", str(base)) != first
    with pytest.raises(EncoreError, match=r"none\.sif does not exist"):
        base_digest.look_up("localimage", str(tmp_path / "none.sif"))
    with pytest.raises(DataError, match="no digest for a base with bootstrap=yum"):
        base_digest.look_up("yum", "x")


@pytest.mark.parametrize(("code", "named"), [(b"04\0", "arm64"), (b"99\0", "architecture 99")])
def test_another_architecture_is_refused_by_name(tmp_path: Path, code: bytes, named: str) -> None:
    image = write_sif(tmp_path / "encore-cpu.sif", code)
    with pytest.raises(DataError, match=f"is for {named}"):
        identify(image)
    with pytest.raises(DataError, match=f"is for {named}"):
        base_digest.look_up("localimage", str(image))


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", b"\0" * 200])
def test_what_is_no_image_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "encore-cpu.sif"
    path.write_bytes(content)
    with pytest.raises(DataError, match="is not a container image"):
        sif.architecture(path)


def record(digest: str | None) -> BuildRecord:
    return BuildRecord("cpu", "1", "c", "now", "apptainer", "docker", "b", DIGEST, {}, digest)


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    image = tmp_path / "x.sif"
    assert read_record(image) is None
    write_record(image, record(DIGEST))
    assert read_record(image) == record(DIGEST)
    for damaged in ("{", "[]", "{}", '{"image": 1, "other": 2}'):
        record_path(image).write_text(damaged)
        with pytest.raises(DataError, match="is not a build's record"):
            read_record(image)


def test_an_image_is_known_by_its_record_or_its_name_and_else_refused(tmp_path: Path) -> None:
    image = write_sif(tmp_path / "encore-cpu.sif")
    found = identify(image)
    assert (found.name, found.is_named) == ("cpu", None)
    other = write_sif(tmp_path / "mine.sif")
    with pytest.raises(DataError, match="none of the kit's images"):
        identify(other)
    write_record(other, record(found.digest))
    assert identify(other).name == "cpu"
    write_record(other, record(DIGEST))
    assert identify(other).is_named is False


def test_the_registrys_digest_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = write_sif(tmp_path / "encore-cpu.sif")
    registered = dataclasses.replace(load_images()["cpu"], digest=identify(image).digest)
    monkeypatch.setattr("encore.images.record.load_images", lambda: {"cpu": registered})
    assert identify(image).is_named is True
    assert identify(write_sif(image, rest=b"changed")).is_named is False


def test_the_entry_for_the_registry_has_the_registrys_keys_and_names() -> None:
    """What a person is told to enter in images.yml: the image's own digest and its base's."""
    image_digest = "sha256:" + "cd" * 32
    base = load_images()["cpu"].bases[0].name
    built = dataclasses.replace(record(image_digest), base=base)
    entry = yaml.safe_load(registry_entry(built))
    bases = [{"name": base, "digest": DIGEST}]
    assert entry == {"images": {"cpu": {"bases": bases, "digest": image_digest}}}
    facts = yaml.safe_load((kit.REGISTRY / "images.yml").read_text())["images"]["cpu"]
    assert entry["images"]["cpu"].keys() <= facts.keys()
    assert entry["images"]["cpu"]["bases"][0].keys() <= facts["bases"][0].keys()


def test_an_image_that_is_none_lists_those_that_are() -> None:
    with pytest.raises(UnknownNameError) as raised:
        load_definition("cpus")
    assert "cpu" in raised.value.hint
