"""What is wrong with a cluster of etcd, all of it together, each with the member that it concerns and what to do."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from attrs import frozen

from k8sha.errors import HostError
from k8sha.etcd.access import Access
from k8sha.etcd.certificates import RENEW_DAYS, RENEWAL
from k8sha.etcd.hashes import differences, read_hashes
from k8sha.etcd.unfinished import unfinished_check
from k8sha.etcd.views import View, read_views
from k8sha.hosts.host import Host
from k8sha.waiting import Check, NotYet

__all__ = ["Health", "health_checks", "judge"]

LAG = 1000
"""Entries of the log that a member may be behind the leader. A busy cluster writes some thousand a second, and members
are asked one after the other; kubeadm's snapshot-count, from which on a member needs a whole snapshot, is 10000."""

FULL = 0.8
"""The part of the quota from which on the size of a database is a finding."""

DEFAULT_QUOTA = 2 * 1024**3
"""etcd's own quota, in bytes, where none is set (server/storage/quota.go: DefaultQuotaBytes)."""

_QUOTA = """\
quota=$(curl -sS --max-time 5 http://127.0.0.1:2381/metrics 2>/dev/null |
  sed -n 's/^etcd_server_quota_backend_bytes //p')
echo "quota ${quota:-unknown}\""""


@frozen
class Health:
    """How a cluster is. ``wrong`` has a sentence for each thing that is not as it should be."""

    views: Mapping[str, View]
    wrong: tuple[str, ...]


def judge(views: Mapping[str, View], silent: Mapping[str, str], expected: Sequence[str]) -> Iterator[str]:
    """What is wrong by the members' own views; ``silent`` are those that gave none, with the reason."""
    for name, reason in silent.items():
        yield f"{name}: etcd does not answer ({reason}); look at its journal or its container's log, then start it"
    for name, view in views.items():
        yield from _one(name, view, expected)
    yield from _alarms(views)
    leaders = {view.leader for view in views.values()}
    if views and (len(leaders) != 1 or leaders & {"", "0"}):
        said = ", ".join(f"{name} says {_name(view, view.leader)}" for name, view in views.items())
        yield f"there is not one leader: {said}; check the network between the members"
    if len({view.cluster_id for view in views.values()}) > 1:
        said = ", ".join(f"{name} in {view.cluster_id}" for name, view in views.items())
        yield f"members are in different clusters: {said}; stop the one that is wrong, then rejoin() it"
    versions = {view.version for view in views.values()}
    if len(versions) > 1:
        said = ", ".join(f"{name} {view.version}" for name, view in views.items())
        yield f"versions differ: {said}; finish the upgrade, one member at a time"
    yield from _lag(views)


def _name(view: View, id: str) -> str:
    return next((str(member) for member in view.members if member.id == id), "nobody" if id in ("", "0") else id)


def _one(name: str, view: View, expected: Sequence[str]) -> Iterator[str]:
    seen = {str(member): member for member in view.members}
    for missing in sorted(set(expected) - set(seen)):
        yield f"{name} does not list {missing}; install() lets it join"
    for other in sorted(set(seen) - set(expected)):
        yield f"{name} lists {other}, which is none of the hosts; remove() it, or add its host"
    for member in view.members:
        if member.learner:
            yield f"{name} sees {member} as a learner; install() promotes it once it has caught up"
        elif not member.started:
            yield f"{name} lists {member.address}, which has never started; install() lets it join"
    for error in view.errors:
        if "alarm" not in error.lower() and "NOSPACE" not in error and "CORRUPT" not in error:
            yield f"{name} reports: {error}"


def _alarms(views: Mapping[str, View]) -> Iterator[str]:
    found: dict[tuple[str, str], str] = {}
    for view in views.values():
        for alarm, id in zip(view.alarms, view.alarmed, strict=True):
            found.setdefault((alarm, id), _name(view, id))
    for (alarm, _), name in found.items():
        remedy = {"NOSPACE": "make room with disarm()", "CORRUPT": f"rejoin() {name} after a look at its hash"}
        yield f"{name} raised the alarm {alarm}; {remedy.get(alarm, 'see the documentation of etcd')}"


def _lag(views: Mapping[str, View]) -> Iterator[str]:
    newest = max((view.raft_index for view in views.values()), default=0)
    for name, view in views.items():
        behind = newest - view.applied_index
        if behind > LAG:
            yield f"{name} is {behind} entries behind; look at its disk and its network"


def _sizes(views: Mapping[str, View], quotas: Mapping[str, int]) -> Iterator[str]:
    for name, view in views.items():
        quota = quotas.get(name) or DEFAULT_QUOTA
        if view.db_size > FULL * quota:
            part = f"{view.db_size / 1e6:.1f} of {quota / 1e6:.1f} MB"
            yield f"{name}: the database takes {part} ({view.db_in_use / 1e6:.1f} in use); defragment(), or raise it"


def _hashes(hosts: Sequence[Host], access: Access, views: Mapping[str, View]) -> Iterator[str]:
    revision = min((view.revision for view in views.values()), default=0)
    found, silent = read_hashes([host for host in hosts if host.name in views], access, revision)
    for name, reason in silent.items():
        yield f"{name}: gives no hash of its keys: {reason}"
    for words in differences(found):
        yield f"{words}; rejoin() the one that stands alone"


def _revisions(views: Mapping[str, View]) -> Iterator[str]:
    """Members that have applied the same entries are at the same revision."""
    by: dict[int, dict[str, int]] = {}
    for name, view in views.items():
        by.setdefault(view.applied_index, {})[name] = view.revision
    for at, same in by.items():
        if len(set(same.values())) > 1:
            said = ", ".join(f"{name} {revision}" for name, revision in same.items())
            yield f"revisions differ after entry {at} of the log: {said}; rejoin() the one that stands alone"


def _certificates(hosts: Sequence[Host], access: Access) -> Iterator[str]:
    probe = f"""\
for file in {access.pki}/*.crt; do
  end=$(openssl x509 -noout -enddate -in "$file")
  printf '%s %s\\n' "$(date -d "${{end#notAfter=}}" +%s)" "$file"
done"""
    for host in hosts:
        try:
            exit, out, err = host.read(probe)[0]
        except HostError:
            continue  # that it does not answer is told already
        if exit != 0:
            yield f"{host.name}: certificates can't be read: {err.decode(errors='replace').strip()[-200:]}"
        for line in out.decode().splitlines() if exit == 0 else ():
            end, _, path = line.partition(" ")
            days = (int(end) - time.time()) / 86400
            if days < RENEW_DAYS:
                remedy = RENEWAL if access.stacked else "install() renews it"
                yield f"{host.name}: {path} ends in {days:.0f} days; {remedy}"


def _quotas(hosts: Sequence[Host], views: Mapping[str, View]) -> dict[str, int]:
    found: dict[str, int] = {}
    for host in hosts:
        if host.name in views:
            text = host.read(_QUOTA)[0][1].decode(errors="replace").partition(" ")[2].strip()
            found[host.name] = int(float(text)) if text.replace(".", "").replace("e+", "").isdigit() else 0
    return found


def health_checks(hosts: Sequence[Host], access: Access) -> Iterator[Check]:
    """What is looked at: members, their data, and their certificates. Each check names everything that is wrong."""
    names = [host.name for host in hosts]

    def agree() -> str:
        views, silent = read_views(hosts, access)
        _raise(list(judge(views, silent, names)))
        first = next(iter(views.values()))
        return f"etcd {first.version}, leader {_name(first, first.leader)}"

    def data() -> str:
        views, _ = read_views(hosts, access)
        apart = list(_revisions(views))
        if apart:  # a member may have applied an entry between the two numbers that it gave: they are asked again
            apart = list(_revisions(read_views(hosts, access)[0]))
        _raise([*_sizes(views, _quotas(hosts, views)), *apart, *_hashes(hosts, access, views)])
        if not views:
            raise NotYet("no member answers")
        sizes = max(view.db_size for view in views.values())
        return f"{sizes / 1e6:.1f} MB at revision {min(view.revision for view in views.values())}"

    def certificates() -> str:
        _raise(list(_certificates(hosts, access)))
        return f"on {len(hosts)} hosts"

    yield Check(f"every etcd member sees the same {len(hosts)} voters and one leader, and no alarm", agree)
    yield Check("every etcd member has the same keys, and room for more", data)
    yield unfinished_check(hosts, "any member's host")
    yield Check(f"no certificate of etcd ends within {RENEW_DAYS} days", certificates)


def _raise(wrong: list[str]) -> None:
    if wrong:
        raise NotYet("; ".join(dict.fromkeys(wrong)))
