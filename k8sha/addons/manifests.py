"""Where an add-on's manifest comes from: pinned by URL, version and hash, fetched by us or lying in a bundle."""

from __future__ import annotations

import copy
import functools
import hashlib
import re
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path

import yaml
from attrs import field, frozen, validators

from k8sha.addons.mirror import Mirror
from k8sha.errors import ConfigError
from k8sha.kube import Json

__all__ = ["Manifest", "parse", "rewrite_images"]


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc] # libyaml's, if built
    """YAML as Kubernetes reads it: a lone ``=`` is text, as definitions of operators have it."""


_Loader.add_constructor("tag:yaml.org,2002:value", lambda loader, node: loader.construct_scalar(node))


@frozen
class Manifest:
    """A manifest of a released version: it must have this hash, wherever it came from."""

    name: str
    version: str
    url: str
    sha256: str = field(validator=validators.matches_re(r"[0-9a-f]{64}"))
    suffix: str = field(default="yaml", kw_only=True)

    @property
    def file_name(self) -> str:
        """What it is called in a bundle's ``manifests/``: ``calico-v3.32.1.yaml``."""
        return f"{self.name}-{self.version}.{self.suffix}"

    def read(self, folder: Path | None, *, mirror: Mirror | None = None, timeout: float = 30) -> tuple[Json, ...]:
        """Its objects, from a bundle's folder if it lies there, from its URL (or a mirror's) otherwise.

        Raises ConfigError where it can't be had, or where its hash is another one. A URL is read once in a process.
        """
        data = self.bytes(folder, mirror=mirror, timeout=timeout)
        return copy.deepcopy(_parsed(data, f"{self.name} {self.version}"))

    def bytes(self, folder: Path | None, *, mirror: Mirror | None = None, timeout: float = 30) -> bytes:
        """The file itself; see :meth:`read`."""
        path = folder / self.file_name if folder is not None else None
        where = self.url if mirror is None else mirror.url(self.url)
        if path is not None and path.is_file():
            where, data = str(path), path.read_bytes()
        else:
            try:
                data = _fetched(where, timeout)
            except (OSError, HTTPException, ValueError) as error:
                raise ConfigError.of(
                    f"{self.name} {self.version}",
                    f"{where} can't be fetched: {getattr(error, 'reason', error)}",
                    f"give a Mirror(urls=...), or put it into a bundle as manifests/{self.file_name}",
                ) from None
        found = hashlib.sha256(data).hexdigest()
        if found != self.sha256:
            raise ConfigError.of(
                f"{self.name} {self.version}",
                f"{where} has sha256 {found}, not {self.sha256}",
                "it is not the released file: find out who changed it",
            )
        return data


def parse(text: str | bytes, what: str = "manifest") -> tuple[Json, ...]:
    """The objects of a manifest. Raises ConfigError where it is not one."""
    try:
        items = tuple(item for item in yaml.load_all(text, _Loader) if item)
    except yaml.YAMLError as error:
        raise ConfigError.of(what, f"is not YAML: {error}", "mend it") from None
    for item in items:
        if not isinstance(item, dict) or not {"apiVersion", "kind"} <= item.keys():
            raise ConfigError.of(what, "has a document that is no object of Kubernetes", "each has apiVersion and kind")
    return items


@functools.lru_cache(maxsize=128)
def _parsed(data: bytes, what: str) -> tuple[Json, ...]:
    """Read once in a process as well: definitions of operators are megabytes of YAML."""
    return parse(data, what)


@functools.lru_cache(maxsize=128)
def _fetched(url: str, timeout: float) -> bytes:
    with urllib.request.urlopen(url, timeout=timeout) as answer:
        return bytes(answer.read())


_IN_ARGUMENT = re.compile(
    r"(?<==)[a-z0-9-]+(?:\.[a-z0-9-]+)+(?::[0-9]+)?/[a-z0-9._/-]+(?::[\w.-]+)(?:@sha256:[0-9a-f]{64})?$"
)
"""An image in a program's arguments, as operators take the images of what they make: ``--reloader=quay.io/x/y:v1``."""


def rewrite_images(items: tuple[Json, ...], change: Callable[[str], str]) -> tuple[str, ...]:
    """Change every image in place, those in containers' arguments and in objects of operators too.

    Returns the images as they are now, each once.
    """
    found: list[str] = []

    def changed(image: str) -> str:
        found.append(change(image))
        return found[-1]

    for item in items:
        if item["kind"] != "CustomResourceDefinition":
            for holder, key in _images(item, inside=False):
                if key == "image":
                    holder[key] = changed(holder[key])
                else:
                    holder[key] = [_IN_ARGUMENT.sub(lambda match: changed(match[0]), str(word)) for word in holder[key]]
    return tuple(dict.fromkeys(found))


def _images(value: Json, *, inside: bool) -> Iterator[tuple[Json, str]]:
    """Maps that hold an image, with its key: a container's (which has a name), or the spec of an operator's object."""
    if isinstance(value, dict):
        for key, part in value.items():
            is_image = key == "image" and isinstance(part, str) and part and ("name" in value or inside)
            if is_image or (key in ("args", "command") and isinstance(part, list) and "image" in value):
                yield value, key
            else:
                yield from _images(part, inside=key == "spec")
    elif isinstance(value, list):
        for part in value:
            yield from _images(part, inside=False)
