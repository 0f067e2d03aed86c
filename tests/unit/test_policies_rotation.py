"""Exchanging the keys of encryption at rest: killed at any moment, no API server ever meets what it can't read."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from attrs import define, field

from k8sha import Endpoint, Host, Version
from k8sha.components.apiserver import ApiServers, policy_stages
from k8sha.components.apiserver_change import ApiServerManifest
from k8sha.components.apiserver_host import KubeadmConfig, flags_of
from k8sha.components.kubeadm import ClusterSettings, cluster_config
from k8sha.policies import EncryptionAtRest
from k8sha.policies.keys import IDENTITY, ApiServerKeys, Key, MadeKey, OnlyThese, Rewritten
from k8sha.report import Outcome
from k8sha.resources import File, Resource
from k8sha.stage import Stage, Step

MASTERS = tuple(Host(f"master-{number}", f"192.168.56.{9 + number}") for number in (1, 2, 3))
NAME = "encryption-provider-config"


class Killed(Exception):
    """The run ended here."""


@define
class Machines:
    """Masters whose API servers have orders of keys, files, and an etcd with Secrets that were written by keys."""

    orders: dict[str, tuple[Key, ...]] = field(factory=lambda: {host.name: (IDENTITY,) for host in MASTERS})
    files: dict[str, set[str]] = field(factory=lambda: {host.name: set() for host in MASTERS})
    stored: set[Key] = field(factory=lambda: {IDENTITY})
    record: tuple[Key, ...] = (IDENTITY,)
    steps: int = 0
    kill_at: int = -1

    def check(self) -> None:
        """Every API server writes something now; every other one can read it, and all that is stored."""
        self.stored |= {order[0] for order in self.orders.values()}
        for name, order in self.orders.items():
            assert self.stored <= set(order), f"{name} reads {order}, and there is {self.stored}"
        assert self.stored <= set(self.record) | {IDENTITY}, "a master that joins now could not read"
        for name, order in self.orders.items():
            wanted = {f"/etc/kubernetes/encryption/{'+'.join(order)}.yaml"} if order != (IDENTITY,) else set()
            assert wanted <= self.files[name]

    def change(self) -> None:
        self.steps += 1
        if self.steps == self.kill_at:
            raise Killed

    def carry_out(self, step: Step) -> Outcome:
        assert isinstance(step, Stage)
        seen: list[tuple[str, str, bytes]] = []
        for host, resources in step.work.items():
            for resource in resources:
                self.make(host, resource)
                seen.append((host.name, resource.key, self.told(host, resource)))
                self.check()
        return Outcome(tuple(seen))

    def make(self, host: Host, resource: Resource) -> None:
        if isinstance(resource, KubeadmConfig | ApiServerManifest):
            values = {item["name"]: item["value"] for item in resource.config["apiServer"]["extraArgs"]}  # type: ignore[index]
            order = tuple(values[NAME].rpartition("/")[2].removesuffix(".yaml").split("+"))
            now = self.record if isinstance(resource, KubeadmConfig) else self.orders[host.name]
            if order == now:
                return
            self.change()
            if isinstance(resource, KubeadmConfig):
                self.record = order
            else:
                assert values[NAME] in self.files[host.name], "the API server would not start"
                self.orders[host.name] = order
        elif isinstance(resource, File) and resource.path not in self.files[host.name]:
            self.change()
            self.files[host.name].add(resource.path)
        elif isinstance(resource, MadeKey):
            path = f"/etc/kubernetes/encryption/{resource.name}.key"
            if path not in self.files[host.name]:
                assert resource.make, "a key in use is on no master"
                self.change()
                self.files[host.name].add(path)
        elif isinstance(resource, Rewritten) and self.stored != {resource.name}:
            self.change()
            self.stored = {resource.name}
        elif isinstance(resource, OnlyThese) and not self.files[host.name] <= set(resource.kept):
            self.change()
            self.files[host.name] &= set(resource.kept)

    def told(self, host: Host, resource: Resource) -> bytes:
        if isinstance(resource, MadeKey):
            return b"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
        if not isinstance(resource, ApiServerKeys):
            return b""
        lines = ["manifest"]
        if self.orders[host.name] != (IDENTITY,):
            lines.append(f"config /etc/kubernetes/encryption/{'+'.join(self.orders[host.name])}.yaml")
        lines += [f"key {path}" for path in self.files[host.name] if path.endswith(".key")]
        return "\n".join(lines).encode()

    def install(self, policy: EncryptionAtRest) -> None:
        version = Version.parse("1.33.13")

        def config(arguments: object) -> dict[str, object]:
            assert isinstance(arguments, dict)
            values = ClusterSettings(api_server={**policy.arguments(), **arguments})
            given = (version, Endpoint("192.168.56.100"), MASTERS, values)
            return cluster_config(*given, image_repository=None, etcd_tag=None, dns_tag=None)

        def steps() -> Iterator[Step]:
            yield from policy.preparation(MASTERS)
            servers = ApiServers(MASTERS, MASTERS[0], version, config)
            yield from policy_stages((policy,), servers, leftovers=False)

        generator = steps()
        step = next(generator)
        while True:
            outcome = self.carry_out(step)
            try:
                step = generator.send(outcome)  # type: ignore[attr-defined]
            except StopIteration:
                return


CASES = {
    "switched on": (None, EncryptionAtRest()),
    "rotated": (EncryptionAtRest(), EncryptionAtRest(generation=2)),
    "another provider": (EncryptionAtRest(), EncryptionAtRest(provider="aescbc")),
    "a key that is given": (EncryptionAtRest(), EncryptionAtRest(key=b"k" * 32)),
    "switched off": (EncryptionAtRest(), EncryptionAtRest(provider="identity")),
}


def made(before: EncryptionAtRest | None) -> Machines:
    machines = Machines()
    if before is not None:
        machines.install(before)
    machines.steps = 0
    return machines


@pytest.mark.parametrize("title", CASES)
def test_killed_before_any_change_and_run_again(title: str) -> None:
    before, after = CASES[title]
    whole = made(before)
    whole.install(after)
    assert whole.steps > 10
    assert whole.stored == {after.key_name}
    for at in range(1, whole.steps + 1):
        machines = made(before)
        machines.kill_at = at
        with pytest.raises(Killed):
            machines.install(after)
        machines.kill_at = -1
        machines.install(after)
        assert (machines.orders, machines.stored) == (whole.orders, whole.stored)
        assert machines.files == whole.files


@pytest.mark.parametrize(
    "third", [EncryptionAtRest(generation=3), EncryptionAtRest(), EncryptionAtRest(provider="identity")]
)
def test_killed_and_then_another_key_is_asked_for(third: EncryptionAtRest) -> None:
    before, after = CASES["rotated"]
    whole = made(before)
    whole.install(after)
    for at in range(1, whole.steps + 1):
        machines = made(before)
        machines.kill_at = at
        with pytest.raises(Killed):
            machines.install(after)
        machines.kill_at = -1
        machines.install(third)
        assert machines.stored == {third.key_name}


def test_nothing_is_changed_twice() -> None:
    machines = made(EncryptionAtRest())
    before = dict(machines.orders)
    machines.install(EncryptionAtRest())
    assert machines.steps == 0
    assert machines.orders == before


def test_flags_are_read_as_they_are_written() -> None:
    assert flags_of(["kube-apiserver", "--a=b=c", "--d=e"]) == {"a": "b=c", "d": "e"}
