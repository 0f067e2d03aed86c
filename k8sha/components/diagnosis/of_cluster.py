"""What goes wrong in etcd and the control plane."""

from __future__ import annotations

from collections.abc import Iterator

from k8sha.components.diagnosis.findings import Finding, Rule, Symptoms
from k8sha.components.diagnosis.symptoms import PARTS, HostSymptoms
from k8sha.etcd.fence import FENCED
from k8sha.etcd.unfinished import OVER, REMEDY

__all__ = ["CLUSTER_RULES"]


def _alarms(seen: Symptoms) -> Iterator[Finding]:
    for host in _members(seen):
        if "CORRUPT" in host.etcd.alarms:
            yield Finding(
                40,
                host.name,
                "etcd raised CORRUPT: members hold different data",
                host.last("etcd"),
                "compare hashkv on all members, let the odd one join anew with plane.etcd.rejoin(); don't disarm the "
                "alarm first",
            )
        if "NOSPACE" in host.etcd.alarms:
            yield Finding(
                41,
                host.name,
                "etcd raised NOSPACE: its database has reached its quota, and nothing can be written",
                host.last("etcd"),
                "plane.etcd.disarm() compacts, defragments one member after the other, then puts the alarm out",
            )


def _restores(seen: Symptoms) -> Iterator[Finding]:
    """What such a restore has stopped stays stopped, and an undoing throws away what was written since."""
    own = seen.of("etcd")
    over = bool(own) and not any(host.restore for host in own)
    found: dict[str, list[str]] = {}
    for host in seen.read:
        if host.restore:
            found.setdefault(host.restore, []).append(host.name)
    for said, names in found.items():
        yield Finding(38, ", ".join(names), said, (), OVER if over else REMEDY)


def _members(seen: Symptoms) -> tuple[HostSymptoms, ...]:
    """The members' hosts that were read."""
    return tuple(host for host in seen.members if not host.unreachable)


def _healthy(seen: Symptoms) -> set[str]:
    return {host.address for host in _members(seen) if host.etcd.healthy}


def _answers(host: HostSymptoms) -> bool:
    """Whether the member's process says anything: one without a quorum does, and is not healthy."""
    return host.etcd.healthy or (host.etcd.expected and not host.etcd.error)


def _why(seen: Symptoms, address: str, name: str) -> str:
    """Why a member does not take part, in half a sentence."""
    for host in seen.members:
        if host.address == address:
            if host.unreachable:
                return f"{host.name}: the host can't be reached"
            state = host.containers.get("etcd", "there is no container" if host.containers else "")
            return f"{host.name}: {state and f'etcd: {state}; '}{host.etcd.error or 'no leader'}"
    return f"{name or address}: is none of the hosts"


def _mended(host: HostSymptoms) -> str:
    """What brings a member back whose data is lost."""
    return "install() lets it join anew" if host.role == "etcd" else f"plane.replace({host.name}, a blank host)"


def _quorum(seen: Symptoms) -> Iterator[Finding]:
    if not seen.installed or not seen.members:
        return
    count = len(seen.voters)
    need = count // 2 + 1
    up = {host.address for host in _members(seen) if _answers(host)}
    alive = [name or address for name, address in seen.voters if address in up]
    if not _healthy(seen) and len(alive) < need:
        dead = tuple(_why(seen, address, name) for name, address in seen.voters if address not in up)
        yield Finding(
            44,
            "etcd",
            f"has lost its quorum: {len(alive)} of {count} members answer, and {need} must",
            dead,
            f"bring {need - len(alive)} of them back (start the host, its containerd, its kubelet); if their disks are "
            "lost, restore a snapshot: plane.restore()",
        )
    kind, leave = ("host", "etcdctl member remove") if seen.of("etcd") else ("master", "plane.remove(host)")
    for name, address in seen.voters:
        host = next((host for host in seen.members if host.address == address), None)
        if host is not None and not host.unreachable and address not in up:
            lost = tuple(f"{path} is missing" for path in host.missing if path.endswith("etcd.yaml"))
            yield Finding(
                90,
                host.name,
                f"its etcd member is dead ({len(alive)} of {count} answer, {need} must)",
                (*lost, _why(seen, address, name), *host.last("etcd")[-4:]),
                f"look at its last lines; if its data is lost, {_mended(host)}",
            )
        elif host is None:
            yield Finding(
                95,
                "etcd",
                f"{name or '(one that never started)'} at {address} is a member and no {kind} of this module",
                (),
                f"list it among the hosts, or take it out: {leave}",
            )
    learners = sorted({address for host in _members(seen) for address in host.etcd.learners})
    if learners:
        yield Finding(
            142,
            "etcd",
            f"has a learner that never became a voter: {', '.join(learners)}; it keeps others from joining",
            (),
            f"install() removes it when that host joins; if it is not to join, {leave}",
        )


def _servers(seen: Symptoms) -> Iterator[Finding]:
    for host in seen.of("master"):
        if host.state in ("", "none"):
            continue
        if host.state == "partial" and host.missing:
            back = f"plane.etcd.rejoin({host.name}) puts them back"
            if host.restore:
                back = "the end of the restore that is open does, or its undoing"
            elif seen.of("etcd"):
                back = "move them back"
            yield Finding(
                102,
                host.name,
                "files of its control plane are missing",
                host.missing,
                f"where they are in {FENCED}, {back}; else put them back, or have kubeadm make them anew "
                "(docs/diagnose.md); if the data are lost as well, replace() the master by a blank host",
            )
        if host.api not in ("ok", ""):
            container = host.containers.get("kube-apiserver", "")
            yield Finding(
                100,
                host.name,
                f"its API server is not ready: {host.api}",
                (*((f"its container: {container}",) if container else ()), *host.last("kube-apiserver")[-3:]),
                "it follows its etcd member and its certificates: mend what stands above first",
            )
        for part in PARTS[2:]:
            if host.containers and host.containers.get(part, "missing") != "running":
                yield Finding(
                    105,
                    host.name,
                    f"{part} does not run: {host.containers.get(part, 'there is no container')}",
                    host.last(part)[-3:],
                    "put its manifest back where that is missing (docs/diagnose.md)",
                )


def _joining(seen: Symptoms) -> Iterator[Finding]:
    for host in seen.read:
        if host.state in ("join begun", "init begun"):
            keys = {name for master in seen.of("master") for name in master.join_secrets}
            missing = () if "kubeadm-certs" in keys else ("the certificate key has expired (kubeadm keeps it 2 h)",)
            none = () if any(name.startswith("bootstrap-token") for name in keys) else ("no join token is left",)
            yield Finding(
                140,
                host.name,
                f"its way into the cluster was begun and never finished ({host.state})",
                (*missing, *none, *host.last("kubelet")[-2:]),
                "install() clears what is half-done and joins it with a new token and key",
            )
    for host in seen.of("master"):
        if host.state == "none" and seen.installed:
            counted = host.address in {address for _, address in seen.voters}
            yield Finding(
                85,
                host.name,
                f"nothing of the cluster is on it{', yet etcd counts it as a member' if counted else ''}: it is blank",
                (),
                f"plane.replace({host.name}, {host.name})" if counted else "install() joins it",
            )
    waiting = sorted({name for host in seen.of("master") for name in host.not_ready})
    if waiting:
        lines = tuple(
            f"{host.name}: {line}" for host in seen.read if host.name in waiting for line in host.last("kubelet")[-1:]
        )
        yield Finding(150, ", ".join(waiting), "are nodes that are not Ready", lines, "look at their kubelets above")


CLUSTER_RULES: tuple[Rule, ...] = (_restores, _alarms, _quorum, _servers, _joining)
