"""Which member a backup is taken of: one that is well, and holds what most of them hold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from attrs import frozen

from k8sha.errors import BackupError, K8shaError, Problem
from k8sha.etcd.access import Access
from k8sha.etcd.hashes import differences, of_most, read_hashes
from k8sha.hosts.host import Host

__all__ = ["Chosen", "best_member"]

_LAG = 1000
"""Entries that a member may be behind the leader: etcd itself refuses work at 5000 (maxGapBetweenApplyAndCommitIndex in
server/etcdserver/v3_server.go)."""

_LOOK = """\
{curl} https://127.0.0.1:2379/v3/maintenance/status -d '{{}}'; echo
{curl} https://127.0.0.1:2379/v3/maintenance/alarm -d '{{"action":"GET"}}'; echo
{curl} https://127.0.0.1:2379/v3/cluster/member/list -d '{{}}'; echo"""


@frozen
class _Standing:
    """How a member stands: ``fault`` is why no snapshot should be taken of it, empty if nothing speaks against it."""

    fault: str
    leads: bool = False
    applied: int = 0
    index: int = 0
    revision: int = 0


def _standing(exit: int, out: bytes, err: bytes) -> _Standing:
    try:
        status, alarms, listed = (json.loads(line) for line in out.decode().strip().splitlines())
        own = status["header"]["member_id"]
        revision = int(status["header"].get("revision", 0))
        members = {member["ID"]: member for member in listed["members"]}
    except (ValueError, KeyError, TypeError):
        return _Standing(f"etcd does not answer: {err.decode(errors='replace').strip()[-200:] or f'exit {exit}'}")
    raised = sorted({str(alarm.get("alarm", "")) for alarm in alarms.get("alarms", ())})
    fault = f"the alarm {', '.join(raised)} is raised" if raised else ""
    if members.get(own, {}).get("isLearner", own not in members):
        fault = "is no voter"
    if status.get("leader", "0") == "0":
        fault = "knows no leader: there is no quorum"
    applied, index = int(status.get("raftAppliedIndex", 0)), int(status.get("raftIndex", 0))
    return _Standing(fault, status.get("leader") == own, applied, index, revision)


@frozen
class Chosen:
    """The host of the member that is taken; ``notes`` say what was found that is wrong with others."""

    host: Host
    notes: tuple[str, ...] = ()


def best_member(hosts: tuple[Host, ...], access: Access) -> Chosen:
    """The member to take a snapshot of: a voter without alarm that is not behind, with the keys that most have; the
    leader only if it is the one.

    Raises BackupError with what is wrong with each of them.
    """
    text = _LOOK.format(curl=access.curl)

    def look(host: Host) -> _Standing:
        try:
            return _standing(*host.read(text)[0])
        except K8shaError as error:
            return _Standing(str(error))

    with ThreadPoolExecutor(len(hosts)) as pool:
        found = dict(zip(hosts, pool.map(look, hosts), strict=True))
    newest = max((standing.index for standing in found.values()), default=0)
    fit: dict[Host, _Standing] = {}
    problems: list[Problem] = []
    for host, standing in found.items():
        behind = newest - standing.applied
        fault = standing.fault or (f"is {behind} entries behind" if behind > _LAG else "")
        if fault:
            problems.append(Problem(host.name, fault, "mend the member, then run again"))
        else:
            fit[host] = standing
    if not fit:
        raise BackupError(problems)
    agree, notes = _agreeing(fit, access)
    return Chosen(min(agree, key=lambda host: (fit[host].leads, -fit[host].applied)), notes)


def _agreeing(fit: Mapping[Host, _Standing], access: Access) -> tuple[tuple[Host, ...], tuple[str, ...]]:
    """Those whose keys are those of most members, and what to say of the others. One that differs and has raised no
    alarm would be proven like any other: what its backup is held against is its own count of keys.

    Raises BackupError where no majority has the same keys."""
    hosts = tuple(fit)
    if len(hosts) == 1:
        return hosts, ()
    told, silent = read_hashes(hosts, access, min(standing.revision for standing in fit.values()))
    notes = [f"{name} was not compared: it gives no hash of its keys: {why}" for name, why in silent.items()]
    if not told:
        return hosts, tuple(notes)
    most = of_most(told)
    words = "; ".join(differences(told))
    if not most:
        cause = f"{words}; no majority of them has the same keys"
        raise BackupError.of("etcd", cause, "find out which one is right, rejoin() the others, then run again")
    notes += [f"{name} was passed over, rejoin() it: {words}" for name in told if name not in most]
    return tuple(host for host in hosts if host.name in most), tuple(notes)
