"""Who belongs to a control plane's etcd, as hosts see it; who must leave it; and when it is whole."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from typing import ClassVar

from attrs import field, frozen

from k8sha.components.masters import ApiReady, MasterState
from k8sha.etcd.access import DATA, Access
from k8sha.etcd.clients import CLIENT_FILES
from k8sha.etcd.conditions import url
from k8sha.etcd.membership import membership_functions
from k8sha.etcd.views import LOCAL, Member, list_members, members_in
from k8sha.report import Diff
from k8sha.resources.command import Command
from k8sha.resources.requirements import NODE_MARKS
from k8sha.resources.resource import Condition, Requirement, Resource
from k8sha.waiting import NotYet

__all__ = ["EtcdFolder", "MemberSaid", "MemberSeen", "MembersOnly", "MembersRemoved", "ServerSeen", "WhatIsThere"]

_ACCESS = Access(stacked=True)
_CURL = _ACCESS.curl
_LIST = list_members(_ACCESS)


def _parse(text: str) -> tuple[Member, ...] | None:
    """A member list from etcd's gateway, None where there is none in the text."""
    try:
        return members_in(text)
    except (NotYet, ValueError, TypeError):
        return None


def _alarms(text: str) -> frozenset[tuple[str, str]]:
    """Alarms from etcd's gateway, each with its member's id; none where there is no answer in the text."""
    try:
        raised = json.loads(text).get("alarms", ())
        return frozenset((str(each.get("alarm", "")), str(each.get("memberID", ""))) for each in raised)
    except (ValueError, AttributeError, TypeError):
        return frozenset()


@frozen
class _Reading(Resource):
    """Reads, and changes nothing: for a stage that needs to know."""

    def diff(self, seen: bytes) -> Diff:
        return Diff()

    def apply(self) -> str:
        return ":"


@frozen
class MemberSaid:
    """What a master's own etcd said: its list (None where there is no answer), whether it is ``well`` itself (a full
    database aside), the alarms of all members with their ids; and the CA's hash (empty where there is none)."""

    members: tuple[Member, ...] | None = None
    well: bool = False
    authority: str = ""
    alarms: frozenset[tuple[str, str]] = frozenset()


@frozen
class MemberSeen(_Reading):
    """What a master's own etcd lists, whether it is healthy itself, what alarms there are, and which certificate
    authority it is under."""

    @property
    def key(self) -> str:
        return "etcd as it is seen from here"

    def probe(self) -> str:
        return f"""\
{_LIST} 2>&1 | tr -d '\\n' || echo ' (no answer)'
echo
{_CURL} '{LOCAL}/health?exclude=NOSPACE' 2>&1 | tr -d '\\n' || echo ' (no answer)'
echo
{_CURL} {LOCAL}/v3/maintenance/alarm -d '{{"action":"GET"}}' 2>&1 | tr -d '\\n' || echo ' (no answer)'
echo
if [ -s /etc/kubernetes/pki/ca.crt ]; then sha256sum </etc/kubernetes/pki/ca.crt; fi"""

    @staticmethod
    def parse(seen: bytes) -> MemberSaid:
        """From what the probe printed."""
        lines = [*seen.decode(errors="replace").splitlines(), "", "", "", ""]
        return MemberSaid(
            _parse(lines[0]),
            '"health":"true"' in lines[1].replace(" ", ""),
            (lines[3].split() or [""])[0],
            _alarms(lines[2]),
        )


@frozen
class ServerSeen(_Reading):
    """Whether a master's own API server is ready, and which certificate authority it is under."""

    address: str

    @property
    def key(self) -> str:
        return "API server as it is seen from here"

    def probe(self) -> str:
        return f"""\
{{ {ApiReady(self.address).probe()}
}} | tail -n 1 | tr -d '\\n'
echo
if [ -s /etc/kubernetes/pki/ca.crt ]; then sha256sum </etc/kubernetes/pki/ca.crt; fi"""

    @staticmethod
    def parse(seen: bytes) -> tuple[bool, str]:
        """Readiness, and the CA's hash (empty where there is none)."""
        lines = [*seen.decode(errors="replace").splitlines(), "", ""]
        return lines[0].strip() == "ok", (lines[1].split() or [""])[0]


@frozen
class WhatIsThere(_Reading):
    """What a host that is to become a master has on it already: how far kubeadm got, the CA's hash, old data."""

    stacked: bool = field(default=True, kw_only=True)

    @property
    def key(self) -> str:
        return "what is there already"

    @property
    def _ours(self) -> str:
        """What was brought before a join: the CA, policies' files, and a client's certificate for an etcd elsewhere."""
        names = ("ca.crt", "ca.key", *(() if self.stacked else CLIENT_FILES))
        paths = [
            *(f"pki/{name}" for name in names),
            *(f"{folder}/*" for folder in ("admission", "audit", "encryption")),
        ]
        return " ".join(f"! -path '/etc/kubernetes/{path}'" for path in paths)

    def probe(self) -> str:
        return f"""\
{MasterState(stacked=self.stacked).probe()}
if [ -s /etc/kubernetes/pki/ca.crt ]; then sha256sum </etc/kubernetes/pki/ca.crt; else echo none; fi
if [ -e {DATA}/member ]; then echo {DATA}/member; fi
if [ -d /etc/kubernetes ]; then
  find /etc/kubernetes -type f {self._ours} | sort | head -n 20
fi"""

    @staticmethod
    def parse(seen: bytes) -> tuple[str, str, tuple[str, ...]]:
        """kubeadm's state (see :class:`MasterState`), the CA's hash (``none`` without one), and old files."""
        state, authority, *files = [*seen.decode(errors="replace").splitlines(), "none", "none"][:40]
        return state, authority.split()[0], tuple(name for name in files if name != "none")


@frozen
class EtcdFolder(Requirement):
    """Nothing is in etcd's folder on a host that is yet to become a master, as kubeadm wants it: it would find out once
    the host's turn has come, in a replacement after the dead one's member is gone. What a kubeadm that was begun has
    left there is cleared."""

    checks: ClassVar[frozenset[str]] = frozenset({"all", f"diravailable-{DATA.replace('/', '-')}"})
    """kubeadm's names for what passes over it, in lower case."""

    remedy: str = field(
        default="kubeadm wants it empty: remove a disk's lost+found, which fsck makes again where it needs it; move "
        "everything else away, once no etcd uses it",
        kw_only=True,
    )

    @property
    def key(self) -> str:
        return "etcd's folder is empty"

    def probe(self) -> str:
        marks = " ".join(Command(name, "", "").mark for name in ("kubeadm init", "kubeadm join"))
        return f"""\
for file in {" ".join(NODE_MARKS)}; do
  if [ -e "$file" ]; then exit 0; fi
done
ours=.
for file in {marks}; do
  if [ -e "$file" ]; then ours=member; fi
done
if [ -d {DATA} ]; then find {DATA} -mindepth 1 -maxdepth 1 ! -name "$ours" -printf '%f\\n' | sort; fi"""

    def diff(self, seen: bytes) -> Diff:
        names = seen.decode(errors="replace").splitlines()
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        return Diff.of(f"there is something in its {DATA}: {', '.join(names[:3])}{more}") if names else Diff()


@frozen
class MembersRemoved(Resource):
    """etcd without the members at these addresses, and without any that never became a voter: one of those would keep
    the next host from joining (etcd allows a single learner). Those go first, then the others in the order given:
    while a dead one counts, etcd lets no live one go that its quorum needs."""

    addresses: tuple[str, ...]

    @property
    def key(self) -> str:
        return "members that have left etcd"

    def _stale(self, members: Iterable[Member]) -> list[Member]:
        return [each for each in members if each.address in self.addresses or each.learner or not each.started]

    def probe(self) -> str:
        return f"{_LIST} 2>&1 || echo ' (no answer)'"

    def diff(self, seen: bytes) -> Diff:
        text = seen.decode(errors="replace")
        members = _parse(text)
        if members is None:
            return Diff.of(f"etcd gives no member list: {' '.join(text.split())[:200]}")
        return Diff(
            tuple(f"- {each.name or '(not started)'} {each.address} ({each.id})" for each in self._stale(members))
        )

    def apply(self) -> str:
        removals = "\n".join(
            f'for id in $(ids {shlex.quote(url(address, 2380))}); do remove "$id"; done' for address in self.addresses
        )
        return f"""\
{membership_functions(_ACCESS)}
listed=$(listed)
printf '%s\\n' "$listed" | while read -r member; do
  case $member in
    *'"isLearner":true'*) ;;
    *'"name":"'[!\\"]*) continue;;
  esac
  stale=$(printf '%s' "$member" | sed -n 's/.*"ID":"\\([0-9]*\\)".*/\\1/p')
  if [ -n "$stale" ]; then remove "$stale"; fi
done
{removals}"""


@frozen
class MembersOnly(Condition):
    """Exactly the members at these addresses, each a started voter, as this host's own etcd lists them."""

    expected: tuple[tuple[str, str], ...]
    patience: float = field(default=120, kw_only=True)

    @property
    def key(self) -> str:
        return f"etcd has {len(self.expected)} voters and nobody else"

    def probe(self) -> str:
        return f"{_LIST} 2>&1 || echo ' (no answer)'"

    def diff(self, seen: bytes) -> Diff:
        text = seen.decode(errors="replace")
        members = _parse(text)
        if members is None:
            return Diff.of(f"etcd gives no member list: {' '.join(text.split())[:200]}")
        names = {address: name for name, address in self.expected}
        voters = {each.address for each in members if each.started and not each.learner}
        lines = [f"{names[address]} is no voter" for address in names if address not in voters]
        lines += [f"{each.name or each.address} is still listed" for each in members if each.address not in names]
        lines += [f"{names[each.address]} is a learner" for each in members if each.learner and each.address in names]
        return Diff(tuple(dict.fromkeys(lines)))
