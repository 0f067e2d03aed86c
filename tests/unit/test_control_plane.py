"""kubeadm's configuration by version, what is refused before any host is touched, and where a cluster begins."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from attrs import evolve

from k8sha import (
    ClusterSettings,
    ConfigError,
    ControlPlane,
    Endpoint,
    EtcdCluster,
    Host,
    NodeSettings,
    Upstream,
    Version,
    Workers,
)
from k8sha.components.kubeadm import cluster_config, init_config, join_config
from k8sha.components.masters import MasterStanding, first_master
from k8sha.errors import PreflightError
from k8sha.policies import AuditLog

from .node_hosts import node

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
        (
            {"cluster": ClusterSettings(pod_cidr="192.168.56.96/28")},
            r"the endpoint 192.168.56.100:6443 lies in the pod network",
        ),
        (
            {
                "endpoint": Endpoint("api.example.com", address="10.96.0.10"),
                "cluster": ClusterSettings(service_cidr="10.96.0.0/24"),
            },
            "the endpoint api.example.com:6443's address 10.96.0.10 lies in the service network",
        ),
        (
            {
                "etcd": EtcdCluster([Host("etcd-1", "172.16.0.5")]),
                "cluster": ClusterSettings(pod_cidr="172.16.0.0/16"),
            },
            "etcd-1's address 172.16.0.5 lies in the pod network",
        ),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_written(changed: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        plane(**changed)


def test_all_problems_come_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        plane(hosts=MASTERS[:2], version="1.29.15", cluster=ClusterSettings(pod_cidr="10.96.0.0/16"))
    assert len(caught.value.problems) == 3


def test_every_problem_has_a_remedy() -> None:
    clash = ClusterSettings(pod_cidr="192.168.0.0/16", service_cidr="192.168.56.0/24")
    for changed in ({"cluster": clash}, {"hosts": [MASTERS[0]] * 2}, {"policies": [AuditLog(), AuditLog()]}):
        with pytest.raises(ConfigError) as caught:
            plane(**changed)
        assert [str(problem) for problem in caught.value.problems if not problem.remedy] == []


def test_a_worker_in_one_of_the_clusters_networks_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"worker-1's address 10.100.0.20 lies in the service network"):
        Workers(hosts=[Host("worker-1", "10.100.0.20")], plane=plane())


def test_hosts_that_stand_on_one_of_the_clusters_networks_are_refused_by_their_facts() -> None:
    settings = ClusterSettings(pod_cidr="192.168.56.128/25")
    beside = plane(hosts=[node("master-1", 10)], cluster=settings)
    workers = Workers(hosts=[node("worker-1", 20)], plane=beside)
    said = "its own network 192.168.56.0/24 (eth1) and the pod network 192.168.56.128/25 overlap"
    for component, name in ((beside, "master-1"), (workers, "worker-1")):
        (found,) = [problem for problem in component.problems() if "overlap" in problem.cause]
        assert (found.subject, found.cause) == (name, said)
        assert 'skip_requirements=("networks",)' in found.remedy
    passed = NodeSettings(skip_requirements=("networks",))
    assert not [problem for problem in evolve(beside, settings=passed).problems() if "overlap" in problem.cause]
    away = plane(hosts=[node("master-1", 10)])
    assert not [problem for problem in away.problems() if "overlap" in problem.cause]


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
    with pytest.raises(PreflightError, match=r"master-2: was joining .* /var/lib/k8sha/begun"):  # whose mark must go
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
    assert MasterStanding.parse(seen) == (
        "partial",
        ("/etc/kubernetes/admin.conf", "/etc/kubernetes/manifests/etcd.yaml"),
    )
    assert MasterStanding.parse(b"done\n\n") == ("done", ())
