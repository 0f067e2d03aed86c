"""Everything that a cluster takes from elsewhere, image by image and file by file, and whether it can be had.

An image is asked for as containerd asks: the registry's answer to a HEAD of its manifest, with a token where the
registry wants one. Asked from here, not from the nodes: where only they reach the registry, pass it over by name.
"""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from typing import Literal

from attrs import frozen

from k8sha.errors import ConfigError, Problem

__all__ = ["Artifact", "ImageReference", "unreachable"]

_ACCEPT = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_PART = "[a-z0-9]+(?:(?:[.]|__?|-+)[a-z0-9]+)*"
"""One part of a repository's name, by the distribution specification."""

_AT_ONCE = 8
_DOCKER_HUB = "registry-1.docker.io"
"""The host that serves what is called docker.io, as containerd knows."""


@frozen
class ImageReference:
    """An image's full name: ``nginx:1.29`` is ``docker.io/library/nginx:1.29``."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> ImageReference:
        """Read a reference as a pod's ``image`` has it. Raises ConfigError."""
        name, _, digest = text.partition("@")
        head, slash, rest = name.partition("/")
        if not slash or not ("." in head or ":" in head or head == "localhost"):
            head, rest = "docker.io", name if slash else f"library/{name}"
        path, colon, tag = rest.rpartition(":")
        if not colon or "/" in tag:
            path, tag = rest, ""
        if not re.fullmatch(rf"{_PART}(?:/{_PART})*", path):
            raise ConfigError.of(f"image {text!r}", "is not an image's name", "write registry.example.org/name:tag")
        return cls(head, path, tag or ("" if digest else "latest"), digest)

    def __str__(self) -> str:
        tail = (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")
        return f"{self.registry}/{self.repository}{tail}"


@frozen
class Artifact:
    """One thing that is taken from elsewhere, and for whom. ``bundled`` if a bundle brings it, so nobody fetches it."""

    kind: Literal["image", "url"]
    reference: str
    owner: str
    bundled: bool = False


def unreachable(artifacts: Iterable[Artifact], *, timeout: float = 10) -> tuple[Problem, ...]:
    """Ask for each of them that no bundle brings, several at a time; a problem for every one that can't be had."""
    wanted = tuple(dict.fromkeys((item.kind, item.reference) for item in artifacts if not item.bundled))

    def ask(item: tuple[str, str]) -> Problem | None:
        kind, reference = item
        cause = _image_missing(reference, timeout) if kind == "image" else _url_missing(reference, timeout)
        remedy = "open the way, or give a Mirror(...) or a Bundle that has it"
        return Problem(f"{kind} {reference}", cause, remedy) if cause else None

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="k8sha-reach") as pool:
        return tuple(problem for problem in pool.map(ask, wanted) if problem is not None)


def _image_missing(reference: str, timeout: float) -> str:
    image = ImageReference.parse(reference)
    server = _DOCKER_HUB if image.registry == "docker.io" else image.registry
    scheme = "http" if re.match(r"(localhost|127\.[0-9.]+)(:|$)", server) else "https"
    url = f"{scheme}://{server}/v2/{image.repository}/manifests/{image.digest or image.tag}"
    status, said, challenge = _head(url, {"Accept": _ACCEPT}, timeout)
    if status == 401 and challenge.lower().startswith("bearer "):
        token, problem = _token(challenge, timeout)
        if problem:
            return problem
        status, said, _ = _head(url, {"Accept": _ACCEPT, "Authorization": f"Bearer {token}"}, timeout)
    if status in (401, 403):
        return f"{server} lets nobody have it without a login (HTTP {status})"
    return "" if status == 200 else f"{server} does not have it (HTTP 404)" if status == 404 else said


def _url_missing(url: str, timeout: float) -> str:
    if url.startswith("file:"):
        return "" if not _head(url, {}, timeout)[1] else "there is no such file"
    status, said, _ = _head(url, {}, timeout)
    return "" if status == 200 else said


def _head(url: str, headers: dict[str, str], timeout: float) -> tuple[int, str, str]:
    """Status (0 without an answer), what is wrong in words, and the challenge of a registry that wants a token."""
    try:
        request = urllib.request.Request(url, headers=headers, method="HEAD")
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return int(answer.status or 200), "", ""
    except urllib.error.HTTPError as error:
        with error:
            return error.code, f"HTTP {error.code} {error.reason}", error.headers.get("WWW-Authenticate") or ""
    except (OSError, HTTPException, ValueError) as error:
        return 0, f"can't be reached: {getattr(error, 'reason', error)}", ""


def _token(challenge: str, timeout: float) -> tuple[str, str]:
    """An anonymous token as a registry's challenge asks for it, or why there is none."""
    asked = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    query = urllib.parse.urlencode({key: asked[key] for key in ("service", "scope") if key in asked})
    try:
        with urllib.request.urlopen(f"{asked['realm']}?{query}", timeout=timeout) as answer:
            said = json.load(answer)
            return str(said.get("token") or said["access_token"]), ""
    except (OSError, HTTPException, ValueError, KeyError) as error:
        return "", f"its registry gives no token: {getattr(error, 'reason', error)}"
