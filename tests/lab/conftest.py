"""The lab for tests: real hosts with systemd, brought up where they are not up yet.

``K8SHA_TOPOLOGY`` and ``VAGRANT_DOTFILE_PATH`` choose another lab than the default one, as they do for Vagrant itself.
A lab that this run brought up is thrown away at the end; one that was up is left up.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from acceptance.topology import DEFAULT
from acceptance.vagrant import Lab
from k8sha.hosts import SSH, Host

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.lab)


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The lab, with every machine up."""
    missing = [name for name in ("vagrant", "docker") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"a lab needs {' and '.join(missing)}; acceptance/lab/setup installs them")
    topology = Path(os.environ.get("K8SHA_TOPOLOGY", DEFAULT))
    home = Path(os.environ.get("VAGRANT_DOTFILE_PATH", REPOSITORY / ".vagrant"))
    found = Lab(topology, home=home, listen=print)
    was_there = set(found.status().values()) != {"absent"}
    if not found.is_up():
        found.up()
    try:
        yield found
    finally:
        if not was_there:
            found.destroy()


@pytest.fixture(scope="session")
def hosts(lab: Lab) -> Iterator[Mapping[str, Host]]:
    """The lab's hosts by name, reached as its user, whose sudo needs no password."""
    ssh = SSH(lab.ssh_user, key=str(lab.ssh_key), known_hosts=str(lab.known_hosts))
    found = {machine.name: Host(machine.name, str(machine.address), ssh=ssh) for machine in lab.topology.machines}
    yield found
    for host in found.values():
        host.close()
