"""What the documentation has a person run on a master that lacks files, by real shells; its programs are scripts."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from .local import KINDS, SHELLS

PAGE = Path(__file__).parents[2] / "docs" / "diagnose.md"
KUBECTL = """\
#!/bin/sh
case " $* " in *" --kubeconfig={conf} "*) ;; *) echo 'The connection to localhost:8080 was refused' >&2; exit 1;; esac
printf 'apiServer: {{}}\\napiVersion: kubeadm.k8s.io/v1beta3\\nkind: ClusterConfiguration\\n'
"""
KUBEADM = """\
#!/bin/sh
for file do :; done
cat "$file" >{said} && echo "$*" >>{ran}
"""


def blocks(below: Path) -> list[str]:
    """The recipe for a host whose root is a folder."""
    chapter = PAGE.read_text().partition("## Files of a master that are missing\n")[2].partition("\n## ")[0]
    found = re.findall(r"```sh\n(.*?)```", chapter, re.DOTALL)
    return [re.sub(r"(?<![\w.])/(run|etc)/", rf"{below}/\1/", text) for text in found]


def run(shell: str, text: str, below: Path) -> int:
    path = f"{below}/bin:{os.environ['PATH']}"
    return subprocess.run([*SHELLS[shell], "-c", text], env={"PATH": path}, timeout=20, check=False).returncode


@pytest.mark.parametrize("shell", KINDS)
@pytest.mark.parametrize("asked", [True, False], ids=["asked where there is an admin.conf", "no answer"])
def test_kubeadm_gets_the_clusters_own_record_or_nothing_at_all(tmp_path: Path, shell: str, asked: bool) -> None:
    """With nothing but the master's address it would go on by its own defaults, and say nothing."""
    for folder in ("bin", "run", "etc/kubernetes"):
        (tmp_path / folder).mkdir(parents=True)
    conf = f"{tmp_path}/etc/kubernetes/admin.conf" if asked else "/nowhere"
    for name, text in (("kubectl", KUBECTL), ("kubeadm", KUBEADM)):
        script = tmp_path / "bin" / name
        script.write_text(text.format(conf=conf, said=tmp_path / "said", ran=tmp_path / "ran"))
        script.chmod(0o755)
    record, made, phases = blocks(tmp_path)
    assert (run(shell, record, tmp_path) == 0) is asked
    assert (run(shell, made, tmp_path) == 0) is asked
    run(shell, phases, tmp_path)
    assert (tmp_path / "ran").exists() is asked
    if asked:
        assert (tmp_path / "said").read_text() == (
            "apiVersion: kubeadm.k8s.io/v1beta3\nkind: InitConfiguration\n"
            "localAPIEndpoint: {advertiseAddress: 192.168.56.12}\n---\n"
            "apiServer: {}\napiVersion: kubeadm.k8s.io/v1beta3\nkind: ClusterConfiguration\n"
        )
        assert (tmp_path / "ran").read_text().count(" phase ") == 3
        assert list((tmp_path / "run").iterdir()) == []
