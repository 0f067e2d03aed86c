"""What a look at members' data finds: keys that differ, revisions that differ, a database near its quota."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import pytest
from attrs import frozen

from k8sha.etcd.access import Access
from k8sha.etcd.hashes import Hashed, differences, of_most, parse_hash, read_hashes
from k8sha.etcd.health import DEFAULT_QUOTA, _hashes, _quotas, _revisions, _sizes, health_checks
from k8sha.etcd.views import View
from k8sha.hosts import Host
from k8sha.hosts.program import End, Frame, Program, Saw
from k8sha.waiting import NotYet

from .fake import Fake

STACKED = Access(stacked=True)
Says = Callable[[str], bytes]


def host(name: str, says: Says) -> Host:
    def answer(program: Program) -> Iterator[Frame]:
        yield Saw(tuple((0, says(snippet.text), b"") for snippet in program.probes))
        yield End()

    return Host(name, "192.168.56.10", ssh=Fake(answer))


def hashed(hash: int, *, newest: int = 70, compacted: int | Sequence[int] = 50) -> Says:
    """A member that gives this hash; ``compacted`` may be another one each time that it is asked."""
    each = iter((compacted,) * 9 if isinstance(compacted, int) else compacted)

    def says(text: str) -> bytes:
        found = re.search(r"^at=(\d+)$", text, re.M)
        assert found is not None
        data = {"header": {"revision": newest}, "hash": hash, "compact_revision": next(each)}
        return f"{found[1]} {json.dumps(data)}\n".encode()

    return says


def silent(text: str) -> bytes:
    return b"0 Not Found\n"


def found(*members: Says) -> list[str]:
    hosts = [host(f"m-{number}", says) for number, says in enumerate(members, 1)]
    return list(_hashes(hosts, STACKED, {each.name: View((), revision=70) for each in hosts}))


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ((hashed(1), hashed(1), hashed(1)), []),
        ((hashed(1), hashed(1, newest=75), hashed(1)), []),
        ((hashed(1), hashed(2), hashed(1)), ["keys differ at revision 70: m-1 1, m-2 2, m-3 1; rejoin() the one"]),
        ((hashed(1), silent, hashed(1)), ["m-2: gives no hash of its keys: 0 Not Found"]),
        ((hashed(1), silent, hashed(2)), ["m-2: gives no hash", "keys differ at revision 70: m-1 1, m-3 2"]),
        # A compaction had not come to each of them yet: the second answers can be compared.
        ((hashed(1, compacted=(50, 60)), hashed(1, compacted=60)), []),
        ((hashed(1, compacted=(50, 60)), hashed(2, compacted=60)), ["keys differ at revision 70: m-1 1, m-2 2"]),
        (
            (hashed(1, compacted=50), hashed(1, compacted=60)),
            ["keys can't be compared, as members are compacted up to different revisions: m-1 up to 50 (at 70)"],
        ),
    ],
)
def test_members_whose_keys_differ_are_found(members: tuple[Says, ...], said: list[str]) -> None:
    wrong = found(*members)
    assert len(wrong) == len(said)
    assert [line[: len(start)] for line, start in zip(wrong, said, strict=True)] == said


def test_they_are_asked_again_at_a_revision_that_all_have() -> None:
    asked: list[str] = []

    def says(text: str) -> bytes:
        asked.extend(re.findall(r"^at=(\d+)$", text, re.M))
        return hashed(1, newest=80, compacted=75)(text)

    told, _ = read_hashes([host("a", says), host("b", hashed(1, newest=90, compacted=(60, 75)))], STACKED, 70)
    assert asked == ["70", "80"]
    assert not differences(told)


def test_the_majority_is_more_than_half() -> None:
    def of(**hashes: int) -> Mapping[str, Hashed]:
        return {name: Hashed(70, 50, hash, 70) for name, hash in hashes.items()}

    assert of_most(of(a=1, b=2, c=1)) == {"a", "c"}
    assert of_most(of(a=1, b=2)) == of_most(of(a=1, b=2, c=3)) == of_most({}) == frozenset()
    assert of_most({**of(a=1, b=1), "c": Hashed(70, 51, 1, 70)}) == {"a", "b"}


def test_a_hash_at_the_newest_revision_says_which_one_it_was() -> None:
    assert parse_hash(b'0 {"header":{"revision":9},"hash":4}').place == (9, 0)
    assert parse_hash(b'0 {"header":{"revision":9},"hash":4,"hash_revision":8}').place == (8, 0)
    with pytest.raises(NotYet, match="refused"):
        parse_hash(b"", b"curl: (7) refused")


def test_revisions_that_differ_after_the_same_entry_are_found() -> None:
    views = {name: View((), applied_index=at, revision=revision) for name, at, revision in (("a", 9, 70), ("b", 9, 69))}
    views["c"] = View((), applied_index=8, revision=60)  # only behind
    assert list(_revisions(views)) == [
        "revisions differ after entry 9 of the log: a 70, b 69; rejoin() the one that stands alone"
    ]
    assert list(_revisions({name: views[name] for name in "ac"})) == []


@pytest.mark.parametrize(
    ("size", "quota", "said"),
    [
        (90, 100, "a: the database takes 90.0 of 100.0 MB (40.0 in use); defragment(), or raise it"),
        (80, 100, ""),
        (1800, 0, "a: the database takes 1800.0 of 2147.5 MB"),  # etcd's own quota, where none is told
        (1700, 0, ""),
    ],
)
def test_a_database_near_its_quota_is_found(size: int, quota: int, said: str) -> None:
    wrong = list(_sizes({"a": View((), db_size=size * 10**6, db_in_use=40 * 10**6)}, {"a": quota * 10**6}))
    assert "; ".join(wrong).startswith(said)
    assert bool(wrong) == bool(said)


@pytest.mark.parametrize(
    ("printed", "quota"),
    [(b"quota 2.147483648e+09\n", DEFAULT_QUOTA), (b"quota 8000\n", 8000), (b"quota unknown\n", 0)],
)
def test_a_quota_is_read(printed: bytes, quota: int) -> None:
    assert _quotas([host("a", lambda text: printed), host("b", silent)], {"a": View(())}) == {"a": quota}


@frozen
class Member:
    """All that a member says of itself, each number a list of what it says one time after the other."""

    revisions: list[int]
    size: int = 10**6
    hash: int = 1

    def __call__(self, text: str) -> bytes:
        if "hashkv" in text:
            return hashed(self.hash)(text)
        if "etcd_server_quota" in text:
            return b"quota 2000000\n"
        revision = self.revisions.pop(0) if len(self.revisions) > 1 else self.revisions[0]
        status = {"header": {"revision": str(revision)}, "raftAppliedIndex": "9", "dbSize": str(self.size)}
        parts: list[object] = [{"members": []}, status, {}]
        return "\n".join(json.dumps(part) for part in parts).encode()


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (Member([70]), ""),
        (Member([69, 70]), ""),  # between two entries
        (Member([69]), "revisions differ after entry 9 of the log: a 70, b 69"),
        (Member([70], hash=2), "keys differ at revision 70: a 1, b 2"),
        (Member([70], size=1_900_000), "b: the database takes 1.9 of 2.0 MB"),
    ],
)
def test_verify_looks_at_members_data(second: Member, said: str) -> None:
    hosts = [host("a", Member([70])), host("b", second)]
    (check,) = (each for each in health_checks(hosts, STACKED) if "same keys" in each.sentence)
    if not said:
        assert "1.0 MB at revision" in check.look()
        return
    with pytest.raises(NotYet, match=said):
        check.look()
