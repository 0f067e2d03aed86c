"""What is brought to a host: kept only whole, not sent twice, and not taken for good because its size is right."""

from __future__ import annotations

import hashlib
import shlex
import subprocess
from pathlib import Path

import pytest

from k8sha.errors import ApplyError
from k8sha.hosts.ssh import _KEEP
from k8sha.resources.images import ContainerImages, ImageArchive

from .conftest import MakeHost
from .laws import OneStage
from .local import KINDS, SHELLS

CTR = """\
#!/bin/sh
# A containerd that keeps the names of what was imported in its folder.
case "$*" in
  *" list "*) if [ -e "{folder}/images" ]; then cat "{folder}/images"; fi;;
  *" import "*) for archive; do :; done; cat "$archive" >>"{folder}/images";;
esac
"""


def keep(shell: str, target: Path, content: bytes, sha256: str) -> str:
    """What the host's side of an upload says; it is sent the content where it asks for it."""
    folder, path = shlex.quote(str(target.parent)), shlex.quote(str(target))
    text = _KEEP.format(folder=folder, d=path, size=len(content), sum=sha256)
    done = subprocess.run([*SHELLS[shell], "-c", text], input=content, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


@pytest.mark.parametrize("shell", KINDS)
def test_a_file_of_the_right_size_with_other_contents_is_sent_again(shell: str, tmp_path: Path) -> None:
    target, content = tmp_path / "it's here" / "file", b"hello\n"
    sha256 = hashlib.sha256(content).hexdigest()
    assert keep(shell, target, content, sha256) == "send"
    assert keep(shell, target, content, sha256) == "have"
    target.write_bytes(bytes(len(content)))  # as after a loss of power
    assert keep(shell, target, content, "") == "have"
    assert keep(shell, target, content, sha256) == "send"
    assert target.read_bytes() == content


def test_a_damaged_archive_is_not_imported_and_the_next_run_brings_it_again(
    make_host: MakeHost, tmp_path: Path
) -> None:
    folder, tools = tmp_path / "host", tmp_path / "tools"
    tools.mkdir()
    (tools / "ctr").write_text(CTR.format(folder=tmp_path))
    (tools / "ctr").chmod(0o755)
    host, archives = make_host(tools=tools), []
    for name in ("one:1", "two:2"):
        source = tmp_path / name
        source.write_text(f"{name}\n")
        sum = hashlib.sha256(source.read_bytes()).hexdigest()
        archives.append(ImageArchive(source, sum, source.stat().st_size, (name,)))
    good, bad = archives
    bad.source.write_text("too:2\n")
    one = OneStage(host, ContainerImages((good, bad)))
    with pytest.raises(ApplyError, match=f"{bad.sha256} was damaged on its way here: run again"):
        one.install()
    staged = {path.name for path in (folder / "state" / "upload").iterdir()}
    assert bad.sha256 not in staged
    assert "two:2" not in (tmp_path / "images").read_text()
    bad.source.write_text("two:2\n")
    one.install()
    assert not one.plan()
    assert list((folder / "state" / "upload").iterdir()) == []
