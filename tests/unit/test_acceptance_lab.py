"""How a lab's machines are made, against a Vagrant that fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from acceptance.lab.commands import LabError
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
