"""What members say, and what follows from it."""

from __future__ import annotations

import json

import pytest

from k8sha.components.etcd import EtcdCluster, StackedEtcdHealthy, parse_view
from k8sha.errors import ConfigError
from k8sha.hosts import Host
from k8sha.waiting import NotYet

EXPECTED = (("master-1", "192.168.56.10"), ("master-2", "192.168.56.11"))


def member(name: str, last: int, **more: object) -> dict[str, object]:
    return {"ID": str(last), "name": name, "peerURLs": [f"https://192.168.56.{last}:2380"], **more}


def seen(members: list[dict[str, object]], healthy: tuple[str, ...] = ("master-1", "master-2")) -> bytes:
    lines = [json.dumps({"header": {}, "members": members})]
    lines += [f'{name} {{"health":"true","reason":""}}' for name in healthy]
    return ("\n".join(lines) + "\n").encode()


BOTH = [member("master-1", 10), member("master-2", 11)]


@pytest.mark.parametrize(
    ("output", "lines"),
    [
        (seen(BOTH), ()),
        (seen([*BOTH, member("", 12, isLearner=True)]), ()),  # master-3 has not joined yet: its leftovers don't matter
        (seen(BOTH[:1]), ("master-2 is not a member",)),
        (seen([BOTH[0], member("", 11)]), ("master-2 has not started",)),
        (seen([BOTH[0], member("master-2", 11, isLearner=True)]), ("master-2 is still a learner",)),
        (seen(BOTH, ("master-1",)), ("master-2 is not healthy: no answer",)),
        (b'{"error": "not there yet"}\n', ("etcd gives no member list: etcd says: not there yet",)),
        (b"curl: (7) No (no answer)\n", ("etcd gives no member list: curl: (7) No (no answer)",)),
        (b"", ("etcd gives no member list: ",)),
    ],
)
def test_health_is_read_from_what_members_say(output: bytes, lines: tuple[str, ...]) -> None:
    assert StackedEtcdHealthy(expected=EXPECTED).diff(output).lines == lines


def test_a_members_view_is_parsed() -> None:
    status = {
        "header": {"member_id": "10", "revision": "77"},
        "version": "3.5.30",
        "dbSize": "1000",
        "dbSizeInUse": "900",
        "leader": "11",
        "raftIndex": "50",
        "raftAppliedIndex": "49",
        "raftTerm": "3",
    }
    alarms = {"alarms": [{"memberID": "10", "alarm": "NOSPACE"}]}
    view = parse_view("\n".join(json.dumps(part) for part in ({"members": BOTH}, status, alarms)))
    assert (view.version, view.leader, view.own_id, view.revision) == ("3.5.30", "11", "10", 77)
    assert (view.raft_index, view.applied_index, view.db_size, view.db_in_use) == (50, 49, 1000, 900)
    assert view.alarms == ("NOSPACE",)
    assert [item.name for item in view.members] == ["master-1", "master-2"]


@pytest.mark.parametrize("text", ["", "curl: (7)", '{"members": []}\n{}\nnot json', '{"error":"x"}\n{}\n{}'])
def test_no_answer_is_not_a_view(text: str) -> None:
    with pytest.raises(NotYet):
        parse_view(text)


@pytest.mark.parametrize("count", [0, 2, 4])
def test_an_even_number_of_members_is_refused(count: int) -> None:
    with pytest.raises(ConfigError, match=f"{count} members"):
        EtcdCluster([Host(f"m-{number}", f"192.168.56.{number + 1}") for number in range(count)])
