"""What there is of a control plane on a host, before a restore counts on it or goes without it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from attrs import frozen

from k8sha.errors import Problem
from k8sha.etcd.access import DATA
from k8sha.etcd.fence import CONTROLLERS, FENCED, MANIFESTS, RUNNING
from k8sha.etcd.record import OPEN
from k8sha.hosts.host import Host
from k8sha.report import Diff
from k8sha.resources.resource import Resource

__all__ = ["HARMFUL", "Manifests", "harmful"]

_SERVING = ("kube-apiserver", *CONTROLLERS)

HARMFUL = f"""\
{RUNNING}
for path in /etc/kubernetes/kubelet.conf {MANIFESTS}/*.yaml {FENCED} {DATA}/member {OPEN}; do
  if [ -e "$path" ]; then echo "$path is there"; fi
done
running | sed 's/^[0-9]* \\(.*\\)/\\1 runs/'"""
"""Shell that prints what there is on a host that could serve old data, or tell of it: a line each."""


def harmful(host: Host) -> str:
    """The first of these things; empty where a host is blank."""
    ((code, seen, error),) = host.read(HARMFUL)
    lines = seen.decode(errors="replace").splitlines()
    if code:
        lines.append(f"it can't be told: {' '.join(error.decode(errors='replace').split())[-200:]}")
    return next(iter(lines), "")


@frozen
class Manifests(Resource):
    """Reads which static pods of a master have no manifest, neither where its kubelet runs them nor fenced: what has
    none can be stopped, and never started again. With ``stacked`` its member of etcd is one of them."""

    stacked: bool

    @property
    def key(self) -> str:
        return "manifests"

    @property
    def _names(self) -> tuple[str, ...]:
        return (*_SERVING, "etcd") if self.stacked else _SERVING

    def probe(self) -> str:
        return f"""\
for name in {" ".join(self._names)}; do
  if [ ! -s "{MANIFESTS}/$name.yaml" ] && [ ! -s "{FENCED}/$name.yaml" ]; then echo "$name.yaml"; fi
done"""

    def problems(self, seen: Mapping[Host, bytes]) -> Iterator[Problem]:
        """Why what is to be stopped on these hosts could not start there again, by what was probed."""
        for host, said in seen.items():
            if lacking := said.decode(errors="replace").split():
                yield self._problem(host, lacking)

    def _problem(self, host: Host, lacking: Collection[str]) -> Problem:
        back = "put it back first, which needs no API server (docs/diagnose.md)"
        if len(lacking) < len(self._names):
            cause = f"has no {', '.join(lacking)}, in {MANIFESTS} or in {FENCED}: that could not start again"
            return Problem(host.name, cause, back)
        cause = "has no manifest of a control plane: it is no master any more"
        leave = f"name it, powered_off=[{host.name}], once it is turned off or blank; install() joins it afterwards"
        return Problem(host.name, cause, f"{leave}. If it is to stay a member: {back}")

    def diff(self, seen: bytes) -> Diff:
        return Diff()

    def apply(self) -> str:
        return ":"
