"""What follows for a cluster from what its hosts show: who begins, who joins, and what is refused."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

import pytest
from attrs import evolve

from k8sha.components.etcd import EtcdCluster
from k8sha.errors import ConfigError, PreflightError
from k8sha.etcd.installing import install_members
from k8sha.etcd.member import EtcdSettings, InitialCluster, environment
from k8sha.etcd.membership import LearnerAdded, MembersGone, Promoted
from k8sha.hosts import Host
from k8sha.report import Outcome
from k8sha.resources import Resource, Sysctl
from k8sha.stage import Stage

from .node_hosts import node

HOSTS = [node("master-1", 10), node("master-2", 11), node("master-3", 12)]
CA = base64.b64encode(b"-----BEGIN CERTIFICATE-----\n").decode()
KEYED = f"ca {CA}\nauthority yes\nkey server\nkey peer\nkey healthcheck-client\n"


def listed(*hosts: Host, learners: tuple[Host, ...] = ()) -> list[dict[str, object]]:
    return [
        {"ID": host.address, "name": host.name, "peerURLs": [f"https://{host.address}:2380"], "isLearner": is_learner}
        for host, is_learner in [(host, False) for host in hosts] + [(host, True) for host in learners]
    ]


def view(own: Host, members: list[dict[str, object]], leader: Host | None) -> bytes:
    status = {"header": {"member_id": own.address}, "leader": leader.address if leader else "0", "raftTerm": "2"}
    return "\n".join(json.dumps(part) for part in ({"members": members}, status, {})).encode()


Shown = Callable[[Host, Resource], bytes]


def walk(shown: Shown, hosts: list[Host] = HOSTS) -> list[tuple[str, Resource]]:
    """Every resource that is asked for, with its host, in order; ``shown`` says what a probe prints."""
    asked: list[tuple[str, Resource]] = []
    steps = install_members(hosts, EtcdSettings())
    outcome: Outcome | None = None
    while True:
        try:
            step = steps.send(outcome) if outcome is not None else next(steps)
        except StopIteration:
            return asked
        assert isinstance(step, Stage)
        found = []
        for host, resources in step.work.items():
            for resource in resources:
                asked.append((host.name, resource))
                found.append((host.name, resource.key, shown(host, resource)))
        outcome = Outcome(tuple(found))


def host_shows(
    *, data: tuple[Host, ...] = (), marked: tuple[Host, ...] = (), views: dict[Host, bytes] | None = None
) -> Shown:
    def shown(host: Host, resource: Resource) -> bytes:
        match resource.key:
            case "state of the member":
                return b"data active mark" if host in data else b"mark" if host in marked else b""
            case "etcd as it is seen from here":
                return (views or {}).get(host, b"no answer\n")
            case "etcd's keys":
                return KEYED.encode()
            case key if key.startswith("packages"):
                return b"installed etcd-server 3.5.16-4+b8\n"
        return b""

    return shown


def begun(asked: list[tuple[str, Resource]]) -> list[tuple[str, bool]]:
    return [(name, each.new) for name, each in asked if isinstance(each, InitialCluster)]


def test_the_first_host_begins_and_the_others_join_it_one_at_a_time() -> None:
    asked = walk(host_shows())
    assert begun(asked) == [("master-1", True), ("master-2", False), ("master-3", False)]
    assert [each.address for _, each in asked if isinstance(each, LearnerAdded)] == ["192.168.56.11", "192.168.56.12"]
    joins = [index for index, (_, each) in enumerate(asked) if isinstance(each, InitialCluster)]
    promoted = [index for index, (_, each) in enumerate(asked) if isinstance(each, Promoted)]
    assert joins[1] < promoted[0] < joins[2] < promoted[1]


def test_every_member_lets_go_of_connections_that_nobody_answers_before_it_runs() -> None:
    asked = walk(host_shows())
    settings = {name: dict(each.values) for name, each in asked if isinstance(each, Sysctl)}
    assert settings == {host.name: {"net.ipv4.tcp_retries2": "5"} for host in HOSTS}
    kinds = [type(each).__name__ for _, each in asked]
    assert kinds.index("AptPackages") < kinds.index("Sysctl") < kinds.index("Service")


def test_members_that_are_well_are_only_looked_at_the_leader_last() -> None:
    views = {host: view(host, listed(*HOSTS), HOSTS[0]) for host in HOSTS}
    asked = walk(host_shows(data=tuple(HOSTS), views=views))
    assert begun(asked) == []
    services = [name for name, each in asked if each.key == "service etcd"]
    assert services == ["master-2", "master-3", "master-1"]


def test_the_first_host_having_lost_all_joins_and_begins_nothing() -> None:
    views = {host: view(host, listed(*HOSTS), HOSTS[2]) for host in HOSTS[1:]}
    asked = walk(host_shows(data=tuple(HOSTS[1:]), views=views))
    assert begun(asked) == [("master-1", False)]
    assert [name for name, each in asked if isinstance(each, LearnerAdded)] == ["master-3"]  # the leader does it


def test_of_several_that_lost_all_every_one_goes_before_the_first_joins() -> None:
    """etcd refused the first of them as ``unhealthy cluster`` for as long as the second was a voter that was away."""
    five = [*HOSTS, node("master-4", 13), node("master-5", 14)]
    members = listed(*five)
    alive = five[1:4]
    views = {host: view(host, members, five[2]) for host in alive}
    asked = walk(host_shows(data=tuple(alive), marked=tuple(five), views=views), five)
    changes = [each for _, each in asked if isinstance(each, MembersGone | LearnerAdded)]
    assert isinstance(changes[0], MembersGone)
    assert changes[0].addresses == ("192.168.56.10", "192.168.56.14")
    assert [type(each).__name__ for each in changes[1:]] == ["LearnerAdded"] * 2


def test_three_lost_of_five_are_refused_with_the_arithmetic() -> None:
    five = [*HOSTS, node("master-4", 13), node("master-5", 14)]
    views = {host: view(host, listed(*five), None) for host in five[:2]}
    with pytest.raises(PreflightError, match="3 of 5 voters must agree to it"):
        walk(host_shows(data=tuple(five[:2]), marked=tuple(five), views=views), five)


def test_a_learner_of_a_run_that_was_killed_is_promoted() -> None:
    members = listed(*HOSTS[:2], learners=(HOSTS[2],))
    views = {host: view(host, members, HOSTS[0]) for host in HOSTS}
    asked = walk(host_shows(data=tuple(HOSTS), views=views))
    assert [each.address for _, each in asked if isinstance(each, Promoted)] == ["192.168.56.12"]


@pytest.mark.parametrize(
    ("shown", "hosts", "said"),
    [
        (host_shows(marked=(HOSTS[1],)), HOSTS, "master-2: had a member whose data is gone"),
        (
            host_shows(data=(HOSTS[0],), views={HOSTS[0]: view(HOSTS[0], listed(*HOSTS), None)}),
            HOSTS,
            "2 of 3 voters must agree to it, and 0 can",
        ),
        (
            host_shows(data=tuple(HOSTS), views={host: view(host, listed(*HOSTS[:2]), HOSTS[0]) for host in HOSTS[:2]}),
            HOSTS,
            "master-3: has the data of a member that is not in this cluster",
        ),
        (
            host_shows(data=(HOSTS[0],), views={HOSTS[0]: view(HOSTS[0], listed(*HOSTS), HOSTS[0])}),
            HOSTS[:1],
            "master-2: is a member of etcd and none of the given hosts",
        ),
    ],
)
def test_what_could_lose_data_is_refused(shown: Shown, hosts: list[Host], said: str) -> None:
    with pytest.raises(PreflightError) as caught:
        walk(shown, hosts)
    assert said in str(caught.value)


def test_certificates_that_nobody_can_sign_are_refused() -> None:
    def shown(host: Host, resource: Resource) -> bytes:
        if resource.key == "etcd's keys":
            return KEYED.replace("authority yes", "authority no").encode() + b"due server Y3Ny\n"
        return host_shows()(host, resource)

    with pytest.raises(PreflightError, match=r"no member has /etc/etcd/pki/ca\.key"):
        walk(shown)


def test_another_clusters_authority_is_refused() -> None:
    def shown(host: Host, resource: Resource) -> bytes:
        if resource.key == "etcd's keys" and host == HOSTS[2]:
            return KEYED.replace(CA, "b3RoZXI=").encode()
        return host_shows()(host, resource)

    with pytest.raises(PreflightError, match="master-3: has the certificate authority of another cluster"):
        walk(shown)


def test_an_etcd_that_is_too_old_is_refused() -> None:
    def shown(host: Host, resource: Resource) -> bytes:
        if resource.key.startswith("packages"):
            return b"candidate etcd-server 3.3.25+dfsg-7\n"
        return host_shows()(host, resource)

    with pytest.raises(PreflightError, match="3\\.4 is the oldest"):
        walk(shown)


@pytest.mark.parametrize(
    ("version", "has", "lacks"),
    [
        ("3.4.23-4+b4", "ETCD_EXPERIMENTAL_INITIAL_CORRUPT_CHECK=true", "PROGRESS_NOTIFY"),
        ("3.5.16-4+b8", "ETCD_EXPERIMENTAL_WATCH_PROGRESS_NOTIFY_INTERVAL=5s", "FEATURE_GATES"),
        ("1:3.6.5-1", "ETCD_FEATURE_GATES=InitialCorruptCheck=true", "EXPERIMENTAL"),
    ],
)
def test_settings_are_named_as_the_version_names_them(version: str, has: str, lacks: str) -> None:
    text = environment(HOSTS[0], version, EtcdSettings()).content
    assert isinstance(text, str)
    assert has in text.splitlines()
    assert lacks not in text
    assert "ETCD_INITIAL_CLUSTER_STATE=existing" in text  # a start without data must fail, not begin a cluster


@pytest.mark.parametrize("wrong", [{"auto_compaction": "8"}, {"quota_bytes": 1}, {"certificate_days": 30}])
def test_settings_that_cannot_work_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        EtcdSettings(**wrong)  # type: ignore[arg-type]


def test_nothing_is_restarted_while_another_member_is_away() -> None:
    views = {host: view(host, listed(*HOSTS), HOSTS[0]) for host in HOSTS[:2]}
    keys = [each.key for _, each in walk(host_shows(data=tuple(HOSTS), views=views))]
    assert keys.index("etcd is healthy on master-1, master-2, master-3") < keys.index("service etcd")


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda etcd: etcd.remove(HOSTS[0]), "2 members"),
        (lambda etcd: etcd.remove(node("other", 50)), "is not one of the members"),
        (lambda etcd: etcd.rejoin(node("other", 50)), "is not one of the members"),
        (lambda etcd: etcd.replace(node("other", 50), node("more", 51)), "is not one of the members"),
        (lambda etcd: etcd.replace(HOSTS[0], HOSTS[1]), "is a member already"),
        (lambda etcd: evolve(etcd, stacked=True).rejoin(node("other", 50)), "is not one of the members"),
    ],
)
def test_verbs_that_cannot_work_are_refused_before_any_host_is_touched(
    act: Callable[[EtcdCluster], object], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        act(EtcdCluster(HOSTS))
