"""A backup: one member's snapshot, proven on its host, with what it is worthless without, copied off at once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import shlex
import tempfile
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO, cast

from attrs import frozen

from k8sha.errors import BackupError, ConfigError, K8shaError, Problem
from k8sha.etcd.access import Access
from k8sha.etcd.age import Encryption, encrypting
from k8sha.etcd.archive import SNAPSHOT, Descriptor, Part, write_archive
from k8sha.etcd.destinations import Copy, Destination, keep
from k8sha.etcd.hashes import differences, of_most, read_hashes
from k8sha.etcd.snapshot import SnapshotFacts
from k8sha.etcd.taking import Snapshot, Taken, tidy
from k8sha.etcd.tools import EtcdTools
from k8sha.events import Listener
from k8sha.hosts.host import Host
from k8sha.operation import carry_out
from k8sha.report import Outcome, Report
from k8sha.stage import Stage

__all__ = ["Backup", "Chosen", "best_member", "take_backup"]

_LAG = 1000
"""Entries that a member may be behind the leader: etcd itself refuses work at 5000 (maxGapBetweenApplyAndCommitIndex in
server/etcdserver/v3_server.go)."""

_PIECE, _PIECES = 3 << 20, 4  # what one snippet may print is limited; four of them make a trip

_LOOK = """\
{curl} https://127.0.0.1:2379/v3/maintenance/status -d '{{}}'; echo
{curl} https://127.0.0.1:2379/v3/maintenance/alarm -d '{{"action":"GET"}}'; echo
{curl} https://127.0.0.1:2379/v3/cluster/member/list -d '{{}}'; echo"""


@frozen
class Backup:
    """A backup that was proven on its host and is the same at every place where it was copied to.

    ``notes`` say what is lacking though nothing is wrong with it. ``seconds`` is how long it took.
    """

    descriptor: Descriptor
    copies: tuple[Copy, ...]
    sha256: str
    encrypted: bool
    notes: tuple[str, ...]
    seconds: float
    report: Report

    def __str__(self) -> str:
        places = ", ".join(copy.where for copy in self.copies)
        return (
            f"{self.descriptor.name}: revision {self.descriptor.revision}, {self.descriptor.keys} keys, taken on "
            f"{self.descriptor.host}, kept at {places} ({self.seconds:.1f} s)"
        )


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


def take_backup(
    hosts: tuple[Host, ...],
    access: Access,
    to: Iterable[Destination],
    *,
    encrypt: Encryption | None,
    scratch: tuple[str, ...],
    listen: Listener,
) -> Backup:
    """See :meth:`EtcdCluster.backup`."""
    to = tuple(to)
    if not to:
        raise ConfigError.of("backup", "has nowhere to go", "give at least one: to=(Folder('backups'),)")
    began = time.monotonic()
    chosen = best_member(hosts, access)
    work = _Work(chosen.host, access, secrets.token_hex(8), to, encrypt, scratch)
    results: list[_Result] = []
    report = carry_out("etcd backup", work.stages(results), [work.host], listen, what="backs up etcd")
    (result,) = results
    if result.problems:
        kept = ", ".join(copy.where for copy in result.copies) or "nowhere"
        raise BackupError([*result.problems, Problem(result.descriptor.name, f"is kept, whole, at: {kept}")])
    return Backup(
        result.descriptor,
        result.copies,
        result.sha256,
        encrypt is not None,
        (*chosen.notes, *result.notes),
        time.monotonic() - began,
        report,
    )


@frozen
class _Result:
    descriptor: Descriptor
    copies: tuple[Copy, ...]
    problems: tuple[Problem, ...]
    sha256: str
    notes: tuple[str, ...]


@frozen
class _Work:
    host: Host
    access: Access
    id: str
    to: tuple[Destination, ...]
    encrypt: Encryption | None
    scratch: tuple[str, ...]

    def stages(self, results: list[_Result]) -> Generator[Stage, Outcome, None]:
        """The programs, the snapshot, the copies (between the two: they change nothing on the host), the tidying."""
        yield Stage("etcd's programs", {self.host: (EtcdTools(self.access),)})
        snapshot = Snapshot(self.access, self.id, self.host.address, self.scratch)
        with contextlib.ExitStack() as undo:
            undo.callback(self._tidy_if_reached)
            outcome = yield Stage("snapshot", {self.host: (snapshot,)})
            taken = Taken.parse(outcome.of(self.host.name, snapshot.key))
            results.append(self._copied(taken))
            undo.pop_all()
        self.host.execute(tidy(self.id))

    def _tidy_if_reached(self) -> None:
        with contextlib.suppress(K8shaError):  # the next backup tidies up what can't be reached now
            self.host.execute(tidy(self.id))

    def _copied(self, taken: Taken) -> _Result:
        descriptor = _descriptor(self.host, self.access, taken)
        with tempfile.TemporaryFile(prefix="k8sha-") as spool:  # without a name, so a kill leaves nothing behind
            plain = cast(BinaryIO, spool)
            sink = encrypting(plain, self.encrypt) if self.encrypt else plain
            write_archive(sink, descriptor, self._parts(taken))
            if self.encrypt:
                sink.close()
            plain.flush()
            size, sum = plain.tell(), hashlib.sha256()
            plain.seek(0)
            while chunk := plain.read(1 << 20):
                sum.update(chunk)
            name = descriptor.name + (".age" if self.encrypt else "")
            copies, problems = keep(plain, name, size, sum.hexdigest(), self.to)
        return _Result(descriptor, copies, problems, sum.hexdigest(), taken.notes)

    def _parts(self, taken: Taken) -> Iterator[Part]:
        for path, (size, sha256) in taken.files.items():
            yield Part(path, size, sha256, lambda path=path, size=size: self._read(f"{taken.folder}/{path}", size))  # type: ignore[misc]

    def _read(self, path: str, size: int) -> Iterator[bytes]:
        """A file of the host, a few pieces a trip: nothing of it touches a disk here as it comes."""
        pieces = [
            f"dd if={shlex.quote(path)} bs={_PIECE} skip={index} count=1 iflag=fullblock status=none"
            for index in range(-(-size // _PIECE))
        ]
        for at in range(0, len(pieces), _PIECES):
            for exit, out, err in self.host.read(*pieces[at : at + _PIECES], timeout=300):
                if exit != 0:
                    raise BackupError.of(f"{self.host.name}:{path}", err.decode(errors="replace").strip(), "run again")
                yield out


def _descriptor(host: Host, access: Access, taken: Taken) -> Descriptor:
    facts: SnapshotFacts = taken.facts
    files: Mapping[str, str] = {path: sha256 for path, (_, sha256) in taken.files.items()}
    stamp = taken.time.replace("-", "").replace(":", "")
    return Descriptor(
        name=f"k8sha-etcd-{stamp}-{host.name}-{facts.etcd}-{facts.trial_revision}.tar",
        time=taken.time,
        host=host.name,
        identity=facts.identity,
        cluster_id=taken.cluster_id,
        revision=facts.trial_revision,
        hash=facts.hash,
        keys=facts.keys,
        live=taken.live,
        size=taken.files[SNAPSHOT][0],
        etcd=facts.etcd,
        kubernetes=taken.kubernetes,
        stacked=access.stacked,
        members=taken.members,
        marker=facts.marker,
        files=files,
    )
