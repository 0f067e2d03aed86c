"""What must be true of a host before it becomes a node, each with a name by which a caller may pass over it.

They are looked at before a host joins: on one that is a node already, the ports are its own and the room is taken.
"""

from __future__ import annotations

import shlex
from abc import abstractmethod
from typing import ClassVar

from attrs import field, frozen

from k8sha.report import Diff
from k8sha.resources.resource import Requirement

__all__ = [
    "DiskSync",
    "Minimum",
    "NodeRequirement",
    "PeersAnswer",
    "PortsFree",
    "Resolves",
    "SameVersion",
    "Size",
    "Space",
]


NODE_MARKS = ("/etc/kubernetes/kubelet.conf", "/etc/kubernetes/bootstrap-kubelet.conf")
"""Files that a host has from the moment on at which it joins."""


@frozen
class NodeRequirement(Requirement):
    """A requirement of a host that is not a node yet. ``name`` is what a caller gives to pass over it.

    A host that has one of the files ``marks`` is what it should become, and is not looked at.
    """

    name: ClassVar[str]
    marks: tuple[str, ...] = field(default=NODE_MARKS, kw_only=True)

    @property
    def key(self) -> str:
        return f"requirement {self.name}"

    def probe(self) -> str:
        return f"""\
for file in {" ".join(self.marks)}; do
  if [ -e "$file" ]; then exit 0; fi
done
{self.look()}"""

    @abstractmethod
    def look(self) -> str:
        """Shell that prints what ``judge`` judges."""

    def diff(self, seen: bytes) -> Diff:
        text = seen.decode(errors="replace")
        return Diff(tuple(self.judge(text.splitlines()))) if text.strip() else Diff()

    @abstractmethod
    def judge(self, lines: list[str]) -> list[str]:
        """What is wrong, of what a look printed."""


@frozen
class Size(NodeRequirement):
    """Processors, memory in MiB and file system in GB that a host must have.

    A tenth less counts as enough: firmware, kernel and file system keep that much of a machine's nominal size.
    """

    name = "size"
    cpus: int = field(kw_only=True)
    memory_mib: int = field(kw_only=True)
    disk_gb: int = field(kw_only=True)

    def look(self) -> str:
        return """\
echo "cpus $(nproc)"
while read -r name value unit; do
  if [ "$name" = MemTotal: ]; then echo "memory $((value / 1024))"; fi
done </proc/meminfo
df -Pk /var/lib | { read -r head; read -r device size rest; echo "disk $((size * 1024 / 1000000000))"; }"""

    def judge(self, lines: list[str]) -> list[str]:
        found = {name: int(value) for name, _, value in (line.partition(" ") for line in lines)}
        wanted = (
            ("cpus", self.cpus, "CPUs"),
            ("memory", self.memory_mib, "MiB of memory"),
            ("disk", self.disk_gb, "GB in /var/lib's file system"),
        )
        return [
            f"has {found[name]} {unit}, {least} are wanted"
            for name, least, unit in wanted
            if found[name] < (least if name == "cpus" else 0.9 * least)
        ]


@frozen
class Minimum(Size):
    """The least that kubeadm itself accepts for a control plane; below it the API server and etcd starve."""

    name = "minimum"


@frozen
class Space(NodeRequirement):
    """Free space in MiB for what is brought: on a node, where it is staged, and where containerd keeps and unpacks it.

    With less than 15 % of it free (the kubelet's imagefs.available) a node evicts its pods as soon as it is one.
    """

    name = "space"
    remedy: str = field(default='make room, or pass over it with skip_requirements=("space",)', kw_only=True)
    mib: int = field(kw_only=True)
    folders: tuple[str, ...] = field(default=("/var/lib", "/var/lib/containerd"), kw_only=True)
    percent: int = field(default=15, kw_only=True)

    def look(self) -> str:
        return f"""\
for folder in {" ".join(self.folders)}; do
  if [ -d "$folder" ]; then
    df -Pm "$folder" | {{ read -r head; read -r device size used free rest; echo "$folder $size $free"; }}
  fi
done"""

    def judge(self, lines: list[str]) -> list[str]:
        wrong: list[str] = []
        for folder, size, free in (line.split() for line in lines):
            least = max(self.mib, int(size) * self.percent // 100)
            if int(free) < least:
                wrong.append(f"{folder} has {free} MiB free of {size}, {least} are needed")
        return wrong


@frozen
class PortsFree(NodeRequirement):
    """TCP ports that nobody listens on yet."""

    name = "ports"
    ports: tuple[int, ...]

    def look(self) -> str:
        return "ss -Hltnp"

    def judge(self, lines: list[str]) -> list[str]:
        wrong: list[str] = []
        for line in lines:
            words = line.split()
            port = int(words[3].rpartition(":")[2])
            if port in self.ports:
                holder = f" by {words[5]}" if len(words) > 5 else ""
                wrong.append(f"port {port} is taken{holder}")
        return sorted(set(wrong))


@frozen
class PeersAnswer(NodeRequirement):
    """Every other host answers from this one: to a ping, or where that is not to be had, on its SSH port.

    ``peers`` are names and addresses. A host without ping, ssh-keyscan and curl can't tell, which is no problem.
    """

    name = "peers"
    peers: tuple[tuple[str, str], ...]
    port: int = field(default=22, kw_only=True)

    def look(self) -> str:
        calls = "".join(f"answers {shlex.quote(name)} {shlex.quote(address)} &\n" for name, address in self.peers)
        return f"""\
answers() {{
  if command -v ping >/dev/null && ping -q -c 1 -W 2 "$2" >/dev/null 2>&1; then return 0; fi
  if command -v ssh-keyscan >/dev/null; then
    if ssh-keyscan -T 3 -p {self.port} "$2" 2>&1 | grep -q SSH-; then return 0; fi
  elif command -v curl >/dev/null; then
    if curl -s --connect-timeout 3 --max-time 3 "telnet://$2:{self.port}" </dev/null | grep -q SSH-; then return 0; fi
  elif ! command -v ping >/dev/null; then return 0
  fi
  echo "$1 $2"
}}
{calls}wait"""

    def judge(self, lines: list[str]) -> list[str]:
        return [f"gets no answer from {name} ({address})" for name, address in sorted(line.split() for line in lines)]


@frozen
class Resolves(NodeRequirement):
    """A name that the host can turn into an address."""

    name = "endpoint"
    host: str

    def look(self) -> str:
        return f"if getent hosts {shlex.quote(self.host)} >/dev/null; then :; else echo unknown; fi"

    def judge(self, lines: list[str]) -> list[str]:
        return [f"the name {self.host} is not known there"]


@frozen
class SameVersion(NodeRequirement):
    """A host that is a node already runs this very version: making and mending a cluster never upgrades it, because
    nodes are upgraded one at a time, after the control plane.

    A kubelet that does not start to tell its version is no problem here: it is mended.
    """

    name = "version"
    version: str

    def probe(self) -> str:
        return f"""\
if [ -e /etc/kubernetes/kubelet.conf ]; then
{self.look()}
fi"""

    def look(self) -> str:
        return 'if version=$(kubelet --version 2>/dev/null); then echo "${version#Kubernetes v}"; fi'

    def judge(self, lines: list[str]) -> list[str]:
        return [] if lines[0] == self.version else [f"is a node of Kubernetes {lines[0]}, not {self.version}"]


@frozen
class DiskSync(NodeRequirement):
    """A disk that etcd can work with: 99 of 100 small synchronous writes end within ``limit_ms`` milliseconds.

    etcd writes its log so, about 2300 bytes at a time; its documentation asks for less than 10 ms at the 99th
    percentile. Each write is one ``dd oflag=dsync``, which times itself. That is coarser than fio with fdatasync: the
    file is preallocated and short, other load on the disk shows only if it is there now. Hosts with etcd's data on
    them are passed over. A write that fails is told, whatever the reason: a full disk must not hide what else is wrong.
    The file always has the same name, so that what a killed look left is used and removed: kubeadm refuses a folder of
    etcd's that is not empty.
    """

    name = "disk-sync"
    limit_ms: float = 10.0
    writes: int = field(default=100, kw_only=True)

    def look(self) -> str:
        return f"""\
folder=/var/lib
if [ -d /var/lib/etcd ]; then folder=/var/lib/etcd; fi
if [ -e /var/lib/etcd/member ]; then exit 0; fi
LC_ALL=C; export LC_ALL
file=$folder/.k8sha.sync
trap 'rm -f "$file"' EXIT
if said=$(dd if=/dev/zero of="$file" bs=2300 count={self.writes} conv=fsync 2>&1); then :
else echo "$said" | sed 1q; exit 0; fi
n=0
while [ $n -lt {self.writes} ]; do
  dd if=/dev/zero of="$file" bs=2300 count=1 seek=$n conv=notrunc oflag=dsync 2>&1 | sed -n -e '/^dd:/p' -e '$p'
  n=$((n + 1))
done"""

    def judge(self, lines: list[str]) -> list[str]:
        # "2300 bytes (2.3 kB, 2.2 KiB) copied, 0.000512 s, 4.5 MB/s"
        failed = [line for line in lines if "copied, " not in line]
        if failed:
            return [f"its disk could not be timed, make room there or mend it: {failed[0]}"]
        times = sorted(float(line.split("copied, ")[1].split(" ")[0]) * 1000 for line in lines)
        slow = times[len(times) * 99 // 100 - 1]
        if slow <= self.limit_ms:
            return []
        took = f"{slow:.0f} ms for a synchronous write (99th percentile of {len(times)})"
        return [f"its disk takes {took}, etcd wants at most {self.limit_ms:.0f}"]
