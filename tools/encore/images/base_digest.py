"""The digest of an image's base: a file's SHA-256, or what a container registry answers for a tag.

source: OCI distribution specification 1.1, "Pulling manifests"; Docker documentation, "Token
authentication specification".
"""

import re
import urllib.error
import urllib.parse
import urllib.request
from email.message import Message
from pathlib import Path

from encore import files, strict_json
from encore.errors import DataError, EncoreError
from encore.images import sif

# Docker's rule: a name without a host is on Docker Hub, one without a folder is in its library/
_DOCKER_HUB = "registry-1.docker.io"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REFERENCE = re.compile(
    r"(?:(?P<host>[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+(?::[0-9]+)?|localhost(?::[0-9]+)?)/)?"
    r"(?P<path>[a-z0-9][a-z0-9._/-]*?)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_MANIFEST_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_TIMEOUT_S = 30
# of an answer that holds a token
_MOST_BYTES = 1 << 20


def look_up(bootstrap: str, name: str) -> str:
    """`sha256:…` of a base now.

    Raises DataError for a base that cannot be one, EncoreError for one that cannot be read.
    """
    if bootstrap == "localimage":
        return _file_digest(Path(name))
    if bootstrap == "docker":
        return _tag_digest(name)
    raise DataError(
        f"no digest for a base with bootstrap={bootstrap}", "use bootstrap=docker or localimage"
    )


def pinned(name: str, digest: str) -> str:
    """NAME@DIGEST instead of NAME:TAG, so that what was looked up is what is pulled."""
    match = _parse(name)
    host = ""
    if match["host"]:
        host = f"{match['host']}/"
    return f"{host}{match['path']}@{digest}"


def _file_digest(image: Path) -> str:
    if not image.is_file():
        raise EncoreError(
            f"the base {image} does not exist", "name another with --build-arg base=FILE"
        )
    architecture = sif.architecture(image)
    if architecture != "amd64":
        raise DataError(
            f"the base {image} is for {architecture}", "the images are for amd64 (x86-64)"
        )
    return f"sha256:{files.sha256(image)}"


def _parse(name: str) -> re.Match[str]:
    # Apptainer's own spelling of a registry's image
    match = _REFERENCE.fullmatch(name.removeprefix("docker://"))
    if not match:
        raise DataError(f"{name!r} is not the name of a container image", "write HOST/NAME:TAG")
    return match


def _tag_digest(name: str) -> str:
    match = _parse(name)
    if match["digest"]:
        return match["digest"]
    host = match["host"] or _DOCKER_HUB
    path = match["path"]
    if host in ("docker.io", _DOCKER_HUB):
        host = _DOCKER_HUB
        if "/" not in path:
            path = f"library/{path}"
    # registries on this machine, as in tests, speak plain HTTP
    is_local = re.match(r"(localhost|127\.)", host)
    scheme = "http" if is_local else "https"
    url = f"{scheme}://{host}/v2/{path}/manifests/{match['tag'] or 'latest'}"
    try:
        headers = _manifest_headers(url)
    except (OSError, ValueError) as error:  # urllib's errors are OSErrors
        reason = getattr(error, "reason", None) or error
        raise EncoreError(
            f"the base {name} cannot be pulled: {reason}",
            "without network, build from a file: --build-arg base=/path/to/base.sif",
        ) from None
    digest = headers.get("Docker-Content-Digest", "")
    if not _DIGEST.fullmatch(digest):
        raise EncoreError(f"{host} names no digest for {name}", "name the base as NAME@sha256:…")
    return digest


def _manifest_headers(url: str) -> Message:
    """The headers of a manifest, with an anonymous token where the registry asks for one."""
    accepted = {"Accept": ", ".join(_MANIFEST_TYPES)}
    request = urllib.request.Request(url, method="HEAD", headers=accepted)
    # HEAD: the digest is in the headers, and Docker Hub does not count it as a pull
    try:
        return _headers(request)
    except urllib.error.HTTPError as error:
        challenge = error.headers.get("WWW-Authenticate", "")
        if error.code != 401 or not challenge.startswith("Bearer "):
            raise
    request.add_header("Authorization", f"Bearer {_anonymous_token(challenge)}")
    return _headers(request)


def _headers(request: urllib.request.Request) -> Message:
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
        headers: Message = answer.headers
    return headers


def _anonymous_token(challenge: str) -> str:
    """The token that a WWW-Authenticate challenge asks for."""
    parameters = dict(re.findall(r'([a-z_]+)="([^"]*)"', challenge))
    scope = {}
    for key in ("service", "scope"):
        if key in parameters:
            scope[key] = parameters[key]
    url = f"{parameters.get('realm', '')}?{urllib.parse.urlencode(scope)}"
    with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
        reply = strict_json.parse(answer.read(_MOST_BYTES))
    return str(reply.get("token") or reply.get("access_token"))
