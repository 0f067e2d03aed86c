"""Whether members hold the same keys: each one's hash of them, all at one revision and with the same history."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from attrs import frozen

from k8sha.errors import HostError
from k8sha.etcd.access import Access
from k8sha.etcd.conditions import url
from k8sha.hosts.host import Host
from k8sha.waiting import NotYet

__all__ = ["Hashed", "differences", "hash_probe", "of_most", "parse_hash", "read_hashes"]

_TRIES = 3


@frozen
class Hashed:
    """What a member said of its keys: the hash of those up to the revision ``at``, without what went when its history
    was ``compacted``; and its ``newest`` revision."""

    at: int
    compacted: int
    hash: int
    newest: int

    @property
    def place(self) -> tuple[int, int]:
        """Only hashes of the same place can be compared: members that have compacted up to different revisions hash
        different keys."""
        return self.at, self.compacted


def hash_probe(access: Access, address: str, revision: int) -> str:
    """Shell that prints the hash of all keys up to a revision, or up to the newest where that one is compacted.

    It is what members ask each other to find corruption (PeerHashKVPath in server/etcdserver/corrupt.go), the same from
    3.4 on. The gateway is of no use: until 3.5 its path is that of the hash of the whole file, which always differs.
    The port for peers speaks no HTTP/2 that curl gets on with.
    """
    ask = f"{access.curl} --max-time 50 --http1.1 -X GET {url(address, 2380)}/members/hashkv"
    return f"""\
at={revision}
found=$({ask} -d '{{"revision":{revision}}}')
case $found in *'"hash":'*) ;; *) found=$({ask} -d '{{"revision":0}}'); at=0;; esac
printf '%s %s\\n' $at "$found\""""


def parse_hash(out: bytes, err: bytes = b"") -> Hashed:
    """From what the probe printed. Raises NotYet where the member gave no hash."""
    asked, _, text = out.decode(errors="replace").partition(" ")
    try:
        data = json.loads(text)
        newest = int(data["header"]["revision"])
        at = int(asked) or int(data.get("hash_revision") or newest)  # 3.6 says which it was
        return Hashed(at, int(data.get("compact_revision", 0)), int(data["hash"]), newest)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise NotYet((out or err).decode(errors="replace").strip()[-200:] or "nothing was said") from None


def read_hashes(hosts: Sequence[Host], access: Access, revision: int) -> tuple[dict[str, Hashed], dict[str, str]]:
    """The members' hashes by host name, at one revision if they can be had; and of those that give none, why.

    Where the places differ they are asked again, at a revision that all have by then: a compaction reaches one member
    after the other.
    """

    def ask(host: Host) -> Hashed | str:
        try:
            _, out, err = host.read(hash_probe(access, host.address, revision), timeout=120)[0]
            return parse_hash(out, err)
        except (HostError, NotYet) as error:
            return str(error)

    found: dict[str, Hashed] = {}
    silent: dict[str, str] = {}
    for _ in range(_TRIES):
        with ThreadPoolExecutor(max(len(hosts), 1)) as pool:
            said = dict(zip((host.name for host in hosts), pool.map(ask, hosts), strict=True))
        found = {name: each for name, each in said.items() if isinstance(each, Hashed)}
        silent = {name: each for name, each in said.items() if isinstance(each, str)}
        if len({each.place for each in found.values()}) <= 1:
            break
        revision = min(each.newest for each in found.values())
    return found, silent


def differences(found: Mapping[str, Hashed]) -> list[str]:
    """In words how members' keys differ; empty where they do not."""
    by: dict[tuple[int, int], dict[str, Hashed]] = {}
    for name, each in found.items():
        by.setdefault(each.place, {})[name] = each
    words = [
        f"keys differ at revision {at}: {', '.join(f'{name} {each.hash}' for name, each in same.items())}"
        for (at, _), same in by.items()
        if len({each.hash for each in same.values()}) > 1
    ]
    if len(by) > 1:
        said = ", ".join(f"{name} up to {each.compacted} (at {each.at})" for name, each in found.items())
        words.append(f"keys can't be compared, as members are compacted up to different revisions: {said}")
    return words


def of_most(found: Mapping[str, Hashed]) -> frozenset[str]:
    """The members that more than half of those that gave a hash agree with; none where there is no such majority."""
    by: dict[tuple[int, int, int], set[str]] = {}
    for name, each in found.items():
        by.setdefault((*each.place, each.hash), set()).add(name)
    most = max(by.values(), key=len, default=set())
    return frozenset(most if len(most) * 2 > len(found) else ())
