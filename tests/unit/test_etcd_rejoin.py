"""A stacked member made anew: in which order, with what it joins, and what is refused."""

from __future__ import annotations

import json

import pytest

from k8sha.errors import PreflightError
from k8sha.etcd.access import Access
from k8sha.etcd.alarms import AlarmsGone
from k8sha.etcd.membership import LearnerAdded
from k8sha.etcd.rejoin import JoinsAs, PodStopped, stacked_rejoin_stages
from k8sha.etcd.views import MemberView
from k8sha.hosts import Host
from k8sha.report import Outcome
from k8sha.resources import Resource
from k8sha.stage import Stage

from .node_hosts import node

HOSTS = [node("master-1", 10), node("master-2", 11), node("master-3", 12)]
STACKED = Access(stacked=True)


def entry(host: Host, *, id: str = "", started: bool = True, learner: bool = False) -> dict[str, object]:
    found: dict[str, object] = {"ID": id or host.address, "peerURLs": [f"https://{host.address}:2380"]}
    return found | ({"name": host.name} if started else {}) | ({"isLearner": True} if learner else {})


def walk(ill: Host, *, silent: tuple[Host, ...] = (), alarm: str = "") -> list[tuple[str, Resource | None]]:
    """Every resource that is asked for, None where a stage ends; ``ill`` is to join anew, and the member of the id
    ``alarm`` has raised CORRUPT."""
    members = [entry(host) for host in HOSTS]
    after = [entry(host) for host in HOSTS if host != ill] + [entry(ill, id="9", started=False, learner=True)]
    leader = next(host for host in HOSTS if host not in silent)
    alarms = {"alarms": [{"memberID": alarm, "alarm": "CORRUPT"}]} if alarm else {}

    def shown(host: Host, resource: Resource) -> bytes:
        if isinstance(resource, LearnerAdded):
            return json.dumps({"members": after}).encode()
        if not isinstance(resource, MemberView) or host in silent:
            return b"no answer"
        status = {"header": {"member_id": host.address}, "leader": leader.address, "raftTerm": "2"}
        return "\n".join(json.dumps(part) for part in ({"members": members}, status, alarms)).encode()

    asked: list[tuple[str, Resource | None]] = []
    steps = stacked_rejoin_stages(HOSTS, ill)
    step = next(steps)
    while True:
        assert isinstance(step, Stage)
        work = [(host, resource) for host, resources in step.work.items() for resource in resources]
        asked += [(host.name, resource) for host, resource in work]
        asked.append((work[-1][0].name, None))
        try:
            step = steps.send(Outcome(tuple((host.name, one.key, shown(host, one)) for host, one in work)))
        except StopIteration:
            return asked


def test_it_is_stopped_then_added_by_another_and_starts_as_one_that_joins() -> None:
    asked = walk(HOSTS[0], silent=(HOSTS[0],))
    stopped = next(at for at, (_, each) in enumerate(asked) if isinstance(each, PodStopped))
    added = next(at for at, (_, each) in enumerate(asked) if isinstance(each, LearnerAdded))
    assert stopped < added
    assert asked[added] == ("master-2", LearnerAdded(address="192.168.56.10", access=STACKED))
    joins = next(each for name, each in asked if isinstance(each, JoinsAs) and name == "master-1")
    assert dict(joins.members) == {host.name: f"https://{host.address}:2380" for host in HOSTS}


def test_whoever_leads_is_asked_unless_it_is_the_one() -> None:
    assert {name for name, each in walk(HOSTS[0]) if isinstance(each, LearnerAdded)} == {"master-2"}
    assert {name for name, each in walk(HOSTS[2]) if isinstance(each, LearnerAdded)} == {"master-1"}


@pytest.mark.parametrize(
    ("silent", "alarm", "said"),
    [
        (HOSTS[:2], "", "2 of 3 voters must agree to it, and 1 can"),
        (HOSTS[1:2], "", "of the 2 voters that would remain 2 must be healthy"),
        ((), "192.168.56.11", "the alarm CORRUPT is that of master-2"),
    ],
)
def test_what_is_refused(silent: list[Host], alarm: str, said: str) -> None:
    with pytest.raises(PreflightError, match=said):
        walk(HOSTS[0], silent=tuple(silent), alarm=alarm)


def test_its_own_alarm_is_no_reason_against_it_and_goes_with_it() -> None:
    """In a stage of its own: whose it was is known only once the member is none any more."""
    asked = walk(HOSTS[0], alarm="192.168.56.10")
    added = asked.index(("master-2", LearnerAdded(address="192.168.56.10", access=STACKED)))
    assert asked[added + 1 : added + 4] == [("master-2", None), ("master-2", AlarmsGone(STACKED)), ("master-2", None)]


def test_the_only_member_can_not_rejoin() -> None:
    with pytest.raises(PreflightError, match="restore it from a snapshot"):
        next(stacked_rejoin_stages(HOSTS[:1], HOSTS[0]))


def test_a_manifest_says_who_is_there_and_that_the_cluster_exists() -> None:
    joins = JoinsAs((("a", "https://192.168.56.10:2380"), ("b", "https://192.168.56.11:2380")))
    wanted = "initial-cluster=a=https://192.168.56.10:2380,b=https://192.168.56.11:2380\n"
    assert not joins.diff(f"{wanted}initial-cluster-state=existing\n".encode())
    assert joins.diff(wanted.encode()).lines == ("+ initial-cluster-state=existing",)
    assert "- initial-cluster=a=x" in joins.diff(b"initial-cluster=a=x\n").lines
