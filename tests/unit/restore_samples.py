"""The resources of a restore, for :mod:`samples`."""

from __future__ import annotations

from k8sha import Endpoint
from k8sha.components.agents import AgentsAnew, AgentsOnDelete, AgentsReplaced, AgentsRun, AgentsSeen
from k8sha.components.restore import ControllersHealthy, EndpointServes, KubeletAnew, NoPhantoms
from k8sha.etcd.access import Access
from k8sha.etcd.agreed import Agreed
from k8sha.etcd.data import Exchanged, Judgement, KeptDeleted, Prepared, Proven, PutBack
from k8sha.etcd.fence import CONTROLLERS, Begun, Fenced, StaticPods, UnitFenced, UnitRuns
from k8sha.etcd.present import Manifests
from k8sha.etcd.record import Closed, Forgotten, Record, Written
from k8sha.etcd.sealing import KeysUsed
from k8sha.etcd.standing import LastSeen, Looked
from k8sha.etcd.undo import Reopened
from k8sha.resources import Resource

RECORD = Record(
    id="0a1b2c3d",
    sha256="ab" * 32,
    token="k8sha-" + "0" * 32,
    bump=1_000_000_000,
    members=(("master-1", "https://192.168.56.10:2380"), ("master-2", "https://192.168.56.11:2380")),
    left_out=("master-3",),
    reached=9617,
    taken=1_760_000_000,
    begun=1_760_000_600,
    source="snapshot.db",
)
MARKER = '{"id":"0a1b","time":"2026-11-30T06:00:00Z","host":"master-2"}'
STACKED, OWN = Access(stacked=True), Access(stacked=False)

RESTORE_SAMPLES: dict[str, Resource] = {
    "restore-agents-anew": AgentsAnew("0a1b2c3d", "192.168.56.10"),
    "restore-agents-on-delete": AgentsOnDelete("0a1b2c3d", "192.168.56.10"),
    "restore-agents-replaced": AgentsReplaced("0a1b2c3d", "192.168.56.10", ("master-1", "worker-1")),
    "restore-agents-seen": AgentsSeen("0a1b2c3d", "192.168.56.10"),
    "restore-agents-run": AgentsRun("0a1b2c3d", "192.168.56.10", ("master-1", "worker-1")),
    "restore-agreed": Agreed(STACKED, (("master-1", "192.168.56.10"), ("master-2", "192.168.56.11")), above=9617),
    "restore-begun": Begun(RECORD.json(), "started-0a1b2c3d"),
    "restore-closed": Closed("0a1b2c3d"),
    "restore-controllers-healthy": ControllersHealthy(),
    "restore-endpoint-serves": EndpointServes(Endpoint("192.168.56.100"), 1_000_005_000),
    "restore-endpoint-serves-marked": EndpointServes(Endpoint("192.168.56.100"), 1_000_005_000, MARKER, 9700),
    "restore-exchanged": Exchanged("0a1b2c3d"),
    "restore-fenced": Fenced(),
    "restore-forgotten": Forgotten(),
    "restore-judgement": Judgement("0a1b2c3d"),
    "restore-kept-deleted": KeptDeleted(),
    "restore-keys-used": KeysUsed(),
    "restore-kubelet-anew": KubeletAnew("0a1b2c3d"),
    "restore-last-seen": LastSeen(OWN),
    "restore-looked": Looked(STACKED),
    "restore-looked-own": Looked(OWN),
    "restore-manifests": Manifests(stacked=True),
    "restore-manifests-own": Manifests(stacked=False),
    "restore-no-phantoms": NoPhantoms("worker-1"),
    "restore-prepared": Prepared(RECORD, "master-1", "https://192.168.56.10:2380"),
    "restore-proven": Proven("0a1b2c3d", "ab" * 32),
    "restore-put-back": PutBack("0a1b2c3d", owner="etcd:etcd"),
    "restore-reopened": Reopened(RECORD),
    "restore-static-pods": StaticPods(CONTROLLERS),
    "restore-unit-fenced": UnitFenced(),
    "restore-unit-runs": UnitRuns(),
    "restore-written": Written(RECORD),
}
