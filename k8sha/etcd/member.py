"""A member of etcd under systemd: its unit, its settings, what is on its host already, and how it begins."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from attrs import field, frozen

from k8sha.errors import ConfigError
from k8sha.etcd.access import DATA, Access
from k8sha.etcd.certificates import RENEW_DAYS
from k8sha.etcd.conditions import url
from k8sha.etcd.tools import etcd_release
from k8sha.hosts.host import Host
from k8sha.report import Diff
from k8sha.resources.files import File, render
from k8sha.resources.kernel import Sysctl
from k8sha.resources.resource import STATE, KnownAfter, Resource
from k8sha.resources.service import Service

__all__ = [
    "KERNEL",
    "TOOLS",
    "EtcdSettings",
    "InitialCluster",
    "MemberState",
    "environment",
    "service",
    "sysctl",
    "unit",
]

ENVIRONMENT = "/etc/etcd/etcd.env"
INITIAL = "/etc/etcd/initial.env"
MARK = f"{STATE}/etcd/started"
"""A host that has it has had a member that ran."""

PROGRAM = "/usr/bin/etcd"
OLDEST = (3, 4, 0)
"""Learners came with it, and the gateway's /v3."""

TOOLS = ("openssl", "curl", "procps")
"""Packages of what is done on a member's host: its keys, its questions, its kernel settings."""

KERNEL = {"net.ipv4.tcp_retries2": "5"}
"""A connection that nobody answers ends after 13 s instead of 15 min.

What a leader sends to a member that is cut off waits for TCP's next attempt, whose pauses double up to 2 min; and the
member waits with it, for its streams have no read timeout (in 3.5 and 3.6 the transport's ``DialContext`` outranks the
``Dial`` that would set one). Measured with 3.5.30: a member that was silent for 15 s heard nothing for another 11.5 s,
and with this for at most 0.3 s. The same value as in
https://www.elastic.co/docs/deploy-manage/deploy/self-managed/system-config-tcpretries.
"""

_HERE = Path(__file__).parent
_ACCESS = Access(stacked=False)


def _period(instance: object, attribute: object, value: str) -> None:
    if value and not re.fullmatch(r"\d+[mh]", value):
        raise ConfigError.of(f"auto_compaction {value!r}", "is no period", "write it as 8h, or 30m")


def _quota(instance: object, attribute: object, value: int) -> None:
    if value < 1024**2:
        raise ConfigError.of(f"quota_bytes {value}", "is less than 1 MiB", "etcd's own default is 2 GiB")


def _days(instance: object, attribute: object, value: int) -> None:
    if value <= RENEW_DAYS:
        raise ConfigError.of(
            f"certificate_days {value}", "would be renewed at once", f"they are within the last {RENEW_DAYS} days"
        )


@frozen(kw_only=True)
class EtcdSettings:
    """How members under systemd run.

    ``quota_bytes`` is the most that the database may take: 8 GiB, the most that etcd advises. ``auto_compaction`` is
    how long old revisions are kept (``8h``); without one etcd keeps them until a client compacts it, as the API server
    does every five minutes. Certificates are for ``certificate_days``, and are renewed by ``install`` within the last
    30 of them. ``skip_requirements`` are preflight's, by name.
    """

    quota_bytes: int = field(default=8 * 1024**3, validator=_quota)
    auto_compaction: str = field(default="", validator=_period)
    certificate_days: int = field(default=365, validator=_days)
    skip_requirements: tuple[str, ...] = ()


def unit() -> File:
    """The unit. It is there before the packages are, so that theirs never starts."""
    text = render(
        _HERE / "etcd.service.j2", data=DATA, initial=INITIAL, environment=ENVIRONMENT, program=PROGRAM, mark=MARK
    )
    return File("/etc/systemd/system/etcd.service", text)


def environment(host: Host, version: str | None, settings: EtcdSettings) -> File:
    """A member's settings. ``version`` is that of the package, None where it is not known yet.

    By kubeadm's manifest: a check for corruption at each start, word of a watch's progress every 5 s, and a snapshot
    every 10000 entries. The names of the first two changed with 3.6, and the second came with 3.5.
    """
    if version is None:
        return File(ENVIRONMENT, KnownAfter("the package's version is known"), owner="root:etcd", mode="0640")
    release = etcd_release(version.partition(":")[2] or version)
    by_version = [("ETCD_EXPERIMENTAL_INITIAL_CORRUPT_CHECK", "true")]
    if release >= (3, 6, 0):
        by_version = [("ETCD_FEATURE_GATES", "InitialCorruptCheck=true"), ("ETCD_WATCH_PROGRESS_NOTIFY_INTERVAL", "5s")]
    elif release >= (3, 5, 0):
        by_version.append(("ETCD_EXPERIMENTAL_WATCH_PROGRESS_NOTIFY_INTERVAL", "5s"))
    text = render(
        _HERE / "etcd.env.j2",
        name=host.name,
        data=DATA,
        client=url(host.address, 2379),
        peer=url(host.address, 2380),
        initial=INITIAL,
        pki=_ACCESS.pki,
        quota=settings.quota_bytes,
        snapshot_count=10000,
        compaction=settings.auto_compaction,
        by_version=by_version,
    )
    return File(ENVIRONMENT, text, owner="root:etcd", mode="0640")


def sysctl() -> Sysctl:
    """The kernel settings of a member's host."""
    return Sysctl(KERNEL, path="/etc/sysctl.d/90-k8sha-etcd.conf")


def service(*watched: Resource) -> Service:
    """The member itself, started since these files changed. Its certificates it reads anew by itself."""
    return Service("etcd", watches=watched, program=PROGRAM)


@frozen
class MemberState(Resource):
    """What is on a host of a member: data, a running process, the mark of one that ran. Only reads."""

    @property
    def key(self) -> str:
        return "state of the member"

    def probe(self) -> str:
        return f"""\
if [ -e {DATA}/member ]; then echo data; fi
if [ -e {MARK} ]; then echo mark; fi
if [ "$(systemctl show -p ActiveState --value etcd.service)" = active ]; then echo active; fi"""

    @staticmethod
    def words(seen: bytes) -> frozenset[str]:
        """Those of ``data``, ``mark`` and ``active`` that hold."""
        return frozenset(seen.decode().split())

    def diff(self, seen: bytes) -> Diff:
        return Diff()

    def apply(self) -> str:
        return ":"


@frozen
class InitialCluster(Resource):
    """What a member without data is told when it first starts: the members there are, and that it begins a cluster
    (``new``) or joins one. Once it has data nothing of this counts, and its unit removes it."""

    members: tuple[tuple[str, str], ...]
    """Names and peer URLs, its own among them."""

    new: bool = field(default=False, kw_only=True)

    @property
    def key(self) -> str:
        return f"file {INITIAL}"

    @property
    def _text(self) -> str:
        members = ",".join(f"{name}={peer}" for name, peer in self.members)
        return f"ETCD_INITIAL_CLUSTER={members}\nETCD_INITIAL_CLUSTER_STATE={'new' if self.new else 'existing'}\n"

    def probe(self) -> str:
        return f"""\
if [ -e {DATA}/member ]; then echo data
elif [ -e {INITIAL} ]; then cat {INITIAL}; fi"""

    def diff(self, seen: bytes) -> Diff:
        if seen.decode() in ("data\n", self._text):
            return Diff()
        what = "begins a cluster" if self.new else "joins " + ", ".join(name for name, _ in self.members[:-1])
        return Diff.of(what)

    def apply(self) -> str:
        return f"""\
if [ -e {DATA}/member ]; then exit 0; fi
if [ -d {DATA} ]; then chown etcd:etcd {DATA}; chmod 0700 {DATA}; else install -d -o etcd -g etcd -m 0700 {DATA}; fi
umask 022
printf %s '{self._text}' >{INITIAL}.new
sync {INITIAL}.new
mv -f {INITIAL}.new {INITIAL}"""


def names_and_peers(hosts: Sequence[Host]) -> tuple[tuple[str, str], ...]:
    """Names and peer URLs of hosts' members."""
    return tuple((host.name, url(host.address, 2380)) for host in hosts)
