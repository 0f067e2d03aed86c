"""From new data in place to a cluster that serves them: the part of a restore that a later call can always end."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from attrs import define

from k8sha.component import Stages
from k8sha.errors import PreflightError, Problem
from k8sha.etcd.fence import Begun, Fenced
from k8sha.etcd.members import Members, Whole
from k8sha.etcd.record import Record
from k8sha.etcd.snapshot import SnapshotFacts
from k8sha.etcd.standing import LastSeen, Standing
from k8sha.hosts.host import Host
from k8sha.stage import Stage

__all__ = ["Progress", "finished", "is_in_place", "refuse_accepted", "serve"]


@define(eq=False)
class Progress:
    """What a run learns on its way; mutable because it is learned late. ``resumed`` says that all new data were in
    place before it began."""

    record: Record
    facts: SnapshotFacts | None = None
    resumed: bool = False
    revision: int = 0
    raised: bool = False
    reached: int = 0
    begun: int = 0
    answering: float = 0.0
    absent: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def seen(self, last: Iterable[bytes]) -> None:
        """What hosts wrote down of the old cluster before it was stopped."""
        at, begun = self.record.reached, self.record.begun
        self.reached, self.begun = LastSeen.latest(last, revision=at, begun=begun, now=int(time.time()))

    def are_absent(self, nodes: tuple[str, ...]) -> None:
        """These nodes took no part."""
        self.absent = nodes

    def answered(self) -> None:
        """Now the cluster answers."""
        self.answering = time.monotonic()

    def whole(self, hosts: tuple[Host, ...], alive: tuple[Host, ...]) -> Whole:
        """For what follows once etcd is whole."""
        facts = self.facts or SnapshotFacts()
        return Whole(
            id=self.record.id,
            hosts=hosts,
            alive=alive,
            revision=self.revision,
            answered=self.answered,
            absent=self.are_absent,
            marker=facts.shown,
            since=max(facts.trial_revision, self.reached if self.raised else 0),
        )


def serve(members: Members, hosts: tuple[Host, ...], alive: tuple[Host, ...], done: Progress) -> Stages:
    """Start what serves the new data on these members' hosts, and all that depends on it; then nothing is open."""
    record, clients = done.record, members.clients_in(alive)
    past = f"started-{record.id}"
    if clients:  # after the members, whose marks say that a restore is open
        yield Stage("stop API servers", {host: (Fenced(until=past),) for host in clients})
    lost = len(hosts) < len(record.members)  # one has died since: the others list it still
    agreed = members.agreed(hosts, above=done.reached if done.raised else 0, among=lost)
    outcome = yield Stage("start etcd", {host: (members.start(), agreed) for host in hosts})
    done.revision = max(agreed.whole(outcome.of(host.name, agreed.key)).revision for host in hosts)
    done.answered()
    if clients:
        yield Stage("API servers may start", {host: (Begun(record.json(), past),) for host in clients})
    if members.after is not None:
        yield from members.after(done.whole(hosts, alive))
    yield from members.over(record.id, alive)


def is_in_place(record: Record, standing: Mapping[Host, Standing]) -> bool:
    """Whether every member of this restore has its new data: there is nothing left of it that could be restored."""
    names = {name for name, _ in record.members}
    return all(
        ("exchanged" in each.marks and each.record == record) or any(name == record.id for name, _ in each.closed)
        for host, each in standing.items()
        if (each.name or host.name) in names
    )


def finished(members: Members, standing: Mapping[Host, Standing], alive: tuple[Host, ...]) -> Stages:
    """A restore that has all its new data in place, and is open, comes to its end, on those of its members' hosts that
    are ``alive``. Raises PreflightError for one that is half-way, or has no quorum there."""
    for host, each in standing.items():
        if each.record is None or not each.marks:
            continue
        record = each.record
        if "undoing" in each.marks:
            raise PreflightError(
                [Problem(host.name, f"the restore {record.id} is being undone here", "run undo() again")]
            )
        over = _accepted_on(record, standing)
        if not is_in_place(record, {one: seen for one, seen in standing.items() if one not in over}):
            cause = f"the restore {record.id} from {record.source} is half-way here"
            remedy = "run restore() with that snapshot again, or undo()"
            if over:
                cause += f", and over on {', '.join(one.name for one in over)}"
                remedy = "what this host has is of before it: make the machine anew, and replace() it"
            raise PreflightError([Problem(host.name, cause, remedy)])
        if any(name == record.id for each in standing.values() for name, _ in each.closed):
            yield from members.over(record.id, alive)
        else:
            hosts = _members_of(record, standing)
            rest = tuple(host for host in alive if host not in members.hosts)  # no host that has joined nothing yet
            yield from serve(members, hosts, (*hosts, *rest), Progress(record))
        return


def _accepted_on(record: Record, standing: Mapping[Host, Standing]) -> tuple[Host, ...]:
    """Members' hosts that serve and know nothing of a restore that is open elsewhere: there it is over and accepted,
    for on every one of them its record was written before the first was stopped."""
    names, known = {name for name, _ in record.members}, {record.id, f"{record.id}-undone"}
    return tuple(
        host
        for host, each in standing.items()
        if (each.name or host.name) in names
        and each.revision
        and not each.marks
        and each.record != record
        and not known & {name for name, _ in each.closed}
    )


def refuse_accepted(record: Record, standing: Mapping[Host, Standing]) -> None:
    """Raises PreflightError where the rest of a restore that is open is over and accepted: to go on with it, or to take
    it back, would cost what the others have served since."""
    if over := _accepted_on(record, standing):
        left = ", ".join(host.name for host, each in standing.items() if each.record == record and each.marks)
        cause = f"the restore {record.id} is over on {', '.join(host.name for host in over)}, and was never ended here"
        raise PreflightError([Problem(left, cause, "accept() ends it here as well")])


def _members_of(record: Record, standing: Mapping[Host, Standing]) -> tuple[Host, ...]:
    """Those of these hosts that a restore has made members. Raises PreflightError where they are no quorum."""
    names = {name for name, _ in record.members}
    hosts = tuple(host for host, each in standing.items() if (each.name or host.name) in names)
    if len(hosts) * 2 <= len(names):
        cause = f"{len(hosts)} of the {len(names)} members of the restore {record.id} are there, which is no quorum"
        raise PreflightError([Problem("etcd", cause, "bring another one back; or undo(), and restore() what is left")])
    return hosts
