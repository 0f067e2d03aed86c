"""How a master leaves, beside etcd: as a node, and as a machine that does anything for its cluster."""

from __future__ import annotations

import shlex

from attrs import frozen

from k8sha.components.masters import ADMIN_CONF
from k8sha.etcd.access import DATA
from k8sha.etcd.fence import IN_PODS, RUNNING, ended
from k8sha.report import Diff
from k8sha.resources.resource import STATE, Resource

__all__ = ["Fenced", "NodeDrained", "NodesForgotten"]


@frozen
class NodesForgotten(Resource):
    """These are no nodes, and nothing is bound to them: asked of, and done by, the API server on ``address``.

    Pods are deleted without waiting for a kubelet's word, so the machine must be dead or fenced. The mirror pods among
    them matter most: kubeadm looks there for etcd's members.
    """

    names: tuple[str, ...]
    address: str

    @property
    def key(self) -> str:
        return f"{', '.join(self.names)} is forgotten"

    @property
    def _kubectl(self) -> str:
        return f"kubectl --kubeconfig={ADMIN_CONF} --server=https://{self.address}:6443 --request-timeout=20s"

    def probe(self) -> str:
        looks = "\n".join(
            f"{self._kubectl} get node {name} --ignore-not-found -o name\n"
            f"{self._kubectl} get pods -A --field-selector spec.nodeName={name} --no-headers "
            "-o custom-columns=a:.metadata.namespace,b:.metadata.name"
            for name in map(shlex.quote, self.names)
        )
        return f"{{ {looks}\n}} 2>&1 || echo 'the API server does not answer'"

    def diff(self, seen: bytes) -> Diff:
        lines = [" ".join(line.split()) for line in seen.decode(errors="replace").splitlines()]
        return Diff(tuple(f"- {line}" for line in lines if line and line != "No resources found"))

    def apply(self) -> str:
        return "\n".join(
            f"{self._kubectl} delete node {name} --ignore-not-found --wait=false\n"
            f"{self._kubectl} delete pods -A --field-selector spec.nodeName={name} "
            "--ignore-not-found --force --grace-period=0 2>&1"
            for name in map(shlex.quote, self.names)
        )


@frozen
class NodeDrained(Resource):
    """A node that takes no pods and has none but daemons and static pods; its pods left as their disruption budgets
    allow. One that there is not is drained."""

    name: str
    address: str

    @property
    def key(self) -> str:
        return f"{self.name} is drained"

    @property
    def timeout(self) -> int:
        return 330

    def _drain(self, options: str) -> str:
        api = f"--kubeconfig={ADMIN_CONF} --server=https://{self.address}:6443"
        return (
            f"kubectl {api} drain {shlex.quote(self.name)} --ignore-daemonsets --delete-emptydir-data --force {options}"
        )

    def probe(self) -> str:
        return f"{self._drain('--dry-run=client')} 2>&1 || echo"

    def diff(self, seen: bytes) -> Diff:
        lines = [line.strip() for line in seen.decode(errors="replace").splitlines()]
        wanted = ("evicting pod", "deleting pod", "node/")
        return Diff(
            tuple(
                line.removesuffix(" (dry run)")
                for line in lines
                if line.startswith(wanted) and " already cordoned" not in line and " drained" not in line
            )
        )

    def apply(self) -> str:
        return f"{self._drain('--timeout=300s')} 2>&1"


@frozen
class Fenced(Resource):
    """A host that was a master and does nothing more in its cluster, also after a reboot: no kubelet, no pod, no etcd.

    Nothing is thrown away: etcd's data and the static pods' manifests are kept aside, where nothing looks for them.
    """

    @property
    def key(self) -> str:
        return "fenced"

    @property
    def timeout(self) -> int:
        return 300

    def probe(self) -> str:
        return f"""\
{RUNNING}{IN_PODS}
if systemctl is-active --quiet kubelet; then echo 'the kubelet runs'; fi
if systemctl is-enabled --quiet kubelet 2>/dev/null; then echo 'the kubelet starts at boot'; fi
for file in /etc/kubernetes/manifests/*.yaml; do if [ -e "$file" ]; then echo "$file is in place"; fi; done
if [ -e {DATA}/member ]; then echo '{DATA}/member is in place'; fi
{{ running; in_pods; }} | sort -un"""

    def diff(self, seen: bytes) -> Diff:
        return Diff(tuple(seen.decode(errors="replace").splitlines()))

    def apply(self) -> str:
        return f"""\
{RUNNING}{IN_PODS}
if [ -n "$(systemctl list-unit-files --no-legend kubelet.service)" ]; then systemctl disable --now --quiet kubelet; fi
mkdir -p {STATE}/replaced/manifests
for file in /etc/kubernetes/manifests/*.yaml; do
  if [ -e "$file" ]; then mv -f "$file" {STATE}/replaced/manifests/; fi
done
{ended("running; in_pods")}
if [ -e {DATA}/member ]; then
  kept={DATA}/k8sha-kept-replaced-$(date -u +%Y%m%dT%H%M%SZ)
  mkdir -m 0700 "$kept"
  mv -T {DATA}/member "$kept/member"
fi"""
