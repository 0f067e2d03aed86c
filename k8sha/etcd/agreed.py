"""When etcd is whole again: every member lists the same voters, there is one leader, and all hold the same data."""

from __future__ import annotations

import json
from typing import Any

from attrs import field, frozen

from k8sha.etcd.access import Access
from k8sha.etcd.tools import BIN
from k8sha.report import Diff
from k8sha.resources.resource import Condition

__all__ = ["Agreed", "Whole"]


@frozen
class Whole:
    """What members said of themselves: the lowest revision among them, and the hash of their data at it."""

    revision: int
    hash: int


@frozen
class Agreed(Condition):
    """Every expected member lists exactly these, each a started voter; one leader; no alarm; one hash of all keys at
    one revision; and a revision above ``above``. Asked of all members from this host.

    ``expected`` are names and client addresses. With ``among`` other members may be listed as well: those that a
    cluster which was put back had already lost.
    """

    access: Access
    expected: tuple[tuple[str, str], ...]
    above: int = field(default=0, kw_only=True)
    among: bool = field(default=False, kw_only=True)
    patience: float = field(default=180, kw_only=True)
    interval: float = field(default=0.3, kw_only=True)

    @property
    def key(self) -> str:
        return f"etcd is whole on {', '.join(name for name, _ in self.expected)}"

    def probe(self) -> str:
        urls = " ".join(self._url(address) for _, address in self.expected)
        curl = self.access.curl
        return f"""\
ask() {{ {curl} "$1" -d "$2" 2>&1 | tr -d '\\n' || echo ' (no answer)'; echo; }}
low=
for url in {urls}; do
  said=$(ask "$url/v3/maintenance/status" '{{}}')
  printf 'status %s\\n' "$said"
  printf 'members %s\\n' "$(ask "$url/v3/cluster/member/list" '{{"linearizable":false}}')"
  at=$(printf '%s' "$said" | sed -n 's/.*"revision":"\\([0-9]*\\)".*/\\1/p')
  if [ -z "$at" ]; then exit 0; fi
  if [ -z "$low" ] || [ "$at" -lt "$low" ]; then low=$at; fi
done
if [ -x {BIN}/etcdctl ]; then
  printf 'hashes %s\\n' "$(env -u ETCDCTL_API {BIN}/etcdctl {self.access.credentials} --command-timeout=5s \\
    --endpoints={",".join(self._url(address) for _, address in self.expected)} \\
    endpoint hashkv --rev "$low" -w json 2>&1 | tr -d '\\n')"
fi"""

    @staticmethod
    def _url(address: str) -> str:
        return f"https://[{address}]:2379" if ":" in address else f"https://{address}:2379"

    def diff(self, seen: bytes) -> Diff:
        found = self._found(seen)
        return found if isinstance(found, Diff) else Diff()

    def whole(self, seen: bytes) -> Whole:
        """What a probe saw that has no difference. Raises ValueError for one that has."""
        found = self._found(seen)
        if isinstance(found, Diff):
            raise ValueError(str(found))
        return found

    def _found(self, seen: bytes) -> Diff | Whole:
        said: dict[str, list[Any]] = {"status": [], "members": [], "hashes": []}
        for line in seen.decode(errors="replace").splitlines():
            what, _, text = line.partition(" ")
            try:
                said.setdefault(what, []).append(json.loads(text))
            except ValueError:
                return Diff.of(f"{self._asked(said)} says: {text.strip()[-200:]}")
        try:
            return self._judge(said)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            return Diff.of(f"{self._asked(said)} gives no answer that can be read")

    def _asked(self, said: dict[str, list[Any]]) -> str:
        at = min(len(said["members"]), len(self.expected) - 1)
        return "etcd" if len(said["members"]) >= len(self.expected) else f"etcd on {self.expected[at][0]}"

    def _judge(self, said: dict[str, list[Any]]) -> Diff | Whole:
        lines: list[str] = []
        leaders: set[str] = set()
        names = {name for name, _ in self.expected}
        revisions: list[int] = []
        for (own, _), status, listed in zip(self.expected, said["status"], said["members"], strict=True):
            revisions.append(int(status["header"]["revision"]))
            leaders.add(str(status.get("leader", "0")))
            lines += [f"{own} reports {error}" for error in status.get("errors", ())]
            seen = {str(member.get("name", "")) for member in listed["members"] if not member.get("isLearner")}
            if not (names <= seen if self.among else names == seen and len(listed["members"]) == len(names)):
                lines.append(f"{own} lists {', '.join(sorted(name or '(not started)' for name in seen))}")
        if len(leaders) != 1 or "0" in leaders:
            lines.append("there is no one leader")
        if min(revisions) <= self.above:
            lines.append(f"revision {min(revisions)} is not above {self.above}")
        if lines:
            return Diff.of(*lines)
        (hashes,) = said["hashes"]
        found = {int(each["HashKV"]["hash"]) for each in hashes}
        if len(hashes) != len(self.expected) or len(found) != 1:
            return Diff.of(f"hashes at revision {min(revisions)} differ: {', '.join(map(str, sorted(found)))}")
        return Whole(min(revisions), found.pop())
