"""The laws that only a shell can show: absent, made, made again, drifted, killed anywhere, made in the end."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from k8sha.component import Component, Stages
from k8sha.hosts import Host
from k8sha.hosts.program import Did, Frame, Program, Snippet
from k8sha.resources import Resource
from k8sha.stage import Stage

__all__ = ["OneStage", "everything", "killed_anywhere", "killing_tools", "obeys"]

_KILLS = """\
#!/bin/sh
# Counts the commands of a snippet, and at one of them ends everything at once, before or after it.
read -r left <"{folder}/left"
echo $((left - 1)) >"{folder}/left"
if [ "$left" = 0 ] && [ {when} = before ]; then kill -KILL 0; fi
"{real}" "$@"
code=$?
if [ "$left" = 0 ]; then kill -KILL 0; fi
exit "$code"
"""

COMMANDS = (
    *("awk", "base64", "chmod", "chown", "cmp", "cp", "curl", "grep", "ln", "mkdir", "mv", "openssl", "rm"),
    *("sha256sum", "stat", "sync", "sysctl", "touch"),
)


class OneStage(Component):
    """Resources on one host, in one stage."""

    def __init__(self, host: Host, *resources: Resource) -> None:
        self.host, self.resources = host, resources

    @property
    def hosts(self) -> tuple[Host, ...]:
        return (self.host,)

    def stages(self) -> Stages:
        yield Stage("one", {self.host: self.resources})


def everything(folder: Path) -> dict[str, tuple[str, int, bytes]]:
    """All that lies in a folder: kind, mode and content by path."""
    found = {}
    for path in sorted(folder.rglob("*")):
        kind = "link" if path.is_symlink() else "directory" if path.is_dir() else "file"
        content = str(path.readlink()).encode() if kind == "link" else path.read_bytes() if kind == "file" else b""
        found[str(path.relative_to(folder))] = (kind, path.lstat().st_mode & 0o7777, content)
    return found


def obeys(host: Host, resource: Resource, folder: Path, drifts: Sequence[tuple[str, Callable[[], object]]]) -> None:
    """Absent, made, made again, and each drift named by its words and repaired. ``folder`` has all that it makes."""
    one = OneStage(host, resource)
    before = everything(folder)
    plan = one.plan()
    assert [change.resource for change in plan.changes] == [resource.key]
    assert everything(folder) == before, "a probe changes nothing"
    assert [result.resource for result in one.install().changed] == [resource.key]
    made = everything(folder)
    assert not one.plan()
    assert not one.install().changed
    exit, _, err = host.execute(resource.apply())
    assert exit == 0, err.decode()
    assert everything(folder) == made, "twice is once"
    for words, drift in drifts:
        drift()
        (change,) = one.plan().changes
        assert words in str(change.diff), str(change.diff)
        one.install()
        assert everything(folder) == made, words


def killing_tools(folder: Path, when: str) -> Path:
    """A folder of programs that kill the snippet that calls them, at the call whose number is in its file ``left``."""
    folder.mkdir(exist_ok=True)
    for name in COMMANDS:
        real = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
        if real is not None:
            (folder / name).write_text(_KILLS.format(folder=folder, when=when, real=real))
            (folder / name).chmod(0o755)
    return folder


def killed_anywhere(
    host: Host,
    tools: Path,
    resource: Resource,
    reset: Callable[[], object],
    check: Callable[[], object],
) -> int:
    """Kill an apply at every one of its commands; after each, an install converges, and ``check`` looks at the result.

    Returns the number of places where it was killed.
    """
    one = OneStage(host, resource)
    text = f"PATH={shlex.quote(str(tools))}:$PATH\nexport PATH\n{resource.apply()}"
    program = Program(applies=(Snippet(text, resource.timeout, tuple(resource.secrets().items())),))
    for place in range(1000):
        reset()
        (tools / "left").write_text(f"{place}\n")
        frames: list[Frame] = []
        host.run(program, frames.append)
        exits = [frame.exit for frame in frames if isinstance(frame, Did)]
        if int((tools / "left").read_text()) >= 0:
            assert exits == [0]
            return place
        assert exits == [137], f"killed at command {place}"
        one.install()
        assert not one.plan(), f"killed at command {place}"
        check()
    raise AssertionError("it never ends")
