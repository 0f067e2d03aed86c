"""What a node gets before kubeadm runs: the stage for given facts, each file and shell text, and what probes mean."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from k8sha.components.node import NodeSettings, node_stages
from k8sha.distros import Debian, RedHat
from k8sha.endpoint import Endpoint
from k8sha.errors import ConfigError
from k8sha.report import Outcome
from k8sha.resources import File, Modules, NoSwap, Service, Sysctl
from k8sha.resources.containerd import ContainerdConfig, SystemdCgroups
from k8sha.resources.kubelet import CniPlugins, HostsEntry, Kubelet
from k8sha.resources.resource import Resource
from k8sha.sources import Role, Source, Upstream
from k8sha.stage import Stage
from k8sha.versions import Version

from .conftest import Golden
from .node_hosts import node
from .tiny_bundle import make

V = Version.parse("1.33.13")
LAB = NodeSettings(containerd={"restrict_oom_score_adj": True, "max_container_log_line_size": 16384})


RETRIES = "net.ipv4.tcp_retries2"


def stage(
    source: Source,
    *,
    role: Role = "worker",
    settings: NodeSettings | None = None,
    endpoint: Endpoint | None = None,
    **facts: str,
) -> Stage:
    host = node("worker-1", 20, **facts)  # type: ignore[arg-type]
    steps = node_stages(
        [host],
        role=role,
        version=V,
        source=source,
        endpoint=endpoint or Endpoint("192.168.56.100"),
        settings=settings or NodeSettings(),
    )
    found = next(steps)
    with pytest.raises(StopIteration):
        steps.send(Outcome())
    return found


def resources(source: Source, **given: object) -> tuple[Resource, ...]:
    (found,) = stage(source, **given).work.values()  # type: ignore[arg-type]
    return found


def test_one_stage_that_may_run_beside_others_prepares_a_node(tmp_path: Path) -> None:
    found = stage(make(tmp_path))
    assert (found.name, found.early, found.batch) == ("prepare workers", True, None)


def test_everything_comes_after_what_it_needs(tmp_path: Path) -> None:
    keys = [
        item.key for item in resources(make(tmp_path), endpoint=Endpoint("api.example.com", address="192.168.56.100"))
    ]
    assert keys == [
        "swap",
        "/etc/hosts: api.example.com",
        f"packages {' '.join(Debian.node_packages)} containernetworking-plugins",
        "modules /etc/modules-load.d/k8sha.conf",
        "sysctl /etc/sysctl.d/90-k8sha.conf",
        "file /etc/containerd/config.toml",
        "file /etc/crictl.yaml",
        "service containerd",
        "programs kubeadm",
        "programs kubelet",
        "file /etc/systemd/system/kubelet.service",
        "file /etc/systemd/system/kubelet.service.d/10-kubeadm.conf",
        "CNI plugins /opt/cni/bin",
        "service kubelet",
        "container images",
        "containerd's cgroup driver",
    ]


def test_upstream_brings_its_own_plugins_and_unit() -> None:
    found = resources(Upstream(), role="master")
    keys = [item.key for item in found]
    assert f"packages {' '.join(Debian.node_packages)}" in keys
    assert "packages kubeadm kubectl kubelet cri-tools kubernetes-cni" in keys
    assert not [key for key in keys if "kubelet.service" in key]
    assert keys.index("service kubelet") > keys.index("packages kubeadm kubectl kubelet cri-tools kubernetes-cni")


def test_the_kubelet_changes_with_its_own_files_and_not_with_kubeadm(tmp_path: Path) -> None:
    (kubelet,) = [item for item in resources(make(tmp_path)) if isinstance(item, Kubelet)]
    assert [item.key for item in kubelet.watches] == [
        "programs kubelet",
        "file /etc/systemd/system/kubelet.service",
        "file /etc/systemd/system/kubelet.service.d/10-kubeadm.conf",
    ]


def test_redhat_gets_the_same_under_its_own_names() -> None:
    found = resources(Upstream(), os="rocky", os_version="9.6", os_like="rhel centos fedora", os_name="Rocky Linux 9.6")
    keys = [item.key for item in found]
    assert f"packages {' '.join(RedHat.node_packages)}" in keys
    (plugins,) = [item for item in found if isinstance(item, CniPlugins)]
    assert plugins.source == "/usr/libexec/cni"


def test_swap_is_left_alone_where_the_kubelet_is_told_to_bear_it(tmp_path: Path) -> None:
    bundle = make(tmp_path)
    assert any(isinstance(item, NoSwap) for item in resources(bundle))
    bearing = resources(bundle, settings=NodeSettings(kubelet={"failSwapOn": False}))
    assert not any(isinstance(item, NoSwap) for item in bearing)


@pytest.mark.parametrize("endpoint", [Endpoint("192.168.56.100"), Endpoint("api.example.com")])
def test_only_a_name_with_an_address_goes_into_etc_hosts(tmp_path: Path, endpoint: Endpoint) -> None:
    assert not any(isinstance(item, HostsEntry) for item in resources(make(tmp_path), endpoint=endpoint))


def test_further_kernel_settings_join_ours(tmp_path: Path) -> None:
    (sysctl,) = [
        item
        for item in resources(make(tmp_path), settings=NodeSettings(sysctl={"fs.inotify.max_user_instances": "8192"}))
        if isinstance(item, Sysctl)
    ]
    assert dict(sysctl.values) == {
        "fs.inotify.max_user_instances": "8192",
        "net.bridge.bridge-nf-call-ip6tables": "1",
        "net.bridge.bridge-nf-call-iptables": "1",
        "net.ipv4.ip_forward": "1",
    }


@pytest.mark.parametrize(
    ("role", "given", "retries"), [("worker", {}, None), ("master", {}, "5"), ("master", {RETRIES: "8"}, "8")]
)
def test_masters_let_go_of_connections_that_nobody_answers(
    tmp_path: Path, role: Role, given: dict[str, str], retries: str | None
) -> None:
    """An etcd member that came back heard nothing of its leader until TCP's next attempt, 11.5 s after 15 s away."""
    found = resources(make(tmp_path), role=role, settings=NodeSettings(sysctl=given))
    (sysctl,) = [item for item in found if isinstance(item, Sysctl)]
    assert dict(sysctl.values).get(RETRIES) == retries


def test_containerd_restarts_with_its_configuration(tmp_path: Path) -> None:
    found = resources(make(tmp_path))
    (config,) = [item for item in found if isinstance(item, ContainerdConfig)]
    (service,) = [item for item in found if isinstance(item, Service)]
    assert service.watches == (config,)
    assert "/etc/containerd/config.toml" in service.probe()
    assert [item for item in found if isinstance(item, Modules)] == [Modules(("overlay", "br_netfilter"))]


@pytest.mark.parametrize("bad", [{"a b": 1}, {"x]\n[y": True}, {"x": ["list"]}])
def test_settings_that_are_no_settings_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="containerd"):
        NodeSettings(containerd=bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [{"net; reboot": "1"}, {"net.ipv4.ip_forward": "1\nkernel.panic=1"}])
def test_kernel_settings_that_are_none_are_refused(bad: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="sysctl"):
        NodeSettings(sysctl=bad)


@pytest.mark.parametrize("format", [2, 3])
def test_containerds_configuration_in_both_formats(format: int, tmp_path: Path, golden: Golden) -> None:
    import tomllib

    (config,) = [item for item in resources(make(tmp_path), settings=LAB) if isinstance(item, ContainerdConfig)]
    text = config.version2 if format == 2 else config.version3
    golden(f"node/containerd-version{format}.toml", text)
    parsed = tomllib.loads(text)
    assert parsed["version"] == format
    plugins = parsed["plugins"]
    runtime = plugins["io.containerd.grpc.v1.cri" if format == 2 else "io.containerd.cri.v1.runtime"]
    assert runtime["containerd"]["runtimes"]["runc"]["options"]["SystemdCgroup"] is True
    assert runtime["restrict_oom_score_adj"] is True
    pause = (
        runtime["sandbox_image"] if format == 2 else plugins["io.containerd.cri.v1.images"]["pinned_images"]["sandbox"]
    )
    assert pause == "registry.k8s.io/pause:3.10"


@pytest.mark.parametrize("name", ["kubelet.service", "10-kubeadm.conf"])
def test_the_kubelets_unit(name: str, tmp_path: Path, golden: Golden) -> None:
    (file,) = [item for item in resources(make(tmp_path)) if isinstance(item, File) and item.path.endswith(name)]
    golden(f"node/{name}", str(file.content))


def test_the_format_follows_containerds_version() -> None:
    config = ContainerdConfig("version = 2\n", "version = 3\n")

    def seen(version: str, text: str) -> bytes:
        import base64
        import hashlib

        sum = hashlib.sha256(text.encode()).hexdigest()
        file = f"kind file\nsum {sum}\nmode 0644\nowner root:root\ncontent {base64.b64encode(text.encode()).decode()}"
        return f"version {version}\n{file}\n".encode()

    assert not config.diff(seen("1.7.24~ds1", "version = 2\n"))
    assert not config.diff(seen("2.1.4", "version = 3\n"))
    assert "+version = 3" in config.diff(seen("2.1.4", "version = 2\n")).lines
    assert "+version = 2" in config.diff(seen("1.6.20", "version = 3\n")).lines
    assert "known after" in str(config.diff(b"kind absent\n"))


def _status(config: object) -> bytes:
    text = json.dumps(config).encode()
    return (
        b"\0\0\0\0\x20\n\x90\x01status\n\x06config\x12\xa2\x15"
        + text
        + b"\x12\x90\x01\n\x11lastCNILoadStatus\x12\x02OK"
    )


def _runc(options: object) -> object:
    return {"containerd": {"runtimes": {"runc": {"runtimeType": "io.containerd.runc.v2", "options": options}}}}


@pytest.mark.parametrize(
    ("seen", "lines"),
    [
        (_status(_runc({"SystemdCgroup": True})), ()),
        (_status(_runc({"SystemdCgroup": False})), ("cgroup driver: cgroupfs -> systemd",)),
        (_status(_runc(None)), ("containerd does not say which cgroup driver its runtime runc uses",)),
        (_status({"containerd": {}}), ("containerd does not say which cgroup driver its runtime runc uses",)),
        (b"", ("containerd does not answer over CRI",)),
        (b"no answer (7)\n", ("containerd does not answer over CRI",)),
        (b"\n\x06config\x12\xa2\x15{broken", ("containerd does not answer over CRI",)),
    ],
)
def test_the_runtime_itself_says_which_cgroup_driver_it_uses(seen: bytes, lines: tuple[str, ...]) -> None:
    assert SystemdCgroups().diff(seen).lines == lines


def _unit(**values: str) -> str:
    usual = {"LoadState": "loaded", "ActiveState": "inactive", "UnitFileState": "enabled", "NeedDaemonReload": "no"}
    return "".join(f"{name}={value}\n" for name, value in {**usual, "ExecMainStartTimestamp": "", **values}.items())


@pytest.mark.parametrize(
    ("seen", "lines"),
    [
        (_unit(), ()),
        (_unit(LoadState="not-found"), ("is not installed -> enabled",)),
        (_unit(UnitFileState="disabled"), ("start at boot: disabled -> enabled",)),
        (_unit(NeedDaemonReload="yes"), ("its unit was changed and not loaded again",)),
        (
            _unit() + "joined\nchanged 100\n",
            ("state: inactive -> active", "runs with older files than are there: restart"),
        ),
        (_unit(ActiveState="active", ExecMainStartTimestamp="@200") + "joined\nchanged 100\nchanged 200\n", ()),
        (
            _unit(ActiveState="active", ExecMainStartTimestamp="@200") + "joined\nchanged 100\nchanged 201\n",
            ("runs with older files than are there: restart",),
        ),
    ],
)
def test_a_kubelet_runs_on_nodes_only_and_with_its_newest_files(seen: str, lines: tuple[str, ...]) -> None:
    assert Kubelet().diff(seen.encode()).lines == lines


def test_plugins_that_are_there_are_left_alone() -> None:
    plugins = CniPlugins("/usr/lib/cni", names=("bridge", "portmap"))
    assert plugins.diff(b"bridge\n").lines == ("+ portmap -> /usr/lib/cni/portmap",)
    assert not plugins.diff(b"bridge\nportmap\n")


def test_a_hosts_entry_replaces_its_own_block_only() -> None:
    entry = HostsEntry("api.example.com", "192.168.56.100")
    assert not entry.diff(b"192.168.56.100 api.example.com\n")
    assert entry.diff(b"").lines == ("+ 192.168.56.100 api.example.com",)
    assert entry.diff(b"192.168.56.99 api.example.com\n").lines == (
        "- 192.168.56.99 api.example.com",
        "+ 192.168.56.100 api.example.com",
    )
