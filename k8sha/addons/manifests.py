"""Where an add-on's manifest comes from: pinned by URL, version and hash, fetched by us or lying in a bundle."""

from __future__ import annotations

import hashlib
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import yaml
from attrs import field, frozen, validators

from k8sha.errors import ConfigError
from k8sha.kube import Json

__all__ = ["Manifest", "dump", "rewrite_images"]

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


@frozen
class Manifest:
    """A manifest of a released version: it must have this hash, wherever it came from."""

    name: str
    version: str
    url: str
    sha256: str = field(validator=validators.matches_re(r"[0-9a-f]{64}"))

    @property
    def file_name(self) -> str:
        """What it is called in a bundle's ``manifests/``: ``calico-v3.32.1.yaml``."""
        return f"{self.name}-{self.version}.yaml"

    def read(self, folder: Path | None, *, timeout: float = 30) -> tuple[Json, ...]:
        """Its objects, from a bundle's folder if it lies there, from its URL otherwise.

        Raises ConfigError where it can't be had, or where its hash is another one.
        """
        path = folder / self.file_name if folder is not None else None
        if path is not None and path.is_file():
            where, data = str(path), path.read_bytes()
        else:
            where = self.url
            try:
                with urllib.request.urlopen(self.url, timeout=timeout) as answer:
                    data = answer.read()
            except (urllib.error.URLError, OSError) as error:
                raise ConfigError.of(
                    f"{self.name} {self.version}",
                    f"{self.url} can't be fetched: {error}",
                    f"put it into a bundle as manifests/{self.file_name}",
                ) from None
        found = hashlib.sha256(data).hexdigest()
        if found != self.sha256:
            raise ConfigError.of(
                f"{self.name} {self.version}",
                f"{where} has sha256 {found}, not {self.sha256}",
                "it is not the released file: find out who changed it",
            )
        return tuple(item for item in yaml.load_all(data, _Loader) if item)


def dump(items: tuple[Json, ...]) -> str:
    """Objects as one YAML text, CustomResourceDefinitions and namespaces first."""
    first = ("CustomResourceDefinition", "Namespace")
    ordered = sorted(items, key=lambda item: item["kind"] not in first)
    return str(yaml.dump_all(ordered, Dumper=_Dumper, sort_keys=False, explicit_start=True))


def rewrite_images(items: tuple[Json, ...], change: Callable[[str], str]) -> tuple[str, ...]:
    """Change every container's image in place; returns the images as they are now, each once."""
    found: list[str] = []

    def visit(value: Json) -> None:
        if isinstance(value, dict):
            image = value.get("image")
            if isinstance(image, str) and "name" in value:
                value["image"] = change(image)
                found.append(value["image"])
            for part in value.values():
                visit(part)
        elif isinstance(value, list):
            for part in value:
                visit(part)

    for item in items:
        if item["kind"] != "CustomResourceDefinition":
            visit(item)
    return tuple(dict.fromkeys(found))
