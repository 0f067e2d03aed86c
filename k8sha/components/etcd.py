"""EtcdCluster: the members inside the masters, looked at through etcd's own HTTP gateway on each of them.

Every member is asked for its own view; membership is never read from manifests (kubeadm rewrites those).
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from attrs import field, frozen

from k8sha.component import Checks, Component
from k8sha.errors import ConfigError
from k8sha.etcd.access import Access
from k8sha.hosts.host import Host, as_hosts
from k8sha.report import Diff
from k8sha.resources.resource import Condition
from k8sha.waiting import Check, NotYet

__all__ = ["EtcdCluster", "Member", "StackedEtcdHealthy", "View", "forget_member"]

_STACKED = Access(stacked=True)
_PKI, _CURL = _STACKED.pki, _STACKED.curl
_LIST = f"{_CURL} https://127.0.0.1:2379/v3/cluster/member/list -d '{{\"linearizable\":false}}'"


@frozen
class Member:
    """A member as one member sees it."""

    id: str
    name: str
    peer_url: str
    learner: bool


@frozen
class View:
    """What one member says: of the cluster, and of itself. Sizes in bytes."""

    members: tuple[Member, ...]
    version: str = ""
    leader: str = ""
    own_id: str = ""
    raft_term: int = 0
    raft_index: int = 0
    applied_index: int = 0
    revision: int = 0
    db_size: int = 0
    db_in_use: int = 0
    alarms: tuple[str, ...] = ()


def _members(text: str) -> tuple[Member, ...]:
    data = json.loads(text)
    if "members" not in data:
        raise NotYet(f"etcd says: {data.get('message') or data.get('error') or text[:200]}")
    return tuple(
        Member(
            str(member.get("ID", "")),
            str(member.get("name", "")),
            str((member.get("peerURLs") or [""])[0]),
            bool(member.get("isLearner", False)),
        )
        for member in data["members"]
    )


@frozen
class StackedEtcdHealthy(Condition):
    """Every expected member is in this member's list, started, a voter, and answers; nobody else is a learner.

    ``expected`` has names and addresses. Hosts that are yet to join do not matter here, nor does what their earlier
    attempts have left: that is cleared when they join.
    """

    expected: tuple[tuple[str, str], ...]
    patience: float = field(default=240, kw_only=True)

    @property
    def key(self) -> str:
        return f"etcd is healthy on {', '.join(name for name, _ in self.expected)}"

    def probe(self) -> str:
        health = "\n".join(
            f"printf '{name} '; {_CURL} https://{address}:2379/health 2>&1 || echo ' (no answer)'; echo"
            for name, address in self.expected
        )
        return f"""\
if [ ! -s {_PKI}/healthcheck-client.crt ]; then echo '{{"error": "not there yet"}}'; exit 0; fi
{_LIST} 2>&1 || echo ' (no answer)'
echo
{health}"""

    def diff(self, seen: bytes) -> Diff:
        first, *rest = seen.decode(errors="replace").strip().splitlines() or [""]
        try:
            members = _members(first)
        except (NotYet, ValueError) as error:
            return Diff.of(f"etcd gives no member list: {error if isinstance(error, NotYet) else first[:200]}")
        differs = Diff()
        by_peer = {member.peer_url: member for member in members}
        answers = dict(line.split(" ", 1) for line in rest if " " in line)
        for name, address in self.expected:
            member = by_peer.get(f"https://{address}:2380")
            if member is None:
                differs += Diff.of(f"{name} is not a member")
            elif member.learner:
                differs += Diff.of(f"{name} is still a learner")
            elif not member.name:
                differs += Diff.of(f"{name} has not started")
            elif '"health":"true"' not in answers.get(name, "").replace(" ", ""):
                differs += Diff.of(f"{name} is not healthy: {answers.get(name, 'no answer').strip()[:200]}")
        return differs


def forget_member(address: str) -> str:
    """Shell for a live master: removes the etcd member of a host that is about to join anew.

    A join that died half-way leaves a learner or an unstarted member; etcd allows one learner, so the next join would
    be refused.
    """
    remove = f"{_CURL} -f https://127.0.0.1:2379/v3/cluster/member/remove"
    return f"""\
member=$({_LIST} | tr '{{' '\\n' | grep -F '"https://{address}:2380"') || member=
stale=$(printf '%s' "$member" | sed -n 's/.*"ID":"\\([0-9]*\\)".*/\\1/p')
if [ -n "$stale" ]; then {remove} -d "{{\\"ID\\":\\"$stale\\"}}" >/dev/null; fi
"""


_VIEW = f"""\
{_LIST}; echo
{_CURL} https://127.0.0.1:2379/v3/maintenance/status -d '{{}}'; echo
{_CURL} https://127.0.0.1:2379/v3/maintenance/alarm -d '{{"action":"GET"}}'; echo"""


def parse_view(text: str) -> View:
    """A member's own view from the gateway's three answers. Raises NotYet where it gave none."""
    lines = text.strip().splitlines()
    if len(lines) != 3:
        raise NotYet(f"etcd gave no answer: {text.strip()[:200]}")
    try:
        members, status, alarms = _members(lines[0]), json.loads(lines[1]), json.loads(lines[2])
    except ValueError:
        raise NotYet(f"etcd gave no answer: {text.strip()[:200]}") from None
    header = status.get("header", {})
    return View(
        members,
        version=str(status.get("version", "")),
        leader=str(status.get("leader", "0")),
        own_id=str(header.get("member_id", "")),
        raft_term=int(status.get("raftTerm", 0)),
        raft_index=int(status.get("raftIndex", 0)),
        applied_index=int(status.get("raftAppliedIndex", 0)),
        revision=int(header.get("revision", 0)),
        db_size=int(status.get("dbSize", 0)),
        db_in_use=int(status.get("dbSizeInUse", 0)),
        alarms=tuple(str(alarm.get("alarm", "")) for alarm in alarms.get("alarms", [])),
    )


@frozen
class EtcdCluster(Component):
    """An etcd of one, three or five members, each on a host of its own under systemd, with its own TLS; or, with
    ``stacked``, the one inside a control plane, that kubeadm makes member by member on the masters themselves.

    Of a stacked one ``install`` has nothing to do; ``verify`` and ``views`` ask every member what it sees.
    """

    hosts: tuple[Host, ...] = field(converter=as_hosts)
    stacked: bool = field(default=False, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if len(self.hosts) not in (1, 3, 5) and not self.stacked:  # of a stacked one its control plane says so
            raise ConfigError.of(
                "EtcdCluster", f"{len(self.hosts)} members", "take 1, 3 or 5: an even number tolerates no more losses"
            )

    @property
    def access(self) -> Access:
        """Where each member's things are on its host."""
        return Access(self.stacked)

    def views(self) -> dict[str, View]:
        """What each member sees, by host name. Raises NotYet naming the first that does not answer."""
        found: dict[str, View] = {}
        for host in self.hosts:
            exit, out, err = host.read(_VIEW)[0]
            if exit != 0:
                raise NotYet(f"{host.name}: etcd does not answer: {err.decode(errors='replace').strip()[-300:]}")
            try:
                found[host.name] = parse_view(out.decode())
            except NotYet as error:
                raise NotYet(f"{host.name}: {error}") from None
        return found

    def checks(self) -> Checks:
        """See :meth:`Component.checks`."""
        yield Check(f"every etcd member sees the same {len(self.hosts)} voters and one leader", self._agree)

    def _agree(self) -> str:
        views = self.views()
        wrong = list(self._disagreements(views))
        if wrong:
            raise NotYet("; ".join(wrong))
        leader = next(iter(views.values())).leader
        name = next(host for host, view in views.items() if view.own_id == leader)
        sizes = max(view.db_size for view in views.values())
        versions = ", ".join(sorted({view.version for view in views.values()}))
        return f"etcd {versions}, leader {name}, {sizes / 1e6:.1f} MB"

    def _disagreements(self, views: dict[str, View]) -> Iterator[str]:
        expected = {host.name for host in self.hosts}
        for name, view in views.items():
            seen = {member.name for member in view.members}
            if seen != expected:
                yield f"{name} lists {', '.join(sorted(member or '(unstarted)' for member in seen))}"
            yield from (f"{name} sees {member.name} as a learner" for member in view.members if member.learner)
            yield from (f"{name} reports the alarm {alarm}" for alarm in view.alarms)
        leaders = {view.leader for view in views.values()}
        if len(leaders) != 1 or "0" in leaders:
            yield f"leaders seen: {', '.join(sorted(leaders))}"
        if len({view.version for view in views.values()}) != 1:
            yield "versions differ: " + ", ".join(f"{name} {view.version}" for name, view in views.items())
