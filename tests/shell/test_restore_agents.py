"""Pods of agents that are deleted after a restore, by real shells and a kubectl that is a script."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from k8sha.components.agents import AgentsOnDelete

from .local import KINDS, SHELLS

KUBECTL = """\
#!/bin/sh
case "$*" in
  *'get daemonsets'*OnDelete*) printf 'set|rook|csi\\n';;
  *'get pods'*) cat <<'END'
pod|DaemonSet|rook|csi-a|||csi|master-1|True
pod|DaemonSet|rook|csi-b|0a1b2c3d||csi|worker-1|True
pod|DaemonSet|rook|csi-c||2026-11-30T06:00:00Z|csi|worker-2|True
pod|DaemonSet|kube-system|csi-d|||csi|worker-1|True
pod|DaemonSet|rook|other-e|||csi-other|worker-1|True
pod|ReplicaSet|rook|csi-f|||csi|worker-1|True
pod|DaemonSet|rook|csi-g|ffffffff||csi|worker-1|True
END
  ;;
  *) echo "$*";;
esac
"""


@pytest.mark.parametrize("shell", KINDS)
def test_only_old_pods_of_sets_that_nobody_exchanges_are_deleted(tmp_path: Path, shell: str) -> None:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(KUBECTL)
    kubectl.chmod(0o755)
    done = subprocess.run(
        [*SHELLS[shell], "-eu", "-c", AgentsOnDelete("0a1b2c3d", "192.168.56.10").apply()],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        check=True,
        text=True,
        timeout=20,
    )
    assert [line.partition(" -n ")[2].split()[:4] for line in done.stdout.splitlines()] == [
        ["rook", "delete", "pod", "csi-a"],
        ["rook", "delete", "pod", "csi-g"],
    ]
