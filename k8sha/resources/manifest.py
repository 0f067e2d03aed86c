"""Objects of a cluster, kept as a file on a master and made so by the API server itself.

The plan is the server's own dry run (``kubectl diff --server-side``), and the change is a server-side apply under our
field manager: a field that another manager owns is an error that names it, never overwritten.
"""

from __future__ import annotations

import shlex

from attrs import field, frozen

from k8sha.report import Diff
from k8sha.resources.resource import Condition, Resource

__all__ = ["Applied", "RolledOut"]

_ADMIN = "/etc/kubernetes/admin.conf"


@frozen
class Applied(Resource):
    """Every object in a manifest on this host is as the manifest has it. CRDs in it are applied first."""

    path: str
    objects: int
    kubeconfig: str = field(default=_ADMIN, kw_only=True)

    @property
    def key(self) -> str:
        return f"objects of {self.path}"

    @property
    def timeout(self) -> int:
        return 600

    @property
    def probe_timeout(self) -> int:
        return 120

    @property
    def _kubectl(self) -> str:
        return f"kubectl --kubeconfig={self.kubeconfig} --request-timeout=60s"

    def probe(self) -> str:
        path = shlex.quote(self.path)
        return f"""\
if [ ! -s {self.kubeconfig} ] || [ ! -s {path} ]; then echo 'k8sha: absent'; exit 0; fi
out=$(mktemp); trap 'rm -f "$out"' EXIT
code=0
{self._kubectl} diff --server-side --field-manager=k8sha -f {path} >"$out" || code=$?
if [ "$code" -gt 1 ]; then exit "$code"; fi
sed '/^diff -u/d; s#^--- .*/#--- #; s#^+++ .*/#+++ #' "$out\""""

    def diff(self, seen: bytes) -> Diff:
        text = seen.decode(errors="replace")
        if text.strip() == "k8sha: absent":
            return Diff.of(f"+ {self.objects} objects")
        lines = [line for line in text.splitlines() if not line.lstrip("+-").strip().startswith("generation:")]
        changed = [line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")]
        return Diff(tuple(lines)) if changed else Diff()

    def apply(self) -> str:
        path = shlex.quote(self.path)
        return f"""\
{self._kubectl} apply --server-side --field-manager=k8sha -f {path} >/dev/null
crds=$({self._kubectl} get -f {path} -o name | grep '^customresourcedefinition' || echo)
if [ -n "$crds" ]; then {self._kubectl} wait --for=condition=Established --timeout=60s $crds >/dev/null; fi"""


@frozen
class RolledOut(Condition):
    """A Deployment, DaemonSet or StatefulSet (``daemonset/calico-node``) has all its pods, of its newest revision."""

    name: str
    namespace: str
    kubeconfig: str = field(default=_ADMIN, kw_only=True)
    patience: float = field(default=600, kw_only=True)

    @property
    def key(self) -> str:
        return f"{self.name} in {self.namespace} is rolled out"

    def probe(self) -> str:
        return f"""\
if [ ! -s {self.kubeconfig} ]; then echo 'the cluster is not there yet'; exit 0; fi
export KUBECONFIG={self.kubeconfig}
kubectl --request-timeout=10s -n {self.namespace} rollout status --watch=false {self.name} 2>&1 \\
  || echo ' (no answer)'"""

    def diff(self, seen: bytes) -> Diff:
        said = seen.decode(errors="replace").strip()
        if "successfully rolled out" in said or "roll out complete" in said:
            return Diff()
        return Diff.of(" ".join(said.split())[-400:] or "no answer")
