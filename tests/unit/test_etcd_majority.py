"""Whose word counts where members do not agree; and a full database that is cured while a member is missing."""

from __future__ import annotations

import json

import pytest

from k8sha.errors import PreflightError
from k8sha.etcd.access import Access
from k8sha.etcd.changes import look, removal_stages
from k8sha.etcd.maintenance import Compacted, Defragmented, Disarmed, defragment_stages, disarm_stages
from k8sha.etcd.views import View
from k8sha.hosts import Host
from k8sha.report import Outcome
from k8sha.stage import Stage

from .node_hosts import node

HOSTS = [node(f"m-{number}", 9 + number) for number in range(1, 6)]
STACKED = Access(stacked=True)


def said(
    own: int, among: tuple[int, ...], *, leader: int, cluster: str = "c1", term: int = 5, alarm: str = ""
) -> bytes:
    """What the member of a number says: of a cluster of these members."""
    hosts = [HOSTS[number - 1] for number in among]
    listed = [{"ID": host.name[2:], "name": host.name, "peerURLs": [f"https://{host.address}:2380"]} for host in hosts]
    status = {"header": {"member_id": str(own), "cluster_id": cluster, "revision": "7"}, "leader": str(leader)}
    alarms = {"alarms": [{"memberID": str(own), "alarm": alarm}]} if alarm else {}
    parts: list[object] = [{"members": listed}, {**status, "raftTerm": str(term)}, alarms]
    return "\n".join(json.dumps(part) for part in parts).encode()


SILENT = b"no answer"
ALL, THREE = (1, 2, 3, 4, 5), (1, 2, 3)


def counts(*answers: bytes) -> tuple[View, list[Host]]:
    hosts = HOSTS[: len(answers)]
    steps = look(hosts, STACKED)
    stage = next(steps)
    assert isinstance(stage, Stage)
    key = stage.work[hosts[0]][0].key
    with pytest.raises(StopIteration) as caught:
        steps.send(Outcome(tuple((host.name, key, answer) for host, answer in zip(hosts, answers, strict=True))))
    view, led = caught.value.value
    return view, led


@pytest.mark.parametrize("cluster", ["c1", "c2"])
@pytest.mark.parametrize("term", [2, 9])
def test_a_member_that_began_a_cluster_of_its_own_is_not_believed(cluster: str, term: int) -> None:
    """It comes first and leads; where it began the first cluster as well, it has that one's id again."""
    view, led = counts(
        said(1, (1,), leader=1, cluster=cluster, term=term), said(2, THREE, leader=3), said(3, THREE, leader=3)
    )
    assert view.own_id == "3"
    assert [host.name for host in led] == ["m-3", "m-2"]


def test_of_two_that_say_they_lead_the_later_term_counts() -> None:
    """The first one was cut off, and has not noticed yet."""
    view, _ = counts(
        said(1, THREE, leader=1, term=5), said(2, THREE, leader=2, term=6), said(3, THREE, leader=2, term=6)
    )
    assert view.own_id == "2"


@pytest.mark.parametrize(
    "answers",
    [
        (said(1, (1,), leader=1), SILENT, SILENT),
        (said(1, (1,), leader=1), said(2, THREE, leader=0), SILENT),
        (said(1, (1,), leader=1), said(2, (2,), leader=2), said(3, (3,), leader=3)),
    ],
)
def test_without_a_majority_nobody_is_believed(answers: tuple[bytes, ...]) -> None:
    with pytest.raises(PreflightError, match="no majority of the 3 hosts is of one cluster: m-1 is in c1 with m-1"):
        counts(*answers)


def test_a_majority_without_a_leader_is_not_outvoted_by_one_that_leads_itself() -> None:
    with pytest.raises(PreflightError, match="sees a leader"):
        counts(said(1, (1,), leader=1), said(2, THREE, leader=0), said(3, THREE, leader=0))


def test_hosts_that_are_no_members_yet_are_nobodys_doubt() -> None:
    view, _ = counts(*(said(number, THREE, leader=2) for number in THREE), SILENT, SILENT)
    assert view.own_id == "2"


def test_the_last_one_is_believed_when_a_removal_that_was_killed_is_done_again() -> None:
    """The others are members no more, and answer nothing; only their hosts are still to be stopped."""
    steps = removal_stages(HOSTS[:1], HOSTS[1:3], HOSTS[1:3])
    names = [stage.name for stage in stages_of(steps, {"m-1": said(1, (1,), leader=1)})]
    assert names[-1] == "the others are healthy"
    assert "m-3 is stopped" in names


def test_a_removal_is_judged_by_those_that_stay() -> None:
    steps = removal_stages(HOSTS[:3], HOSTS[3:], ())
    with pytest.raises(PreflightError, match="no majority of the 3 hosts"):
        stages_of(steps, {"m-1": said(1, (1,), leader=1)})


def stages_of(steps: object, answers: dict[str, bytes], told: list[Stage] | None = None) -> list[Stage]:
    """The stages, also in ``told`` where they end in an error."""
    found = [] if told is None else told
    given: Outcome | None = None
    while True:
        try:
            stage = steps.send(given)  # type: ignore[attr-defined]
        except StopIteration:
            return found
        found.append(stage)
        work = [(host, each) for host, resources in stage.work.items() for each in resources]
        given = Outcome(tuple((host.name, each.key, answers.get(host.name, SILENT)) for host, each in work))


FULL = {f"m-{number}": said(number, THREE, leader=2, alarm="NOSPACE") for number in (2, 3)}


def test_a_full_database_is_cured_while_a_member_is_dead() -> None:
    """It can't be replaced before: etcd takes no keys."""
    done = [
        (host.name, type(each))
        for stage in stages_of(disarm_stages(HOSTS[:3], STACKED), FULL)
        for host, resources in stage.work.items()
        for each in resources
        if isinstance(each, Compacted | Defragmented | Disarmed)
    ]
    assert done == [("m-2", Compacted), ("m-3", Defragmented), ("m-2", Defragmented), ("m-2", Disarmed)]
    with pytest.raises(PreflightError, match="m-1 is not"):
        stages_of(defragment_stages(HOSTS[:3], STACKED), FULL)


@pytest.mark.parametrize("reached", [HOSTS[1:3], HOSTS[:3]])
def test_a_full_database_of_a_leader_that_can_t_be_reached_is_told_before_anything(reached: list[Host]) -> None:
    """Its etcd is alive, and would raise the alarm again. The same where it answers its peers only."""
    answers = {name: said(int(name[2:]), THREE, leader=1, alarm="NOSPACE") for name in FULL}
    found: list[Stage] = []
    with pytest.raises(PreflightError, match="m-1: leads etcd, and can't be worked on"):
        stages_of(disarm_stages(reached, STACKED), answers, found)
    assert [stage.name for stage in found] == ["what members see"]
    with pytest.raises(PreflightError, match="m-1: leads etcd"):  # one that came to lead meanwhile
        stages_of(defragment_stages(HOSTS[1:3], STACKED, alarms=("NOSPACE",), missing=True), answers)
