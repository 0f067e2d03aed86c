"""Work on members that run: room given back, a full database cured. On both topologies, one member at a time.

Followers come first; the leader hands its office over and comes last. Nothing but
the cure of a full database begins with a member missing.
"""

from __future__ import annotations

import shlex
import uuid
from collections.abc import Generator, Sequence

from attrs import field, frozen

from k8sha.errors import PreflightError, Problem
from k8sha.etcd.access import Access
from k8sha.etcd.alarms import answer, asked, silent
from k8sha.etcd.conditions import MembersHealthy
from k8sha.etcd.quorum import no_planned_work
from k8sha.etcd.views import LOCAL, MemberView, View
from k8sha.hosts.host import Host
from k8sha.report import Diff, Outcome
from k8sha.resources.resource import STATE, Resource
from k8sha.stage import Stage, Step

__all__ = [
    "Compacted",
    "Defragmented",
    "Disarmed",
    "LeaderMoved",
    "defragment_stages",
    "disarm_stages",
    "judged_views",
]

_Steps = Generator[Step, Outcome, None]
_MARK = f"{STATE}/etcd/defragmented"


@frozen
class Defragmented(Resource):
    """A member's database without the room that it no longer needs, made so within this ``run``; it answers nobody
    meanwhile."""

    access: Access
    run: str

    @property
    def key(self) -> str:
        return "etcd's database is defragmented"

    @property
    def timeout(self) -> int:
        return 900

    def probe(self) -> str:
        return f"if [ -e {_MARK} ]; then cat {_MARK}; fi"

    def diff(self, seen: bytes) -> Diff:
        return Diff() if seen.decode().strip() == self.run else Diff.of("defragment it")

    def apply(self) -> str:
        return f"""\
{asked(self.access, "maintenance/defragment", "'{}'", seconds=880)}
mkdir -p {STATE}/etcd
echo {self.run} >{_MARK}.new
mv -f {_MARK}.new {_MARK}"""


@frozen
class LeaderMoved(Resource):
    """This host's member does not lead; if it does, the member of ``target``, an id, takes its place."""

    access: Access
    target: str

    @property
    def key(self) -> str:
        return "another member leads etcd"

    def probe(self) -> str:
        return f"{self.access.curl} {LOCAL}/v3/maintenance/status -d '{{}}' 2>&1 || echo ' (no answer)'"

    def diff(self, seen: bytes) -> Diff:
        status = answer(seen)
        if status is None:
            return Diff.of(silent(seen))
        own = str(status.get("header", {}).get("member_id", ""))
        return Diff.of("leads") if own and status.get("leader") == own else Diff()

    def apply(self) -> str:
        own = 'sed -n \'s/.*"member_id":"\\([0-9]*\\)".*/\\1/p\''
        leader = 'sed -n \'s/.*"leader":"\\([0-9]*\\)".*/\\1/p\''
        data = shlex.quote(f'{{"targetID":"{self.target}"}}')
        return f"""\
status=$({self.access.curl} {LOCAL}/v3/maintenance/status -d '{{}}')
if [ "$(printf '%s' "$status" | {own})" != "$(printf '%s' "$status" | {leader})" ]; then exit 0; fi
{asked(self.access, "maintenance/transfer-leadership", data, seconds=15)}"""


@frozen
class Compacted(Resource):
    """Revisions before this one are gone from the store; what every key holds now stays."""

    access: Access
    revision: int

    @property
    def key(self) -> str:
        return f"revisions before {self.revision} are compacted"

    @property
    def timeout(self) -> int:
        return 600

    def probe(self) -> str:
        data = f'{{"key":"AA==","limit":"1","revision":"{self.revision - 1}"}}'
        return f"{self.access.curl} {LOCAL}/v3/kv/range -d '{data}' 2>&1 || echo ' (no answer)'"

    def diff(self, seen: bytes) -> Diff:
        done = b"has been compacted" in seen or self.revision < 3
        return Diff() if done else Diff.of(f"compact {self.revision}")

    def apply(self) -> str:
        data = shlex.quote(f'{{"revision":"{self.revision}","physical":true}}')
        return f"""\
if said=$({self.access.curl} --max-time 580 --fail-with-body {LOCAL}/v3/kv/compaction -d {data} 2>&1); then exit 0; fi
case $said in *'has been compacted'*) ;; *) printf '%s\\n' "$said" >&2; exit 1;; esac"""


@frozen
class Disarmed(Resource):
    """No member has the alarm NOSPACE. Of CORRUPT nothing is said here: that is never put out blindly."""

    access: Access
    alarm: str = field(default="NOSPACE", init=False)

    @property
    def key(self) -> str:
        return f"no alarm {self.alarm} in etcd"

    def probe(self) -> str:
        return f"{self._ask} 2>&1 || echo ' (no answer)'"

    @property
    def _ask(self) -> str:
        return f'{self.access.curl} {LOCAL}/v3/maintenance/alarm -d \'{{"action":"GET"}}\''

    def diff(self, seen: bytes) -> Diff:
        said = answer(seen)
        if said is None:
            return Diff.of(silent(seen))
        raised = [each for each in said.get("alarms", []) if each.get("alarm") == self.alarm]
        return Diff(tuple(f"- {self.alarm} of {each.get('memberID')}" for each in raised))

    def apply(self) -> str:
        data = '{\\"action\\":\\"DEACTIVATE\\",\\"memberID\\":\\"$id\\",\\"alarm\\":\\"NOSPACE\\"}'
        return f"""\
raised=$({self._ask})
ids=$(printf '%s' "$raised" | tr '{{' '\\n' | grep -F NOSPACE | sed -n 's/.*"memberID":"\\([0-9]*\\)".*/\\1/p')
for id in $ids; do
  {asked(self.access, "maintenance/alarm", f'"{data}"')}
done"""


def judged_views(
    hosts: Sequence[Host], views: dict[Host, View | None], *, alarms: Sequence[str], missing: bool = False
) -> View:
    """The leader's view where every member is healthy (or, with ``missing``, a quorum) and there is no alarm but these.
    Raises PreflightError."""
    led = [view for view in views.values() if view is not None and view.leader not in ("", "0")]
    if not led:
        names = ", ".join(host.name for host in hosts)
        raise PreflightError(
            [Problem("etcd", f"no member of {names} sees a leader", "start them, or restore from a snapshot")]
        )
    reference = next((view for view in led if view.leads), led[0])
    answer = {host.address for host, view in views.items() if view is not None and view.leader not in ("", "0")}
    wrong = no_planned_work(
        [str(member) for member in reference.voters],
        [str(member) for member in reference.voters if missing or member.address in answer],
        learners=[str(member) for member in reference.members if member.learner],
        alarms=[alarm for alarm in reference.alarms if alarm not in alarms],
    )
    if wrong:
        raise PreflightError(Problem("etcd", sentence, "mend that first; verify() names it") for sentence in wrong)
    return reference


def _look(
    hosts: Sequence[Host], access: Access, alarms: Sequence[str], *, missing: bool = False
) -> Generator[Step, Outcome, tuple[View, list[Host]]]:
    """The leader's view, and the hosts whose members see a leader."""
    look = MemberView(access)
    outcome = yield Stage("what members see", {host: (look,) for host in hosts})
    views = {host: look.view(outcome.of(host.name, look.key)) for host in hosts}
    view = judged_views(hosts, views, alarms=alarms, missing=missing)
    return view, [host for host, own in views.items() if own is not None and own.leader not in ("", "0")]


def _leading(view: View, hosts: Sequence[Host]) -> Host:
    """The host of the leader. Raises PreflightError where it is none of ``hosts``, those that can be worked on: its
    database would stay as large as it is, and raise the alarm again with the next key."""
    leader = next((str(member) for member in view.members if member.id == view.leader), f"member {view.leader}")
    addresses = {member.address for member in view.members if member.id == view.leader}
    for host in hosts:
        if host.address in addresses:
            return host
    cause = "leads etcd, and can't be worked on: its host can't be reached, or its etcd does not answer there"
    remedy = "mend that, or cut its power (then another one leads, and it may be missing); then run again"
    raise PreflightError([Problem(leader, cause, remedy)])


def defragment_stages(
    hosts: Sequence[Host], access: Access, *, alarms: Sequence[str] = (), missing: bool = False
) -> _Steps:
    """One member at a time, each healthy again before the next; the leader last, after another one took over."""
    view, _ = yield from _look(hosts, access, alarms, missing=missing)
    by_id = {member.id: host for member in view.members for host in hosts if host.address == member.address}
    leader = _leading(view, hosts)
    followers = [host for host in hosts if host != leader]
    whole = MembersHealthy(tuple((host.name, host.address) for host in hosts), access=access)
    defragmented = Defragmented(access, uuid.uuid4().hex)
    for host in followers:
        yield Stage(f"{host} is defragmented", {host: (defragmented, whole)})
    if followers:
        target = next(id for id, host in by_id.items() if host == followers[0])
        yield Stage("another member leads", {leader: (LeaderMoved(access, target), whole)})
    yield Stage(f"{leader} is defragmented", {leader: (defragmented, whole)})


def disarm_stages(hosts: Sequence[Host], access: Access) -> _Steps:
    """A full database cured: compacted, every member that answers defragmented, the alarm put out. Nothing where none
    is raised. Members may be missing: a dead one can't be replaced before etcd takes keys again."""
    view, hosts = yield from _look(hosts, access, ("NOSPACE",), missing=True)
    if "NOSPACE" not in view.alarms:
        return
    _leading(view, hosts)
    first = hosts[0]
    yield Stage("old revisions go", {first: (Compacted(access, view.revision),)})
    yield from defragment_stages(hosts, access, alarms=("NOSPACE",), missing=True)
    yield Stage("the alarm is put out", {first: (Disarmed(access),)})
