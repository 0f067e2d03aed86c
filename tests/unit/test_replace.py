"""Replacing a master: the arithmetic, who may come, and what is done in which order, on hosts that are functions."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from k8sha import ConfigError, ControlPlane, Host, PreflightError, Upstream
from k8sha.components.exchange import Exchange
from k8sha.components.formation import cluster_configuration, join, names
from k8sha.components.kubeadm import cluster_config
from k8sha.components.leaving import Fenced, NodeDrained, NodesForgotten
from k8sha.components.membership import MemberSaid, MemberSeen, MembersOnly, MembersRemoved, WhatIsThere
from k8sha.components.names import CertificateNames
from k8sha.components.standing import newcomer, refusals
from k8sha.etcd.views import Member
from k8sha.loadbalancers import HAProxy, LoadBalancer
from k8sha.loadbalancers.exchange import InRotation
from k8sha.report import Outcome
from k8sha.stage import Stage, Step

from .loadbalancer_hosts import FakeShells, gone

HASH = "ab" * 32


def seen(last: int, name: str | None = None, *, learner: bool = False) -> Member:
    return member(str(last), f"m{last}" if name is None else name, f"192.168.56.{last}", learner)


def member(id: str, name: str, address: str, learner: bool) -> Member:
    return Member(id, name, f"https://{address}:2380", learner)


def addresses(*lasts: int) -> list[str]:
    return [f"192.168.56.{last}" for last in lasts]


def voters(count: int) -> list[Member]:
    return [seen(last) for last in range(10, 10 + count)]


@pytest.mark.parametrize(
    ("count", "healthy", "leaving", "strict", "said"),
    [
        (3, (11, 12), (10,), True, None),  # the plain case: one of three is dead
        (3, (10, 11, 12), (10,), True, None),  # a planned replacement
        (5, (11, 12, 13, 14), (10,), True, None),
        (3, (11,), (10,), True, "2 of 3 voters must agree to it, and 1 can (m11)"),
        (3, (10, 11), (10,), True, "of the 2 voters that would remain 2 must be"),
        (3, (10, 11), (10,), False, "of the 2 voters that would remain 2 must be"),
        (5, (11, 12, 13), (10,), True, "m14: is not healthy either"),
        (5, (11, 12, 13), (10,), False, None),  # the second dead one is taken out first
        (5, (11, 12, 13), (10, 14), False, None),
        (5, (11, 12), (10,), True, "3 of 5 voters must agree to it, and 2 can"),
        (1, (), (10,), True, "is the only voter that etcd has"),
        (1, (10,), (10,), False, "is the only voter that etcd has"),
        (2, (10, 11), (10,), False, None),
        (2, (11,), (10,), True, "2 of 2 voters must agree to it, and 1 can (m11)"),
        (3, (10, 11, 12), (11, 12), False, None),  # three become one, both healthy
        (3, (10, 11), (11, 12), False, None),  # the dead one goes first, while two of three can agree
        (2, (11, 12), (), True, "2 of 2 voters must be healthy, and 1 are"),
        (3, (10, 11, 12), (), True, None),
    ],
)
def test_the_arithmetic(
    count: int, healthy: tuple[int, ...], leaving: tuple[int, ...], strict: bool, said: str | None
) -> None:
    found = list(refusals(voters(count), addresses(*healthy), addresses(*leaving), others_must_be_healthy=strict))
    assert (said is None) == (found == [])
    assert said is None or said in str(found[0])


@pytest.mark.parametrize("stale", [seen(13, "", learner=True), seen(13, learner=True), seen(13, "")])
def test_what_never_became_a_voter_leaves_as_well_and_stands_in_nobodys_way(stale: Member) -> None:
    members = [*voters(3), stale]
    assert list(refusals(members, addresses(11, 12, 10), addresses(10), others_must_be_healthy=True)) == []


def test_one_that_never_started_counts_until_it_has_left() -> None:
    members = [*voters(3), seen(13, "")]
    found = list(refusals(members, addresses(11, 12), addresses(10), others_must_be_healthy=True))
    assert "3 of 4 voters must agree to it, and 2 can" in str(found[0])


@pytest.mark.parametrize(
    ("state", "authority", "files", "member", "joined", "said"),
    [
        ("none", "none", (), None, False, None),
        ("none", HASH, (), None, False, None),  # brought by an earlier run
        ("join begun", HASH, ("/var/lib/etcd/member",), seen(13, "", learner=True), False, None),
        ("join begun", "none", ("/var/lib/etcd/member",), seen(13), False, None),  # killed before the CA was there
        ("join begun", "cd" * 32, ("/var/lib/etcd/member",), None, False, "another cluster"),  # a voter there
        ("done", HASH, ("/etc/kubernetes/admin.conf",), seen(13), True, None),
        ("done", HASH, ("/etc/kubernetes/admin.conf",), None, False, "still has old data"),
        ("done", HASH, (), seen(13, learner=True), False, "still has old data"),
        ("done", "cd" * 32, (), seen(13), False, "another cluster"),
        ("none", "cd" * 32, (), None, False, "another cluster"),
        ("partial", HASH, (), None, False, "is a node already"),
        ("init begun", HASH, (), None, False, "cluster of its own"),
        ("none", "none", ("/var/lib/etcd/member",), None, False, "still has old data: /var/lib/etcd/member"),
        ("none", "none", ("/a", "/b", "/c", "/d"), None, False, "/a, /b, /c and 1 more"),
    ],
)
def test_who_may_come(
    state: str, authority: str, files: tuple[str, ...], member: Member | None, joined: bool, said: str | None
) -> None:
    found, problem = newcomer("spare-1", state, authority, files, cluster=HASH, member=member)
    assert found == joined
    assert (problem is None) == (said is None)
    if problem is not None and said is not None:
        assert said in problem.cause
        assert "kubeadm reset" in problem.remedy


def listed(*members: Member) -> str:
    return json.dumps(
        {
            "header": {"cluster_id": "1", "member_id": "2"},
            "members": [
                {"ID": each.id, "peerURLs": [f"https://{each.address}:2380"]}
                | ({"name": each.name, "clientURLs": []} if each.name else {})
                | ({"isLearner": True} if each.learner else {})
                for each in members
            ],
        }
    )


def test_a_member_list_is_read_and_no_answer_is_none() -> None:
    raised = '{"header":{},"alarms":[{"memberID":"10","alarm":"NOSPACE"}]}'
    text = f'{listed(seen(10), seen(13, "", learner=True))}\n{{"health":"true","reason":""}}\n{raised}\n{HASH}  -\n'
    said = MemberSeen.parse(text.encode())
    assert said.members == (seen(10), seen(13, "", learner=True))
    assert (said.well, said.authority, said.alarms) == (True, HASH, {("NOSPACE", "10")})
    assert MemberSeen.parse(b"curl: (7) (no answer)\n" * 3) == MemberSaid()
    assert MemberSeen.parse(b"") == MemberSaid()
    assert not MemberSeen.parse(text.replace(raised, '{"header":{}}').encode()).alarms


def test_what_is_there_is_read() -> None:
    assert WhatIsThere.parse(b"none\nnone\n") == ("none", "none", ())
    text = f"done\n{HASH}  -\n/var/lib/etcd/member\n/etc/kubernetes/admin.conf\n"
    assert WhatIsThere.parse(text.encode()) == ("done", HASH, ("/var/lib/etcd/member", "/etc/kubernetes/admin.conf"))


@pytest.mark.parametrize(
    ("members", "lines"),
    [
        ((seen(11), seen(12)), ()),
        ((seen(10), seen(11)), ("- m10 192.168.56.10 (10)",)),
        ((seen(11), seen(13, "", learner=True)), ("- (not started) 192.168.56.13 (13)",)),
        ((seen(11), seen(13, "")), ("- (not started) 192.168.56.13 (13)",)),
    ],
)
def test_members_that_must_leave(members: tuple[Member, ...], lines: tuple[str, ...]) -> None:
    assert MembersRemoved(("192.168.56.10",)).diff(listed(*members).encode()).lines == lines


def test_the_end_is_these_voters_and_nobody_else() -> None:
    wanted = MembersOnly((("m11", "192.168.56.11"), ("m12", "192.168.56.12")))
    assert not wanted.diff(listed(seen(11), seen(12)).encode())
    assert wanted.diff(listed(seen(11), seen(10)).encode()).lines == ("m12 is no voter", "m10 is still listed")
    assert "m12 is a learner" in wanted.diff(listed(seen(11), seen(12, learner=True)).encode()).lines
    assert wanted.diff(b"x (no answer)").lines[0].startswith("etcd gives no member list")


def test_kubeadms_record_follows_the_masters() -> None:
    plane = PLANE
    config = cluster_configuration(plane)
    names = CertificateNames(config, plane.version, "192.168.56.11")
    import yaml

    assert not names.diff(b"")  # no cluster yet
    assert not names.diff(yaml.safe_dump(config).encode())
    old = cluster_config(
        plane.version,
        plane.endpoint,
        (Host("old", "192.168.56.99"), *MASTERS[1:]),
        plane.cluster,
        image_repository=None,
        etcd_tag=None,
        dns_tag=None,
    )
    assert names.diff(yaml.safe_dump(old).encode()).lines == (
        "- old",
        "- 192.168.56.99",
        "+ master-1",
        "+ 192.168.56.10",
    )
    assert names.diff(b"(no answer)").lines == ("kubeadm's configuration can't be read from the API server",)


SHELLS = FakeShells(lambda name, text: None)
MASTERS = tuple(Host(f"master-{number}", f"192.168.56.{9 + number}", ssh=SHELLS) for number in (1, 2, 3))
SPARE = Host("spare-1", "192.168.56.30", ssh=SHELLS)
LB = LoadBalancer(
    [Host("lb-1", "192.168.56.101", ssh=SHELLS), Host("lb-2", "192.168.56.102", ssh=SHELLS)], "192.168.56.100", MASTERS
)
PLANE = ControlPlane(hosts=MASTERS, endpoint=LB.endpoint, version="1.33.13", source=Upstream())
Prints = Callable[[str, str], bytes]


def exchange(**changed: object) -> Exchange:
    given: dict[str, object] = {
        "after": (SPARE, *MASTERS[1:]),
        "leaving": MASTERS[:1],
        "new": SPARE,
        "balancers": (),
        "join": join(PLANE, SPARE),
        "names": lambda host: names(PLANE, host),
    }
    return Exchange(**{**given, **changed})  # type: ignore[arg-type]


def cluster(
    *,
    dead: tuple[str, ...] = ("master-1",),
    new: str = "none\nnone\n",
    extra: tuple[Member, ...] = (),
    alarm: str = "",
) -> Prints:
    """What a cluster of three says, of which some do not answer; the second may have raised an alarm."""
    raised = {"alarms": [{"memberID": "11", "alarm": alarm}]} if alarm else {}
    health = json.dumps({"health": "false" if alarm == "CORRUPT" else "true"})
    members = tuple(member(str(9 + at), f"master-{at}", f"192.168.56.{9 + at}", False) for at in (1, 2, 3))

    def prints(name: str, key: str) -> bytes:
        if key == WhatIsThere().key:
            return new.encode()
        if key == MemberSeen().key:
            if name in dead:
                return b"curl: (7) (no answer)\n" * 3
            return f"{listed(*members, *extra)}\n{health}\n{json.dumps(raised)}\n{HASH}  -\n".encode()
        return b""

    return prints


def only(step: Step) -> Stage:
    """A step that is one of hosts, as all of these are."""
    assert isinstance(step, Stage)
    return step


def names_of(what: Exchange, prints: Prints, reached: tuple[Host, ...] = ()) -> list[str]:
    """The stages' names, in order, each with its hosts and keys."""
    steps = what._stages(reached, (), lambda event: None)
    found: list[str] = []
    stage = only(next(steps))
    while True:
        for host, resources in stage.work.items():
            found.append(f"{stage.name}: {host.name}: {', '.join(each.key for each in resources)}")
        try:
            seen_now = tuple(
                (host.name, each.key, prints(host.name, each.key))
                for host, resources in stage.work.items()
                for each in resources
            )
            stage = only(steps.send(Outcome(seen_now)))
        except StopIteration:
            return found


def test_the_dead_one_leaves_before_the_new_one_joins() -> None:
    told = names_of(exchange(), cluster())
    order = [line.split(":")[0] for line in told]
    assert [name for name in dict.fromkeys(order)] == [
        "what there is",
        "members that leave",
        "nodes that leave",
        "join",
        "what there is in the end",
    ]
    assert "nodes that leave: master-2: master-1 is forgotten" in told
    assert any(line.startswith("join: spare-1: command kubeadm join, API server on 192.168.56.30") for line in told)


def test_one_that_answers_and_is_ill_is_stopped_before_anything_is_decided_without_it() -> None:
    told = names_of(exchange(), cluster(), reached=MASTERS[:1])
    order = list(dict.fromkeys(line.split(":")[0] for line in told))
    assert order.index("fence") < order.index("members that leave")


def test_one_that_is_healthy_agrees_to_leave_and_is_stopped_then() -> None:
    told = names_of(exchange(), cluster(dead=()), reached=MASTERS[:1])
    order = list(dict.fromkeys(line.split(":")[0] for line in told))
    assert order.index("members that leave") < order.index("stop what has left") < order.index("join")


def test_the_same_machine_made_anew_is_not_forgotten_once_it_has_joined() -> None:
    same = exchange(after=MASTERS, new=MASTERS[0], join=join(PLANE, MASTERS[0]))
    told = names_of(same, cluster())
    assert "nodes that leave: master-2: master-1 is forgotten" in told
    told = names_of(same, cluster(dead=(), new=f"done\n{HASH}  -\n/etc/kubernetes/admin.conf\n"))
    assert not any("forgotten" in line for line in told)


def test_what_a_killed_join_left_is_removed_with_the_dead_one() -> None:
    half = member("30", "", "192.168.56.30", True)
    steps = exchange()._stages((), (), lambda event: None)
    stage = only(next(steps))
    prints = cluster(new=f"join begun\n{HASH}  -\n/var/lib/etcd/member\n", extra=(half,))
    answers = tuple((h.name, r.key, prints(h.name, r.key)) for h, rs in stage.work.items() for r in rs)
    removed = next(r for rs in only(steps.send(Outcome(answers))).work.values() for r in rs)
    assert removed == MembersRemoved(("192.168.56.10", "192.168.56.30"))


@pytest.mark.parametrize("leaving", [MASTERS[:2], (MASTERS[1], MASTERS[0])])
def test_of_several_the_dead_ones_are_removed_first(leaving: tuple[Host, ...]) -> None:
    """etcd refuses the removal of a live one that its quorum needs while a dead one counts."""
    fewer = exchange(after=MASTERS[2:], leaving=leaving, new=None, join=None)
    steps = fewer._stages(leaving, (), lambda event: None)
    stage, prints = only(next(steps)), cluster(dead=("master-2",))
    while not any(isinstance(each, MembersRemoved) for resources in stage.work.values() for each in resources):
        answers = tuple((h.name, r.key, prints(h.name, r.key)) for h, rs in stage.work.items() for r in rs)
        stage = only(steps.send(Outcome(answers)))
    removed = next(each for resources in stage.work.values() for each in resources)
    assert removed == MembersRemoved(("192.168.56.11", "192.168.56.10"))


@pytest.mark.parametrize(
    ("prints", "said"),
    [
        (cluster(dead=("master-1", "master-2")), "2 of 3 voters must agree to it, and 1 can"),
        (cluster(dead=("master-1", "master-2", "master-3")), "no member answers of those that stay"),
        (cluster(new="none\nnone\n/var/lib/etcd/member\n"), "still has old data"),
        (cluster(new=f"none\n{'cd' * 32}  -\n"), "another cluster"),
        (cluster(new=f"join begun\n{'cd' * 32}  -\n/var/lib/etcd/member\n"), "another cluster"),
        (cluster(alarm="NOSPACE"), "master-2 raised the alarm NOSPACE — make room with plane.etcd.disarm()"),
        (cluster(alarm="CORRUPT"), "master-2 raised the alarm CORRUPT — rejoin master-2 with plane.etcd.rejoin()"),
    ],
)
def test_what_is_refused_before_the_first_change(prints: Prints, said: str) -> None:
    steps = exchange()._stages((), (), lambda event: None)
    stage = only(next(steps))
    answers = tuple((h.name, r.key, prints(h.name, r.key)) for h, rs in stage.work.items() for r in rs)
    with pytest.raises(PreflightError, match=r".") as caught:
        steps.send(Outcome(answers))
    assert said in str(caught.value)
    assert "alarm" not in said or "restore from a snapshot" not in str(caught.value)


def test_an_unreachable_one_must_be_off() -> None:
    def answer(name: str, text: str) -> bytes | None:
        return None

    class Dead:
        def open(self, name: str, address: str) -> object:
            raise gone(name)

    dead = Host("master-1", "192.168.56.10", ssh=Dead())  # type: ignore[arg-type]
    with pytest.raises(PreflightError, match="powered_off=True"):
        list(exchange(leaving=(dead,))._reached())
    assert list(exchange(leaving=(dead,), powered_off=True)._reached()) == []
    same = Host("spare-1", "192.168.56.10", ssh=SHELLS)
    assert list(exchange(leaving=(dead,), new=same, after=(same, *MASTERS[1:]))._reached()) == []


def test_one_that_is_to_stay_and_is_gone_is_told_with_the_arithmetic() -> None:
    steps = exchange()._stages((), MASTERS[1:2], lambda event: None)
    stage = only(next(steps))
    assert MASTERS[1] not in stage.work
    prints = cluster()
    answers = tuple((h.name, r.key, prints(h.name, r.key)) for h, rs in stage.work.items() for r in rs)
    with pytest.raises(PreflightError) as caught:
        steps.send(Outcome(answers))
    assert "master-2: is to stay and can't be reached" in str(caught.value)
    assert "2 of 3 voters must agree to it, and 1 can (master-3)" in str(caught.value)


@pytest.mark.parametrize(
    ("dead", "new", "said"),
    [
        (SPARE, Host("spare-2", "192.168.56.31"), "spare-1: is not one of the masters"),
        (MASTERS[0], MASTERS[1], "master-2: is a master already"),
    ],
)
def test_hosts_that_make_no_sense_are_refused(dead: Host, new: Host, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        PLANE.replace(dead, new)


def test_nobody_is_left_or_nobody_is_given() -> None:
    with pytest.raises(ConfigError, match="no master would be left"):
        PLANE.remove(*MASTERS)
    with pytest.raises(ConfigError, match="no host is given"):
        PLANE.remove()


STATS = "# pxname,svname,scur,smax,stot,bin,bout,chkfail,downtime,status,check_status,check_code,last_chk,check_desc\n"
ROW = "kube-apiserver,master-1,0,0,0,0,0,0,0,{status},L7OK,200,,\n"


@pytest.mark.parametrize(
    ("printed", "wanted", "differs"),
    [
        ("", False, False),
        (STATS, False, False),
        (STATS + ROW.format(status="UP"), False, True),
        (STATS + ROW.format(status="DOWN"), False, True),
        (STATS + ROW.format(status="MAINT"), False, False),
        (STATS + ROW.format(status="MAINT"), True, True),
        (STATS + ROW.format(status="UP"), True, False),
    ],
)
def test_a_backend_in_rotation(printed: str, wanted: bool, differs: bool) -> None:
    assert bool(InRotation(HAProxy(), "master-1", wanted).diff(printed.encode())) == differs


def test_what_was_asked_in_a_dry_run_is_what_is_left_to_drain() -> None:
    drained = NodeDrained("master-1", "192.168.56.11")
    printed = (
        b"node/master-1 already cordoned (dry run)\nWarning: ignoring DaemonSet\nnode/master-1 drained (dry run)\n"
    )
    assert not drained.diff(printed)
    printed = b"node/master-1 cordoned (dry run)\nevicting pod a/b (dry run)\n"
    assert drained.diff(printed).lines == ("node/master-1 cordoned", "evicting pod a/b")


def test_a_fenced_host_is_quiet() -> None:
    assert not Fenced().diff(b"")
    assert Fenced().diff(b"the kubelet runs\n12 etcd\n").lines == ("the kubelet runs", "12 etcd")


def test_pods_of_a_forgotten_node_are_told() -> None:
    forgotten = NodesForgotten(("master-1",), "192.168.56.11")
    assert not forgotten.diff(b"No resources found\n")
    assert forgotten.diff(b"node/master-1\nkube-system   etcd-master-1\n").lines == (
        "- node/master-1",
        "- kube-system etcd-master-1",
    )
