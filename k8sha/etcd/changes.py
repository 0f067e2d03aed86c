"""Members of a cluster under systemd that are replaced, removed, or made anew: what is refused, and the steps.

What must go goes before anything is added, because etcd before 3.5.30 adds no member while one is down. Data is kept
aside on its host, never deleted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence

from k8sha.errors import HostError, PreflightError, Problem, Unreachable
from k8sha.etcd.access import Access
from k8sha.etcd.alarms import AlarmsGone
from k8sha.etcd.conditions import MembersHealthy
from k8sha.etcd.installing import install_members
from k8sha.etcd.member import EtcdSettings, MemberState
from k8sha.etcd.membership import MembersGone, MemberStopped
from k8sha.etcd.quorum import no_planned_work, no_removal
from k8sha.etcd.views import Member, MemberView, View
from k8sha.hosts.host import Host
from k8sha.report import Outcome
from k8sha.stage import Stage, Step

__all__ = [
    "answering",
    "look",
    "members_at",
    "reachable",
    "refuse_rejoin",
    "rejoin_stages",
    "removal_stages",
    "replacement_stages",
]

_ACCESS = Access(stacked=False)
_Steps = Generator[Step, Outcome, None]


def reachable(hosts: Sequence[Host], *, powered_off: bool) -> tuple[Host, ...]:
    """Those of the leaving hosts that answer, and must be stopped. Raises PreflightError for one that does not, unless
    the caller says that it is powered off: it could come back and serve old data."""
    found: list[Host] = []
    lost: list[Problem] = []
    for host in hosts:
        try:
            host.connect()
            found.append(host)
        except HostError as error:
            if not powered_off:
                remedy = "turn it off, see to it that it stays so, and say powered_off=True"
                lost.append(Problem(host.name, f"can't be reached, and might come back ({error.cause})", remedy))
    if lost:
        raise PreflightError(lost)
    return tuple(found)


def answering(hosts: Sequence[Host]) -> tuple[Host, ...]:
    """Those of the hosts that can be reached. Raises what the last one said where none can."""
    found: list[Host] = []
    for host in hosts:
        try:
            host.connect()
            found.append(host)
        except Unreachable:
            if not found and host == hosts[-1]:
                raise
    return tuple(found)


def look(hosts: Sequence[Host], access: Access) -> Generator[Step, Outcome, tuple[View, list[Host]]]:
    """The view that counts, and the hosts whose members see a leader, its own first. Raises PreflightError."""
    own = MemberView(access)
    outcome = yield Stage("what members see", {host: (own,) for host in hosts})
    return _that_counts(hosts, hosts, own, outcome)


def _look(
    hosts: Sequence[Host], leaving: Sequence[Host], others: Sequence[Host]
) -> Generator[Step, Outcome, tuple[View, list[Host], dict[Host, frozenset[str]]]]:
    """The same of members under systemd, some of which leave, and what is on their hosts and on the others."""
    stay, hosts = hosts, (*hosts, *leaving)
    own, state = MemberView(_ACCESS), MemberState()
    work = {host: (own, state) for host in hosts} | {host: (state,) for host in others}
    outcome = yield Stage("what members see", work)
    view, led = _that_counts(hosts, stay, own, outcome)
    return view, led, {host: state.words(outcome.of(host.name, state.key)) for host in (*hosts, *others)}


def _that_counts(
    hosts: Sequence[Host], stay: Sequence[Host], own: MemberView, outcome: Outcome
) -> tuple[View, list[Host]]:
    views = {host: own.view(outcome.of(host.name, own.key)) for host in hosts}
    answers = {host: view for host, view in views.items() if view is not None}
    most = _of_most(hosts, stay, answers)
    led = {host: view for host, view in answers.items() if host in most and view.leader not in ("", "0")}
    if not led:
        names = ", ".join(host.name for host in hosts)
        raise PreflightError(
            [Problem("etcd", f"no member of {names} sees a leader", "start them, or restore from a snapshot")]
        )
    order = sorted(led, key=lambda host: (not led[host].leads, -led[host].raft_term))
    return led[order[0]], order


def _of_most(hosts: Sequence[Host], stay: Sequence[Host], answers: Mapping[Host, View]) -> tuple[Host, ...]:
    """The hosts whose members are of the cluster that most are of. Raises PreflightError where it can't be told. Of
    those that ``stay`` a majority must be of it, unless it lists them all: one that leaves may be none any more.

    A member that was started without its data may have begun a cluster of its own, and leads that; the id does not tell
    it, for where it is the one that began the first cluster it is the same again. Who else is a member does.
    """
    by: dict[tuple[str, frozenset[str]], list[Host]] = {}
    for host, view in answers.items():
        by.setdefault((view.cluster_id, frozenset(each.id for each in view.members)), []).append(host)
    if not by:
        return ()
    most = max(by.values(), key=len)
    known = {each.address for each in answers[most[0]].members}
    unknown = any(host.address not in known for host in stay)
    if (len(by) > 1 and len(most) * 2 <= len(hosts)) or (unknown and len(most) * 2 <= len(stay)):
        said = "; ".join(
            f"{host.name} is in {view.cluster_id} with {', '.join(map(str, view.members))}"
            for host, view in answers.items()
        )
        cause = f"no majority of the {len(hosts)} hosts is of one cluster: {said}"
        remedy = "start those that do not answer; a member that began a cluster of its own must be stopped"
        raise PreflightError([Problem("etcd", cause, remedy)])
    return tuple(most)


def _healthy(view: View, led: Sequence[Host]) -> list[str]:
    addresses = {host.address for host in led}
    return [str(member) for member in view.voters if member.address in addresses]


def _refuse(view: View, led: Sequence[Host], leaving: Sequence[Member], *, whole: bool) -> None:
    """Raise PreflightError with the arithmetic where these members may not go one after the other, those that are dead
    first; with ``whole`` also where one that stays is not healthy."""
    voters, healthy = [str(member) for member in view.voters], _healthy(view, led)
    for member in sorted(leaving, key=lambda each: str(each) in healthy):
        if member.learner:
            continue
        if refusal := no_removal(str(member), voters, healthy):
            raise PreflightError([Problem(str(member), refusal)])
        voters.remove(str(member))
        healthy = [each for each in healthy if each != str(member)]
    stays = [str(each) for each in view.members if each.learner and each not in leaving]
    wrong = no_planned_work(voters, healthy, learners=stays) if whole else []
    if wrong:
        raise PreflightError(Problem("etcd", sentence, "mend that first; verify() names it") for sentence in wrong)


def members_at(view: View, hosts: Sequence[Host]) -> list[Member]:
    """The members on these hosts."""
    addresses = {host.address for host in hosts}
    return [member for member in view.members if member.address in addresses]


def _fenced(why: str) -> MemberStopped:
    return MemberStopped(f"{why}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")


def removal_stages(after: Sequence[Host], leaving: Sequence[Host], alive: Sequence[Host]) -> _Steps:
    """The members of ``leaving`` go, the dead ones first; those of their hosts that are ``alive`` are stopped."""
    view, led, _ = yield from _look(after, alive, ())
    _refuse(view, led, members_at(view, leaving), whole=True)
    asker = next(host for host in led if host not in leaving)
    for host in sorted(leaving, key=lambda host: host in alive):
        gone = MembersGone(addresses=(host.address,))
        yield Stage(f"{host} leaves etcd", {asker: (gone,)})
        if host in alive:
            yield Stage(f"{host} is stopped", {host: (_fenced("removed"),)})
    whole = MembersHealthy(tuple((host.name, host.address) for host in after), access=_ACCESS)
    yield Stage("the others are healthy", {asker: (whole,)})


def replacement_stages(
    after: Sequence[Host],
    dead: Host,
    new: Host,
    alive: Sequence[Host],
    settings: EtcdSettings,
    *,
    wipe: bool,
    check: Callable[[], None],
) -> _Steps:
    """``dead`` goes, then ``new`` joins. ``check`` is preflight of the hosts that there are to be."""
    stays = [host for host in after if host != new]
    view, led, states = yield from _look(stays, [host for host in alive if host != new], (new,))
    listed = {member.address for member in view.members}
    joined = any(member.address == new.address and member.started for member in view.members)
    same = dead.address == new.address
    foreign = "data" in states[new] and not joined
    if foreign and not wipe:
        remedy = "if nothing in it is needed, say wipe=True: it is kept aside there"
        raise PreflightError([Problem(new.name, "still has the data of an etcd member", remedy)])
    check()
    if dead.address in listed and not same:
        _refuse(view, led, members_at(view, (dead,)), whole=True)
        asker = next(host for host in led if host != dead)
        yield Stage(f"{dead} leaves etcd", {asker: (MembersGone(addresses=(dead.address,)),)})
    if dead in alive and not same:
        yield Stage(f"{dead} is stopped", {dead: (_fenced("replaced"),)})
    if foreign:
        yield Stage(f"old data of {new} is kept aside", {new: (_fenced("old"),)})
    yield from install_members(after, settings)


def rejoin_stages(hosts: Sequence[Host], host: Host, settings: EtcdSettings) -> _Steps:
    """A host's data is kept aside, and it joins anew, with what the others have."""
    others = [each for each in hosts if each != host]
    if not others:
        raise PreflightError([Problem(host.name, "is the only member that etcd has", "restore it from a snapshot")])
    view, led, _ = yield from _look(hosts, (), ())
    own = members_at(view, (host,))
    refuse_rejoin(view, led, own)
    asker = next(each for each in led if each != host)
    yield Stage(f"{host} is stopped", {host: (_fenced("rejoined"),)})
    if any(id in view.alarmed for id in (each.id for each in own)):  # nobody is healthy while its alarm is there
        yield Stage(f"{host} leaves etcd", {asker: (MembersGone(addresses=(host.address,)),)})
        yield Stage("no alarm of it is left", {asker: (AlarmsGone(_ACCESS),)})
    yield from install_members(hosts, settings)


def refuse_rejoin(view: View, led: Sequence[Host], own: Sequence[Member]) -> None:
    """Raise PreflightError with the arithmetic where the others could not do without this member, or where it is
    another one that has the alarm CORRUPT: that one must not be what the others' data comes from."""
    _refuse(view, led, own, whole=True)
    corrupt = {id for alarm, id in zip(view.alarms, view.alarmed, strict=True) if alarm == "CORRUPT"}
    others = [each for each in view.members if each.id in corrupt and each not in own]
    if others:
        names = ", ".join(map(str, others))
        raise PreflightError([Problem("etcd", f"the alarm CORRUPT is that of {names}", f"rejoin() {names} first")])
