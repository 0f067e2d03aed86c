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

__all__ = ["LearnerAdded", "MemberStopped", "MembersGone", "Promoted"]


_PATIENCE = 60
"""Seconds that etcd is asked again where it refuses a member as ``unhealthy cluster``: it wants every peer to have been
connected for 5 s (HealthInterval in etcdserver/server.go), and nothing but the refusal tells."""


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
        """Shell: ``ids URL`` prints the ids of the members with that peer URL, ``member VERB JSON`` changes them.

        etcd refuses a change until its members have been connected for 5 s, and nothing but that refusal shows it.
        """
        return f"""\
listed() {{ {list_members(self.access)} -f | tr '{{' '\\n' | grep -F '"ID":'; }}
ids() {{ listed | sed -n "s|^\\"ID\\":\\"\\([0-9]*\\)\\".*\\"$1\\".*|\\1|p"; }}
member() {{
  tries=0
  until said=$({self.access.curl} --fail-with-body {LOCAL}/v3/cluster/member/$1 -d "$2" 2>&1); do
    tries=$((tries + 1))
    case $said in *'unhealthy cluster'*) if [ $tries -lt {_PATIENCE} ]; then sleep 1; continue; fi;; esac
    printf '%s\\n' "$said" >&2
    return 1
  done
}}"""


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
            f'for id in $(ids {shlex.quote(url(address, 2380))}); do member remove "{{\\"ID\\":\\"$id\\"}}"; done'
            for address in self.addresses
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
  member remove "{{\\"ID\\":\\"$id\\"}}"
done
for id in $(listed | grep '"name":"[^"]' | grep -F '"{peer}"' | sed -n 's/^"ID":"\\([0-9]*\\)".*/\\1/p'); do
  member remove "{{\\"ID\\":\\"$id\\"}}"
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
