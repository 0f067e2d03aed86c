"""What is waited for of members: that they are healthy, and that a learner has caught up."""

from __future__ import annotations

import json

from attrs import field, frozen

from k8sha.etcd.access import Access
from k8sha.etcd.views import list_members, members_in
from k8sha.report import Diff
from k8sha.resources.resource import Condition
from k8sha.waiting import NotYet

__all__ = ["CaughtUp", "MembersHealthy", "StackedEtcdHealthy", "url"]


def url(address: str, port: int) -> str:
    """An https address of a host."""
    return f"https://[{address}]:{port}" if ":" in address else f"https://{address}:{port}"


@frozen
class MembersHealthy(Condition):
    """Every expected member is in this member's list, started, a voter, and answers; nobody else is a learner.

    ``expected`` has names and addresses. Hosts that are yet to join do not matter here, nor does what their earlier
    attempts have left: that is cleared when they join. A database that is full does not count here: that is mended by
    other means, and ``verify`` names it.
    """

    expected: tuple[tuple[str, str], ...]
    access: Access = field(default=Access(stacked=False), kw_only=True)
    patience: float = field(default=240, kw_only=True)

    @property
    def key(self) -> str:
        return f"etcd is healthy on {', '.join(name for name, _ in self.expected)}"

    def probe(self) -> str:
        health = "\n".join(
            f"printf '{name} '; {self.access.curl} '{url(address, 2379)}/health?exclude=NOSPACE' 2>&1 "
            "|| echo ' (no answer)'; echo"
            for name, address in self.expected
        )
        return f"""\
if [ ! -s {self.access.pki}/healthcheck-client.crt ]; then echo '{{"error": "not there yet"}}'; exit 0; fi
{list_members(self.access)} 2>&1 || echo ' (no answer)'
echo
{health}"""

    def diff(self, seen: bytes) -> Diff:
        first, *rest = seen.decode(errors="replace").strip().splitlines() or [""]
        try:
            members = members_in(first)
        except (NotYet, ValueError) as error:
            return Diff.of(f"etcd gives no member list: {error if isinstance(error, NotYet) else first[:200]}")
        differs = Diff()
        by_peer = {member.peer_url: member for member in members}
        answers = dict(line.split(" ", 1) for line in rest if " " in line)
        for name, address in self.expected:
            member = by_peer.get(url(address, 2380))
            if member is None:
                differs += Diff.of(f"{name} is not a member")
            elif member.learner:
                differs += Diff.of(f"{name} is still a learner")
            elif not member.name:
                differs += Diff.of(f"{name} has not started")
            elif '"health":"true"' not in answers.get(name, "").replace(" ", ""):
                differs += Diff.of(f"{name} is not healthy: {answers.get(name, 'no answer').strip()[:200]}")
        return differs


@frozen
class StackedEtcdHealthy(MembersHealthy):
    """The same of the members inside a control plane."""

    access: Access = field(default=Access(stacked=True), kw_only=True)


@frozen
class CaughtUp(Condition):
    """A learner has nine tenths of this member's log at least: the leader promotes none that has less.

    The number is etcd's ``readyPercent`` (server/etcdserver/server.go), which it compares by the leader's own account.
    """

    address: str
    access: Access = field(default=Access(stacked=False), kw_only=True)
    patience: float = field(default=300, kw_only=True)

    @property
    def key(self) -> str:
        return f"the learner {self.address} has caught up"

    def probe(self) -> str:
        status = "/v3/maintenance/status -d '{}'"
        return f"""\
{self.access.curl} https://127.0.0.1:2379{status} 2>&1 || echo ' (no answer)'
echo
{self.access.curl} {url(self.address, 2379)}{status} 2>&1 || echo ' (no answer)'"""

    def diff(self, seen: bytes) -> Diff:
        lines = [line for line in seen.decode(errors="replace").splitlines() if line.strip()]
        try:
            ours, its = (json.loads(line) for line in lines)
            has, of = int(its["raftIndex"]), int(ours["raftIndex"])
        except (ValueError, KeyError, TypeError):
            return Diff.of(f"no answer: {' '.join(lines)[-300:]}")
        return Diff() if has >= 0.9 * of else Diff.of(f"has {has} of {of} entries")
