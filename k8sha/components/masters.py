"""What a host's own files say of the control plane on it: how far kubeadm got, and whether its API server answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import field, frozen

from k8sha.components.standing import WIPE
from k8sha.errors import PreflightError, Problem
from k8sha.hosts.host import Host
from k8sha.report import Diff
from k8sha.resources.command import Command
from k8sha.resources.resource import Condition, Resource

__all__ = [
    "ADMIN_CONF",
    "DONE",
    "MASTER_FILES",
    "Administrator",
    "ApiReady",
    "MasterStanding",
    "MasterState",
    "first_master",
    "master_files",
]

ADMIN_CONF = "/etc/kubernetes/admin.conf"

DONE = """\
for file in {files}; do if [ ! -s "/etc/kubernetes/$file" ]; then echo "+ /etc/kubernetes/$file"; fi; done"""
MASTER_FILES = (
    "kubelet.conf admin.conf pki/ca.crt manifests/etcd.yaml manifests/kube-apiserver.yaml "
    "manifests/kube-controller-manager.yaml manifests/kube-scheduler.yaml"
)


def master_files(*, stacked: bool) -> str:
    """What kubeadm leaves in ``/etc/kubernetes`` of a master that is done, with etcd on it or elsewhere."""
    return MASTER_FILES if stacked else MASTER_FILES.replace(" manifests/etcd.yaml", "")


@frozen
class Administrator(Resource):
    """Reads the administrator's kubeconfig where a master has one. Where ``kubeadm init`` is half-way it has none: what
    lies there has no rights yet, or there is no server, and the next run may begin with removing it."""

    @property
    def key(self) -> str:
        return "administrator's kubeconfig"

    def probe(self) -> str:
        begun = Command("kubeadm init", "", "").mark
        return f"if [ -s {ADMIN_CONF} ] && [ ! -e {begun} ]; then cat {ADMIN_CONF}; fi"

    def diff(self, seen: bytes) -> Diff:
        return Diff()

    def apply(self) -> str:
        return ":"


@frozen
class ApiReady(Condition):
    """A master's own API server says that it is ready, asked directly."""

    address: str

    @property
    def key(self) -> str:
        return f"API server on {self.address} is ready"

    def probe(self) -> str:
        return f"""\
if [ ! -s {ADMIN_CONF} ]; then echo 'not there yet'; exit 0; fi
export KUBECONFIG={ADMIN_CONF}
kubectl --server=https://{self.address}:6443 --request-timeout=5s get --raw /readyz 2>&1 || echo ' (no answer)'"""

    def diff(self, seen: bytes) -> Diff:
        said = seen.decode(errors="replace").strip()
        return Diff() if said == "ok" else Diff.of(" ".join(said.split())[-300:] or "no answer")


@frozen
class MasterState(Resource):
    """How far kubeadm got on a host: ``none``, ``init begun``, ``join begun``, ``partial`` or ``done``. Only reads."""

    stacked: bool = field(default=True, kw_only=True)

    @property
    def key(self) -> str:
        return "state of the control plane"

    def probe(self) -> str:
        init, join = (Command(name, "", "").mark for name in ("kubeadm init", "kubeadm join"))
        return f"""\
missing=$({DONE.format(files=master_files(stacked=self.stacked))})
if [ -e {init} ]; then echo init begun
elif [ -e {join} ]; then echo join begun
elif [ -z "$missing" ]; then echo done
elif [ -s /etc/kubernetes/kubelet.conf ]; then echo partial
else echo none; fi"""

    def diff(self, seen: bytes) -> Diff:
        return Diff()

    def apply(self) -> str:
        return ":"


@frozen
class MasterStanding(MasterState):
    """The same, and each file of a master that is missing, in a line of its own."""

    def probe(self) -> str:
        return f"""\
{super().probe()}
printf '%s\\n' "$missing\""""

    @staticmethod
    def parse(seen: bytes) -> tuple[str, tuple[str, ...]]:
        """The state, and the missing files."""
        state, *rest = seen.decode(errors="replace").splitlines() or [""]
        return state.strip(), tuple(line.removeprefix("+ ") for line in rest if line.startswith("+ "))


def first_master(states: Mapping[Host, str], missing: Mapping[Host, Sequence[str]] | None = None) -> Host:
    """Where the cluster begins, or, where it has begun already, a host that is in it.

    Raises PreflightError where hosts are half-way into a cluster of which nothing else is left: starting a new one
    there could only make things worse; and where a host is a node, and files of its control plane are ``missing``: its
    member of etcd may be at work, or hold all that is left of the data, and kubeadm begins with removing both.
    """
    if lame := [host for host, state in states.items() if state == "partial"]:
        raise PreflightError(
            Problem(
                host.name,
                f"is a node, and files of its control plane are missing: {', '.join((missing or {}).get(host, ()))}",
                "put them back, or have kubeadm make them anew (docs/diagnose.md); if its data are lost as well, "
                "replace() it by a blank host",
            )
            for host in lame
        )
    for wanted in ("done", "init begun"):
        for host, state in states.items():
            if state == wanted:
                return host
    lost = [host.name for host, state in states.items() if state == "join begun"]
    if lost:
        raise PreflightError(
            Problem(
                name,
                "was joining a cluster, and none of the other masters is in one",
                f"bring one that is back, or {WIPE}",
            )
            for name in lost
        )
    return next(iter(states))
