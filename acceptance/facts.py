"""What is put on record of a cluster: its hosts, what runs on them, and a fault's figures in a line."""

from __future__ import annotations

from k8sha import ControlPlane, Host, KubeError, Report
from k8sha.component import Component

from .record import FaultEntry, HostFacts
from .report import seconds
from .subject import Subject

__all__ = ["cluster", "hosts", "in_a_line", "unavoidable"]

_SOFTWARE = """\
PATH=$PATH:/usr/local/bin:/usr/local/sbin:/usr/sbin
if command -v haproxy >/dev/null; then echo "HAProxy $(haproxy -v)"; fi
if command -v nginx >/dev/null; then echo "nginx $(nginx -v 2>&1)"; fi
if command -v keepalived >/dev/null; then echo "keepalived $(keepalived --version 2>&1)"; fi
if command -v containerd >/dev/null; then echo "containerd $(containerd --version)"; fi
if command -v kubelet >/dev/null; then echo "kubelet $(kubelet --version)"; fi
"""


def hosts(subject: Subject) -> list[HostFacts]:
    """Every host of the cluster, as it is now."""
    return [_host(subject, host) for host in subject.cluster.hosts]


def _host(subject: Subject, host: Host) -> HostFacts:
    facts = host.facts
    _, out, _ = host.read(_SOFTWARE)[0]
    return HostFacts(
        name=host.name,
        role=subject.role(host),
        address=host.address,
        system=facts.os_name,
        kernel=f"Linux {facts.kernel}",
        cpus=facts.cpus,
        memory_mib=facts.memory_mib,
        software=tuple(software(out.decode(errors="replace"))),
    )


def software(printed: str) -> list[tuple[str, str]]:
    """Programs and their versions: the first word of each line that begins one, and the first number after it."""
    found: dict[str, str] = {}
    for line in printed.splitlines():
        words = line.split()
        if (
            not words
            or words[0] in found
            or words[0] not in ("HAProxy", "nginx", "keepalived", "containerd", "kubelet")
        ):
            continue
        numbers = (word.strip("(),v").removeprefix("nginx/").removeprefix("v") for word in words[1:])
        version = next((number for number in numbers if number[:1].isdigit() and "." in number), "")
        found[words[0]] = version
    return list(found.items())


def cluster(subject: Subject) -> list[tuple[str, str]]:
    """What the cluster as a whole consists of."""
    found: list[tuple[str, str]] = [("Parts", ", ".join(_called(part) for part in subject.cluster.components))]
    plane = subject.plane
    if plane is not None:
        networks = plane.cluster
        found.append(("Networks", f"pods {networks.pod_cidr}, services {networks.service_cidr}"))
        found.append(("API server", _version(plane)))
    if subject.balancers is not None:
        names = " and ".join(host.name for host in subject.balancer_hosts)
        profile = getattr(subject.balancers, "profile", "")
        found.append(("VIP", f"{subject.balancers.vip} on {names}{f', profile {profile}' if profile else ''}"))
    return found


def _called(part: Component) -> str:
    return f"{part.name} ({len(part.hosts)} hosts)" if part.hosts else part.name


def _version(plane: ControlPlane) -> str:
    try:
        return str(plane.api.get("/version")["gitVersion"])
    except KubeError as error:
        return f"does not tell ({error})"


def unavoidable(report: Report, masters: tuple[str, ...]) -> list[tuple[str, str]]:
    """How the wall time of a fresh install compares with what it can't do without: the first master's images imported,
    ``kubeadm init`` there, and the other masters' joins one after the other. Empty where nothing of it was done."""
    spent = {(result.host, result.resource): result.seconds for result in report.changed}
    first = next((host for host, resource in spent if resource == "command kubeadm init"), None)
    if first is None:
        return []
    init = spent[first, "command kubeadm init"]
    joins = sum(spent.get((name, "command kubeadm join"), 0.0) for name in masters if name != first)
    least = spent.get((first, "container images"), 0.0) + init + joins
    return [
        ("inside kubeadm, on the critical path", f"{100 * (init + joins) / report.seconds:.0f} %"),
        ("times what can't be avoided (images, init, joins)", f"{report.seconds / least:.2f}"),
    ]


def in_a_line(entry: FaultEntry) -> str:
    """A fault's figures for the screen."""
    if not entry.runs:
        return "; ".join(entry.problems)[:200]
    median, worst = entry.outage
    recovered = all(run.during.recovered for run in entry.runs)
    total = sum(run.during.total + run.after.total for run in entry.runs)
    words = [f"outage {seconds(worst)}" if recovered else "never recovered"]
    if len(entry.runs) > 1 and recovered:
        words.append(f"median {seconds(median)}")
    words.append(f"{sum(run.during.failed + run.after.failed for run in entry.runs)} of {total} requests failed")
    for value, label in ((entry.most("write_stall"), "writes stalled"), (entry.most("watch_gap"), "watch silent")):
        if value is not None:
            words.append(f"{label} {seconds(value)}")
    words.append(f"load {max(load for run in entry.runs for _, load in run.load):.1f}")
    return ", ".join(words)
