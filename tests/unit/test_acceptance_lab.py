"""How a lab's machines are made, against a Vagrant that fails."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from acceptance import test_resume
from acceptance.lab.commands import LabError
from acceptance.session import Options, Session
from acceptance.tell import Tell
from acceptance.topology import Machine
from acceptance.vagrant import Lab


class Half(Lab):
    """A lab whose Vagrant fails ``fails`` times, and has made every machine but ``never`` by then."""

    def __init__(self, home: Path, fails: int, never: str = "") -> None:
        self.told: list[str] = []
        super().__init__(home=home, listen=self.told.append)
        self.asked: list[str] = []
        self.states = dict.fromkeys(self.topology.names, "absent")
        self._vagrant.up = lambda vm_name: self._up(vm_name, never)  # type: ignore[method-assign]
        self.fails = fails

    def _up(self, names: str, never: str) -> None:
        self.asked.append(names)
        self.states |= {name: "running" for name in names.strip("/^()$").split("|") if name != never or not self.fails}
        if self.fails:
            self.fails -= 1
            raise LabError("exit 1", command=["vagrant", "up"], stderr="Conflict")

    def status(self) -> dict[str, str]:
        return self.states


def test_a_machine_that_did_not_come_to_be_is_made_once_more(tmp_path: Path) -> None:
    lab = Half(tmp_path, fails=1, never="worker-2")
    lab._create(["worker-1", "worker-2"])
    assert lab.asked == ["/^(worker-1|worker-2)$/", "/^(worker-2)$/"]
    assert lab.states["worker-2"] == "running"
    assert "bringing up worker-2 once more: exit 1\nvagrant up\nConflict" in lab.told


@pytest.mark.parametrize(("never", "asked"), [("worker-2", 2), ("", 1)], ids=["not made", "made all the same"])
def test_what_vagrant_says_then_is_the_error(tmp_path: Path, never: str, asked: int) -> None:
    lab = Half(tmp_path, fails=2, never=never)
    with pytest.raises(LabError, match="Conflict"):
        lab._create(["worker-1", "worker-2"])
    assert len(lab.asked) == asked


class Kept(Lab):
    """A lab that stands, made by a run; notes in whose name Vagrant makes machines."""

    def __init__(self, home: Path, *made_by: str) -> None:
        super().__init__(home=home)
        self._lock = home / "lock"
        self.there = dict(zip(self.topology.names, made_by, strict=False))
        self.made: list[tuple[str, str | None]] = []
        self._vagrant.up = lambda vm_name: self._up(vm_name)  # type: ignore[method-assign]
        self._vagrant.destroy = lambda vm_name: self.there.pop(vm_name)  # type: ignore[method-assign]

    def _up(self, names: str) -> None:
        self.made.append((names.strip("/^()$"), self._environment.get("K8SHA_RUN")))

    def _containers(self, label: str, *columns: str) -> list[list[str]]:
        assert (label, columns) == (f"k8sha.home={self.home}", ("k8sha.run",))
        return [[name, run] for name, run in reversed(self.there.items())]  # the newest first

    def status(self) -> dict[str, str]:
        return {name: "running" if name in self.there else "absent" for name in self.topology.names}

    def _kill(self, name: str) -> None: ...
    def _plug(self, name: str) -> None: ...
    def _make_room(self) -> None: ...
    def _host_keys(self, machine: Machine) -> tuple[str, ...]:
        return ()

    def _remember(self, keys: dict[Machine, tuple[str, ...]]) -> None: ...
    def _wait_for_login(self, machine: Machine) -> None: ...


@pytest.mark.parametrize(
    ("made_by", "name"),
    [
        (("earlier", "earlier"), "earlier"),
        (("earlier",), "earlier"),  # nobody stands beside it
        (("", ""), ""),  # by hand: no run may remove it
        ((), "this"),
    ],
)
def test_a_machine_made_anew_belongs_to_whoever_made_the_lab(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made_by: tuple[str, ...], name: str
) -> None:
    monkeypatch.setenv("K8SHA_RUN", "this")
    lab = Kept(tmp_path, *made_by)
    first = lab.topology.names[0]
    lab.recreate(first)
    assert lab.made == [(first, name)]
    assert lab._environment["K8SHA_RUN"] == "this"


def test_a_machine_that_is_missing_belongs_to_the_lab_it_comes_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("K8SHA_RUN", "this")
    lab = Kept(tmp_path, "earlier")
    lab.up(lab.topology.names[:2])
    assert lab.made == [(lab.topology.names[1], "earlier")]


def test_nobody_s_lab_is_thrown_away_to_kill_an_installer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session.begin(Options(report=tmp_path), Tell(Console(quiet=True)))
    session.lab = Kept(tmp_path, "earlier")
    request: Any = SimpleNamespace(config=SimpleNamespace(getoption=lambda name: 20))
    with pytest.raises(pytest.skip.Exception, match="was there before"):
        test_resume.test_killed_installer(session, request, lambda name, value: None, None)  # type: ignore[arg-type]
    assert session.lab.there
    assert session.certificate.untested[0].title == test_resume.TITLE
