"""Taking one backend out of the balancers' rotation and letting it in again, at run time: no reload, no new file.

A proxy that reloads forgets it; by then its configuration names other backends, or the backend's own check speaks for
it.
"""

from __future__ import annotations

from attrs import frozen

from k8sha.loadbalancers.proxy import Proxy
from k8sha.report import Diff
from k8sha.resources.resource import Resource

__all__ = ["InRotation"]


@frozen
class InRotation(Resource):
    """Whether a balancer's proxy may hand connections to a backend, whatever its check says.

    One that the proxy does not know gets none, and a proxy that does not run hands nothing to anybody.
    """

    proxy: Proxy
    backend: str
    wanted: bool

    @property
    def key(self) -> str:
        return f"backend {self.backend} in rotation"

    def probe(self) -> str:
        return f"if counters=$({self.proxy.statistics()} 2>/dev/null); then printf '%s\\n' \"$counters\"; fi"

    def diff(self, seen: bytes) -> Diff:
        text = seen.decode(errors="replace")
        states = {each.server: each.status for each in self.proxy.parse(text)} if text.strip() else {}
        if self.backend not in states:
            return Diff()
        return Diff.between("in rotation", not states[self.backend].startswith("MAINT"), self.wanted)

    def apply(self) -> str:
        return self.proxy.rotate(self.backend, self.wanted)
