"""Changes that somebody makes by hand behind k8sha's back: found from what it manages, so they fit any cluster."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from random import Random

from attrs import frozen

__all__ = ["Change", "changes", "compare", "possible"]

Key = tuple[str, str]
"""A host's name and a resource's key, as plans and reports name them."""

_TO_FILES = {
    "a line was added to {path}": "printf '\\n# changed by hand\\n' >>{path}",
    "the mode of {path} was changed": "chmod g+w {path}",
    "{path} was removed": "rm {path}",
}
_TO_SERVICES = {"{unit} is not started at boot any more": "systemctl --quiet disable {unit}"}
"""What is done, and the shell that does it. None of it ends a process or a connection by itself."""

_PRECIOUS = ("/etc/kubernetes/", "/etc/cni/", "/etc/hosts")
"""Where a change is felt at once, before anything is restarted."""


@frozen
class Change:
    """One thing to be changed by hand on one host, and the resource that must notice."""

    host: str
    resource: str
    kind: str
    command: str

    @property
    def key(self) -> Key:
        return self.host, self.resource


def possible(managed: Iterable[Key]) -> Iterator[Change]:
    """Every change that what is managed on the hosts allows."""
    for host, resource in managed:
        kind, _, name = resource.partition(" ")
        if kind in ("file", "sysctl", "modules") and name.startswith("/etc/") and not name.startswith(_PRECIOUS):
            # The other two are probed by what is in their file, not by its mode.
            for words, command in _TO_FILES.items():
                if kind == "file" or "mode" not in words:
                    yield Change(host, resource, words, command.format(path=shlex.quote(name)))
        elif kind == "service":
            for words, command in _TO_SERVICES.items():
                yield Change(host, resource, words, command.format(unit=shlex.quote(name)))


def changes(managed: Iterable[Key], random: Random, count: int = 5) -> tuple[Change, ...]:
    """So many of them, each on another host, of as many different kinds as there are."""
    by_host: dict[str, list[Change]] = {}
    for change in possible(managed):
        by_host.setdefault(change.host, []).append(change)
    chosen: list[Change] = []
    for host in random.sample(sorted(by_host), min(count, len(by_host))):
        used = [change.kind for change in chosen]
        offered = random.sample(by_host[host], len(by_host[host]))
        chosen.append(min(offered, key=lambda change: used.count(change.kind)))
    return tuple(chosen)


def compare(verb: str, made: Sequence[Change], found: Iterable[Key]) -> Iterator[str]:
    """How what a plan named, or an install repaired, differs from what was changed by hand.

    A service on a host where one of its files was changed is a consequence: it has to take the file in again.
    """
    found = set(found)
    wanted = {change.key for change in made}
    touched = {host for host, resource in wanted if not resource.startswith("service ")}
    for host, resource in sorted(wanted - found):
        yield f"{host}: {resource} was changed by hand and not {verb}"
    for host, resource in sorted(found - wanted):
        if not (resource.startswith("service ") and host in touched):
            yield f"{host}: {resource} was {verb}, though nobody had changed it"
