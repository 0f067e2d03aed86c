"""The arithmetic of quorum, as a table, and how a cluster's views are judged."""

from __future__ import annotations

import pytest
from attrs import evolve

from k8sha.etcd.health import judge
from k8sha.etcd.quorum import no_planned_work, no_removal, no_stop, quorum, tolerates
from k8sha.etcd.views import Member, View

NAMES = ("a", "b", "c", "d", "e")


@pytest.mark.parametrize(("voters", "needed", "lost"), [(1, 1, 0), (2, 2, 0), (3, 2, 1), (4, 3, 1), (5, 3, 2)])
def test_quorum(voters: int, needed: int, lost: int) -> None:
    assert (quorum(voters), tolerates(voters)) == (needed, lost)


@pytest.mark.parametrize(
    ("leaving", "voters", "healthy", "said"),
    [
        ("c", "abc", "ab", ""),  # the dead one of three
        ("c", "abc", "abc", ""),
        ("b", "abc", "ab", "of the 2 voters that would remain 2 must be healthy, and 1 would be (a)"),
        ("c", "abc", "a", "2 of 3 voters must agree to it, and 1 can (a)"),
        ("e", "abcde", "abc", ""),
        ("c", "abcde", "abc", "of the 4 voters that would remain 3 must be healthy, and 2 would be (a, b)"),
        ("a", "a", "a", "a is the only voter that etcd has"),
        ("x", "abc", "", ""),  # no voter: nothing is lost
        ("b", "ab", "ab", ""),
        ("b", "ab", "a", "2 of 2 voters must agree to it, and 1 can (a)"),
    ],
)
def test_removals(leaving: str, voters: str, healthy: str, said: str) -> None:
    found = no_removal(leaving, tuple(voters), tuple(healthy))
    assert said in found
    assert bool(said) == bool(found)


@pytest.mark.parametrize(
    ("stopping", "voters", "healthy", "said"),
    [
        ("a", "abc", "abc", ""),
        ("a", "abc", "ab", "2 of 3 voters must stay healthy, and 1 would (b)"),
        ("c", "abc", "ab", ""),  # it is dead already
        ("a", "a", "a", ""),
    ],
)
def test_stops(stopping: str, voters: str, healthy: str, said: str) -> None:
    found = no_stop(stopping, tuple(voters), tuple(healthy))
    assert said in found
    assert bool(said) == bool(found)


def test_planned_work_needs_all_of_it() -> None:
    assert no_planned_work("abc", "abc") == []
    wrong = no_planned_work("abc", "ab", learners=("d",), alarms=("NOSPACE", "NOSPACE"))
    assert wrong == [
        "2 of 3 voters are healthy, all must be for planned work: c is not",
        "d is a learner still",
        "the alarm NOSPACE is raised",
    ]


MEMBERS = tuple(Member(str(n), f"m-{n}", f"https://192.168.56.{n}:2380", False) for n in (1, 2, 3))
WELL = {
    f"m-{n}": View(
        MEMBERS, version="3.5.16", leader="2", own_id=str(n), cluster_id="9", raft_index=50, applied_index=50
    )
    for n in (1, 2, 3)
}
EXPECTED = tuple(WELL)


def test_nothing_is_wrong_with_a_cluster_that_is_well() -> None:
    assert list(judge(WELL, {}, EXPECTED)) == []


def test_everything_that_is_wrong_is_named_at_once() -> None:
    views = {
        "m-1": evolve(
            WELL["m-1"],
            leader="0",
            applied_index=1,
            raft_index=5000,
            members=(
                *MEMBERS[:2],
                evolve(MEMBERS[2], learner=True),
                Member("4", "", "https://192.168.56.4:2380", False),
            ),
            alarms=("NOSPACE", "CORRUPT"),
            alarmed=("2", "3"),
        ),
        "m-2": evolve(WELL["m-2"], version="3.5.30", cluster_id="8"),
    }
    found = "\n".join(judge(views, {"m-3": "refused"}, EXPECTED))
    for said in (
        "m-3: etcd does not answer (refused)",
        "m-1 sees m-3 as a learner",
        "m-1 lists 192.168.56.4, which has never started",
        "m-2 raised the alarm NOSPACE; make room with disarm()",
        "m-3 raised the alarm CORRUPT; rejoin() m-3",
        "there is not one leader: m-1 says nobody, m-2 says m-2",
        "members are in different clusters: m-1 in 9, m-2 in 8",
        "versions differ: m-1 3.5.16, m-2 3.5.30",
        "m-1 is 4999 entries behind",
    ):
        assert said in found
