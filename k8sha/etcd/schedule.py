"""Backups by the clock: a systemd timer on every member, and one program that needs nothing of us to run."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Protocol

from attrs import field, frozen

from k8sha.component import Checks, Component, Stages
from k8sha.errors import ConfigError, Problem
from k8sha.etcd.access import Access
from k8sha.etcd.taking import STEPS, settings
from k8sha.etcd.tools import EtcdTools
from k8sha.hosts.host import Host
from k8sha.resources.command import Command
from k8sha.resources.files import Directory, File, render
from k8sha.resources.resource import STATE, Resource
from k8sha.resources.service import Service
from k8sha.stage import Stage
from k8sha.waiting import Check, NotYet

__all__ = ["UNIT", "BackupSchedule", "Members"]

UNIT = "k8sha-etcd-backup"
"""The name of the timer, of its service, and of the file of metrics."""

_HERE = Path(__file__).parent
_STATE = f"{STATE}/etcd"
_DAY = timedelta(days=1)

_SERVICE = f"""\
[Unit]
Description=A proven backup of this host's etcd member
Documentation=file:{_STATE}/backup
After=network-online.target
Wants=network-online.target

[Service]
Type=oneshot
ExecStart={_STATE}/backup
UMask=0077
Nice=19
IOSchedulingClass=best-effort
IOSchedulingPriority=7
TimeoutStartSec=1h
"""

_TIMER = """\
[Unit]
Description=When a backup of this host's etcd member is made

[Timer]
OnCalendar={calendar}
RandomizedDelaySec={jitter}
Persistent=true

[Install]
WantedBy=timers.target
"""

_LOOK = f"""\
echo "now $(date +%s)"
systemctl show -p ActiveState {UNIT}.timer | sed 's/^ActiveState=/timer /'
systemctl show -p Result {UNIT}.service | sed 's/^Result=/unit /'
if [ -s {_STATE}/schedule ]; then cat {_STATE}/schedule; fi"""


class Members(Protocol):
    """Whatever has etcd members: :class:`k8sha.EtcdCluster`."""

    @property
    def hosts(self) -> tuple[Host, ...]:
        """The members' hosts."""
        ...

    @property
    def access(self) -> Access:
        """Where a member's things are."""
        ...


@frozen
class BackupSchedule(Component):
    """A proven backup of every member, ``every`` so often, by the hosts themselves.

    Each member makes its own and keeps at least ``keep`` good ones in ``folder``, so that losing a host loses none of
    the others'; a random delay of up to ``jitter`` keeps them apart. A copy is removed only once a newer one was
    proven, if ``keep`` good ones are newer, and never the last of a minor version of etcd. What node_exporter's
    textfile collector reads is written to ``metrics`` after every run (an empty text: nowhere). The copies are root's
    alone and not encrypted: they hold nothing that the host does not. They leave it with ``etcd.backup(...)``, or by
    whatever backs up the host: no host here has credentials for another one.
    """

    etcd: Members
    every: timedelta = field(default=timedelta(hours=12), kw_only=True)
    keep: int = field(default=7, kw_only=True)
    folder: str = field(default="/var/backups/k8sha-etcd", kw_only=True)
    jitter: timedelta = field(default=timedelta(minutes=10), kw_only=True)
    metrics: str = field(default="/var/lib/prometheus/node-exporter", kw_only=True)

    def __attrs_post_init__(self) -> None:
        problems = list(self._wrong())
        if problems:
            raise ConfigError(problems)

    def _wrong(self) -> Iterator[Problem]:
        seconds = self.every.total_seconds()
        if seconds % 60 or not 300 <= seconds <= 86400 or 86400 % seconds or (seconds > 3600 and seconds % 3600):
            yield Problem(
                "BackupSchedule",
                f"every {self.every} does not divide a day into equal parts",
                "take 5, 10, 15, 20 or 30 minutes, or 1, 2, 3, 4, 6, 8, 12 or 24 hours",
            )
        if self.keep < 1:
            yield Problem("BackupSchedule", f"keep {self.keep}", "keep at least one")
        if not timedelta(0) <= self.jitter < self.every:
            yield Problem("BackupSchedule", f"a jitter of {self.jitter}", f"take less than {self.every}")
        for path in (self.folder, *((self.metrics,) if self.metrics else ())):
            if not path.startswith("/") or ".." in path or any(letter in path for letter in " *?[\n"):
                yield Problem("BackupSchedule", f"{path!r} is no plain absolute path", "give one")

    @property
    def hosts(self) -> tuple[Host, ...]:
        """The members' hosts."""
        return self.etcd.hosts

    @property
    def calendar(self) -> str:
        """When, as systemd writes it; see systemd.time(7)."""
        minutes = int(self.every.total_seconds()) // 60
        if self.every == _DAY:
            return "*-*-* 00:00:00"
        if minutes == 60:
            return "*-*-* *:00:00"
        return f"*-*-* *:00/{minutes}:00" if minutes < 60 else f"*-*-* 00/{minutes // 60}:00:00"

    def stages(self) -> Stages:
        """See :meth:`Component.stages`."""
        yield Stage("etcd's programs", {host: (EtcdTools(self.etcd.access),) for host in self.hosts})
        yield Stage("schedule of backups", {host: self._resources(host) for host in self.hosts}, batch=1)

    def _resources(self, host: Host) -> tuple[Resource, ...]:
        script = File(f"{_STATE}/backup", self.script(host), mode="0700", check="sh -n {}")
        service = File(f"/etc/systemd/system/{UNIT}.service", _SERVICE)
        jitter = int(self.jitter.total_seconds())
        timer = File(f"/etc/systemd/system/{UNIT}.timer", _TIMER.format(calendar=self.calendar, jitter=jitter))
        return (
            Directory(self.folder, mode="0700"),
            script,
            service,
            timer,
            Service(f"{UNIT}.timer", watches=(service, timer)),
            Command(
                "first scheduled backup",
                done=f"if [ ! -s {_STATE}/last-good ]; then echo 'none was ever made'; fi",
                run=f"systemctl start {UNIT}.service || {{ tail -n 3 {_STATE}/schedule.log >&2; exit 1; }}",
                limit=3600,
            ),
        )

    def script(self, host: Host) -> str:
        """The program that a host runs: all of it in one file."""
        access, tools = self.etcd.access, EtcdTools(self.etcd.access)
        kubectl = f"--kubeconfig=/etc/kubernetes/admin.conf --server=https://{host.address}:6443"
        return render(
            _HERE / "scheduled.sh.j2",
            unit=UNIT,
            steps=STEPS,
            retention=(_HERE / "retention.sh").read_text(),
            settings=settings(access),
            folder=shlex.quote(self.folder),
            keep=self.keep,
            state=_STATE,
            metrics=shlex.quote(self.metrics),
            tools=tools.apply(),
            wanted=tools.wanted(),
            kubectl=kubectl if access.stacked else "",
            host=shlex.quote(host.name),
        )

    def checks(self) -> Checks:
        """See :meth:`Component.checks`."""
        for host in self.hosts:
            yield Check(f"the last scheduled backup of {host.name} is good and recent", partial(self._look, host))

    def _look(self, host: Host) -> str:
        exit, out, err = host.read(_LOOK)[0]
        if exit != 0:
            raise NotYet(f"{host.name}: {err.decode(errors='replace').strip()[-300:]}")
        lines = (line.partition(" ") for line in out.decode(errors="replace").splitlines())
        return self.judge(host.name, {name: value for name, _, value in lines})

    def judge(self, name: str, found: Mapping[str, str]) -> str:
        """What to think of what a host says of its schedule. Raises NotYet where it is not well."""
        age = int(found["now"]) - int(found.get("good", "0"))
        if not int(found.get("good", "0")):
            raise NotYet(f"{name}: no scheduled backup was ever made: {found.get('said', 'it has not run yet')}")
        if found.get("result") != "1" or found.get("unit") != "success":
            said = found.get("said") if found.get("result") != "1" else f"its unit says {found.get('unit')}"
            raise NotYet(f"{name}: the last run failed: {said}; the last good one is {timedelta(seconds=age)} old")
        longest = 2 * self.every + self.jitter
        if age > longest.total_seconds():
            raise NotYet(f"{name}: the last good backup is {timedelta(seconds=age)} old, more than {longest}")
        if found.get("timer") != "active":
            raise NotYet(f"{name}: the timer is {found.get('timer', 'not there')}")
        return f"{int(found['size']) / 1e6:.1f} MB, revision {found['revision']}, {timedelta(seconds=age)} old"
