"""Members that come and go, as a live member's host makes it so, and data that is put aside where it is."""

from __future__ import annotations

import shlex

from attrs import field, frozen

from k8sha.etcd.access import DATA, Access
from k8sha.etcd.conditions import url
from k8sha.etcd.member import INITIAL, MARK
from k8sha.etcd.views import LOCAL, Member, list_members, members_in
from k8sha.report import Diff
from k8sha.resources.resource import Resource
from k8sha.waiting import NotYet

__all__ = ["LearnerAdded", "MemberStopped", "MembersGone", "Promoted", "membership_functions"]


_PATIENCE = 60
"""Seconds that etcd is asked again where it refuses a member as ``unhealthy cluster``: it wants every peer to have been
connected for 5 s (HealthInterval in etcdserver/server.go), and nothing but the refusal tells."""

_TIMEOUTS = 6
"""How often is asked for the same where no answer came, at 5 s each: far longer than an election takes."""


def membership_functions(access: Access) -> str:
    """Shell for a member's host. ``listed`` prints the members, a line each; ``ids URL`` the ids of those with that
    peer URL; ``remove ID`` and ``member VERB JSON`` change them.

    A leader hands its office to this host's member before it is removed. If it went as the leader of two, the other
    could not learn that the removal is decided, would go on counting two voters, and never have a quorum again.
    A change is asked for again where etcd refuses it until its members have been connected for 5 s, for nothing but
    that refusal shows it, and where no answer came: then what was asked may be done by now, which counts as done.
    """
    status = f"{access.curl} {LOCAL}/v3/maintenance/status -d '{{}}'"
    hand_over = f'{access.curl} --max-time 15 --fail-with-body "$at/v3/maintenance/transfer-leadership"'
    return f"""\
listed() {{ {list_members(access)} -f | tr -d ' \\n' | tr '{{' '\\n' | grep -F '"ID":'; }}
ids() {{ listed | sed -n "s|^\\"ID\\":\\"\\([0-9]*\\)\\".*\\"$1\\".*|\\1|p"; }}
member() {{
  tries=0
  until said=$({access.curl} --fail-with-body {LOCAL}/v3/cluster/member/$1 -d "$2" 2>&1); do
    tries=$((tries + 1))
    case $said in
      *'unhealthy cluster'*) if [ $tries -lt {_PATIENCE} ]; then sleep 1; continue; fi;;
      *'timed out'*) if [ $tries -lt {_TIMEOUTS} ]; then continue; fi;;
      *'member not found'*|*'already exist'*) if [ $tries -gt 1 ]; then return 0; fi;;
    esac
    printf '%s\\n' "$said" >&2
    return 1
  done
}}
remove() {{
  tries=0
  while status=$({status}) && [ "$(printf '%s' "$status" | sed -n 's/.*"leader":"\\([0-9]*\\)".*/\\1/p')" = "$1" ]; do
    own=$(printf '%s' "$status" | sed -n 's/.*"member_id":"\\([0-9]*\\)".*/\\1/p')
    at=$(listed | sed -n "s|^\\"ID\\":\\"$1\\".*\\"clientURLs\\":\\[\\"\\([^\\"]*\\)\\".*|\\1|p")
    if said=$({hand_over} -d "{{\\"targetID\\":\\"$own\\"}}" 2>&1); then continue; fi
    tries=$((tries + 1))
    if [ $tries -ge {_TIMEOUTS} ]; then printf 'the leader does not hand over: %s\\n' "$said" >&2; return 1; fi
    sleep 1
  done
  member remove "{{\\"ID\\":\\"$1\\"}}"
}}"""


@frozen
class _Membership(Resource):
    """Something that a live member's host changes in the list of members."""

    access: Access = field(default=Access(stacked=False), kw_only=True)

    def probe(self) -> str:
        return f"{list_members(self.access)} 2>&1 || echo ' (no answer)'"

    def diff(self, seen: bytes) -> Diff:
        try:
            return Diff(tuple(self.judge(members_in(seen.decode(errors="replace")))))
        except (NotYet, ValueError):
            return Diff.of(f"etcd gives no member list: {' '.join(seen.decode(errors='replace').split())[:200]}")

    def judge(self, members: tuple[Member, ...]) -> list[str]:
        """What differs, of the members that there are."""
        raise NotImplementedError(type(self).__name__)

    def _functions(self) -> str:
        return membership_functions(self.access)


@frozen
class MembersGone(_Membership):
    """etcd without the members of these addresses."""

    addresses: tuple[str, ...] = field(kw_only=True)

    @property
    def key(self) -> str:
        return f"no member of etcd is {', '.join(self.addresses)}"

    def judge(self, members: tuple[Member, ...]) -> list[str]:
        return [f"- {each} {each.address} ({each.id})" for each in members if each.address in self.addresses]

    def apply(self) -> str:
        removals = "\n".join(
            f'for id in $(ids {shlex.quote(url(address, 2380))}); do remove "$id"; done' for address in self.addresses
        )
        return f"{self._functions()}\n{removals}"


@frozen
class LearnerAdded(_Membership):
    """etcd with a member of this address that has never started, and with no other that has not.

    What was a member of that address before, and lost its data, goes first: the same one can't come back. It comes as
    a learner, so it takes no part in any quorum until it has what the others have.
    """

    address: str = field(kw_only=True)

    @property
    def key(self) -> str:
        return f"{self.address} may join etcd"

    def judge(self, members: tuple[Member, ...]) -> list[str]:
        own = [each for each in members if each.address == self.address]
        lines = [f"- {each} ({each.id}), whose data is gone" for each in own if each.started]
        lines += [f"- {each.address} ({each.id}), which never started" for each in self._stale(members)]
        return lines if own and not lines else [*lines, f"+ {self.address}, a learner"]

    def _stale(self, members: tuple[Member, ...]) -> list[Member]:
        return [each for each in members if not each.started and each.address != self.address]

    def diff(self, seen: bytes) -> Diff:
        found = super().diff(seen)
        try:
            own = [each for each in members_in(seen.decode(errors="replace")) if each.address == self.address]
        except (NotYet, ValueError):
            return found
        if own and not own[0].started and found.lines == (f"+ {self.address}, a learner",):
            return Diff()
        return found

    def apply(self) -> str:
        peer = url(self.address, 2380)
        return f"""\
{self._functions()}
for id in $(listed | grep -v '"name":"[^"]' | grep -v -F '"{peer}"' | sed -n 's/^"ID":"\\([0-9]*\\)".*/\\1/p'); do
  remove "$id"
done
for id in $(listed | grep '"name":"[^"]' | grep -F '"{peer}"' | sed -n 's/^"ID":"\\([0-9]*\\)".*/\\1/p'); do
  remove "$id"
done
if [ -n "$(ids '{peer}')" ]; then exit 0; fi
member add '{{"peerURLs":["{peer}"],"isLearner":true}}'"""


@frozen
class Promoted(_Membership):
    """A learner made a voter. It has caught up before; etcd refuses it otherwise."""

    address: str = field(kw_only=True)

    @property
    def key(self) -> str:
        return f"{self.address} votes in etcd"

    def judge(self, members: tuple[Member, ...]) -> list[str]:
        own = [each for each in members if each.address == self.address]
        if not own:
            return [f"{self.address} is not a member"]
        return [f"{own[0]}: learner -> voter"] if own[0].learner else []

    def apply(self) -> str:
        peer = url(self.address, 2380)
        return f"""\
{self._functions()}
for id in $(listed | grep -F '"isLearner":true' | grep -F '"{peer}"' | sed -n 's/^"ID":"\\([0-9]*\\)".*/\\1/p'); do
  member promote "{{\\"ID\\":\\"$id\\"}}"
done"""


@frozen
class MemberStopped(Resource):
    """A host whose member under systemd is stopped, also after a reboot, and whose data is put aside, not deleted."""

    id: str
    """What the data is kept under: ``k8sha-kept-<id>``."""

    @property
    def key(self) -> str:
        return "etcd is stopped, its data kept aside"

    def probe(self) -> str:
        return f"""\
if [ "$(systemctl show -p ActiveState --value etcd.service)" != inactive ]; then echo 'etcd runs'; fi
if systemctl is-enabled --quiet etcd.service 2>/dev/null; then echo 'etcd starts at boot'; fi
if [ -e {DATA}/member ]; then echo '{DATA}/member is in place'; fi
if [ -e {MARK} ]; then echo 'is marked as a member'; fi"""

    def diff(self, seen: bytes) -> Diff:
        return Diff(tuple(seen.decode(errors="replace").splitlines()))

    def apply(self) -> str:
        return f"""\
if [ "$(systemctl show -p LoadState --value etcd.service)" != not-found ]; then
  systemctl disable --quiet --now etcd.service
  systemctl reset-failed etcd.service 2>/dev/null || echo 'etcd.service was not loaded' >&2
fi
rm -f {INITIAL}
if [ -e {DATA}/member ]; then
  kept={DATA}/k8sha-kept-{self.id}
  n=1
  while [ -e "$kept/member" ]; do n=$((n + 1)); kept={DATA}/k8sha-kept-{self.id}-$n; done
  mkdir -p "$kept"
  chmod 0700 "$kept"
  mv -T {DATA}/member "$kept/member"
fi
rm -f {MARK}"""
