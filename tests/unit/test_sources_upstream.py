"""Upstream: repositories, pins and images as text; nothing is fetched here."""

from __future__ import annotations

import pytest

from k8sha.distros import Debian, RedHat
from k8sha.errors import ConfigError
from k8sha.facts import Facts
from k8sha.resources import AptPackages, Command, DnfPackages, File
from k8sha.resources.reach import Reachable
from k8sha.sources import Upstream
from k8sha.versions import Version

V = Version.parse("1.33.13")


def test_upstream_pins_exactly_and_holds_on_debian() -> None:
    *repository, packages = Upstream("https://mirror.example.com/k8s").kubernetes(V, Facts(), Debian(), "worker")
    assert packages == AptPackages(
        ("kubeadm=1.33.13-*", "kubectl=1.33.13-*", "kubelet=1.33.13-*", "cri-tools", "kubernetes-cni"), hold=True
    )
    (source,) = [item for item in repository if isinstance(item, File)]
    assert source.content == (
        "deb [signed-by=/etc/apt/keyrings/kubernetes-apt-keyring.asc] "
        "https://mirror.example.com/k8s/core:/stable:/v1.33/deb/ /\n"
    )


def test_upstream_pins_exactly_and_holds_on_redhat() -> None:
    source, packages = Upstream().kubernetes(V, Facts(), RedHat(), "worker")
    assert isinstance(source, File)
    assert "baseurl=https://pkgs.k8s.io/core:/stable:/v1.33/rpm/\n" in str(source.content)
    assert isinstance(packages, DnfPackages)
    assert packages.hold
    assert "kubelet=1.33.13-*" in packages.names


def test_any_build_of_the_pinned_version_is_right_and_no_other() -> None:
    packages = AptPackages(("kubelet=1.33.13-*",), hold=True)
    assert not packages.diff(b"installed kubelet 1.33.13-1.1\nheld kubelet\n")
    assert packages.diff(b"installed kubelet 1.33.1-1.1\nheld kubelet\n")
    assert packages.diff(b"installed kubelet 1.33.13-1.1\n").lines == ("kubelet: hold",)


@pytest.mark.parametrize(
    ("registry", "listed"), [(None, "https://registry.k8s.io/v2/"), ("r.example.com/k8s", "https://r.example.com/v2/")]
)
def test_upstream_must_be_reached_from_each_host(registry: str | None, listed: str) -> None:
    needs = Upstream(registry=registry).requirements(V, "master", Debian())
    assert [need.url for need in needs if isinstance(need, Reachable)] == [
        "https://pkgs.k8s.io/core:/stable:/v1.33/deb/InRelease",
        listed,
    ]
    assert len({need.key for need in needs}) == len(needs)


def test_upstream_images_follow_the_registry() -> None:
    source = Upstream(registry="r.example.com/k8s")
    assert source.pause_image(V) == "r.example.com/k8s/pause:3.10"
    assert Upstream().pause_image(V) == "registry.k8s.io/pause:3.10"
    (pull,) = source.images(V, "master")
    assert isinstance(pull, Command)
    assert "--kubernetes-version v1.33.13 --image-repository r.example.com/k8s" in pull.run
    assert source.images(V, "worker") == ()


def test_upstream_has_packages_for_known_machines_only() -> None:
    assert list(Upstream().problems(V, "arm64")) == []
    (problem,) = Upstream().problems(V, "riscv64")
    assert "riscv64" in problem.cause


@pytest.mark.parametrize("mirror", ["pkgs.k8s.io", "ftp://x", "https://", "https://x' y", "https://x;reboot"])
def test_a_mirror_is_a_web_address(mirror: str) -> None:
    with pytest.raises(ConfigError, match="web address"):
        Upstream(mirror)


@pytest.mark.parametrize(
    "registry", ["https://r.example.com", "r.example.com;reboot", "$(reboot)", "", "r.example.com/"]
)
def test_a_registry_is_a_name(registry: str) -> None:
    with pytest.raises(ConfigError, match="registry's name"):
        Upstream(registry=registry)
