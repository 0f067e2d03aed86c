"""The lab's machines, once: the Vagrantfile reads the same JSON file."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from attrs import field, frozen

ROLES = ("balancer", "master", "worker")
DEFAULT = Path(__file__).with_name("topology.json")


class TopologyError(Exception):
    """A topology file that no lab can be made from; the text names every fault in it."""


@frozen
class Machine:
    """One host of the lab."""

    name: str
    role: str
    address: IPv4Address = field(converter=IPv4Address)
    cpus: int
    memory_mb: int


@frozen
class Topology:
    """What the lab consists of: one network, the address that moves, and the machines.

    Names, addresses and the VIP are known to be different and to lie in the network.
    Raises TopologyError otherwise.
    """

    subnet: IPv4Address = field(converter=IPv4Address)
    prefix: int
    vip: IPv4Address = field(converter=IPv4Address)
    machines: tuple[Machine, ...]

    def __attrs_post_init__(self) -> None:
        if faults := list(_faults(self)):
            raise TopologyError("; ".join(faults))

    @property
    def network(self) -> IPv4Network:
        """The lab's network, such as 192.168.56.0/24."""
        return IPv4Network((self.subnet, self.prefix))

    @property
    def balancers(self) -> tuple[Machine, ...]:
        """The machines that hold the VIP by turns."""
        return self._with_role("balancer")

    @property
    def masters(self) -> tuple[Machine, ...]:
        """The machines of the control plane."""
        return self._with_role("master")

    @property
    def workers(self) -> tuple[Machine, ...]:
        """The machines that run the users' pods."""
        return self._with_role("worker")

    @property
    def names(self) -> tuple[str, ...]:
        """Every machine's name, in the file's order."""
        return tuple(machine.name for machine in self.machines)

    def __getitem__(self, name: str) -> Machine:
        """The machine of that name. Raises KeyError, with the names there are."""
        for machine in self.machines:
            if machine.name == name:
                return machine
        raise KeyError(f"no machine {name!r}; there are {', '.join(self.names)}")

    def _with_role(self, role: str) -> tuple[Machine, ...]:
        return tuple(machine for machine in self.machines if machine.role == role)


def load(path: Path = DEFAULT) -> Topology:
    """The topology in that file. Raises TopologyError, naming the file and what is wrong with it."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return Topology(raw["subnet"], raw["prefix"], raw["vip"], tuple(_machine(host) for host in raw["hosts"]))
    except KeyError as error:
        raise TopologyError(f"{path}: {error} is missing") from None
    except (OSError, ValueError, TypeError, TopologyError) as error:
        raise TopologyError(f"{path}: {error}") from error


def _machine(host: Mapping[str, str | int]) -> Machine:
    return Machine(
        str(host["name"]), str(host["role"]), str(host["address"]), int(host["cpus"]), int(host["memory_mb"])
    )


def _faults(topology: Topology) -> list[str]:
    try:
        network = topology.network
    except ValueError as error:
        return [f"subnet and prefix: {error}"]
    machines = topology.machines
    addresses = [machine.address for machine in machines]
    faults = [] if machines else ["there are no hosts"]
    faults += [f"{name}: two hosts of that name" for name in _twice([machine.name for machine in machines])]
    faults += [f"{address}: two hosts with that address" for address in _twice([str(a) for a in addresses])]
    if topology.vip in addresses:
        faults.append(f"vip {topology.vip} is a host's own address")
    outside = [address for address in (topology.vip, *addresses) if address not in set(network.hosts())]
    faults += [f"{address} is not a host's address in {network}" for address in outside]
    # The machine that runs the lab has the first address.
    first = network.network_address + 1
    faults += [f"{address} is the lab's gateway" for address in (topology.vip, *addresses) if address == first]
    for machine in machines:
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", machine.name):
            faults.append(f"{machine.name!r} is not a host name")
        if machine.role not in ROLES:
            faults.append(f"{machine.name}: role {machine.role!r}; known are {', '.join(ROLES)}")
        if machine.cpus < 1 or machine.memory_mb < 1:
            faults.append(f"{machine.name}: cpus and memory_mb must be at least 1")
    return faults


def _twice(values: list[str]) -> list[str]:
    return [value for value, count in Counter(values).items() if count > 1]
