"""What happens to whole machines of the lab: one that is frozen or without power is silent, as if it had no kernel."""

from __future__ import annotations

import socket

import pytest

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
