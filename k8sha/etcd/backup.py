"""A backup: one member's snapshot, proven on its host, with what it is worthless without, copied off at once."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import shlex
import tempfile
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from functools import partial
from typing import BinaryIO, cast

from attrs import evolve, frozen

from k8sha.errors import BackupError, ConfigError, K8shaError, Problem
from k8sha.etcd.access import Access
from k8sha.etcd.age import Encryption, encrypting
from k8sha.etcd.archive import SNAPSHOT, Descriptor, Part, write_archive
from k8sha.etcd.beside import Beside, MasterFiles, master_with_keys
from k8sha.etcd.choosing import best_member
from k8sha.etcd.destinations import Copy, Destination, keep
from k8sha.etcd.snapshot import SnapshotFacts
from k8sha.etcd.taking import Snapshot, Taken, tidy
from k8sha.etcd.tools import EtcdTools
from k8sha.events import Listener
from k8sha.hosts.host import Host
from k8sha.operation import carry_out
from k8sha.report import Outcome, Report
from k8sha.stage import Stage

__all__ = ["Backup", "take_backup"]

_PIECE, _PIECES = 3 << 20, 4  # what one snippet may print is limited; four of them make a trip


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


def take_backup(
    hosts: tuple[Host, ...],
    access: Access,
    to: Iterable[Destination],
    *,
    encrypt: Encryption | None,
    scratch: tuple[str, ...],
    masters: tuple[Host, ...] = (),
    listen: Listener,
) -> Backup:
    """See :meth:`EtcdCluster.backup`. With ``masters``, which are on other hosts, the files of one of them go along."""
    to = tuple(to)
    if not to:
        raise ConfigError.of("backup", "has nowhere to go", "give at least one: to=(Folder('backups'),)")
    began = time.monotonic()
    chosen = best_member(hosts, access)
    master = master_with_keys(masters) if masters else None
    work = _Work(chosen.host, master, access, secrets.token_hex(8), to, encrypt, scratch)
    results: list[_Result] = []
    report = carry_out("etcd backup", work.stages(results), work.hosts, listen, what="backs up etcd")
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
    master: Host | None
    access: Access
    id: str
    to: tuple[Destination, ...]
    encrypt: Encryption | None
    scratch: tuple[str, ...]

    @property
    def hosts(self) -> tuple[Host, ...]:
        return (self.host, self.master) if self.master else (self.host,)

    def stages(self, results: list[_Result]) -> Generator[Stage, Outcome, None]:
        """The programs, the snapshot, the copies (between the two: they change nothing on the host), the tidying."""
        yield Stage("etcd's programs", {self.host: (EtcdTools(self.access),)})
        snapshot = Snapshot(self.access, self.id, self.host.address, self.scratch)
        with contextlib.ExitStack() as undo:
            for host in self.hosts:
                undo.callback(self._tidy_if_reached, host)
            beside = None
            if self.master:
                files = MasterFiles(self.id, self.master.address)
                outcome = yield Stage("files of a master", {self.master: (files,)})
                beside = Beside.parse(outcome.of(self.master.name, files.key))
            outcome = yield Stage("snapshot", {self.host: (snapshot,)})
            taken = Taken.parse(outcome.of(self.host.name, snapshot.key))
            results.append(self._copied(taken, beside))
            undo.pop_all()
        for host in self.hosts:
            host.execute(tidy(self.id))

    def _tidy_if_reached(self, host: Host) -> None:
        with contextlib.suppress(K8shaError):  # the next backup tidies up what can't be reached now
            host.execute(tidy(self.id))

    def _copied(self, taken: Taken, beside: Beside | None) -> _Result:
        if beside is not None:
            taken = evolve(
                taken,
                files={**taken.files, **beside.files},
                kubernetes=beside.kubernetes,
                notes=(*taken.notes, *beside.notes),
            )
        descriptor = _descriptor(self.host, self.access, taken)
        with tempfile.TemporaryFile(prefix="k8sha-") as spool:  # without a name, so a kill leaves nothing behind
            plain = cast(BinaryIO, spool)
            sink = encrypting(plain, self.encrypt) if self.encrypt else plain
            write_archive(sink, descriptor, self._parts(taken, beside))
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

    def _parts(self, taken: Taken, beside: Beside | None) -> Iterator[Part]:
        for path, (size, sha256) in taken.files.items():
            host, folder = self.host, taken.folder
            if beside is not None and self.master is not None and path in beside.files:
                host, folder = self.master, beside.folder
            yield Part(path, size, sha256, partial(_read, host, f"{folder}/{path}", size))


def _read(host: Host, path: str, size: int) -> Iterator[bytes]:
    """A file of the host, a few pieces a trip: nothing of it touches a disk here as it comes."""
    pieces = [
        f"dd if={shlex.quote(path)} bs={_PIECE} skip={index} count=1 iflag=fullblock status=none"
        for index in range(-(-size // _PIECE))
    ]
    for at in range(0, len(pieces), _PIECES):
        for exit, out, err in host.read(*pieces[at : at + _PIECES], timeout=300):
            if exit != 0:
                raise BackupError.of(f"{host.name}:{path}", err.decode(errors="replace").strip(), "run again")
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
