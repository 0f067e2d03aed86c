"""A stacked member made anew where it is: its data is kept aside, and it joins with what the others have.

kubeadm made its static pod, and its certificates stay good. What changes is what etcd reads when it starts without
data: the members that there are, and that it is not the first. The API server beside it is not stopped: it says that it
is not ready meanwhile, so the balancers leave it.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Generator, Sequence

from attrs import frozen

from k8sha.errors import PreflightError, Problem
from k8sha.etcd.access import DATA, Access
from k8sha.etcd.alarms import AlarmsGone
from k8sha.etcd.changes import look, members_at, refuse_rejoin
from k8sha.etcd.conditions import CaughtUp, MembersHealthy, url
from k8sha.etcd.fence import CONTROLLERS, FENCED, MANIFESTS, RUNNING, StaticPods, ended
from k8sha.etcd.membership import LearnerAdded, Promoted
from k8sha.etcd.views import members_in
from k8sha.hosts.host import Host
from k8sha.report import Diff, Outcome
from k8sha.resources.resource import Resource
from k8sha.stage import Stage, Step

__all__ = ["JoinsAs", "PodStopped", "stacked_rejoin_stages"]

_ACCESS = Access(stacked=True)
_Steps = Generator[Step, Outcome, None]


@frozen
class PodStopped(Resource):
    """A master whose etcd is stopped, its manifest out of the kubelet's sight, its data put aside; all else runs on.

    The kubelet stands still while that is so, for it would start the member again; what follows starts both.
    """

    id: str
    """What the data is kept under: ``k8sha-kept-<id>``."""

    @property
    def key(self) -> str:
        return "etcd is stopped, its data kept aside"

    @property
    def timeout(self) -> int:
        return 300

    def probe(self) -> str:
        return f"""\
{RUNNING}
if [ -e {MANIFESTS}/etcd.yaml ]; then echo '{MANIFESTS}/etcd.yaml is in place'; fi
if [ -e {DATA}/member ]; then echo '{DATA}/member is in place'; fi
running | grep ' etcd$' || [ $? = 1 ]"""

    def diff(self, seen: bytes) -> Diff:
        return Diff(tuple(seen.decode(errors="replace").splitlines()))

    def apply(self) -> str:
        return f"""\
{RUNNING}
etcd() {{ running | grep ' etcd$' || [ $? = 1 ]; }}
systemctl stop kubelet
mkdir -p -m 0700 {FENCED}
if [ -e {MANIFESTS}/etcd.yaml ]; then mv -f {MANIFESTS}/etcd.yaml {FENCED}/; fi
sync {FENCED} {MANIFESTS}
{ended("etcd")}
if [ -e {DATA}/member ]; then
  kept={DATA}/k8sha-kept-{self.id}
  mkdir -p -m 0700 "$kept"
  mv -T {DATA}/member "$kept/member"
  sync {DATA}
fi"""


@frozen
class JoinsAs(Resource):
    """A member's manifest, in place or waiting for it, with these members (names and peer URLs) of a cluster that
    exists: what etcd goes by where it has no data yet, and nothing afterwards."""

    members: tuple[tuple[str, str], ...]

    @property
    def key(self) -> str:
        return "etcd's manifest for joining"

    @property
    def _cluster(self) -> str:
        return ",".join(f"{name}={peer}" for name, peer in self.members)

    def probe(self) -> str:
        return f"""\
for file in {MANIFESTS}/etcd.yaml {FENCED}/etcd.yaml; do
  if [ -s "$file" ]; then
    sed -n -e 's/^ *- --\\(initial-cluster=.*\\)/\\1/p' -e 's/^ *- --\\(initial-cluster-state=.*\\)/\\1/p' "$file"
  fi
done"""

    def diff(self, seen: bytes) -> Diff:
        wanted = {f"initial-cluster={self._cluster}", "initial-cluster-state=existing"}
        found = set(seen.decode(errors="replace").splitlines())
        return Diff(
            (*(f"- {each}" for each in sorted(found - wanted)), *(f"+ {each}" for each in sorted(wanted - found)))
        )

    def apply(self) -> str:
        option = r"^\( *- --initial-cluster\)"
        edit = shlex.quote(rf"s|{option}=.*|\1={self._cluster}\n\1-state=existing|")
        return f"""\
file={FENCED}/etcd.yaml
if [ ! -s "$file" ]; then echo "$file is not there: etcd was not stopped" >&2; exit 1; fi
umask 077
sed -e '/^ *- --initial-cluster-state=/d' -e {edit} "$file" >"$file.new"
sync "$file.new"
mv -f "$file.new" "$file\""""


def stacked_rejoin_stages(hosts: Sequence[Host], host: Host) -> _Steps:
    """A master's data is kept aside, and its member joins anew, with what the others have."""
    others = [each for each in hosts if each != host]
    if not others:
        raise PreflightError([Problem(host.name, "is the only member that etcd has", "restore it from a snapshot")])
    view, led = yield from look(hosts, _ACCESS)
    refuse_rejoin(view, led, members_at(view, (host,)))
    asker = next(each for each in led if each != host)
    id = f"rejoined-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    yield Stage(f"etcd on {host} is stopped", {host: (PodStopped(id),)})
    added = LearnerAdded(address=host.address, access=_ACCESS)
    outcome = yield Stage(f"{host} may join etcd", {asker: (added,)})
    yield Stage("no alarm of the old one is left", {asker: (AlarmsGone(_ACCESS),)})
    listed = members_in(outcome.of(asker.name, added.key).decode(errors="replace"))
    names = {url(each.address, 2380): each.name for each in hosts} | {
        each.peer_url: each.name for each in listed if each.name
    }
    joins = JoinsAs(tuple((names.get(each.peer_url, each.address), each.peer_url) for each in listed))
    yield Stage(f"etcd on {host} starts", {host: (joins, StaticPods(("etcd",)))})
    yield Stage(f"{host} has what the others have", {asker: (CaughtUp(host.address, access=_ACCESS),)})
    whole = MembersHealthy(tuple((each.name, each.address) for each in hosts), access=_ACCESS)
    votes = (Promoted(address=host.address, access=_ACCESS), whole)
    # What an undone restore left stopped, where it had no data for this member to start on.
    yield Stage(f"{host} votes", {asker: votes, host: (StaticPods(("kube-apiserver", *CONTROLLERS)),)})
