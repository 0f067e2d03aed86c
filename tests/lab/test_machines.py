"""What happens to whole machines of the lab: one that is frozen or without power is silent, as if it had no kernel."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from acceptance.lab.commands import LabError
from acceptance.vagrant import Lab

SUBJECT = "worker-1"


def answer(lab: Lab) -> str:
    """How the machine's port of ssh answers a new connection."""
    try:
        with socket.create_connection((str(lab.topology[SUBJECT].address), 22), timeout=1) as connection:
            return connection.recv(4).decode()
    except TimeoutError:
        return "silence"


@pytest.fixture(autouse=True)
def back_again(lab: Lab) -> object:
    yield
    lab.up([SUBJECT])


def test_a_frozen_machine_takes_no_connection_and_goes_on_where_it_stood(lab: Lab) -> None:
    assert answer(lab) == "SSH-"
    lab.freeze(SUBJECT)
    lab.freeze(SUBJECT)
    assert (answer(lab), lab.status()[SUBJECT]) == ("silence", "frozen")
    lab.thaw(SUBJECT)
    lab.thaw(SUBJECT)
    assert (answer(lab), lab.status()[SUBJECT]) == ("SSH-", "running")


def test_a_connection_to_a_machine_without_power_is_not_closed(lab: Lab) -> None:
    with socket.create_connection((str(lab.topology[SUBJECT].address), 22), timeout=2) as connection:
        assert connection.recv(4) == b"SSH-"
        connection.recv(1024)
        lab.power_off(SUBJECT)
        with pytest.raises(TimeoutError):
            connection.recv(1)
    lab.power_on(SUBJECT)
    assert answer(lab) == "SSH-"


def test_a_cable_that_a_killed_run_left_pulled_is_plugged_in_again(lab: Lab) -> None:
    lab._pull(SUBJECT)
    assert (answer(lab), lab.status()[SUBJECT]) == ("silence", "running")
    lab.up([SUBJECT])
    assert answer(lab) == "SSH-"


def small(folder: Path) -> Path:
    """A topology of one machine, on a network of its own."""
    topology = folder / "topology.json"
    host = {"name": SUBJECT, "address": "192.168.57.20", "role": "worker", "cpus": 1, "memory_mb": 512}
    topology.write_text(json.dumps({"subnet": "192.168.57.0", "prefix": 24, "vip": "192.168.57.100", "hosts": [host]}))
    return topology


def test_a_lab_whose_machines_all_stopped_stands_in_nobodys_way_and_comes_back(lab: Lab, tmp_path: Path) -> None:
    """As after a boot of this machine: the network that it was on is taken, and then gone with the other lab."""
    topology = small(tmp_path)
    before, after = (Lab(topology, home=tmp_path / name, listen=print) for name in ("before", "after"))
    try:
        before.up()
        with pytest.raises(LabError, match=f"taken by the lab of {before.home}"):
            after.up()
        before.power_off(SUBJECT)
        after.up()
        with pytest.raises(LabError, match=f"taken by the lab of {after.home}"):
            before.up()
        after.destroy()
        before.up()
        assert before.is_up()
    finally:
        before.destroy()
        after.destroy()


def test_a_machine_made_anew_is_not_removed_by_the_run_that_did_it(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kept lab stays whole when a later run, which exchanges a machine in it, tidies up after itself."""
    topology = small(tmp_path)
    kept = Lab(topology, home=tmp_path / "kept", listen=print)
    monkeypatch.setenv("K8SHA_RUN", "a-later-run")
    later = Lab(topology, home=kept.home, listen=print)

    def made_by() -> list[str]:
        return [run for _, run in kept._containers(f"k8sha.home={kept.home}", "k8sha.run")]

    try:
        kept.up()
        before = kept._id(SUBJECT), made_by()
        later.recreate(SUBJECT)
        assert kept._id(SUBJECT) != before[0]
        assert made_by() == before[1]
        assert later._containers("k8sha.run=a-later-run") == []
        assert kept.is_up()
    finally:
        kept.destroy()
