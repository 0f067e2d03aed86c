"""Restore: every member made anew from one snapshot, after all that served the old data has been stopped for certain.

Everything that can refuse comes before the first step that hurts. From then on each step leaves its mark on the hosts,
so that a run that was killed is finished by the next one, and can be taken back.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

from attrs import field, frozen

from k8sha.component import Stages
from k8sha.errors import BackupError, ConfigError, PreflightError, Problem
from k8sha.etcd.age import Unlock
from k8sha.etcd.backup import Backup
from k8sha.etcd.data import SNAPSHOT, Exchanged, Judgement, Prepared, Proven
from k8sha.etcd.given import Given, given
from k8sha.etcd.members import Members, reached
from k8sha.etcd.present import Manifests
from k8sha.etcd.record import Forgotten, Record, Written, bump_for
from k8sha.etcd.refusals import foreign, no_room, not_raised, too_old
from k8sha.etcd.restored import Restored, restored_notes
from k8sha.etcd.sealing import KeysUsed, key_notes, unreadable
from k8sha.etcd.serving import Progress, is_in_place, refuse_accepted, serve
from k8sha.etcd.snapshot import SnapshotFacts
from k8sha.etcd.standing import LastSeen, Looked, Standing
from k8sha.etcd.tools import EtcdTools
from k8sha.events import Listener
from k8sha.hosts.host import Host
from k8sha.operation import carry_out
from k8sha.report import Outcome
from k8sha.resources.download import Upload
from k8sha.resources.resource import Resource
from k8sha.stage import Stage, Step

__all__ = ["restore"]

_DAY = 24 * 3600.0


def restore(
    members: Members,
    snapshot: Path | str | Backup,
    *,
    powered_off: Iterable[Host] = (),
    another_cluster: bool = False,
    unlock: Unlock | None = None,
    listen: Listener,
) -> Restored:
    """See :meth:`k8sha.EtcdCluster.restore`."""
    began = time.monotonic()
    off = tuple(powered_off)
    strangers = [host.name for host in off if host not in (*members.hosts, *members.others)]
    if strangers:
        raise ConfigError.of("restore", f"{', '.join(strangers)} is no host of this cluster", "name those that are off")
    with given(snapshot, unlock) as file:
        alive = reached((*members.hosts, *members.others), off)
        work = _Restore(members, file, alive, tuple(host for host in members.hosts if host in off), another_cluster)
        learned: list[Progress] = []
        report = carry_out("etcd restore", work.stages(learned), alive, listen, what="restores etcd")
    (done,) = learned
    assert done.facts is not None
    return Restored(
        id=done.record.id,
        source=done.record.source,
        reached=done.reached,
        snapshot=done.facts.revision,
        revision=done.revision,
        keys=done.facts.keys,
        taken=done.record.taken,
        begun=done.begun,
        members=tuple(name for name, _ in done.record.members),
        left_out=done.record.left_out,
        resumed=done.resumed,
        absent=done.absent,
        notes=(*restored_notes(done.record, raised=done.raised, absent=done.absent), *done.notes),
        answering=done.answering - began,
        seconds=time.monotonic() - began,
        report=report,
    )


@frozen
class _Restore:
    members: Members
    file: Given
    alive: tuple[Host, ...]
    off: tuple[Host, ...]
    another_cluster: bool
    hosts: tuple[Host, ...] = field(init=False)

    @hosts.default
    def _hosts(self) -> tuple[Host, ...]:
        return tuple(host for host in self.members.hosts if host in self.alive)

    def stages(self, learned: list[Progress]) -> Stages:
        """Look; make ready; stop and exchange; start; and what depends on etcd after it."""
        looked, keys, manifests = Looked(self.members.access), KeysUsed(), Manifests(self.members.access.stacked)
        servers = self.members.servers_in(self.alive)
        look: dict[Host, tuple[Resource, ...]] = {host: (looked,) for host in self.hosts}
        look |= {host: (*look.get(host, ()), keys, manifests) for host in servers}
        outcome = yield Stage("what there is", look)
        lacking = list(manifests.problems({host: outcome.of(host.name, manifests.key) for host in servers}))
        if lacking:
            raise PreflightError(lacking)
        standing = {host: Standing.parse(outcome.of(host.name, looked.key)) for host in self.hosts}
        used = {host.name: keys.read(outcome.of(host.name, keys.key)) for host in servers}
        record = self._record(standing, used)
        notes = tuple(key_notes(self.file.keys, used.values()))
        done = Progress(record, resumed=is_in_place(record, standing), notes=notes)
        learned.append(done)
        if any(name == record.id for each in standing.values() for name, _ in each.closed):
            yield from self._close(record, done)
            return
        done.facts, done.raised = yield from self._make_ready(record, standing)
        exchanged = Exchanged(record.id, owner=self.members.owner)
        last, stop = LastSeen(self.members.access), self.members.fence("exchanged", "fencing")
        work = {host: (last, stop, exchanged) for host in self.hosts}
        outcome = yield Stage("stop the old, new data in place", work)
        done.seen(outcome.of(host.name, last.key) for host in self.hosts)
        yield from serve(self.members, self.hosts, self.alive, done)

    def _close(self, record: Record, done: Progress) -> Stages:
        """The end of a restore that was killed while it was being closed: some hosts have it behind them already."""
        judgement, agreed = Judgement(record.id), self.members.agreed(self.hosts)
        outcome = yield Stage("what was made", {host: (judgement, agreed) for host in self.hosts})
        said = [outcome.of(host.name, judgement.key) for host in self.hosts]
        done.seen(judgement.last(each) for each in said)
        done.facts = SnapshotFacts.parse(max(said, key=len))
        done.revision = max(agreed.whole(outcome.of(host.name, agreed.key)).revision for host in self.hosts)
        done.raised = done.revision >= record.bump
        done.answered()
        yield from self.members.over(record.id, self.alive)

    def _make_ready(
        self, record: Record, standing: dict[Host, Standing]
    ) -> Generator[Step, Outcome, tuple[SnapshotFacts, bool]]:
        """Bring the snapshot to every host, try it out on one, and make new data of it beside the old."""
        upload = Upload(SNAPSHOT, sha256=self.file.sha256, mode="0600", source=self.file.path)
        judged, proven = self.hosts[0], Proven(record.id, record.sha256)
        tools = EtcdTools(self.members.access)
        brought = (Written(record), tools, upload)
        outcome = yield Stage(
            "try the snapshot out", {host: (*brought, *((proven,) if host == judged else ())) for host in self.hosts}
        )
        facts = SnapshotFacts.parse(outcome.of(judged.name, proven.key))
        fenced = any("fencing" in each.marks for each in standing.values())
        versions = {host.name: tools.version(outcome.of(host.name, tools.key)) for host in self.hosts}
        yield from self._refuse(
            facts.problems(self.file.source)
            if fenced
            else (*self._refusals(facts, standing, dict(record.members)), *too_old(facts, versions)),
            fenced=fenced,
        )
        urls = dict(record.members)
        made = {host: Prepared(record, name, urls[name]) for host, name in self._names(standing)}
        outcome = yield Stage("new data", {host: (resource,) for host, resource in made.items()})
        raised = {host.name: b"raised" in outcome.of(host.name, each.key).split() for host, each in made.items()}
        yield from self._refuse(() if fenced else not_raised(raised, versions))
        return facts, all(raised.values())

    def _refuse(self, problems: Iterable[Problem], *, fenced: bool = False) -> Stages:
        """Raises BackupError for any; what was made ready goes, unless something was stopped already."""
        if found := list(problems):
            if not fenced:
                yield Stage("nothing is left behind", {host: (Forgotten(),) for host in self.hosts})
            raise BackupError(found)

    def _names(self, standing: dict[Host, Standing]) -> Iterator[tuple[Host, str]]:
        """Each host with its member's name."""
        yield from ((host, each.name or host.name) for host, each in standing.items())

    def _refusals(
        self, facts: SnapshotFacts, standing: dict[Host, Standing], members: dict[str, str]
    ) -> Iterable[Problem]:
        """Why this snapshot must not be restored here."""
        if self.another_cluster:
            return facts.problems(self.file.source)
        off = {host.name: _peer_url(host.address) for host in self.off}
        return foreign(facts, self.file, standing, members | off)

    def _record(self, standing: dict[Host, Standing], used: dict[str, KeysUsed.Seen]) -> Record:
        """The restore that has begun to stop these hosts, if it is this one; else a new one, for what an older one knew
        of the cluster is no longer true. Raises PreflightError where another is half-way, the disks are too small, or
        nobody could read its Secrets.
        """
        urls = {each.name or host.name: each.peer_url or _peer_url(host.address) for host, each in standing.items()}
        for host, each in standing.items():
            if "undoing" in each.marks:
                raise PreflightError(
                    [Problem(host.name, "is being taken back from a restore", "run undo() again first")]
                )
        found = {each.record: host for host, each in standing.items() if each.record and "fencing" in each.marks}
        for record, host in found.items():
            problem = self._other(record, host, urls, len(found))
            if problem is not None:
                raise PreflightError([problem])
            refuse_accepted(record, standing)
            if is_in_place(record, standing):
                self._refuse_stale(record, standing)
            return record
        problems = [*no_room(standing, self.file.size), *unreadable(self.file.keys, used)]
        if problems:
            raise PreflightError(problems)
        bumps = [one.bump for each in standing.values() for _, one in each.closed]
        reached = max([each.revision for each in standing.values()] + bumps)
        now = time.time()
        id = secrets.token_hex(4)
        return Record(
            id=id,
            sha256=self.file.sha256,
            token=f"k8sha-{secrets.token_hex(16)}",
            bump=bump_for(now - self.file.taken, reached),
            members=tuple(urls.items()),
            left_out=tuple(host.name for host in self.off),
            reached=max(each.revision for each in standing.values()),
            taken=int(self.file.taken),
            begun=int(now),
            source=self.file.source,
        )

    def _refuse_stale(self, record: Record, standing: dict[Host, Standing]) -> None:
        """To go on with a restore whose data have long been served would restore nothing, and nobody means that."""
        if time.time() - record.begun < _DAY or not any(each.revision for each in standing.values()):
            return
        begun = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(record.begun))
        cause = (
            f"the restore {record.id} from {record.source} has had all its data in place since {begun}, was never "
            "finished, and etcd serves: to go on with it would restore nothing"
        )
        off = f"powered_off=[{', '.join(host.name for host in self.off)}]" if self.off else ""
        remedy = (
            f"accept({off}) brings it to its end and keeps what was written since; then restore again. undo({off}) "
            "goes back"
        )
        raise PreflightError([Problem("etcd", cause, remedy)])

    def _other(self, record: Record, host: Host, urls: dict[str, str], count: int) -> Problem | None:
        if count > 1:
            return Problem(host.name, "its half-done restore is not that of the other hosts", "undo() it there first")
        if record.sha256 != self.file.sha256:
            cause = f"a restore from {record.source} (sha256 {record.sha256[:12]}) is half-way here"
            return Problem(host.name, cause, "finish it with that snapshot, or take it back with undo()")
        if dict(record.members) != urls:
            names = ", ".join(name for name, _ in record.members)
            return Problem(host.name, f"the half-done restore here is one of {names}", "name the same hosts, or undo()")
        return None


def _peer_url(address: str) -> str:
    return f"https://[{address}]:2380" if ":" in address else f"https://{address}:2380"
