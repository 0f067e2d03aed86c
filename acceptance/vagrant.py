"""The lab's hosts: brought up, frozen, cut off from power, brought back, thrown away. The only caller of vagrant."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from ipaddress import IPv4Address
from pathlib import Path

from .lab.cable import Cable
from .lab.commands import POWER, REPOSITORY, LabError, Vagrant, locked, run
from .topology import DEFAULT, Machine, load

__all__ = ["Lab", "LabError"]

# The providers' words for a machine's state, where they differ from ours.
_STATES = {"not_created": "absent", "paused": "frozen", "saved": "frozen", "running": "running"}


class Lab:
    """The hosts of one topology, and what can happen to a whole machine.

    Labs stand side by side if their topologies have different networks and their homes are different folders.
    `listen` is told each step in words, in the caller's thread. Every method raises LabError where it can't do
    what it says.
    """

    ssh_user = "vagrant"

    def __init__(
        self,
        topology: Path = DEFAULT,
        *,
        home: Path = REPOSITORY / ".vagrant",
        provider: str = "docker",
        listen: Callable[[str], None] | None = None,
    ) -> None:
        self.topology = load(topology)
        self.home = home.resolve()
        self.provider = provider
        self.ssh_key = self.home / "lab" / "id_ed25519"
        """The private key that opens every host of this lab and of no other; made by the first `up`."""
        self.known_hosts = self.home / "lab" / "known_hosts"
        """The hosts' public keys, read on the hosts themselves rather than believed from the network."""
        self._freeze, self._thaw, self._off, self._on = POWER[provider]
        self._listen = listen or (lambda step: None)
        self._environment = os.environ | {
            "K8SHA_TOPOLOGY": str(topology.resolve()),
            "VAGRANT_DOTFILE_PATH": str(self.home),
            "VAGRANT_DEFAULT_PROVIDER": provider,
            "VAGRANT_CHECKPOINT_DISABLE": "1",
        }
        # One lab of this user comes up or goes down at a time: Vagrant's destroy also takes the network of another lab
        # whose first host is just being made.
        self._lock = Path(os.environ.get("VAGRANT_HOME", Path.home() / ".vagrant.d")) / "k8sha-lab.lock"
        self._vagrant = Vagrant(lambda command: self._run(command, seconds=900))

    def up(self, names: Iterable[str] | None = None) -> None:
        """Brings these machines up, or all of them: new, stopped and frozen ones end up running, with sshd letting
        `ssh_user` in. Machines that run already are left as they are.
        """
        wanted = tuple(self.topology[name] for name in names or self.topology.names)
        with locked(self._lock, seconds=900):
            if self.provider == "docker":
                self._make_room()
            states = self.status()
            for machine in wanted:
                if states[machine.name] == "frozen":
                    self.thaw(machine.name)
                elif states[machine.name] == "running":
                    self._plug(machine.name)
                elif states[machine.name] == "stopped":
                    self._reconnect(machine)
                    self._bring(machine.name, self._on, "running")
            if missing := [machine.name for machine in wanted if states[machine.name] == "absent"]:
                with self._in_the_name_of_its_maker():
                    self._create(missing)
            with ThreadPoolExecutor(len(wanted)) as pool:
                keys = dict(zip(wanted, pool.map(self._host_keys, wanted), strict=True))
                self._remember(keys)
                for machine, _ in zip(wanted, pool.map(self._wait_for_login, wanted), strict=True):
                    self._listen(f"{machine.name} is up at {machine.address}")

    def destroy(self) -> None:
        """Throws every machine away with its disks, and the lab's network. Running it twice is once."""
        with locked(self._lock, seconds=900):
            states = self.status()
            if alive := [name for name, state in states.items() if state != "absent"]:
                self._listen(f"destroying {', '.join(alive)}")
                if self.provider == "docker":  # what is thrown away need not shut down in good order
                    with ThreadPoolExecutor(len(alive)) as pool:
                        list(pool.map(self._kill, alive))
                self._vagrant.destroy()
            if left := [name for name, state in self.status().items() if state != "absent"]:
                raise LabError(f"still there after vagrant destroy: {', '.join(left)}")
            self.known_hosts.unlink(missing_ok=True)

    def status(self) -> dict[str, str]:
        """Every machine's state: running, frozen, stopped or absent."""
        if self.provider == "docker":
            ours = self._containers(f"k8sha.home={self.home}", "k8sha.host", "state")
            found = {name: _STATES.get(state, "stopped") for _, name, state in ours}
        else:
            listed = self._vagrant.status()
            found = {entry.name: _STATES.get(entry.state, "stopped") for entry in listed}
        return {name: found.get(name, "absent") for name in self.topology.names}

    def is_up(self) -> bool:
        """Whether every machine runs."""
        return set(self.status().values()) == {"running"}

    def bridge_up(self) -> bool:
        """Whether this machine stands in the lab's network. If not, nothing may be sent to a lab address: it would
        leave by the default route.
        """
        links = json.loads(self._run(["ip", "-json", "-4", "address", "show", "up"]))
        addresses = (IPv4Address(entry["local"]) for link in links for entry in link.get("addr_info", []))
        return any(address in self.topology.network for address in addresses)

    def freeze(self, name: str) -> float | None:
        """Stops the machine's processor: its memory and its addresses stay, nothing in it runs. Undone by `thaw`.
        Returns the moment just before its silence, where that can be told."""
        since = self._pull(name)

        def refusal() -> str:
            try:
                self._bring(name, self._freeze, "frozen")
            except LabError as error:
                if "unable to freeze" in error.stderr:
                    return error.stderr
                raise
            return ""

        try:  # the kernel gives up where new processes come faster than it can stop them, as on a busy host
            self._wait(self.topology[name], "it is frozen", refusal, seconds=20)
        except LabError:
            self._plug(name)
            raise
        return since

    def thaw(self, name: str) -> None:
        """Lets a frozen machine go on where it stood."""
        self._plug(name)
        self._bring(name, self._thaw, "running")

    def power_off(self, name: str) -> float | None:
        """Cuts the machine's power: every process ends at once, the disks stay. Undone by `power_on`.
        Returns the moment just before its silence, where that can be told."""
        since = self._pull(name)
        self._kill(name)
        return since

    def power_on(self, name: str) -> None:
        """Boots a machine that was cut off, with its old addresses and host keys; returns when it lets us log in."""
        self._plug(name)
        self._bring(name, self._on, "running")
        self._wait_for_login(self.topology[name])

    def _kill(self, name: str) -> None:
        self._bring(name, self._off, "stopped")

    def _pull(self, name: str) -> float | None:
        """A container's kernel speaks for it: see :class:`Cable`. Other providers' machines have one of their own."""
        if self.provider == "docker" and self.status()[name] == "running":
            return self._cable.pull(name, self._id(name))
        return None

    def _plug(self, name: str) -> None:
        if self.provider == "docker":
            self._cable.plug(name)

    def recreate(self, name: str) -> None:
        """Throws one machine away with its disk and brings up a blank one in its place: the same name and address, and
        nothing else."""
        with self._in_the_name_of_its_maker():
            with locked(self._lock, seconds=900):
                if self.status()[name] != "absent":
                    self._listen(f"destroying {name}")
                    if self.provider == "docker":  # what is thrown away need not shut down in good order
                        self._kill(name)
                    self._vagrant.destroy(vm_name=name)
            self.up([name])

    @contextmanager
    def _in_the_name_of_its_maker(self) -> Iterator[None]:
        """What is made meanwhile bears the name of the run that made the lab's machines, if there are any: who tidies
        up after this run must not take one machine out of a lab that was there before."""
        own = self._environment
        if self.provider == "docker" and (there := self._containers(f"k8sha.home={self.home}", "k8sha.run")):
            self._environment = own | {"K8SHA_RUN": there[-1][1]}  # the oldest: Docker lists it last
        try:
            yield
        finally:
            self._environment = own

    def _create(self, names: Sequence[str]) -> None:
        """Makes machines, all at once. On a busy machine one of many may not come to be: it is made once more."""
        self._listen(f"bringing up {', '.join(names)}")
        try:
            self._vagrant.up(vm_name=_all_of(names))
        except LabError as error:
            states = self.status()
            left = [name for name in names if states[name] != "running"]
            if not left:
                raise
            self._listen(f"bringing up {', '.join(left)} once more: {error}")
            self._vagrant.up(vm_name=_all_of(left))

    def _make_room(self) -> None:
        """Removes what a killed run left behind; refuses where another lab stands on this network. One of which every
        machine is stopped, as after a boot of this machine, is left as it is and stands in nobody's way."""
        if not self._run(["docker", "image", "ls", "--quiet", self._image]).strip():
            raise LabError(f"there is no image {self._image}: run acceptance/lab/setup")
        noted = {note.read_text().strip() for note in self.home.glob("machines/*/docker/id")}
        for container, home, state in self._containers(f"k8sha.lab={self.topology.subnet}", "k8sha.home", "state"):
            ours = Path(home) == self.home
            if (ours and container not in noted) or not Path(home, "lab").exists():
                self._run(["docker", "rm", "--force", "--volumes", container])
            elif not ours and _STATES.get(state, "stopped") != "stopped":
                raise LabError(f"{self.topology.network} is taken by the lab of {home}: destroy that one first")

    def _reconnect(self, machine: Machine) -> None:
        """Another lab on these addresses took the network along when it was destroyed: a stopped container names one
        that is no more, and would not start."""
        if self.provider != "docker":
            return
        network, container = f"vagrant_network_{self.topology.network}", self._id(machine.name)
        if not self._run(["docker", "network", "ls", "--quiet", "--filter", f"name=^{network}$"]).strip():
            self._run(["docker", "network", "create", "--subnet", str(self.topology.network), network])
        there = self._run(["docker", "network", "inspect", "--format", "{{.Id}}", network]).strip()
        if there not in self._run(["docker", "inspect", "--format", "{{json .NetworkSettings.Networks}}", container]):
            self._run(["docker", "network", "disconnect", "--force", network, container])
            self._run(["docker", "network", "connect", "--ip", str(machine.address), network, container])

    @cached_property
    def _image(self) -> str:
        return self._run([str(REPOSITORY / "acceptance" / "lab" / "image"), "--name"]).strip()

    @cached_property
    def _cable(self) -> Cable:
        return Cable(self.home / "lab" / "pulled", self._image, self._run)

    def _containers(self, label: str, *columns: str) -> list[list[str]]:
        """Id and these labels of every container with that label; "state" is a column as well."""
        cells = [".ID", *(".State" if column == "state" else f'.Label "{column}"' for column in columns)]
        listing = "\t".join(f"{{{{{cell}}}}}" for cell in cells)
        output = self._run(["docker", "ps", "--all", "--no-trunc", "--filter", f"label={label}", "--format", listing])
        return [line.split("\t") for line in output.splitlines()]

    def _host_keys(self, machine: Machine) -> tuple[str, ...]:
        self._wait(machine, "sshd answers", lambda: self._banner(machine))
        show = "cat /etc/ssh/ssh_host_*_key.pub"
        if self.provider == "docker":
            output = self._run(["docker", "exec", self._id(machine.name), "sh", "-c", show], machine=machine.name)
        else:
            output = self._vagrant.ssh(vm_name=machine.name, command=show)
        return tuple(re.findall(r"^((?:ssh|ecdsa)-\S+ \S+)", output, re.MULTILINE))

    def _remember(self, keys: dict[Machine, tuple[str, ...]]) -> None:
        """Writes these machines' keys into known_hosts, in place of older ones and beside the other machines'."""
        old = self.known_hosts.read_text().splitlines() if self.known_hosts.exists() else []
        fresh = {str(machine.address) for machine in keys}
        lines = [line for line in old if line.split(",")[0] not in fresh]
        lines += [f"{machine.address},{machine.name} {key}" for machine, found in keys.items() for key in found]
        draft = self.known_hosts.with_suffix(".new")
        draft.write_text("".join(f"{line}\n" for line in lines))
        draft.replace(self.known_hosts)

    def _banner(self, machine: Machine) -> str:
        """What is still wrong with sshd's first word; empty if nothing."""
        if not self.bridge_up():
            return f"this machine has no address in {self.topology.network}"
        try:
            with socket.create_connection((str(machine.address), 22), timeout=2) as connection:
                greeting = connection.recv(4)
        except OSError as error:
            return str(error)
        return "" if greeting == b"SSH-" else f"port 22 said {greeting!r}"

    def _wait_for_login(self, machine: Machine) -> None:
        command = ["ssh", "-F", "none", "-i", str(self.ssh_key), "-o", f"UserKnownHostsFile={self.known_hosts}"]
        command += ["-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"]
        command += ["-o", "ConnectTimeout=5", f"{self.ssh_user}@{machine.address}", "true"]

        def refusal() -> str:
            try:
                return self._banner(machine) or self._run(command, seconds=20, machine=machine.name)
            except LabError as error:
                return error.stderr or str(error)

        self._wait(machine, f"{self.ssh_user} may log in", refusal)

    def _wait(self, machine: Machine, promise: str, fault: Callable[[], str], seconds: float = 120) -> None:
        end = time.monotonic() + seconds
        while last := fault():
            if time.monotonic() > end:
                raise LabError(
                    f"after {seconds:.0f} s it is still not so that {promise}", machine=machine.name, stderr=last
                )
            time.sleep(0.1)  # nothing tells us; so we look again

    def _bring(self, name: str, command: str, state: str) -> None:
        try:
            self._run(command.format(id=self._id(name)).split(), machine=name)
        except LabError:
            if self.status()[name] != state:  # being there already is no fault
                raise

    def _id(self, name: str) -> str:
        """What the provider calls the machine, as Vagrant noted it down."""
        note = self.home / "machines" / self.topology[name].name / self.provider / "id"
        try:
            return note.read_text().strip()
        except FileNotFoundError:
            raise LabError("was not brought up", machine=name) from None

    def _run(self, command: Sequence[str], *, seconds: float = 60, machine: str = "") -> str:
        return run(command, self._environment, seconds=seconds, machine=machine)


def _all_of(names: Sequence[str]) -> str:
    """These machines, as Vagrant takes several for one."""
    return f"/^({'|'.join(names)})$/"
