"""How a cluster under systemd comes to be, and how it is mended: one way for both.

Each step follows from what the hosts show. A first member begins a cluster only where no host has data, none ever had
a member that ran, and nobody answers; every other member joins as a learner, one at a time, and is promoted. A host
that has lost its data joins anew, once the arithmetic of quorum allows its old member to be removed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

from attrs import define, field

from k8sha.errors import PreflightError, Problem
from k8sha.etcd.access import Access
from k8sha.etcd.authority import certified
from k8sha.etcd.certificates import PKI, Keys, PrivateKeys
from k8sha.etcd.conditions import CaughtUp, MembersHealthy
from k8sha.etcd.member import (
    OLDEST,
    TOOLS,
    EtcdSettings,
    InitialCluster,
    MemberState,
    environment,
    names_and_peers,
    service,
    sysctl,
    unit,
)
from k8sha.etcd.membership import LearnerAdded, MembersGone, Promoted
from k8sha.etcd.quorum import no_removal
from k8sha.etcd.tools import etcd_release
from k8sha.etcd.views import MemberView, View, members_in
from k8sha.hosts.host import Host
from k8sha.report import Outcome
from k8sha.resources.files import Directory, File
from k8sha.resources.packages import versions_seen
from k8sha.resources.resource import Resource
from k8sha.resources.service import Service
from k8sha.stage import Stage, Step
from k8sha.waiting import NotYet

__all__ = ["install_members"]

_ACCESS = Access(stacked=False)
_VIEW = MemberView(_ACCESS)
_STATE = MemberState()

_Steps = Generator[Step, Outcome, None]
_Parts = Callable[..., tuple[Resource, ...]]


@define
class _Seen:
    """What the hosts have shown so far; it grows as stages pass."""

    states: dict[Host, frozenset[str]] = field(factory=dict)
    views: dict[Host, View] = field(factory=dict)
    keys: dict[Host, Keys] = field(factory=dict)
    versions: dict[Host, str] = field(factory=dict)

    def take_views(self, outcome: Outcome, hosts: Sequence[Host]) -> None:
        for host in hosts:
            view = _VIEW.view(outcome.of(host.name, _VIEW.key))
            if view is not None:
                self.views[host] = view
            else:
                self.views.pop(host, None)

    @property
    def reference(self) -> View | None:
        """The view that counts: one with a leader, of the latest term; otherwise any."""
        led = [view for view in self.views.values() if view.leader not in ("", "0")]
        return max(led or self.views.values(), key=lambda view: view.raft_term, default=None)

    @property
    def led(self) -> list[Host]:
        """Hosts whose members see a leader, the leader's own first."""
        found = [host for host, view in self.views.items() if view.leader not in ("", "0")]
        return sorted(found, key=lambda host: not self.views[host].leads)

    def has_data(self, host: Host) -> bool:
        return "data" in self.states[host]

    def runs(self, host: Host) -> bool:
        return "active" in self.states[host]


def install_members(hosts: Sequence[Host], settings: EtcdSettings) -> _Steps:
    """The stages that make these hosts the members of one cluster, or mend it. A cluster that has other members than
    these is refused: taking one out is another verb."""
    seen = _Seen()
    yield from _prepare(hosts, seen)
    _refuse(hosts, seen)
    ca = yield from certified(hosts, seen.keys, days=settings.certificate_days)

    def parts(host: Host, *more: Resource) -> tuple[Resource, ...]:
        files = (unit(), File(f"{PKI}/ca.crt", ca, owner="root:root"), environment(host, seen.versions[host], settings))
        return (*files, *more, service(*files))

    members = [host for host in hosts if seen.has_data(host)]
    if not members:
        first = hosts[0]
        begin = InitialCluster(names_and_peers((first,)), new=True)
        yield Stage("first member", {first: (*parts(first, begin), _healthy((first,)))})
        members = [first]
        yield from _look(members, seen)
    else:
        stopped = [host for host in members if not seen.runs(host)]
        if stopped:  # all at once, without a gate: none of them may be able to do without the others
            yield Stage("members that stand still", {host: parts(host) for host in stopped})
            yield from _look(members, seen)
        if seen.led:
            yield from _promote([host for host in members if _learner(host, seen)], seen.led[0])
        if set(seen.led) != set(members):  # nothing is restarted while another member is away
            asker = next(iter(seen.led), members[0])
            yield Stage("every member is healthy", {asker: (_healthy(members),)})
        order = sorted(members, key=lambda host: host in seen.views and seen.views[host].leads)
        yield Stage("members", {host: (*parts(host), _healthy(members)) for host in order}, batch=1)
    yield from _lost_go([host for host in hosts if host not in members], members, seen)
    for host in hosts:
        if host not in members:
            yield from _join(host, members, seen, parts)
            members.append(host)


def _healthy(hosts: Sequence[Host]) -> MembersHealthy:
    return MembersHealthy(tuple((host.name, host.address) for host in hosts), access=_ACCESS)


def _prepare(hosts: Sequence[Host], seen: _Seen) -> _Steps:
    packages = {host: host.distro.packages(*host.distro.etcd_packages, *TOOLS) for host in hosts}
    keys = {host: PrivateKeys(host.name, host.address) for host in hosts}
    folders = (
        Directory("/etc/etcd"),
        Directory(PKI, owner="root:etcd", mode="0750"),
        Directory("/var/lib/k8sha/etcd"),
    )
    work = {host: (unit(), packages[host], sysctl(), *folders, keys[host], _STATE, _VIEW) for host in hosts}
    outcome = yield Stage("programs, keys, and what is there", work)
    for host in hosts:
        seen.states[host] = _STATE.words(outcome.of(host.name, _STATE.key))
        seen.keys[host] = PrivateKeys.keys(outcome.of(host.name, keys[host].key))
        found = versions_seen(outcome.of(host.name, packages[host].key))
        version = next((found[name] for name in host.distro.etcd_packages if name in found), "")
        seen.versions[host] = version
        if not version or etcd_release(version.partition(":")[2] or version) < OLDEST:
            cause = f"its packages have etcd {version}, 3.4 is the oldest" if version else "has no package of etcd"
            raise PreflightError([Problem(host.name, cause, "add a repository with etcd 3.4 or later")])
    seen.take_views(outcome, hosts)


def _refuse(hosts: Sequence[Host], seen: _Seen) -> None:
    """Raise PreflightError where going on could lose data, or is another verb's work."""
    problems: list[Problem] = []
    reference = seen.reference
    with_data = [host for host in hosts if seen.has_data(host)]
    if reference is None:
        lost = [host for host in hosts if "mark" in seen.states[host] and not seen.has_data(host)]
        if lost and not with_data:
            names = ", ".join(host.name for host in lost)
            problems.append(Problem(names, "had a member whose data is gone, and nobody has any", "restore a snapshot"))
    else:
        addresses = {member.address for member in reference.members}
        problems += [
            Problem(
                host.name,
                "has the data of a member that is not in this cluster",
                "move /var/lib/etcd/member away there, if nothing in it is needed, or say wipe=True to replace()",
            )
            for host in with_data
            if host.address not in addresses
        ]
        own = {host.address for host in hosts}
        problems += [
            Problem(str(member), "is a member of etcd and none of the given hosts", "list its host, or remove() it")
            for member in reference.members
            if member.address not in own and member.started
        ]
    if problems:
        raise PreflightError(problems)


def _look(hosts: Sequence[Host], seen: _Seen) -> _Steps:
    outcome = yield Stage("what members see", {host: (_VIEW,) for host in hosts})
    seen.take_views(outcome, hosts)


def _learner(host: Host, seen: _Seen) -> bool:
    reference = seen.reference
    return reference is not None and any(each.learner and each.address == host.address for each in reference.members)


def _promote(learners: Sequence[Host], asker: Host) -> _Steps:
    for host in learners:
        yield Stage(f"{host} catches up", {asker: (CaughtUp(host.address, access=_ACCESS),)})
        yield Stage(f"{host} becomes a voter", {asker: (Promoted(address=host.address),)})


def _lost_go(lost: Sequence[Host], members: Sequence[Host], seen: _Seen) -> _Steps:
    """Of several members whose data is gone all are removed before the first joins anew: etcd adds nobody while one
    of its voters is away (isConnectedFullySince in etcdserver/server.go). A single one goes as it joins."""
    addresses = {host.address for host in lost}
    if seen.reference is None or len([each for each in seen.reference.voters if each.address in addresses]) < 2:
        return
    yield Stage("the members that are left are healthy", {members[0]: (_healthy(members),)})
    yield from _look(members, seen)
    if (reference := seen.reference) is None:
        return
    gone = [member for member in reference.voters if member.address in addresses]
    voters = {member.address: str(member) for member in reference.voters}
    healthy = [voters[host.address] for host in seen.led if host.address in voters and host not in lost]
    left = list(voters.values())
    for member in gone:
        _refuse_removal(str(member), left, healthy)
        left.remove(str(member))
    for host in lost:
        if host.address in voters and seen.runs(host):  # its files are gone from under it
            yield Stage(f"{host} stops", {host: (Service("etcd", active=False),)})
    asker = next(iter(seen.led), members[0])
    yield Stage("members whose data is gone", {asker: (MembersGone(addresses=tuple(each.address for each in gone)),)})


def _refuse_removal(member: str, voters: Sequence[str], healthy: Sequence[str]) -> None:
    if refusal := no_removal(member, voters, healthy):
        raise PreflightError([Problem(member, f"has lost its data; {refusal}", "see the documentation")])


def _join(host: Host, members: Sequence[Host], seen: _Seen, parts: _Parts) -> _Steps:
    """A host without data becomes a member, the others being healthy."""
    yield Stage("the other members are healthy", {members[0]: (_healthy(members),)})
    yield from _look(members, seen)
    reference, asker = seen.reference, next(iter(seen.led), members[0])
    if reference is not None:
        old = [member for member in reference.voters if member.address == host.address]
        voters = {member.address: str(member) for member in reference.voters}
        healthy = [voters[each.address] for each in seen.led if each.address in voters and each != host]
        for member in old:
            _refuse_removal(str(member), list(voters.values()), healthy)
    if seen.runs(host):  # its files are gone from under it
        yield Stage(f"{host} stops", {host: (Service("etcd", active=False),)})
    added = LearnerAdded(address=host.address)
    outcome = yield Stage(f"{host} may join", {asker: (added,)})
    listed = _listed(outcome.of(asker.name, added.key), host) or names_and_peers((*members, host))
    yield Stage(f"{host} joins", {host: parts(host, InitialCluster(listed))})
    yield from _promote([host], asker)
    yield Stage(f"{host} is a member", {host: (_healthy((*members, host)),)})
    yield from _look((*members, host), seen)


def _listed(output: bytes, host: Host) -> tuple[tuple[str, str], ...]:
    """Names and peer URLs of the members in a list, the one that has not started under its host's name and last."""
    try:
        members = members_in(output.decode(errors="replace"))
    except (NotYet, ValueError):
        return ()
    if host.address not in {member.address for member in members}:
        return ()
    others = [(member.name, member.peer_url) for member in members if member.address != host.address]
    return (*others, *names_and_peers((host,)))
