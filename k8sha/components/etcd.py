"""EtcdCluster: an etcd on hosts of its own, or the one inside the masters; its verbs, on either.

Every member is asked for its own view; membership is never read from manifests (kubeadm rewrites those).
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

from attrs import evolve, field, frozen

from k8sha.component import Checks, Component, Requirements, Stages
from k8sha.components.masters import ApiReady
from k8sha.errors import ConfigError, Problem
from k8sha.etcd.access import Access
from k8sha.etcd.age import Encryption, Unlock
from k8sha.etcd.backup import Backup, take_backup
from k8sha.etcd.changes import answering, reachable, rejoin_stages, removal_stages, replacement_stages
from k8sha.etcd.conditions import StackedEtcdHealthy, url
from k8sha.etcd.destinations import Destination
from k8sha.etcd.health import health_checks
from k8sha.etcd.installing import install_members
from k8sha.etcd.maintenance import defragment_stages, disarm_stages
from k8sha.etcd.member import EtcdSettings
from k8sha.etcd.members import Members
from k8sha.etcd.membership import membership_functions
from k8sha.etcd.preflight import member_problems, member_requirements
from k8sha.etcd.rejoin import stacked_rejoin_stages
from k8sha.etcd.restore import restore
from k8sha.etcd.restored import Restored
from k8sha.etcd.undo import Undone, accept, undo
from k8sha.etcd.views import Member, View, parse_view, read_views
from k8sha.events import Listener, ignore
from k8sha.hosts.host import Host, as_hosts
from k8sha.operation import carry_out
from k8sha.report import Report
from k8sha.stage import Stage
from k8sha.verbs import preflight
from k8sha.waiting import NotYet

__all__ = ["EtcdCluster", "Member", "StackedEtcdHealthy", "View", "forget_member", "parse_view"]

_STACKED = Access(stacked=True)


def _not_one(host: Host, members: Iterable[Host]) -> ConfigError:
    return ConfigError.of(host.name, "is not one of the members", ", ".join(each.name for each in members))


def forget_member(address: str) -> str:
    """Shell for a live master: removes the etcd member of a host that is about to join anew.

    A join that died half-way leaves a learner or an unstarted member; etcd allows one learner, so the next join would
    be refused. It may also leave a voter, and that one may lead: it hands over first.
    """
    return f"""\
{membership_functions(_STACKED)}
for stale in $(ids {shlex.quote(url(address, 2380))}); do remove "$stale"; done
"""


@frozen
class EtcdCluster(Component):
    """An etcd of one, three or five members, each on a host of its own under systemd, with its own TLS; or, with
    ``stacked``, the one inside a control plane, that kubeadm makes member by member on the masters themselves.

    ``settings`` are for members under systemd. ``install`` makes the cluster, adds members that are listed and are none
    yet, renews certificates, and lets a member that has lost its data join anew; it never removes one. Of a stacked one
    it has nothing to do. ``verify`` and ``views`` ask every member what it sees.

    >>> EtcdCluster([etcd_1, etcd_2, etcd_3]).install()  # doctest: +SKIP
    """

    hosts: tuple[Host, ...] = field(converter=as_hosts)
    stacked: bool = field(default=False, kw_only=True)
    settings: EtcdSettings = field(factory=EtcdSettings, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if len(self.hosts) not in (1, 3, 5) and not self.stacked:  # of a stacked one its control plane says so
            raise ConfigError.of(
                "EtcdCluster", f"{len(self.hosts)} members", "take 1, 3 or 5: an even number tolerates no more losses"
            )

    @property
    def access(self) -> Access:
        """Where each member's things are on its host."""
        return Access(self.stacked)

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The client URLs of the members."""
        return tuple(url(host.address, 2379) for host in self.hosts)

    def views(self) -> dict[str, View]:
        """What each member sees, by host name. Raises NotYet naming those that do not answer."""
        found, silent = read_views(self.hosts, self.access)
        if silent:
            raise NotYet("; ".join(f"{name}: etcd does not answer: {why}" for name, why in silent.items()))
        return found

    def problems(self) -> Iterator[Problem]:
        """See :meth:`Component.problems`."""
        if not self.stacked:
            yield from member_problems(self.hosts, self.settings)

    def requirements(self) -> Requirements:
        """See :meth:`Component.requirements`."""
        return {} if self.stacked else member_requirements(self.hosts, self.settings)

    def stages(self) -> Stages:
        """See :meth:`Component.stages`."""
        if not self.stacked:
            yield from install_members(self.hosts, self.settings)

    def backup(
        self,
        to: Iterable[Destination],
        *,
        encrypt: Encryption | None = None,
        scratch: Iterable[str] = (),
        listen: Listener = ignore,
    ) -> Backup:
        """Take a backup, prove it, and copy it to each of ``to`` at once; returns what it is and where it lies.

        A healthy voter is chosen whose keys are those of most, not the leader unless it is the only one. Its snapshot
        counts once an etcd was made of it, on that host and away from the real one, that has the marker written just
        before, and as many keys as that member. With it go the certificate authorities, the keys of service accounts,
        the encryption at rest, and the configuration. The whole is encrypted on its way through here where ``encrypt``
        says how: it comes over SSH and nothing of it is written to a disk of the caller's in plain. ``scratch`` are
        folders on the members' hosts to work in, in place of those that are tried otherwise.

        Raises BackupError with everything that is wrong (a copy that failed does not undo the others, and is named),
        HostBusy, ApplyError, or an error of the link. Nothing is left on the hosts but a marker in etcd.
        """
        return take_backup(self.hosts, self.access, to, encrypt=encrypt, scratch=tuple(scratch), listen=listen)

    def restore(
        self,
        snapshot: Path | str | Backup,
        *,
        powered_off: Iterable[Host] = (),
        another_cluster: bool = False,
        unlock: Unlock | None = None,
        listen: Listener = ignore,
    ) -> Restored:
        """Make every member anew from one snapshot: for a lost quorum, or to go back. Whoever has clients stops them
        before, and starts them after it; a stacked etcd's are the control plane's: see :meth:`ControlPlane.restore`.

        ``snapshot`` is a plain snapshot, an archive (``unlock`` opens it) or a backup. It is judged here, then on a
        host by a trial, before anything is stopped. All members are stopped; their data stay beside the new ones, so
        that :meth:`undo` can go back and :meth:`accept` delete them. A host that can't be reached must be named in
        ``powered_off``, and one that is blank may be: it is no member any more. A snapshot of ``another_cluster`` is
        refused unless that is said, and one whose Secrets no API server here has the keys of. Killed at any moment, the
        same call finishes it (and says so, where there was nothing left to restore); another snapshot is refused until
        then.

        Raises BackupError or PreflightError with nothing stopped, ApplyError, NotReady, or an error of the link.
        """
        return restore(
            self._restorable("restore"),
            snapshot,
            powered_off=powered_off,
            another_cluster=another_cluster,
            unlock=unlock,
            listen=listen,
        )

    def undo(self, *, powered_off: Iterable[Host] = (), listen: Listener = ignore) -> Undone:
        """Take the last restore back, half-way or done: every member has the data again that it had before it. A host
        that has none of before it stays stopped. Raises PreflightError where there is nothing to take back."""
        return undo(self._restorable("undo"), powered_off=powered_off, listen=listen)

    def accept(self, listen: Listener = ignore, *, powered_off: Iterable[Host] = ()) -> Report:
        """Delete the data that restores have kept. There is no undoing them afterwards. One that has all its new data
        in place, and was never finished, is finished first; one that is half-way is refused. A host that can't be
        reached must be named in ``powered_off``, be it left out by that restore or a member that died since."""
        return accept(self._restorable("accept"), powered_off=powered_off, listen=listen)

    def _restorable(self, verb: str) -> Members:
        if self.stacked:
            raise ConfigError.of(
                f"EtcdCluster.{verb}", "would leave the API servers behind", f"use ControlPlane.{verb} instead"
            )
        return Members(access=self.access, hosts=self.hosts, owner="etcd:etcd")

    def defragment(self, listen: Listener = ignore) -> Report:
        """Give the file system back the room that no key needs any more: one member at a time, followers first, the
        leader last and after another one took over. A member answers nobody while it is at it.

        Raises PreflightError, with nothing changed, where a member is missing or an alarm is raised.
        """
        stages = defragment_stages(self.hosts, self.access)
        return carry_out(self.name, stages, self.hosts, listen, what="defragments etcd")

    def disarm(self, listen: Listener = ignore) -> Report:
        """Cure a database that is full (the alarm NOSPACE): old revisions are compacted, every member is defragmented,
        the alarm is put out. Does nothing where it is not raised. Hosts that can't be reached are left out.

        Raises PreflightError, with nothing changed, where there is no quorum, the leader's host can't be reached, or
        the alarm is CORRUPT: see :meth:`rejoin`.
        """
        hosts = answering(self.hosts)
        return carry_out(self.name, disarm_stages(hosts, self.access), hosts, listen, what="disarms etcd")

    def rejoin(self, host: Host, listen: Listener = ignore) -> Report:
        """Make a member anew whose data is corrupt or gone: it is stopped, its data kept aside on its host, and it
        joins with what the others have. On a master the API server is not ready meanwhile; nothing else is touched.

        Raises PreflightError, with the arithmetic and nothing changed, where the others could not do without it.
        """
        if host not in self.hosts:
            raise _not_one(host, self.hosts)
        stages = self._rejoining(host) if self.stacked else rejoin_stages(self.hosts, host, self.settings)
        return carry_out(self.name, stages, self.hosts, listen, what=f"rejoins {host} to etcd")

    def replace(
        self, dead: Host, new: Host, *, powered_off: bool = False, wipe: bool = False, listen: Listener = ignore
    ) -> Report:
        """Put another host in a member's place, dead or alive; afterwards the caller's module lists ``new``.

        ``hosts`` may list either of the two, so that a run that was killed can be done again. A dead host that can't be
        reached must be ``powered_off``; one that answers is stopped for good, its data kept aside on it. A new host
        with a member's data on it is refused, unless ``wipe`` says that it may be put aside.

        Raises PreflightError with nothing changed where quorum would be lost (with the arithmetic) or another member is
        not healthy; otherwise as ``install``.
        """
        after = tuple(new if each == dead else each for each in self.hosts)
        if new not in after or after.count(new) > 1:
            cause = "is a member already" if after.count(new) > 1 else "is not one of the members"
            raise ConfigError.of(new.name if after.count(new) > 1 else dead.name, cause, "give one of the members")
        cluster = evolve(self._by_itself("replace"), hosts=after)
        others = tuple(each for each in after if each != new)
        alive = reachable((dead,), powered_off=powered_off)
        stages = replacement_stages(
            after, dead, new, alive, self.settings, wipe=wipe, check=lambda: preflight((cluster,), listen)
        )
        hosts = dict.fromkeys((*others, new, *alive))
        return carry_out(self.name, stages, hosts, listen, what=f"replaces {dead} by {new}")

    def remove(self, *hosts: Host, powered_off: bool = False, listen: Listener = ignore) -> Report:
        """Take members out, so that 3 or 1 are left; the caller's module then lists the rest. To add members, list them
        and ``install``. See :meth:`replace` for ``powered_off`` and what is refused."""
        for host in hosts:
            self._own(host, "remove")
        after = tuple(host for host in self.hosts if host not in hosts)
        rest = evolve(self._by_itself("remove"), hosts=after)
        alive = reachable(hosts, powered_off=powered_off)
        what = f"removes {', '.join(host.name for host in hosts)} from etcd"
        stages = removal_stages(rest.hosts, hosts, alive)
        return carry_out(self.name, stages, (*after, *alive), listen, what=what)

    def _own(self, host: Host, verb: str) -> None:
        if host not in self._by_itself(verb).hosts:
            raise _not_one(host, self.hosts)

    def _rejoining(self, host: Host) -> Stages:
        yield from stacked_rejoin_stages(self.hosts, host)
        yield Stage(f"{host} serves again", {host: (ApiReady(host.address, patience=240),)})

    def _by_itself(self, verb: str) -> EtcdCluster:
        if self.stacked:
            raise ConfigError.of(
                f"EtcdCluster.{verb}", "is for members on hosts of their own", "use ControlPlane.replace or remove"
            )
        return self

    def checks(self) -> Checks:
        """See :meth:`Component.checks`."""
        return health_checks(self.hosts, self.access)
