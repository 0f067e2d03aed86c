"""What each member of etcd says, of the cluster and of itself, asked through its own HTTP gateway on its own host.

Membership is never read from manifests or configuration: those say what was known when a member joined.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from attrs import frozen

from k8sha.errors import HostError
from k8sha.etcd.access import Access
from k8sha.hosts.host import Host
from k8sha.report import Diff
from k8sha.resources.resource import Resource
from k8sha.waiting import NotYet

__all__ = ["Member", "MemberView", "View", "list_members", "members_in", "parse_view", "read_views", "view_probe"]

LOCAL = "https://127.0.0.1:2379"


@frozen
class Member:
    """A member as one member sees it."""

    id: str
    name: str
    peer_url: str
    learner: bool

    @property
    def address(self) -> str:
        """The address in its peer URL."""
        return self.peer_url.partition("://")[2].rpartition(":")[0].strip("[]")

    @property
    def started(self) -> bool:
        """Whether it has ever run: a member says its name then."""
        return bool(self.name)

    def __str__(self) -> str:
        return self.name or self.address


@frozen
class View:
    """What one member says: of the cluster, and of itself. Sizes in bytes; ``alarms`` are of the whole cluster, each
    with the id of its member: ``NOSPACE 8e9e05c52164694d``."""

    members: tuple[Member, ...]
    version: str = ""
    leader: str = ""
    own_id: str = ""
    cluster_id: str = ""
    raft_term: int = 0
    raft_index: int = 0
    applied_index: int = 0
    revision: int = 0
    db_size: int = 0
    db_in_use: int = 0
    alarms: tuple[str, ...] = ()
    alarmed: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()

    @property
    def voters(self) -> tuple[Member, ...]:
        """Members that vote, whether they have started or not."""
        return tuple(member for member in self.members if not member.learner)

    @property
    def leads(self) -> bool:
        """Whether it is the leader itself."""
        return self.leader not in ("", "0") and self.leader == self.own_id


def list_members(access: Access) -> str:
    """Shell for a member's host that prints its own list of members; it fails where the member gives none."""
    return f"{access.curl} {LOCAL}/v3/cluster/member/list -d '{{\"linearizable\":false}}'"


def members_in(text: str) -> tuple[Member, ...]:
    """A member list from the gateway's answer. Raises NotYet where it is an error, ValueError where it is no JSON."""
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


def view_probe(access: Access) -> str:
    """Shell that prints a member's own view, one line a question; also where there is no member, or no curl."""
    asked = (
        ("cluster/member/list", '{"linearizable":false}'),
        ("maintenance/status", "{}"),
        ("maintenance/alarm", '{"action":"GET"}'),
    )
    lines = "\n".join(f"k8sha_ask {path} '{data}'" for path, data in asked)
    return f"""\
k8sha_ask() {{
  said=$({access.curl} {LOCAL}/v3/$1 -d "$2" 2>&1) || said="no answer: $said"
  printf '%s' "$said" | tr '\\n' ' '
  echo
}}
if [ -s {access.pki}/healthcheck-client.crt ] && [ -s {access.pki}/healthcheck-client.key ]; then
{lines}
else echo 'has no client certificate yet'; fi"""


def parse_view(text: str) -> View:
    """A member's own view from the gateway's three answers. Raises NotYet where it gave none."""
    lines = text.strip().splitlines()
    try:
        if len(lines) != 3:
            raise ValueError("not an answer")
        members, status, alarms = members_in(lines[0]), json.loads(lines[1]), json.loads(lines[2])
    except ValueError:
        raise NotYet(f"etcd gave no answer: {text.strip()[:200]}") from None
    header = status.get("header", {})
    raised = alarms.get("alarms", [])
    return View(
        members,
        version=str(status.get("version", "")),
        leader=str(status.get("leader", "0")),
        own_id=str(header.get("member_id", "")),
        cluster_id=str(header.get("cluster_id", "")),
        raft_term=int(status.get("raftTerm", 0)),
        raft_index=int(status.get("raftIndex", 0)),
        applied_index=int(status.get("raftAppliedIndex", 0)),
        revision=int(header.get("revision", 0)),
        db_size=int(status.get("dbSize", 0)),
        db_in_use=int(status.get("dbSizeInUse", 0)),
        alarms=tuple(str(alarm.get("alarm", "")) for alarm in raised),
        alarmed=tuple(str(alarm.get("memberID", "")) for alarm in raised),
        errors=tuple(str(error) for error in status.get("errors", [])),
    )


def read_views(hosts: Iterable[Host], access: Access) -> tuple[dict[str, View], dict[str, str]]:
    """What each member sees, by host name; and of those that give no view, why. One trip a host."""
    found: dict[str, View] = {}
    silent: dict[str, str] = {}
    for host in hosts:
        try:
            exit, out, err = host.read(view_probe(access))[0]
            if exit != 0:
                raise NotYet(err.decode(errors="replace").strip()[-300:])
            found[host.name] = parse_view(out.decode(errors="replace"))
        except (NotYet, HostError) as error:
            silent[host.name] = str(error)
    return found, silent


@frozen
class MemberView(Resource):
    """Reads what a host's member sees, and changes nothing: for a stage that needs to know."""

    access: Access

    @property
    def key(self) -> str:
        return "etcd as it is seen from here"

    def probe(self) -> str:
        return view_probe(self.access)

    @staticmethod
    def view(seen: bytes) -> View | None:
        """The view in what a probe printed, None where there was none."""
        try:
            return parse_view(seen.decode(errors="replace"))
        except NotYet:
            return None

    def diff(self, seen: bytes) -> Diff:
        return Diff()

    def apply(self) -> str:
        return ":"
