"""Taking a restore back: every member has the data again that it had before, and runs on them."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable

from attrs import define, field, frozen

from k8sha.component import Stages
from k8sha.errors import PreflightError, Problem
from k8sha.etcd.access import DATA
from k8sha.etcd.data import KeptDeleted, PutBack
from k8sha.etcd.fence import Begun, Fenced
from k8sha.etcd.members import Members, Whole, reached
from k8sha.etcd.record import OPEN, PLACE, Closed, Forgotten, Record
from k8sha.etcd.restored import absent_notes
from k8sha.etcd.serving import finished, refuse_accepted
from k8sha.etcd.standing import Looked, Standing
from k8sha.events import Listener
from k8sha.hosts.host import Host
from k8sha.operation import carry_out
from k8sha.report import Diff, Report
from k8sha.resources.resource import Resource
from k8sha.stage import Stage

__all__ = ["Reopened", "Undone", "accept", "undo"]


@frozen(kw_only=True)
class Undone:
    """A restore that was taken back. ``members`` have their old data again; ``without`` have none of before it.

    Where the last call of ``restore`` never came to its first change, that is all that is cleared away, and ``members``
    is empty: ``before`` then is the restore that another ``undo`` would take back, if there is one.
    ``serving`` says whether the old members are a quorum: where they are not, all is as it was, and that is no etcd.
    ``absent`` are nodes that the cluster lists and whose kubelets were not started anew. ``begun`` is when the restore
    began, in seconds since 1970: what was written since is served no more.
    """

    id: str
    source: str
    members: tuple[str, ...]
    without: tuple[str, ...]
    serving: bool
    absent: tuple[str, ...]
    before: str
    begun: int
    seconds: float
    report: Report

    def __str__(self) -> str:
        lines = [f"took back the restore {self.id} from {self.source}: {', '.join(self.members) or 'nobody'}"]
        if not self.members and not self.without:
            lines = [f"the restore {self.id} from {self.source} had changed nothing: what it made ready is gone"]
        else:
            since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.begun))
            kept = f"{DATA}/k8sha-undone-{self.id}"
            lines.append(f"what was written since {since} is served no more; it is kept in {kept} until accept()")
        if self.before:
            lines.append(f"note: {self.before} is as it was; undo() again takes that back")
        if not self.serving:
            lines.append("note: these are no quorum of the old members, so etcd does not serve, as before the restore")
        lines += [
            f"note: {name} has no data of before the restore, and stays stopped (what it had since is kept in "
            f"{DATA}/k8sha-undone-{self.id}): let it join anew with rejoin() or replace(), or restore"
            for name in self.without
        ]
        return "\n".join([*lines, *(f"note: {note}" for note in absent_notes(self.absent))])


@frozen
class Reopened(Resource):
    """The record of a restore that is being taken back is the open one on this host, with the mark that says so.

    A host that knows nothing of that restore is marked a stranger, unless it is known to be of ``old``: a member of the
    cluster of before.
    """

    record: Record
    old: bool = False

    @property
    def key(self) -> str:
        return "record of the undoing"

    def probe(self) -> str:
        return f"if [ -e {OPEN}/undoing ]; then cat {OPEN}/record.json; fi"

    def diff(self, seen: bytes) -> Diff:
        found = seen.decode(errors="replace").strip()
        return Diff() if found == self.record.json() else Diff.of(f"take back {self.record.id}")

    def apply(self) -> str:
        closed = f"{PLACE}/{self.record.id}"
        return f"""\
umask 077
if [ ! -e {OPEN}/fencing ] && ! grep -qs '"id": "{self.record.id}"' {OPEN}/record.json; then
  rm -rf {OPEN} {PLACE}/stranger
  for closed in {closed} {closed}-undone; do
    if [ ! -e {OPEN} ] && [ -s "$closed/record.json" ]; then
      : >"$closed/undoing"
      mv -T "$closed" {OPEN}
    fi
  done
  if [ ! -e {OPEN} ]; then
    mkdir -p {PLACE}/stranger
    chmod 0700 {PLACE}
    printf '%s\\n' {shlex.quote(self.record.json())} >{PLACE}/stranger/record.json
    {":" if self.old else f": >{PLACE}/stranger/stranger"}
    mv -T {PLACE}/stranger {OPEN}
  fi
fi
: >{OPEN}/undoing
sync {PLACE} {OPEN}"""


@define(eq=False)
class _Found:
    """What is learned on the way; mutable because of that."""

    record: Record | None = None
    members: tuple[Host, ...] = field(default=())
    without: tuple[Host, ...] = field(default=())
    serving: bool = True
    absent: tuple[str, ...] = ()
    before: str = ""

    def are_absent(self, nodes: tuple[str, ...]) -> None:
        """These nodes took no part."""
        self.absent = nodes


def undo(members: Members, *, powered_off: Iterable[Host] = (), listen: Listener) -> Undone:
    """See :meth:`k8sha.EtcdCluster.undo`."""
    began = time.monotonic()
    alive = reached((*members.hosts, *members.others), tuple(powered_off))
    found = _Found()
    report = carry_out("etcd undo", _stages(members, alive, found), alive, listen, what="takes a restore of etcd back")
    assert found.record is not None
    return Undone(
        id=found.record.id,
        source=found.record.source,
        members=tuple(host.name for host in found.members),
        without=tuple(host.name for host in found.without),
        serving=found.serving,
        absent=found.absent,
        before=found.before,
        begun=found.record.begun,
        seconds=time.monotonic() - began,
        report=report,
    )


def accept(members: Members, *, powered_off: Iterable[Host] = (), listen: Listener) -> Report:
    """See :meth:`k8sha.EtcdCluster.accept`."""
    alive = reached((*members.hosts, *members.others), tuple(powered_off))
    hosts, clients = tuple(host for host in members.hosts if host in alive), members.clients_in(alive)

    def stages() -> Stages:
        looked = Looked(members.access)
        outcome = yield Stage("what there is", {host: (looked,) for host in (*hosts, *clients)})
        every = {host: Standing.parse(outcome.of(host.name, looked.key)) for host in (*hosts, *clients)}
        standing = {host: every[host] for host in hosts}
        yield from finished(members, standing, alive)
        left = [host for host in clients if every[host].marks]
        if left and members.apart is not None and not any(each.marks for each in standing.values()):
            # These were off while the others came to the end: nothing is open but here, and nothing else starts them.
            rest = (members.apart(True), Closed("accepted"))
            yield Stage("API servers that were left stopped", dict.fromkeys(left, rest))
        yield Stage("kept data", {host: (KeptDeleted(),) for host in alive})

    return carry_out("etcd restore", stages(), alive, listen, what="deletes what a restore kept")


def _stages(members: Members, alive: tuple[Host, ...], found: _Found) -> Stages:
    hosts = tuple(host for host in members.hosts if host in alive)
    looked = Looked(members.access)
    outcome = yield Stage("what there is", {host: (looked,) for host in hosts})
    standing = {host: Standing.parse(outcome.of(host.name, looked.key)) for host in hosts}
    record, begun = _record(standing)
    found.record = record
    if not begun:
        before = _closed(standing)
        found.before = f"the restore {before.id} from {before.source}, which came before it," if before else ""
        yield Stage("a restore that had not begun", {host: (Forgotten(),) for host in hosts})
        return
    clients, past = members.clients_in(alive), f"restarted-{record.id}"
    put_back = PutBack(record.id, owner=members.owner)
    fence = members.fence("put-back", "fencing")
    take_back = {host: (Reopened(record, host in _of_old(record, standing)), fence, put_back) for host in hosts}
    outcome = yield Stage("stop the new, kept data in place", take_back)
    if clients:
        yield Stage("stop API servers", {host: (Fenced(until=past),) for host in clients})
    found.members = tuple(host for host in hosts if b"member" in outcome.of(host.name, put_back.key).split())
    found.without = tuple(host for host in hosts if host not in found.members)
    found.serving = len(found.members) > (len(record.members) + len(record.left_out)) // 2
    if found.serving:
        agreed = members.agreed(found.members, among=True)
        outcome = yield Stage("start etcd", {host: (members.start(), agreed) for host in found.members})
        revision = agreed.whole(outcome.of(found.members[0].name, agreed.key)).revision
        if clients:
            yield Stage("API servers may start", {host: (Begun(record.json(), past),) for host in clients})
        if members.after is not None:
            whole = Whole(
                id=f"{record.id}-undone",
                hosts=found.members,
                alive=alive,
                revision=revision,
                answered=lambda: None,
                absent=found.are_absent,
            )
            yield from members.after(whole)
    else:
        yield Stage("start etcd", {host: (members.start(),) for host in found.members})
    if members.apart is not None:
        rest = {host: (members.apart(host in found.members),) for host in hosts if not members.clients}
        yield Stage("the rest of the hosts", rest | {host: (members.apart(True),) for host in clients})
    yield from members.over(f"{record.id}-undone", alive)


def _record(standing: dict[Host, Standing]) -> tuple[Record, bool]:
    """The restore that is to be taken back, and whether it has changed anything: the open one, else the last."""
    found = {each.record.id: each.record for each in standing.values() if each.record and each.marks}
    begun = [each.record for each in standing.values() if each.record]
    if len(found) > 1:
        names = ", ".join(sorted(found))
        raise PreflightError([Problem("etcd", f"restores are half-way here that differ: {names}", "look at the hosts")])
    if found:
        (one,) = found.values()
        if not any("undoing" in each.marks for each in standing.values()):
            refuse_accepted(one, standing)
        return one, True
    if begun:
        return begun[0], False
    record = _closed(standing)
    if record is None:
        last = _last(standing)
        cause = "no restore is to be taken back here: no old data are kept"
        if last is not None and _undone(last, standing):
            cause = f"the last restore ({last.id}, from {last.source}) was taken back already: there is nothing to undo"
        raise PreflightError([Problem("etcd", cause, "to go back otherwise, restore() a snapshot")])
    return record, True


def _last(standing: dict[Host, Standing]) -> Record | None:
    """The last restore that came to its end, taken back since or not."""
    every = (record for each in standing.values() for _, record in each.closed)
    return max(every, key=lambda record: record.begun, default=None)


def _undone(record: Record, standing: dict[Host, Standing]) -> bool:
    return any(name == f"{record.id}-undone" for each in standing.values() for name, _ in each.closed)


def _closed(standing: dict[Host, Standing]) -> Record | None:
    """The last restore, where it can be taken back. One before it can't: its old data are two pasts away."""
    last = _last(standing)
    if last is None or _undone(last, standing) or not any(last.id in each.kept for each in standing.values()):
        return None
    return last


def _of_old(record: Record, standing: dict[Host, Standing]) -> tuple[Host, ...]:
    """Hosts that were off during the restore, and whose members are seen to be of another cluster than it made."""
    made = {each.cluster_id for host, each in standing.items() if host.name not in record.left_out and each.cluster_id}
    off = ((host, each) for host, each in standing.items() if host.name in record.left_out and made)
    return tuple(host for host, each in off if each.cluster_id and each.cluster_id not in made)
