"""The digest of what an image is built from: a file's SHA-256, or what a container registry answers for a tag.

source: OCI distribution specification 1.1, "Pulling manifests"; Docker registry token authentication.
"""

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from email.message import Message
from pathlib import Path

from encore import files
from encore.errors import DataError, EncoreError
from encore.images.definition import architecture

# Docker's own rule: a name without a host is Docker Hub's, one without a folder is in its library
_HUB = "registry-1.docker.io"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REFERENCE = re.compile(
    r"(?:(?P<host>[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+(?::[0-9]+)?|localhost(?::[0-9]+)?)/)?"
    r"(?P<path>[a-z0-9][a-z0-9._/-]*?)(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json"
)
_TIMEOUT_S = 30


def digest(bootstrap: str, name: str) -> str:
    """`sha256:…` of a base; raises DataError for a wrong one, EncoreError for one that cannot be read."""
    if bootstrap == "localimage":
        return _of_file(Path(name))
    if bootstrap != "docker":
        raise DataError(
            f"cannot tell the digest of a base of kind {bootstrap}", "use docker or localimage"
        )
    return _of_tag(name)


def pinned(name: str, found: str) -> str:
    """A registry's image by its digest instead of its tag, so that what was looked up is what is pulled."""
    match = _parse(name)
    return f"{match['host'] + '/' if match['host'] else ''}{match['path']}@{found}"


def _of_file(image: Path) -> str:
    if not image.is_file():
        raise EncoreError(
            f"the base {image} is not there", "give another with --build-arg base=FILE"
        )
    if (found := architecture(image)) != "amd64":
        raise DataError(f"the base {image} is for {found}", "the images are for amd64 (x86-64)")
    return f"sha256:{files.sha256(image)}"


def _parse(name: str) -> re.Match[str]:
    match = _REFERENCE.fullmatch(name.removeprefix("docker://"))
    if not match:
        raise DataError(f"{name!r} is not the name of a container image", "write HOST/NAME:TAG")
    return match


def _of_tag(name: str) -> str:
    match = _parse(name)
    if match["digest"]:
        return match["digest"]
    host, path = match["host"] or _HUB, match["path"]
    if host in ("docker.io", _HUB):
        host, path = _HUB, path if "/" in path else f"library/{path}"
    scheme = "http" if re.match(r"(localhost|127\.)", host) else "https"
    url = f"{scheme}://{host}/v2/{path}/manifests/{match['tag'] or 'latest'}"
    try:
        headers = _ask(url)
    except (OSError, ValueError) as error:  # urllib's errors are OSErrors
        reason = getattr(error, "reason", None) or error
        raise EncoreError(
            f"the base {name} cannot be pulled: {reason}",
            "check its name and the network, or give --build-arg base=",
        ) from None
    found = headers.get("Docker-Content-Digest", "")
    if not _DIGEST.fullmatch(found):
        raise EncoreError(f"{host} names no digest for {name}", "give the base as NAME@sha256:…")
    return found


def _ask(url: str) -> Message:
    """The headers of a manifest, with an anonymous token where the registry wants one."""
    request = urllib.request.Request(url, method="HEAD", headers={"Accept": _MANIFESTS})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            return answer.headers
    except urllib.error.HTTPError as error:
        challenge = error.headers.get("WWW-Authenticate", "")
        if error.code != 401 or not challenge.startswith("Bearer "):
            raise
    wanted = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    query = urllib.parse.urlencode(
        {key: wanted[key] for key in ("service", "scope") if key in wanted}
    )
    with urllib.request.urlopen(f"{wanted.get('realm', '')}?{query}", timeout=_TIMEOUT_S) as answer:
        given = json.load(answer)
    request.add_header("Authorization", f"Bearer {given.get('token') or given.get('access_token')}")
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
        return answer.headers
