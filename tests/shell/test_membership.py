"""Removing members by real shells: exactly those that must go, asked of an etcd that is a script."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from k8sha.components.membership import MembersRemoved

from .local import SHELLS

CURL = """\
#!/bin/sh
# Lists what is in $MEMBERS; writes down what is to be removed.
for word; do
  case $word in
    */member/list) cat "$MEMBERS";;
    */member/remove) remove=1;;
    '{"ID":'*) if [ -n "${remove:-}" ]; then echo "$word" >>"$REMOVED"; exit "${REFUSES:-0}"; fi;;
  esac
done
"""


def member(id: int, name: str, address: str, *, learner: bool = False) -> dict[str, object]:
    found: dict[str, object] = {"ID": str(id), "peerURLs": [f"https://{address}:2380"]}
    if name:
        found |= {"name": name, "clientURLs": [f"https://{address}:2379"]}
    return found | ({"isLearner": True} if learner else {})


def remove(
    folder: Path, shell: str, members: list[dict[str, object]], *addresses: str, refuses: int = 0
) -> tuple[int, list[str]]:
    """Exit code, and the ids that were removed."""
    (folder / "curl").write_text(CURL)
    (folder / "curl").chmod(0o755)
    (folder / "members").write_text(json.dumps({"header": {"cluster_id": "1", "member_id": "2"}, "members": members}))
    removed = folder / "removed"
    removed.unlink(missing_ok=True)
    done = subprocess.run(
        [*SHELLS[shell], "-eu", "-c", MembersRemoved(addresses).apply()],
        env={
            "PATH": f"{folder}:{os.environ['PATH']}",
            "MEMBERS": str(folder / "members"),
            "REMOVED": str(removed),
            "REFUSES": str(refuses),
        },
        check=False,
    )
    ids = [json.loads(line)["ID"] for line in removed.read_text().splitlines()] if removed.exists() else []
    return done.returncode, ids


VOTERS = [member(number, f"m-{number}", f"192.168.56.1{number}") for number in (1, 2, 3)]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("more", "addresses", "ids"),
    [
        ([], ("192.168.56.11",), ["1"]),
        ([], ("192.168.56.1",), []),  # no part of another address
        ([], (), []),
        ([], ("192.168.56.11", "192.168.56.13"), ["1", "3"]),
        ([member(4, "", "192.168.56.14", learner=True)], ("192.168.56.11",), ["1", "4"]),
        ([member(4, "m-4", "192.168.56.14", learner=True)], (), ["4"]),
        ([member(4, "", "192.168.56.14")], (), ["4"]),
        ([member(18446744073709551615, "m-4", "192.168.56.14")], ("192.168.56.14",), ["18446744073709551615"]),
    ],
)
def test_those_that_must_go_go_and_nobody_else(
    tmp_path: Path, shell: str, more: list[dict[str, object]], addresses: tuple[str, ...], ids: list[str]
) -> None:
    assert remove(tmp_path, shell, [*VOTERS, *more], *addresses) == (0, ids)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_removal_that_etcd_refuses_is_an_error(tmp_path: Path, shell: str) -> None:
    exit, _ = remove(tmp_path, shell, VOTERS, "192.168.56.11", refuses=22)
    assert exit != 0
