"""One value, or a few, of every class of resource there is. A class without one fails ``test_resources``.

Beside each there are a golden file, ``golden/resources/<name>.txt`` with what it asks of a host, and
``cases/<name>.txt`` with what hosts answer and what follows from it.
"""

from __future__ import annotations

from pathlib import Path

from k8sha.addons.host_routes import NodeReady, PodRange
from k8sha.addons.storage import NfsAnswers
from k8sha.components.etcd import StackedEtcdHealthy
from k8sha.components.leaving import Fenced, NodeDrained, NodesForgotten
from k8sha.components.masters import Administrator, ApiReady, MasterStanding, MasterState
from k8sha.components.membership import EtcdFolder, MemberSeen, MembersOnly, MembersRemoved, ServerSeen, WhatIsThere
from k8sha.components.names import CertificateNames
from k8sha.etcd.access import Access
from k8sha.etcd.alarms import AlarmsGone
from k8sha.etcd.beside import MasterFiles
from k8sha.etcd.certificates import AuthorityKey, PrivateKeys
from k8sha.etcd.clients import ClientKey, ServingAuthority
from k8sha.etcd.conditions import CaughtUp, MembersHealthy
from k8sha.etcd.maintenance import Compacted, Defragmented, Disarmed, LeaderMoved
from k8sha.etcd.member import InitialCluster, MemberState
from k8sha.etcd.membership import LearnerAdded, MembersGone, MemberStopped, Promoted
from k8sha.etcd.preflight import MemberDisk, MemberPeers, MemberPorts
from k8sha.etcd.rejoin import JoinsAs, PodStopped
from k8sha.etcd.signing import Request, Sealed, Signed
from k8sha.etcd.taking import Snapshot
from k8sha.etcd.tools import EtcdTools
from k8sha.etcd.views import MemberView
from k8sha.loadbalancers.conditions import BalancerReady, Drained, HoldsVIP, VIPHolder
from k8sha.loadbalancers.exchange import InRotation
from k8sha.loadbalancers.haproxy import HAProxy
from k8sha.loadbalancers.preflight import FirewallOpen, OpenFiles, PortFree, VIPFree
from k8sha.resources import (
    Absent,
    AptPackages,
    CertificateAuthority,
    Command,
    Contents,
    Directory,
    DnfPackages,
    Download,
    File,
    KnownAfter,
    Link,
    Modules,
    NoSwap,
    Resource,
    Service,
    Sysctl,
    Upload,
)
from k8sha.resources.containerd import ContainerdConfig, SystemdCgroups
from k8sha.resources.images import ContainerImages, ImageArchive
from k8sha.resources.kubelet import CniPlugins, HostsEntry, Kubelet
from k8sha.resources.programs import Program, Programs
from k8sha.resources.reach import AptPackagesAtHand, DnfPackagesAtHand, Reachable
from k8sha.resources.requirements import DiskSync, Minimum, PeersAnswer, PortsFree, Resolves, SameVersion, Size, Space
from k8sha.versions import Version

from .policies_samples import POLICIES_SAMPLES
from .restore_samples import RESTORE_SAMPLES

__all__ = ["HELLO", "SAMPLES"]

HELLO = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
"""The SHA-256 of ``hello`` and a newline."""

CONFIG = File("/etc/demo/demo.conf", "one\ntwo\n")
UNIT = File("/etc/systemd/system/demo.service", "[Service]\nExecStart=/usr/bin/demo\n")

SAMPLES: dict[str, Resource] = {
    "absent": Absent("/etc/apt/sources.list.d/old.list"),
    "api-ready": ApiReady("192.168.56.10"),
    "apt-packages": AptPackages(("haproxy", "keepalived=1:2.3.3-1")),
    "apt-packages-at-hand": AptPackagesAtHand(("haproxy", "nosuchpackage")),
    "apt-packages-held": AptPackages(("kubelet=1.33.13-*",), hold=True),
    "balancer-ready": BalancerReady("192.168.56.100", 6443, "HAProxy"),
    "certificate-names": CertificateNames(
        {"apiVersion": "kubeadm.k8s.io/v1beta4", "apiServer": {"certSANs": ["192.168.56.100", "master-1"]}},
        Version(1, 33, 13),
        "192.168.56.10",
    ),
    "certificate-authority": CertificateAuthority(),
    "cni-plugins": CniPlugins("/usr/lib/cni", names=("bridge", "portmap")),
    "command": Command(
        "make the thing",
        done="if [ ! -e /var/lib/thing ]; then echo '+ /var/lib/thing'; fi",
        run='mkdir /var/lib/thing\nprintf %s "$word" >/var/lib/thing/word',
        recover="rm -rf /var/lib/thing",
        limit=20,
        secret_values=lambda: {"word": "hush"},
    ),
    "container-images": ContainerImages(
        (ImageArchive(Path("pause.tar"), "ab" * 32, 700_000, ("registry.k8s.io/pause:3.10",)),)
    ),
    "containerd-config": ContainerdConfig("version = 2\n", "version = 3\n"),
    "contents": Contents("/etc/kubernetes/pki/ca.crt"),
    "directory": Directory("/etc/haproxy/errors", mode="0750", owner="root:haproxy"),
    "disk-sync": DiskSync(writes=2),
    "dnf-packages": DnfPackages(("haproxy", "keepalived=2.2.8-3.el9")),
    "dnf-packages-at-hand": DnfPackagesAtHand(("haproxy", "nosuchpackage")),
    "dnf-packages-held": DnfPackages(("kubelet=1.33.13-150500.1.1",), hold=True),
    "download": Download("/opt/tool's/tool", sha256=HELLO, mode="0755", url="https://example.com/tool?a=1&b=2"),
    "drained": Drained(True),
    "etcd-alarms-gone": AlarmsGone(Access(stacked=True)),
    "etcd-authority-key": AuthorityKey("c2VhbGVk"),
    "etcd-caught-up": CaughtUp("192.168.56.12"),
    "etcd-client-key": ClientKey("master-1"),
    "etcd-compacted": Compacted(Access(stacked=False), 77),
    "etcd-defragmented": Defragmented(Access(stacked=True), "6f2a"),
    "etcd-disarmed": Disarmed(Access(stacked=False)),
    "etcd-folder": EtcdFolder(),
    "etcd-initial-cluster": InitialCluster(
        (("master-1", "https://192.168.56.10:2380"), ("master-2", "https://192.168.56.11:2380"))
    ),
    "etcd-leader-moved": LeaderMoved(Access(stacked=False), "22"),
    "etcd-joins-as": JoinsAs((("master-1", "https://192.168.56.10:2380"), ("master-2", "https://192.168.56.11:2380"))),
    "etcd-learner-added": LearnerAdded(address="192.168.56.11"),
    "etcd-member-disk": MemberDisk(writes=2),
    "etcd-member-peers": MemberPeers((("master-2", "192.168.56.11"),)),
    "etcd-member-ports": MemberPorts((2379, 2380, 2381)),
    "etcd-member-state": MemberState(),
    "etcd-member-stopped": MemberStopped("replaced-20260101T000000Z"),
    "etcd-member-view": MemberView(Access(stacked=False)),
    "etcd-members-gone": MembersGone(addresses=("192.168.56.11",)),
    "etcd-members-healthy": MembersHealthy((("master-1", "192.168.56.10"),)),
    "etcd-pod-stopped": PodStopped("rejoined-20260101T000000Z"),
    "etcd-private-keys": PrivateKeys("master-1", "192.168.56.10"),
    "etcd-promoted": Promoted(address="192.168.56.11"),
    "etcd-signed": Signed(
        (
            Request("master-1", "192.168.56.10", "server", "Y3Ny"),
            Request("master-1", "192.168.56.10", "healthcheck-client", "Y3Ny"),
        ),
        (Sealed("master-1", ""), Sealed("master-2", "Y3J0")),
    ),
    "etcd-serving-authority": ServingAuthority(),
    "etcd-signed-for-api-servers": Signed((Request("master-1", "192.168.56.10", "apiserver-etcd-client", "Y3Ny"),)),
    "etcd-snapshot": Snapshot(Access(stacked=True), "6f2a", "192.168.56.10"),
    "etcd-tools": EtcdTools(Access(stacked=False)),
    "etcd-tools-stacked": EtcdTools(Access(stacked=True)),
    "fenced": Fenced(),
    "file": CONFIG,
    "file-checked": File("/etc/haproxy/haproxy.cfg", "global\n", owner="root:haproxy", check="haproxy -c -f {}"),
    "file-known-after": File("/etc/haproxy/ca.crt", KnownAfter("the cluster's CA was made")),
    "file-secret": File("/etc/keepalived/keepalived.conf", "auth_pass hunter2\n", mode="0600", secret=True),
    "firewall-open": FirewallOpen(6443),
    "holds-vip": HoldsVIP("192.168.56.100"),
    "hosts-entry": HostsEntry("api.example.com", "192.168.56.100"),
    "in-rotation": InRotation(HAProxy(), "master-1", False),
    "kubelet": Kubelet(),
    "link": Link("/etc/systemd/system/zram.swap", "/dev/null"),
    "master-files": MasterFiles("6f2a", "192.168.56.10"),
    "master-server-seen": ServerSeen("192.168.56.10"),
    "master-state-etcd-elsewhere": MasterState(stacked=False),
    "what-is-there-etcd-elsewhere": WhatIsThere(stacked=False),
    "master-standing": MasterStanding(),
    "master-state": MasterState(),
    "administrator": Administrator(),
    "member-seen": MemberSeen(),
    "members-only": MembersOnly((("master-1", "192.168.56.10"), ("master-2", "192.168.56.11"))),
    "members-removed": MembersRemoved(("192.168.56.10", "192.168.56.30")),
    "minimum": Minimum(cpus=2, memory_mib=1700, disk_gb=20),
    "modules": Modules(("overlay", "br_netfilter")),
    "nfs-answers": NfsAnswers("nfs.example.org"),
    "no-swap": NoSwap(),
    "node-drained": NodeDrained("master-1", "192.168.56.11"),
    "nodes-forgotten": NodesForgotten(("master-1",), "192.168.56.11"),
    "node-ready": NodeReady("worker-1"),
    "open-files": OpenFiles(40033),
    "peers-answer": PeersAnswer((("master-1", "192.168.56.10"), ("worker-1", "192.168.56.20"))),
    "pod-range": PodRange("worker-1"),
    "port-free": PortFree(6443, "haproxy"),
    "ports-free": PortsFree((6443, 10250)),
    "programs": Programs((Program("/usr/local/bin/kubelet", HELLO, Path("kubelet")),)),
    "reachable": Reachable("https://pkgs.k8s.io/core:/stable:/v1.33/deb/InRelease", what="the packages of 1.33"),
    "resolves": Resolves("api.example.com"),
    "same-version": SameVersion("1.33.13"),
    "service": Service("demo", watches=(CONFIG, UNIT)),
    "service-off": Service("demo", active=False),
    "service-reloads": Service("demo.socket", reload=True, program="/usr/sbin/demo", watches=(UNIT, CONFIG)),
    "service-plain": Service("demo"),
    "size": Size(cpus=4, memory_mib=8192, disk_gb=100),
    "space": Space(mib=5000),
    "space-of-a-balancer": Space(mib=500, folders=("/usr", "/var"), percent=0, marks=("/usr/libexec/k8sha/vip",)),
    "stacked-etcd-healthy": StackedEtcdHealthy((("master-1", "192.168.56.10"), ("master-2", "192.168.56.11"))),
    "sysctl": Sysctl({"net.ipv4.ip_forward": "1", "net.ipv4.ip_local_port_range": "20000 60000"}),
    "sysctl-of-words": Sysctl({"kernel.core_pattern": "/var/core/core-file"}, path="/etc/sysctl.d/90-core.conf"),
    "systemd-cgroups": SystemdCgroups(),
    "upload": Upload("/opt/k8sha/images.tar", sha256=HELLO, source=Path("images.tar")),
    "vip-free": VIPFree("192.168.56.100", "eth1", ("02:42:c0:a8:38:65",)),
    "vip-holder": VIPHolder("192.168.56.100"),
    "what-is-there": WhatIsThere(),
} | {**RESTORE_SAMPLES, **POLICIES_SAMPLES}
