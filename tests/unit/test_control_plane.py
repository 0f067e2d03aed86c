"""kubeadm's configuration by version, what is refused before any host is touched, and where a cluster begins."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from k8sha import ClusterSettings, ConfigError, ControlPlane, Endpoint, Host, NodeSettings, Upstream, Version, Workers
from k8sha.components.kubeadm import cluster_config, init_config, join_config
from k8sha.components.masters import MasterFiles, first_master
from k8sha.errors import PreflightError

GOLDEN = Path(__file__).parent / "golden" / "kubeadm"
MASTERS = tuple(Host(f"master-{number}", f"192.168.56.{9 + number}") for number in (1, 2, 3))
WORKER = Host("worker-1", "192.168.56.20")
ENDPOINT = Endpoint("192.168.56.100")
SETTINGS = NodeSettings(
    kubelet={"failSwapOn": False, "featureGates": {"KubeletInUserNamespace": True}},
    kube_proxy={"conntrack": {"maxPerCore": 0}},
    ignore_preflight=("SystemVerification",),
)


def rendered(version: str, kind: str) -> str:
    parsed = Version.parse(version)
    if kind == "init":
        config = cluster_config(
            parsed,
            ENDPOINT,
            MASTERS,
            ClusterSettings(api_server={"audit-log-maxage": "30"}),
            image_repository=None,
            etcd_tag="3.5.30-0",
            dns_tag="v1.13.1",
        )
        return init_config(MASTERS[0], SETTINGS, config, token="abcdef.0123456789abcdef", version=parsed)
    return join_config(
        MASTERS[1] if kind == "join-master" else WORKER,
        SETTINGS,
        ENDPOINT,
        version=parsed,
        token="abcdef.0123456789abcdef",
        ca_hash="00" * 32,
        certificate_key="11" * 32 if kind == "join-master" else None,
    )


@pytest.mark.parametrize("version", ["1.30.14", "1.33.13"])
@pytest.mark.parametrize("kind", ["init", "join-master", "join-worker"])
def test_kubeadm_reads_what_its_version_knows(version: str, kind: str, request: pytest.FixtureRequest) -> None:
    path = GOLDEN / f"{kind}-{version}.yaml"
    text = rendered(version, kind)
    if request.config.getoption("--update-golden"):
        path.write_text(text)
    assert text == path.read_text()


def test_every_name_of_the_endpoint_and_the_masters_is_in_the_certificate() -> None:
    config = yaml.safe_load_all(rendered("1.33.13", "init"))
    sans = next(item for item in config if item["kind"] == "ClusterConfiguration")["apiServer"]["certSANs"]
    assert sans == [
        "192.168.56.100",
        "master-1",
        "192.168.56.10",
        "master-2",
        "192.168.56.11",
        "master-3",
        "192.168.56.12",
        "localhost",
        "127.0.0.1",
    ]


def plane(**changed: object) -> ControlPlane:
    given: dict[str, object] = {"hosts": MASTERS, "endpoint": ENDPOINT, "version": "1.33.13", "source": Upstream()}
    return ControlPlane(**{**given, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"hosts": MASTERS[:2]}, "2 masters"),
        ({"hosts": (MASTERS[0], MASTERS[1], Host("master-1", "192.168.56.12"))}, "name master-1 is given twice"),
        ({"hosts": (MASTERS[0], MASTERS[1], Host("master-3", "192.168.56.10"))}, "192.168.56.10 is given twice"),
        ({"version": "1.29.15"}, "1.29.15"),
        ({"version": "1.99.0"}, "1.99.0"),
        ({"version": "1.33"}, "1.33"),
        ({"cluster": ClusterSettings(pod_cidr="10.96.0.0/16")}, "overlap"),
        ({"cluster": ClusterSettings(pod_cidr="192.168.0.0/16")}, "lies in the pod network"),
        ({"cluster": ClusterSettings(service_cidr="192.168.56.0/24")}, "lies in the service network"),
        ({"cluster": ClusterSettings(pod_cidr="10.244.0.1/16")}, "pod network"),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_written(changed: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        plane(**changed)


def test_all_problems_come_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        plane(hosts=MASTERS[:2], version="1.29.15", cluster=ClusterSettings(pod_cidr="10.96.0.0/16"))
    assert len(caught.value.problems) == 3


def test_a_worker_that_is_a_master_is_refused() -> None:
    with pytest.raises(ConfigError, match="master-1 is given twice"):
        Workers(hosts=[MASTERS[0]], plane=plane())


@pytest.mark.parametrize("name", ["Master-1", "a b", "x;reboot", "-a", "a_b", "$(id)", ""])
def test_a_name_with_anything_but_letters_digits_and_hyphens_is_refused(name: str) -> None:
    with pytest.raises(ConfigError):
        Host(name, "192.168.56.10")


@pytest.mark.parametrize(
    ("states", "first"),
    [
        (("none", "none", "none"), 0),
        (("init begun", "none", "none"), 0),
        (("none", "done", "none"), 1),
        (("join begun", "done", "done"), 1),
        (("done", "done", "done"), 0),
    ],
)
def test_a_blank_first_master_never_begins_a_second_cluster(states: tuple[str, ...], first: int) -> None:
    assert first_master(dict(zip(MASTERS, states, strict=True))) == MASTERS[first]


def test_half_joined_masters_without_a_cluster_are_refused() -> None:
    with pytest.raises(PreflightError, match="master-2: was joining"):
        first_master(dict(zip(MASTERS, ("none", "join begun", "none"), strict=True)))


@pytest.mark.parametrize(
    "states", [("none", "partial", "none"), ("partial", "done", "done"), ("done", "done", "partial")]
)
def test_a_master_that_lacks_a_file_is_refused_and_neither_reset_nor_made_to_join(states: tuple[str, ...]) -> None:
    """Its member of etcd may be at work; kubeadm's ways in begin with removing it."""
    lame = MASTERS[states.index("partial")]
    with pytest.raises(PreflightError, match=rf"{lame}: is a node, and .* missing: admin\.conf") as caught:
        first_master(dict(zip(MASTERS, states, strict=True)), {lame: ("admin.conf",)})
    assert "put them back" in str(caught.value)


def test_what_a_master_lacks_is_told_file_by_file() -> None:
    seen = b"partial\n+ /etc/kubernetes/admin.conf\n+ /etc/kubernetes/manifests/etcd.yaml\n"
    assert MasterFiles.parse(seen) == (
        "partial",
        ("/etc/kubernetes/admin.conf", "/etc/kubernetes/manifests/etcd.yaml"),
    )
    assert MasterFiles.parse(b"done\n\n") == ("done", ())
