"""A control plane whose etcd is on hosts of its own: kubeadm's words, what is refused, and the order of the stages."""

from __future__ import annotations

import base64
from collections.abc import Generator

import pytest

from k8sha import Cluster, ConfigError, LoadBalancer, Workers
from k8sha.components.control_plane import ControlPlane
from k8sha.components.etcd import EtcdCluster
from k8sha.components.exchange import Exchange
from k8sha.components.formation import cluster_configuration, forget, gate, init, join, names
from k8sha.components.kubeadm import ClusterSettings, cluster_config
from k8sha.components.membership import MembersOnly, MembersRemoved, ServerSeen, WhatIsThere
from k8sha.endpoint import Endpoint
from k8sha.errors import PreflightError
from k8sha.etcd.clients import CLIENT_FILES, ClientKey, ServingAuthority, client_certificates, with_etcd
from k8sha.etcd.signing import Signed
from k8sha.hosts import Host
from k8sha.report import Outcome
from k8sha.resources.files import File
from k8sha.sources import Upstream
from k8sha.stage import Stage, Step
from k8sha.versions import Version

MASTERS = tuple(Host(f"master-{n}", f"192.168.56.{n + 9}") for n in (1, 2, 3))
OWN = tuple(Host(f"etcd-{n}", f"192.168.56.{n + 40}") for n in (1, 2, 3))
LBS = (Host("lb-1", "192.168.56.101"), Host("lb-2", "192.168.56.102"))
SPARE = Host("spare-1", "192.168.56.30")
CA, OTHER = "-----BEGIN CERTIFICATE-----\nours\n", "-----BEGIN CERTIFICATE-----\ntheirs\n"
HASH = "ab" * 32


def plane(**changed: object) -> ControlPlane:
    given: dict[str, object] = {
        "hosts": MASTERS,
        "endpoint": Endpoint("192.168.56.100"),
        "version": "1.33.13",
        "source": Upstream(),
        "etcd": EtcdCluster(OWN),
    }
    return ControlPlane(**{**given, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize("version", ["1.30.14", "1.33.13"])
def test_kubeadm_is_told_where_it_is_and_makes_none(version: str) -> None:
    config = cluster_config(
        Version.parse(version),
        Endpoint("192.168.56.100"),
        MASTERS,
        ClusterSettings(),
        image_repository=None,
        etcd_tag="3.5.24-0",
        dns_tag=None,
        external_etcd=EtcdCluster(OWN).endpoints,
    )
    assert config["etcd"] == {
        "external": {
            "endpoints": ["https://192.168.56.41:2379", "https://192.168.56.42:2379", "https://192.168.56.43:2379"],
            "caFile": "/etc/kubernetes/pki/etcd/ca.crt",
            "certFile": "/etc/kubernetes/pki/apiserver-etcd-client.crt",
            "keyFile": "/etc/kubernetes/pki/apiserver-etcd-client.key",
        }
    }
    assert cluster_configuration(plane(version=version))["etcd"] == config["etcd"]


def test_its_members_are_locked_with_the_masters() -> None:
    assert plane().needs == OWN
    assert plane(etcd=EtcdCluster(MASTERS, stacked=True)).needs == ()
    assert Cluster(plane()).hosts == (*MASTERS, *OWN)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"etcd": EtcdCluster(MASTERS)}, "master-1.*is a master and a member"),
        ({"etcd": EtcdCluster([Host("etcd-1", "192.168.56.10")])}, "is a master and a member .*address"),
        ({"etcd": EtcdCluster([Host("master-2", "192.168.56.99")])}, "is a master and a member .*name"),
        ({"cluster": ClusterSettings(etcd={"heartbeat-interval": "200"})}, "EtcdSettings"),
        ({"etcd": EtcdCluster(OWN, stacked=True)}, "its etcd runs on other hosts"),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_written(changed: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        plane(**changed)


def test_a_worker_is_no_member() -> None:
    with pytest.raises(ConfigError, match=r"etcd-2.*is a worker and a member"):
        Workers(hosts=[OWN[1]], plane=plane())


def test_a_balancer_is_no_member() -> None:
    etcd = EtcdCluster([OWN[0], OWN[1], LBS[0]])
    with pytest.raises(ConfigError, match=r"lb-1.*is a balancer and a member"):
        Cluster(LoadBalancer(LBS, "192.168.56.100", MASTERS), etcd, plane(etcd=etcd))


def test_it_comes_before_its_control_plane() -> None:
    etcd = EtcdCluster(OWN)
    with pytest.raises(ConfigError, match="comes after the ControlPlane"):
        Cluster(plane(etcd=etcd), etcd)
    Cluster(etcd, plane(etcd=etcd))


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def seen(
    masters: dict[str, str], *, ca: str = CA, says: str = "empty", key_on: tuple[str, ...] = ("etcd-2",)
) -> Outcome:
    """What a stage saw; ``masters`` maps a name to what the probe of its key printed."""
    found = [(name, ClientKey(name).key, text.encode()) for name, text in masters.items()]
    for host in OWN:
        text = (f"ca {b64(ca)}\n" if ca else "") + ("key\n" if host.name in key_on else "") + f"{says}\n"
        found.append((host.name, ServingAuthority().key, text.encode()))
    return Outcome(tuple(found))


WELL = f"key 600 root:root\nca {b64(CA)}\n"
DUE = "key 600 root:root\ndue Y3Ny\n"


def run(outcome: Outcome, serving: tuple[Host, ...] = MASTERS) -> Generator[Step, Outcome, None]:
    return client_certificates(MASTERS, OWN, outcome, serving=serving, days=365)


def only(step: Step) -> Stage:
    assert isinstance(step, Stage)
    return step


def test_nothing_is_signed_where_nothing_is_due() -> None:
    assert list(run(seen(dict.fromkeys(("master-1", "master-2", "master-3"), WELL)))) == []


def test_one_that_ends_is_signed_where_the_authority_is_and_for_that_master_alone() -> None:
    steps = run(seen({"master-1": WELL, "master-2": WELL.replace("ca", "due Y3Ny\nca", 1), "master-3": WELL}))
    signing = only(next(steps))
    ((signer, (signed,)),) = signing.work.items()
    assert isinstance(signed, Signed)
    assert signer.name == "etcd-2"
    assert [(each.host, each.name, each.csr) for each in signed.requests] == [
        ("master-2", "apiserver-etcd-client", "Y3Ny")
    ]
    assert "-subj /O=apiserver-etcd-client/CN=master-2" in signed.apply()
    assert "serverAuth" not in signed.apply()
    printed = f"crt master-2 apiserver-etcd-client {b64('PEM')}\n".encode()
    placed = only(steps.send(Outcome(((signer.name, signed.key, printed),))))
    assert list(placed.work) == [MASTERS[1]]
    assert [(each.path, each.content) for each in placed.work[MASTERS[1]] if isinstance(each, File)] == [
        ("/etc/kubernetes/pki/etcd/ca.crt", CA),
        ("/etc/kubernetes/pki/apiserver-etcd-client.crt", "PEM"),
    ]


def test_a_plan_on_blank_hosts_tells_what_will_be_signed() -> None:
    steps = run(seen(dict.fromkeys(("master-1", "master-2", "master-3"), ""), ca="", says="", key_on=()), serving=())
    signing = only(next(steps))
    assert list(signing.work) == [OWN[0]]
    key = next(each.key for each in signing.work[OWN[0]])
    assert len(only(steps.send(Outcome((("etcd-1", key, b""),)))).work) == 3


@pytest.mark.parametrize(
    ("outcome", "serving", "said"),
    [
        (
            seen({"master-1": WELL.replace(b64(CA), b64(OTHER)), "master-2": DUE, "master-3": DUE}),
            MASTERS[:1],
            "client of another etcd",
        ),
        (
            seen(dict.fromkeys(("master-1", "master-2", "master-3"), DUE), says="objects"),
            (),
            "has the objects of a cluster, and none of the masters is in one",
        ),
        (
            seen(dict.fromkeys(("master-1", "master-2", "master-3"), DUE), says=""),
            (),
            "no member says whether it has a cluster's objects",
        ),
    ],
)
def test_what_would_spoil_a_cluster_is_refused(outcome: Outcome, serving: tuple[Host, ...], said: str) -> None:
    with pytest.raises(PreflightError, match=said):
        next(run(outcome, serving))


def test_masters_and_members_are_seen_in_one_trip_each() -> None:
    work = with_etcd({host: () for host in MASTERS}, OWN)
    assert set(work) == {*MASTERS, *OWN}
    assert [each.key for each in work[OWN[0]]] == [
        "etcd is healthy on etcd-1, etcd-2, etcd-3",
        "authority of etcd",
    ]


def test_a_join_leaves_a_master_its_own_certificate_and_asks_nothing_of_etcd() -> None:
    joining = join(plane(), MASTERS[1])
    for name in CLIENT_FILES:
        assert name in joining.run
        assert name in joining.recover
    assert "manifests/etcd.yaml" not in joining.done
    assert gate(plane(), MASTERS) == ()
    assert forget(plane(), MASTERS[1]) == ""


def test_an_init_that_is_done_again_keeps_the_keys_that_its_objects_are_signed_with() -> None:
    recover = init(plane(), MASTERS[0]).recover
    assert "sa.key" in recover
    assert "front-proxy-ca.key" in recover
    stacked = plane(etcd=EtcdCluster(MASTERS, stacked=True))
    assert "sa.key" not in init(stacked, MASTERS[0]).recover


def stages_of(exchange: Exchange, ready: tuple[str, ...], new: str) -> list[tuple[str, str, str]]:
    """Stage, host and resource of an exchange, as these masters answer."""
    steps = exchange._stages((), (), lambda event: None)
    found: list[tuple[str, str, str]] = []
    step = next(steps)
    while True:
        stage = only(step)
        answers = []
        for host, resources in stage.work.items():
            for each in resources:
                found.append((stage.name, host.name, type(each).__name__))
                text = ""
                if isinstance(each, ServerSeen):
                    text = f"{'ok' if host.name in ready else '(no answer)'}\n{HASH}  -\n"
                if isinstance(each, WhatIsThere):
                    text = new
                answers.append((host.name, each.key, text.encode()))
        try:
            step = steps.send(Outcome(tuple(answers)))
        except StopIteration:
            return found


def exchange() -> Exchange:
    return Exchange(
        after=(SPARE, *MASTERS[1:]),
        leaving=MASTERS[:1],
        new=SPARE,
        join=join(plane(), SPARE),
        names=lambda host: names(plane(), host),
        stacked=False,
        needs=OWN,
    )


def test_a_master_is_exchanged_without_any_work_on_members() -> None:
    told = stages_of(exchange(), ("master-2", "master-3"), "none\nnone\n")
    assert list(dict.fromkeys(name for name, _, _ in told)) == [
        "what there is",
        "nodes that leave",
        "join",
        "what there is in the end",
    ]
    kinds = {kind for _, _, kind in told}
    assert not kinds & {"MemberSeen", MembersRemoved.__name__, MembersOnly.__name__, "StackedEtcdHealthy"}


@pytest.mark.parametrize(
    ("ready", "new", "said"),
    [
        ((), "none\nnone\n", "no API server is ready of those that stay"),
        (("master-2",), "none\nnone\n/etc/kubernetes/admin.conf\n", "still has old data"),
        (("master-2",), f"done\n{'cd' * 32}  -\n", "another cluster"),
    ],
)
def test_an_exchange_that_is_refused(ready: tuple[str, ...], new: str, said: str) -> None:
    with pytest.raises(PreflightError, match=said):
        stages_of(exchange(), ready, new)


def test_a_restore_stops_the_api_servers_and_starts_them_again() -> None:
    members = plane()._members((SPARE,))
    assert members.hosts == OWN
    assert members.clients == MASTERS
    assert members.others == (*MASTERS, SPARE)
    assert not members.access.stacked
    alive = (*OWN, *MASTERS[1:])
    assert members.clients_in(alive) == MASTERS[1:]
    over = [only(stage) for stage in members.over("6f2a", alive)]
    assert [list(stage.work) for stage in over] == [list(MASTERS[1:]), list(OWN)]
