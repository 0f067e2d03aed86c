"""The stages for given hosts, what verify looks at, and the handover: hosts are functions here."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from attrs import evolve

from k8sha.errors import ConfigError, HostErrors, NotReady, PreflightError, Unreachable
from k8sha.loadbalancers import LoadBalancer
from k8sha.report import Outcome
from k8sha.resources import CertificateAuthority, Condition, File, KnownAfter, Service
from k8sha.stage import Stage
from k8sha.waiting import NotYet

from .loadbalancer_hosts import VIP, Answer, FakeShells, Site, gone, site

AUTHORITY = f"contents of {CertificateAuthority().path}.crt"
PEM = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"


def outcome(stage: Stage, prints: Callable[[str, str], bytes]) -> Outcome:
    """What a stage saw, where a function says what each resource's probe printed."""
    return Outcome(
        tuple(
            (host.name, resource.key, prints(host.name, resource.key))
            for host, resources in stage.work.items()
            for resource in resources
        )
    )


def stages(lb: LoadBalancer, prints: Callable[[str, str], bytes]) -> tuple[Stage, ...]:
    steps, found = lb.stages(), []
    found.append(next(steps))
    while True:
        try:
            found.append(steps.send(outcome(found[-1], prints)))
        except StopIteration:
            return tuple(found)


def fresh(name: str, key: str) -> bytes:
    return b"candidate keepalived 1:2.3.3-1\n" if key.startswith("packages") else b""


def installed(holder: str) -> Callable[[str, str], bytes]:
    def prints(name: str, key: str) -> bytes:
        if key == AUTHORITY:
            return PEM.encode()
        if key.startswith("packages"):
            return b"installed keepalived 1:2.2.7-1+b2\n"
        return b"vip eth1\n" if key == f"holder of {VIP}" and name == holder else b""

    return prints


def content(stage: Stage, host: str, path: str) -> object:
    found = {host.name: resources for host, resources in stage.work.items()}[host]
    return next(each.content for each in found if isinstance(each, File) and each.path == path)


def test_a_fresh_pair_is_planned_without_the_ca() -> None:
    first, authority, packages, second = stages(site().lb, fresh)
    assert [host.name for host in first.work] == ["master-1", "master-2", "master-3"]
    assert [host.name for host in authority.work] == ["master-1"]
    assert [host.name for host in packages.work] == ["lb-1", "lb-2"]
    assert [stage.early for stage in (first, authority, packages, second)] == [True, True, False, False]
    assert [host.name for host in second.work] == ["lb-1", "lb-2"]
    assert second.batch == 1
    for name in ("lb-1", "lb-2"):
        assert isinstance(content(second, name, "/etc/haproxy/kubernetes-ca.crt"), KnownAfter)
        assert "interval 0.5\n" in str(content(second, name, "/etc/keepalived/keepalived.conf"))


@pytest.mark.parametrize(("holder", "order"), [("lb-1", ["lb-2", "lb-1"]), ("lb-2", ["lb-1", "lb-2"])])
def test_the_one_without_the_vip_is_changed_first(holder: str, order: list[str]) -> None:
    _, _, second = stages(site().lb, installed(holder))
    assert [host.name for host in second.work] == order


def test_what_was_made_and_installed_is_used() -> None:
    _, _, second = stages(site().lb, installed("lb-1"))
    assert content(second, "lb-2", "/etc/haproxy/kubernetes-ca.crt") == PEM
    assert "interval 1\n" in str(content(second, "lb-2", "/etc/keepalived/keepalived.conf"))


@pytest.mark.parametrize("own", [b"", PEM.replace("x", "y").encode()])
def test_a_first_master_that_was_made_anew_gives_no_authority(own: bytes) -> None:
    def prints(name: str, key: str) -> bytes:
        return own if (name, key) == ("master-1", AUTHORITY) else installed("lb-1")(name, key)

    _, _, second = stages(site().lb, prints)
    assert content(second, "lb-1", "/etc/haproxy/kubernetes-ca.crt") == PEM


def test_nothing_is_replaced_unchecked_and_everything_is_waited_for() -> None:
    _, _, second = stages(site().lb, installed("lb-1"))
    for resources in second.work.values():
        checks = {each.path: each.check for each in resources if isinstance(each, File) and each.check}
        assert checks == {
            "/etc/haproxy/haproxy.cfg": "haproxy -c -f {}",
            "/etc/keepalived/keepalived.conf": "keepalived -t -f {}",
        }
        services = [each for each in resources if isinstance(each, Service)]
        assert [service.name for service in services] == ["haproxy", "keepalived"]
        assert all(service.reload for service in services)
        for service in services:  # what is watched is made before
            assert all(resources.index(watched) < resources.index(service) for watched in service.watches)
        assert isinstance(resources[-1], Condition)
        assert resources[-1].key == "balancer is ready"


def bare(name: str, text: str) -> bytes | None:
    """A host where nothing is installed."""
    if "/etc/os-release" in text:
        return None
    if text.startswith("systemctl show"):
        return b"LoadState=not-found\n"
    return b"kind absent\n" if "kind absent" in text else b""


def test_a_plan_costs_one_trip_a_host_and_stage() -> None:
    found = site(bare)
    plan = found.lb.plan()
    assert plan.trips == 5 + 1 + 2
    assert {change.host for change in plan.changes} == {"lb-1", "lb-2", "master-1"}
    assert {wait.resource for wait in plan.waits} == {"balancer is ready"}
    assert found.shells.applied == []


def test_a_plan_shows_no_file_of_a_keepalived_whose_version_is_not_known() -> None:
    """It showed the oldest format, on every host whose package lists say nothing: the install wrote another."""
    config = "file /etc/keepalived/keepalived.conf"
    shown = [change.diff.lines for change in site(bare).lb.plan().changes if change.resource == config]
    assert shown == [("+ (known after keepalived is installed: its version decides what is in it)",)] * 2


@pytest.mark.parametrize(
    ("addresses", "causes"),
    [
        ({"lb-1": ("10.0.0.1",)}, ["has no interface on the VIP's network"]),
        ({"lb-1": ("10.0.0.1",), "lb-2": ("10.0.0.2",)}, ["has no interface on the VIP's network"] * 2),
        ({"master-2": ("192.168.56.11", VIP)}, [f"has the VIP {VIP} as its own address"]),
    ],
)
def test_facts_that_stand_in_the_way(addresses: dict[str, tuple[str, ...]], causes: list[str]) -> None:
    found = site()
    found.shells.addresses.update(addresses)
    lb = evolve(found.lb, skip_requirements=("address",))
    problems = list(lb.problems())
    assert len(problems) == len(causes)
    for problem, cause in zip(problems, causes, strict=True):
        assert cause in problem.cause
        assert problem.remedy


def test_without_an_interface_for_the_vip_there_is_no_plan() -> None:
    found = site()
    found.shells.addresses["lb-1"] = ("10.0.0.1",)
    with pytest.raises(PreflightError, match="no interface"):
        next(found.lb.stages())


@pytest.mark.parametrize("vip", ["192.168.56.255", "192.168.56.0"])
def test_a_networks_own_addresses_are_no_vip(vip: str) -> None:
    lb = site().lb
    other = LoadBalancer(lb.balancers, vip, lb.backends)
    assert {problem.subject for problem in other.problems()} == {"lb-1", "lb-2"}


def test_the_interface_is_found_by_the_network_also_with_the_vip_on_it() -> None:
    found = site()
    found.shells.addresses["lb-1"] = (VIP, "192.168.56.101")
    text = str(found.lb.vrrp(found.lb.balancers[0], ()).config())
    assert "    interface eth1\n" in text
    assert "    unicast_src_ip 192.168.56.101\n" in text
    assert f"        {VIP}/24 dev eth1\n" in text


def test_every_requirement_names_a_remedy_and_both_balancers_macs_are_ours() -> None:
    found = site().lb.requirements()
    assert [host.name for host in found] == ["lb-1", "lb-2"]
    for needs in found.values():
        assert all(need.remedy for need in needs)
        assert [need.key for need in needs if need.key.startswith("port")] == ["port 6443 is free", "port 8405 is free"]
    free = found[next(iter(found))][0]
    assert {"02:42:c0:a8:38:101", "02:42:c0:a8:38:102"} <= set(getattr(free, "ours", ()))


def test_a_dead_backend_does_not_keep_the_balancers_from_being_mended() -> None:
    """Its authority alone is read there: the error says how to do without it."""

    def answer(name: str, text: str) -> bytes | None:
        if name == "master-1":
            raise gone(name)
        return bare(name, text)

    found = site(answer)
    for verb in (found.lb.plan, found.lb.install):
        with pytest.raises(Unreachable, match=r"^master-1: no connection — check that .*; or leave it out .*install"):
            verb()
    assert found.shells.applied == []
    assert {change.host for change in found.lb.with_backends(found.masters[1:]).plan().changes} == {
        "lb-1",
        "lb-2",
        "master-2",
    }


def test_two_dead_backends_are_told_with_it_and_a_dead_balancer_without() -> None:
    def answer(name: str, text: str) -> bytes | None:
        if name != "lb-2":
            raise gone(name)
        return bare(name, text)

    with pytest.raises(HostErrors) as caught:
        site(answer).lb.plan()
    told = {error.host: "leave it out" in str(error) for error in caught.value.errors if isinstance(error, Unreachable)}
    assert told == {"lb-1": False, "master-1": True, "master-2": True, "master-3": True}


STATS = """\
# pxname,svname,scur,smax,stot,bin,bout,chkfail,downtime,status,check_status,check_code,last_chk,check_desc
kube-apiserver,master-1,1,2,30,10,20,0,0,UP,L7OK,200,,Layer7 check passed
kube-apiserver,master-2,0,2,10,10,20,4,9,{status},L4TOUT,,,
"""


def balancers(
    *, vip: tuple[str, ...] = ("lb-1",), status: str = "UP", adverts: str = "adverts 5 6", down: str = "", **states: str
) -> Answer:
    """Two installed balancers; each keyword changes what they say."""

    def answer(name: str, text: str) -> bytes | None:
        if name == down:
            raise gone(name)
        if "/etc/os-release" in text:
            return None
        if "-checkend" in text:
            return states.get("authority", "lasts\n").encode()
        if "openssl s_client" in text:
            return states.get("tls", "Verify return code: 0 (ok)\n").encode()
        if "show stat" in text:
            return STATS.format(status=status).encode()
        if "kill -USR2" in text:
            return (b"no backup" if name in vip else adverts.encode()) + b"\n"
        if "proxy answers" in text:
            state = "MASTER" if name in vip else states.get("backup", "BACKUP")
            return f"answers\nstate {state}\nreachable\n".encode()
        if text.startswith("ip -o"):
            return b"vip eth1\n" if name in vip else b""
        return b""

    return answer


def looks(found: Site) -> dict[str, str]:
    """Each check's sentence, with what it saw or what was wrong."""
    said = {}
    for check in found.lb.checks():
        try:
            said[check.sentence] = check.look()
        except NotYet as error:
            said[check.sentence] = f"wrong: {error}"
    return said


HOLDER = f"exactly one balancer holds {VIP}"
TLS = f"{VIP}:6443 shows a certificate of the cluster's CA"
AUTHORITY_LASTS = "the authority that balancers trust lasts 30 days and more"
BACKENDS = "every backend is up"
PEER = "the balancer without the VIP hears the other and is ready"


def test_all_is_well() -> None:
    assert looks(site(balancers())) == {
        HOLDER: "lb-1 does",
        TLS: "asked from lb-1, lb-2",
        AUTHORITY_LASTS: "on 2 balancers",
        BACKENDS: "all of them, on every balancer",
        PEER: "lb-2 has heard 6 adverts",
    }


def test_each_check_is_one_trip_a_balancer() -> None:
    found = site(balancers())
    for check in found.lb.checks():
        before = [host.trips for host in found.lb.balancers]
        check.look()
        assert [host.trips - trips for host, trips in zip(found.lb.balancers, before, strict=True)] == [1, 1]


@pytest.mark.parametrize(
    ("answer", "sentence", "said"),
    [
        (balancers(vip=()), HOLDER, f"no balancer holds {VIP}"),
        (balancers(vip=("lb-1", "lb-2")), HOLDER, f"lb-1 and lb-2 hold {VIP}"),
        (balancers(down="lb-1"), HOLDER, "lb-1: no connection"),
        (balancers(down="lb-2"), HOLDER, "lb-2: no connection"),
        (balancers(tls="connect:errno=111\nexit 1\n"), TLS, "lb-1: connect:errno=111; lb-2: connect:errno=111"),
        (
            balancers(tls="verify error:num=20:unable to get local issuer\nVerify return code: 20 (x)\nexit 1\n"),
            TLS,
            "lb-1: verify error:num=20",
        ),
        (balancers(tls="Verify return code: 0 (ok)\nexit 124\n"), TLS, "lb-1: "),
        (balancers(authority="ends on Dec  9 2026\n"), AUTHORITY_LASTS, "lb-1: ends on Dec  9 2026; lb-2: ends on"),
        (balancers(status="DOWN"), BACKENDS, "lb-1: master-2 is DOWN (L4TOUT); lb-2: master-2 is DOWN (L4TOUT)"),
        (balancers(status="MAINT"), BACKENDS, "master-2 is MAINT"),
        (balancers(adverts="adverts 5 5"), PEER, "lb-2: keepalived hears no adverts (adverts 5 5)"),
        (balancers(adverts="stopped"), PEER, "lb-2: keepalived hears no adverts (stopped)"),
        (balancers(adverts="no backup"), PEER, "no balancer is backup"),
        (balancers(backup="FAULT"), PEER, "lb-2: keepalived is FAULT"),
    ],
)
def test_what_is_wrong_is_said(answer: Answer, sentence: str, said: str) -> None:
    found = site(answer)
    check = next(check for check in found.lb.checks() if check.sentence == sentence)
    with pytest.raises(NotYet) as caught:
        check.look()
    assert said in str(caught.value)


def test_statistics_tell_how_the_load_is_spread() -> None:
    first, second = site(balancers(status="DOWN")).lb.statistics()
    assert (first.balancer, first.holds_vip, second.holds_vip) == ("lb-1", True, False)
    assert (first.sessions, first.sessions_total) == (1, 40)
    assert first.share("master-1") == 0.75
    assert [server.up for server in first.servers] == [True, False]


class Pair:
    """Two balancers of which one can be drained."""

    def __init__(self, *, peer: str = "BACKUP") -> None:
        self.holder, self.drained, self.peer = "lb-1", "0", peer

    def __call__(self, name: str, text: str) -> bytes | None:
        if text.endswith("/vip drain"):
            self.holder, self.drained = "lb-2", "1"
        if text.endswith("/vip undrain"):
            self.drained = "0"
        if "proxy answers" in text:
            state = "MASTER" if name == self.holder else self.peer if name == "lb-2" else "BACKUP"
            return f"answers\nstate {state}\nreachable\n".encode()
        if "drained" in text:
            return self.drained.encode() if name == "lb-1" else b"0"
        if text.startswith("ip -o"):
            return b"vip eth1\n" if name == self.holder else b""
        return None


def test_a_balancer_is_drained_and_taken_back() -> None:
    found = site(Pair())
    lb_1 = found.lb.balancers[0]
    report = found.lb.drain(lb_1)
    assert [result.resource for result in report.changed] == ["drained"]
    assert applied(found.shells) == [("lb-1", "/usr/libexec/k8sha/vip drain")]
    assert found.lb.drain(lb_1).changed == ()
    assert [result.resource for result in found.lb.undrain(lb_1).changed] == ["drained"]


def test_nothing_is_drained_that_no_one_could_replace(monkeypatch: pytest.MonkeyPatch) -> None:
    found = site(Pair(peer="FAULT"))
    monkeypatch.setattr("k8sha.loadbalancers.handover.PATIENCE", 0.1)
    with pytest.raises(NotReady) as caught:
        found.lb.drain(found.lb.balancers[0])
    assert "FAULT" in caught.value.last
    assert applied(found.shells) == []


def test_only_balancers_are_drained() -> None:
    found = site(Pair())
    with pytest.raises(ConfigError):
        found.lb.drain(found.masters[0])
    with pytest.raises(ConfigError):
        found.lb.undrain(found.masters[0])


def applied(shells: FakeShells) -> list[tuple[str, str]]:
    return shells.applied
