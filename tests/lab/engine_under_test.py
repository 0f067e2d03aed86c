"""An installer that a test may kill: a stage whose second change waits until it is told to go on.

``python -m tests.lab.engine_under_test USER ADDRESS KNOWN_HOSTS [KEY | PASSWORD]`` installs it, and exits with 130 on
Ctrl-C.
"""

from __future__ import annotations

import sys

from k8sha.component import Component, Stages
from k8sha.events import Began, Event
from k8sha.hosts import SSH, Host
from k8sha.resources import Absent, Command, File, Resource
from k8sha.stage import Stage

FOLDER = "/etc/k8sha-test"
GATE = "/run/k8sha-test-gate"
"""While it is there, the second change waits."""

RESOURCES: tuple[Resource, ...] = (
    File(f"{FOLDER}/one", "one\n"),
    Command(
        "wait at the gate",
        done=f"if [ ! -e {FOLDER}/two ]; then echo '+ two'; fi",
        run=f"while [ -e {GATE} ]; do sleep 0.1; done\ntouch {FOLDER}/two",
        limit=120,
    ),
    File(f"{FOLDER}/three", "three\n"),
    Absent(f"{FOLDER}/four"),
)


class Gated(Component):
    """The stage on some hosts."""

    def __init__(self, *hosts: Host) -> None:
        self.on = hosts

    @property
    def hosts(self) -> tuple[Host, ...]:
        return self.on

    def stages(self) -> Stages:
        yield Stage("gated", {host: RESOURCES for host in self.on}, batch=1)


def say(event: Event) -> None:
    if isinstance(event, Began):
        sys.stdout.write(f"{event.resource}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    user, address, known_hosts, secret = sys.argv[1:]
    by_key = secret.startswith("/")
    ssh = SSH(
        user,
        known_hosts=known_hosts,
        key=secret if by_key else None,
        password=None if by_key else secret,
        sudo_password=None if by_key else secret,
    )
    try:
        Gated(Host("worker-3", address, ssh=ssh)).install(say)
    except KeyboardInterrupt:
        sys.exit(130)
