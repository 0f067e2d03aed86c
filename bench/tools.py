"""The three tools: how each of them is told to do the ten tasks on some hosts."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Protocol

from attrs import field, frozen

from bench.hosts import Fleet, run

__all__ = ["Ansible", "K8sha", "Pyinfra", "Tool"]

TASKS = Path(__file__).parent / "tasks"

_ANSIBLE = """\
[defaults]
inventory = {folder}/hosts.json
forks = {forks}
remote_user = root
private_key_file = {key}
interpreter_python = /usr/bin/python3

[ssh_connection]
pipelining = True
control_path_dir = {folder}/masters
ssh_args = -C -o ControlMaster=auto -o ControlPersist=60s -o UserKnownHostsFile={known_hosts}
"""


class Tool(Protocol):
    """What can do the ten tasks."""

    @property
    def name(self) -> str:
        """What the table calls it."""

    @property
    def version(self) -> str:
        """With its version."""

    def command(self, fleet: Fleet, folder: Path) -> tuple[str, ...]:
        """The command that does the tasks on a fleet; ``folder`` is its own, new for each run."""

    def environment(self, fleet: Fleet, folder: Path) -> Mapping[str, str]:
        """What it finds in its environment besides PATH, HOME and the locale."""


@frozen
class K8sha:
    """Our engine: ``install()`` of one component with one stage."""

    name: str = field(default="k8sha", init=False)

    @property
    def version(self) -> str:
        return f"k8sha {metadata.version('k8sha')}"

    def command(self, fleet: Fleet, folder: Path) -> tuple[str, ...]:
        return (sys.executable, "-m", "bench.tasks.ours", str(fleet.write(folder / "fleet.json")))

    def environment(self, fleet: Fleet, folder: Path) -> Mapping[str, str]:
        return {}


@frozen
class Pyinfra:
    """pyinfra's command line, told not to ask and not to look for changes beforehand: its fastest way."""

    home: Path
    name: str = field(default="pyinfra", init=False)

    @property
    def _program(self) -> str:
        return str(self.home / "bin/pyinfra")

    @property
    def version(self) -> str:
        return run(self._program, "--version").strip().replace(": v", " ")

    def command(self, fleet: Fleet, folder: Path) -> tuple[str, ...]:
        fleet.write(folder / "fleet.json")
        return (self._program, "--yes", str(TASKS / "pyinfra_inventory.py"), str(TASKS / "pyinfra_deploy.py"))

    def environment(self, fleet: Fleet, folder: Path) -> Mapping[str, str]:
        return {"BENCH_FLEET": str(folder / "fleet.json")}


@frozen
class Ansible:
    """ansible-playbook with pipelining and a fork for each host."""

    home: Path
    name: str = field(default="ansible", init=False)

    @property
    def _program(self) -> str:
        return str(self.home / "bin/ansible-playbook")

    @property
    def version(self) -> str:
        said = run(self._program, "--version")
        found = re.search(r"\[core (\S+)\]", said)
        return f"ansible-core {found[1] if found else said}"

    def command(self, fleet: Fleet, folder: Path) -> tuple[str, ...]:
        hosts = {address: {"ansible_port": fleet.port} for address in fleet.addresses}
        (folder / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}))
        config = _ANSIBLE.format(folder=folder, forks=len(hosts), key=fleet.key, known_hosts=fleet.known_hosts)
        (folder / "ansible.cfg").write_text(config)
        return (self._program, str(TASKS / "ansible.yml"))

    def environment(self, fleet: Fleet, folder: Path) -> Mapping[str, str]:
        return {"ANSIBLE_CONFIG": str(folder / "ansible.cfg"), "ANSIBLE_HOME": str(folder / "home")}
