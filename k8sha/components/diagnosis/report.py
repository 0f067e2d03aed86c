"""What is wrong with a cluster, and why: symptoms of all hosts in one trip each, and the likely cause first."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from queue import SimpleQueue

from attrs import frozen

from k8sha import events
from k8sha.components.diagnosis.causes import causes
from k8sha.components.diagnosis.findings import Finding, Symptoms
from k8sha.components.diagnosis.reading import read_symptoms
from k8sha.components.diagnosis.snippets import symptom_texts
from k8sha.components.diagnosis.symptoms import PARTS, HostSymptoms
from k8sha.endpoint import Endpoint
from k8sha.errors import K8shaError
from k8sha.events import Listener
from k8sha.hosts.host import Host
from k8sha.hosts.program import Program, Saw, Snippet
from k8sha.parallel import News, in_parallel

__all__ = ["Diagnosis", "diagnosed"]

LIMITS = {"logs": 15, "containers": 10, "etcd": 20, "units": 10}
"""Seconds that a part may take where the usual 10 are not it: all members' answers have time limits of their own."""


_OWN_UNITS = {"balancer": ("haproxy", "keepalived"), "etcd": ("etcd",)}


@frozen
class Diagnosis:
    """What is wrong, the likely cause first, and what was read of each host. True where anything is wrong."""

    findings: tuple[Finding, ...]
    symptoms: Symptoms
    seconds: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.findings)

    def __str__(self) -> str:
        lines = [] if self.findings else ["nothing that is known to go wrong was found"]
        for number, found in enumerate(self.findings, 1):
            lines.append(f"{number}. {found.where}: {found.cause}")
            lines += [f"     {line}" for line in found.evidence]
            lines += [f"   → {found.remedy}"] if found.remedy else []
        lines += ["", "what was seen:", *(f"  {line}" for line in self._hosts())]
        return "\n".join(lines)

    def _hosts(self) -> Iterator[str]:
        elsewhere = self.symptoms.members != self.symptoms.masters
        yield from (_line(host, elsewhere=elsewhere) for host in self.symptoms.hosts)


def _line(host: HostSymptoms, *, elsewhere: bool = False) -> str:
    """A host in one line; masters have no member where etcd is ``elsewhere``."""
    if host.unreachable:
        return f"{host.name} ({host.role}): can't be reached"
    said: list[str] = []
    if host.role == "balancer":
        said.append("holds the VIP" if host.holds_vip else f"keepalived {host.vrrp or 'silent'}")
        up = sum(status.startswith("UP") for status in host.backends.values())
        said.append(f"HAProxy: {up} of {len(host.backends)} backends up")
    if host.role == "etcd" or host.etcd.expected or (host.role == "master" and not elsewhere):
        etcd = host.etcd
        state = "no member" if not etcd.expected else "healthy" if etcd.healthy else "not healthy"
        said.append(
            f"etcd {etcd.version} {state}{', leader' if etcd.leader and etcd.healthy else ''}".replace("  ", " ")
        )
    if host.role == "master":
        said.append(f"API server {host.api or 'silent'}")
        said += [
            f"{part} {host.containers[part]}" for part in PARTS if host.containers.get(part, "running") != "running"
        ]
    wanted = _OWN_UNITS.get(host.role, ("containerd", "kubelet"))
    said += [f"{name} {host.units[name].active}" for name in wanted if name in host.units]
    if host.certificates:
        said.append(f"certificates for {min(days for _, days in host.certificates):.0f} days")
    if host.disks:
        least = min(host.disks, key=lambda disk: disk.free / max(disk.size, 1))
        said.append(f"{least.path}: {least.free} of {least.size} MiB free")
    return f"{host.name} ({host.role}): {'; '.join(said)}"


def diagnosed(
    hosts: Iterable[tuple[Host, str]], *, endpoint: Endpoint, vip: str = "", listen: Listener = events.ignore
) -> Diagnosis:
    """Read all these hosts (each with its role) at once, and judge. A host that can't be read is a finding.

    Nothing is changed, no lock is taken, and nothing is asked of the API through the endpoint.
    """
    began = time.monotonic()
    given = tuple(hosts)
    stacked = all(role != "etcd" for _, role in given)
    found: dict[Host, HostSymptoms] = {}
    news: News = SimpleQueue()
    where = (endpoint.address or endpoint.host, endpoint.port)

    def look(item: tuple[Host, str]) -> None:
        host, role = item
        try:
            found[host] = _read(host, role, where, vip, stacked=stacked)
        except K8shaError as error:
            found[host] = HostSymptoms(host.name, role, host.address, unreachable=str(error).splitlines()[0][:300])
        else:
            news.put(events.Connected(host.name))

    in_parallel(look, given, listen=listen, news=news, hosts=[host for host, _ in given])
    symptoms = Symptoms(tuple(found[host] for host, _ in given), endpoint=str(endpoint), vip=vip)
    return Diagnosis(causes(symptoms), symptoms, time.monotonic() - began)


def _read(host: Host, role: str, where: tuple[str, int], vip: str, *, stacked: bool) -> HostSymptoms:
    texts = symptom_texts(role, host.address, where, vip, stacked=stacked)
    program = Program(probes=tuple(Snippet(text, LIMITS.get(part, 10)) for part, text in texts.items()))
    seen: list[Saw] = []
    host.connect()  # before, because it takes longer than the trip, by which the clock is measured
    sent = time.time()
    host.run(program, lambda frame: seen.append(frame) if isinstance(frame, Saw) else None)
    replies = dict(zip(texts, seen[0].replies, strict=True))
    return read_symptoms(host.name, role, host.address, replies, sent=sent, now=time.time())
