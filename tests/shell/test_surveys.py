"""What one process tells many probes: the same as each would have learned on its own, and no more than a help."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from k8sha.hosts import Host
from k8sha.hosts.program import Frame, Program, Saw, Snippet
from k8sha.resources import File, Resource, Service
from k8sha.survey import Survey, surveyed

Replies = Sequence[tuple[int, bytes, bytes]]

_SYSTEMCTL = """\
#!/bin/sh
# Knows cron, and ssh by two names. Of any other name it says that it is none, and fails in the end.
echo "$*" >>{folder}/calls
code=0; first=yes
while [ "$1" != -- ]; do shift; done; shift
for unit in "$@"; do
  case $unit in
    cron.service) names=cron.service state=active;;
    ssh.service | sshd.service) names='ssh.service sshd.service' state=inactive;;
    *) echo "$unit is no unit" >&2; code=1; continue;;
  esac
  if [ -z "$first" ]; then echo; fi
  first=
  printf 'Names=%s\\nLoadState=loaded\\nActiveState=%s\\nUnitFileState=enabled\\n' "$names" "$state"
done
exit "$code"
"""

_COUNTED = """\
#!/bin/sh
echo "$*" >>{folder}/calls
exec /usr/bin/{name} "$@"
"""


def together(host: Host, resources: Sequence[Resource], *, timeout: int = 60) -> Replies:
    """What the probes of a stage see."""
    heard: list[Frame] = []
    probes = tuple(Snippet(resource.probe(), timeout, surveys=resource.surveys) for resource in resources)
    host.run(Program(probes=probes), heard.append)
    (saw,) = (frame for frame in heard if isinstance(frame, Saw))
    return saw.replies


def alone(host: Host, resources: Sequence[Resource]) -> Replies:
    """What each sees that is probed on its own."""
    return [host.read(resource.probe())[0] for resource in resources]


def tool(folder: Path, name: str, text: str) -> Path:
    """A program that comes before the machine's own; the file of its calls."""
    (folder / "tools" / name).write_text(text.format(folder=folder, name=name))
    (folder / "tools" / name).chmod(0o755)
    return folder / "calls"


def calls(file: Path) -> int:
    return len(file.read_text().splitlines()) if file.exists() else 0


@pytest.fixture
def files(tmp_path: Path) -> list[Resource]:
    """Files of all kinds, in a folder with an odd name: one has a name of which another's is the end."""
    place = tmp_path / "it's  a $place"
    (place / "x  " / str(place).lstrip("/")).mkdir(parents=True)
    for name, mode in (("a", 0o600), ("b", 0o755), ("back\\slash", 0o644), ("-n", 0o644)):
        (place / name).write_text(f"{name}\n")
        (place / name).chmod(mode)
    (place / "x  " / str(place).lstrip("/") / "a").write_text("another\n")
    (place / "link").symlink_to("a")
    (place / "folder").mkdir()
    os.mkfifo(place / "pipe")  # who reads it waits for ever
    names = ["a", "b", "back\\slash", "-n", "link", "folder", "pipe", "absent", f"x  {place}/a"]
    return [File(f"{place}/{name}", "a\n") for name in names]


def test_files_are_seen_together_as_each_alone(host: Host, files: list[Resource]) -> None:
    seen = together(host, files)
    assert list(seen) == alone(host, files)
    kinds = [out.split(b"\n")[0].decode() for _, out, _ in seen]
    assert kinds == ["kind file"] * 4 + ["kind link", "kind other", "kind other", "kind absent", "kind file"]


def test_one_process_tells_the_sums_of_all(host: Host, files: list[Resource], tmp_path: Path) -> None:
    told = tool(tmp_path, "sha256sum", _COUNTED)
    plain = [files[0], files[1], files[3]]
    assert {exit for exit, _, _ in together(host, plain)} == {0}
    assert calls(told) <= 1  # none where the shell has one built in
    expected = calls(told)
    alone(host, plain)
    assert calls(told) == expected * 4


def test_services_are_seen_together_as_each_alone(host: Host, tmp_path: Path) -> None:
    told = tool(tmp_path, "systemctl", _SYSTEMCTL)
    services = [Service("cron"), Service("sshd"), Service("ssh")]
    seen = together(host, services)
    assert calls(told) == 1
    assert [service.diff(out).lines for service, (_, out, _) in zip(services, seen, strict=True)] == [
        (),
        ("state: inactive -> active",),
        ("state: inactive -> active",),
    ]
    assert [out.split() for _, out, _ in alone(host, services)] == [out.split() for _, out, _ in seen]


def test_what_a_survey_cannot_tell_is_an_error_of_its_own(host: Host, tmp_path: Path) -> None:
    tool(tmp_path, "systemctl", _SYSTEMCTL)
    good, bad = together(host, [Service("cron"), Service("nosuch")])
    assert (good[0], good[2]) == (0, b"")
    assert bad[0] != 0
    assert b"nosuch.service is no unit" in bad[2]


def test_a_survey_that_hangs_leaves_each_to_itself(host: Host, tmp_path: Path) -> None:
    slow = Survey("k8sha_slow", "sleep 1000")
    probes = tuple(Snippet(f'echo "{name}${{k8sha_slow-}}"', 1, surveys=((slow, name),)) for name in "abc")
    heard: list[Frame] = []
    host.run(Program(probes=probes), heard.append)
    assert [frame.replies for frame in heard if isinstance(frame, Saw)] == [
        ((0, b"a\n", b""), (0, b"b\n", b""), (0, b"c\n", b""))
    ]


def test_a_single_question_is_no_survey() -> None:
    survey = Survey("k8sha_x", "echo")
    assert surveyed([(survey, "a"), (survey, "a")]) == ""
    assert "set -- a 'b c'" in surveyed([(survey, "a"), (survey, "b c"), (survey, "a")])
