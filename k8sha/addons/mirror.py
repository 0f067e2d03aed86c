"""Mirror: images and files from the caller's own registry and web server, in place of those of the internet."""

from __future__ import annotations

import re
from collections.abc import Mapping

from attrs import Attribute, field, frozen

from k8sha.artifacts import ImageReference
from k8sha.errors import ConfigError

__all__ = ["Mirror"]

Pairs = tuple[tuple[str, str], ...]


def _pairs(given: Mapping[str, str] | Pairs) -> Pairs:
    return tuple(sorted((key.rstrip("/"), value.rstrip("/")) for key, value in dict(given).items()))


def _registries(mirror: Mirror, attribute: Attribute[Pairs], value: Pairs) -> None:
    for name in (name for pair in value for name in pair):
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*(:[0-9]+)?(/[a-z0-9._-]+)*", name):
            raise ConfigError.of(
                f"Mirror: {name!r}",
                "is not a registry's name",
                'write Mirror({"docker.io": "registry.example.org/hub"})',
            )


def _urls(mirror: Mirror, attribute: Attribute[Pairs], value: Pairs) -> None:
    for name in (name for pair in value for name in pair):
        if not re.match(r"https?://[A-Za-z0-9]|file:///", name):
            raise ConfigError.of(f"Mirror: {name!r}", "is not a web address", "write it as https://files.example.org")


@frozen
class Mirror:
    """Where images and files come from instead, by the beginning of their names.

    ``Mirror({"quay.io": "registry.example.org/quay"})`` makes ``quay.io/calico/node:v3.31.7`` to
    ``registry.example.org/quay/calico/node:v3.31.7``. The longest beginning counts; what no beginning fits is left as
    it is. ``urls`` does the same for manifests and charts, whose hashes are checked wherever they come from.
    """

    registries: Pairs = field(default=(), converter=_pairs, validator=_registries)
    urls: Pairs = field(default=(), converter=_pairs, validator=_urls, kw_only=True)

    def image(self, reference: str) -> str:
        """An image's name at the mirror."""
        image = str(ImageReference.parse(reference))
        return _replaced(image, self.registries) or reference

    def url(self, url: str) -> str:
        """A file's address at the mirror."""
        return _replaced(url, self.urls) or url


def _replaced(name: str, pairs: Pairs) -> str:
    fitting = [(start, other) for start, other in pairs if name == start or name.startswith(f"{start}/")]
    if not fitting:
        return ""
    start, other = max(fitting, key=lambda pair: len(pair[0]))
    return other + name[len(start) :]
