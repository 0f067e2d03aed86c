"""What the acceptance suite does without a cluster: the guide's files, changes by hand, faults, the client's words."""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import shlex
import ssl
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest
from attrs import evolve

from acceptance import drift
from acceptance.__main__ import NO_KUBERNETES, arguments, parser, status
from acceptance.baseline import GuideBalancers, haproxy_cfg, keepalived_conf
from acceptance.client import _header, what_failed
from acceptance.facts import software, unavoidable
from acceptance.faults import Frozen, PowerCut, catalogue
from acceptance.record import Step
from acceptance.session import Options, Session
from acceptance.standin import StandIns
from acceptance.subject import Subject, credentials
from acceptance.tell import Tell
from acceptance.test_faults import NAMES
from k8sha import (
    Cluster,
    Component,
    ControlPlane,
    EtcdCluster,
    Host,
    LoadBalancer,
    Report,
    Result,
    Status,
    Upstream,
)

LB = (Host("lb-1", "192.168.56.101"), Host("lb-2", "192.168.56.102"))
MASTERS = tuple(Host(f"master-{number}", f"192.168.56.{9 + number}") for number in (1, 2, 3))
VIP = "192.168.56.100"
ROOT = Path(__file__).parents[2]


def test_the_guide_s_haproxy_is_as_the_guide_has_it() -> None:
    text = haproxy_cfg(tuple((host.name, host.address) for host in MASTERS))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    assert (
        lines
        == """\
global
log /dev/log local0
log /dev/log local1 notice
chroot /var/lib/haproxy
stats socket /run/haproxy/admin.sock mode 660 level admin
stats timeout 30s
user haproxy
group haproxy
daemon
defaults
log global
mode tcp
option tcplog
option dontlognull
timeout connect 5000
timeout client 50000
timeout server 50000
# Kubernetes API Server 负载均衡
frontend kubernetes-apiserver
bind *:6443
mode tcp
option tcplog
default_backend kubernetes-apiserver
backend kubernetes-apiserver
mode tcp
option tcp-check
balance roundrobin
server master-1 192.168.56.10:6443 check fall 3 rise 2
server master-2 192.168.56.11:6443 check fall 3 rise 2
server master-3 192.168.56.12:6443 check fall 3 rise 2
# HAProxy 监控页面（可选）
listen stats
bind *:8080
mode http
stats enable
stats uri /stats
stats refresh 30s
stats realm HAProxy\\ Statistics
stats auth admin:admin123""".splitlines()
    )
    sections = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    assert [line.split()[0] for line in sections] == ["global", "defaults", "frontend", "backend", "listen"]


def test_the_guide_s_keepalived_is_as_the_guide_has_it() -> None:
    text = keepalived_conf(VIP, "eth1", first=True)
    assert " ".join(text.split()) == (
        "global_defs { router_id LVS_DEVEL } "
        'vrrp_script check_haproxy { script "/usr/bin/killall -0 haproxy" interval 2 weight 2 } '
        "vrrp_instance VI_1 { state MASTER interface eth1 virtual_router_id 51 priority 100 advert_int 1 "
        "authentication { auth_type PASS auth_pass 1234 } virtual_ipaddress { 192.168.56.100 } "
        "track_script { check_haproxy } }"
    )
    second = keepalived_conf(VIP, "eth1", first=False)
    assert [line for line in second.splitlines() if line not in text.splitlines()] == [
        "    state BACKUP",
        "    priority 90",
    ]
    assert text.count("{") == text.count("}")


def managed() -> list[tuple[str, str]]:
    hosts = [*(host.name for host in LB), *(host.name for host in MASTERS)]
    keys = ("file /etc/haproxy/haproxy.cfg", "file /usr/bin/kubeadm", "service haproxy", "sysctl /etc/sysctl.d/90.conf",
            "packages haproxy", "file /etc/kubernetes/pki/ca.crt", "contents of /etc/hosts")  # fmt: skip
    return [(host, key) for host in hosts for key in keys]


def test_changes_by_hand_are_on_different_hosts_of_different_kinds_and_repeatable() -> None:
    made = drift.changes(managed(), Random("7 drift"))
    assert len({change.host for change in made}) == len(made) == 5
    assert len({change.kind for change in made}) == 4
    assert made == drift.changes(managed(), Random("7 drift"))
    assert made != drift.changes(managed(), Random("8 drift"))


def test_changes_by_hand_leave_alone_what_hurts_at_once() -> None:
    touched = {change.resource for change in drift.possible(managed())}
    assert touched == {"file /etc/haproxy/haproxy.cfg", "service haproxy", "sysctl /etc/sysctl.d/90.conf"}


def test_paths_of_changed_files_are_quoted() -> None:
    commands = [change.command for change in drift.possible([("a", "file /etc/x y; rm -rf z")])]
    assert all("'/etc/x y; rm -rf z'" in command for command in commands)


def test_a_plan_must_name_exactly_what_was_changed() -> None:
    made = (drift.Change("a", "file /etc/f", "", ""), drift.Change("b", "service s", "", ""))
    assert list(drift.compare("named", made, [("a", "file /etc/f"), ("b", "service s"), ("a", "service f")])) == []
    assert list(drift.compare("named", made, [("a", "file /etc/f"), ("b", "service other")])) == [
        "b: service s was changed by hand and not named",
        "b: service other was named, though nobody had changed it",
    ]
    extra = [change.key for change in made] + [("a", "file /etc/g")]
    assert list(drift.compare("repaired", made, extra)) == ["a: file /etc/g was repaired, though nobody had changed it"]


class NoPower:
    """Power over machines that is never used here."""

    def freeze(self, name: str) -> None: ...
    def thaw(self, name: str) -> None: ...
    def power_off(self, name: str) -> None: ...
    def power_on(self, name: str) -> None: ...


def subject(*, power: bool, balancers: bool = True) -> Subject:
    lb = (LoadBalancer(LB, VIP, MASTERS),) if balancers else ()
    return Subject(Cluster(*lb, StandIns(MASTERS, names=(VIP,))), "test", NoPower() if power else None)


def test_faults_are_offered_where_they_fit_and_name_what_is_missing_elsewhere() -> None:
    able = subject(power=True)
    missing = {fault.name: fault.missing(able) for fault in catalogue(able)}
    assert {name for name, words in missing.items() if words} == {
        "etcd-leader-killed",
        "etcd-member-killed",
        "etcd-member-hung",
    }
    assert all("etcd" in words for words in missing.values() if words)
    powerless = subject(power=False)
    offered = [fault.name for fault in catalogue(powerless) if fault.fits(powerless)]
    assert offered == ["proxy-stopped", "proxy-killed", "proxy-hung"]
    machines = [fault for fault in catalogue(powerless) if isinstance(fault, Frozen | PowerCut)]
    assert machines
    assert all("power" in fault.missing(powerless) for fault in machines)
    bare = subject(power=False, balancers=False)
    assert not any(fault.fits(bare) for fault in catalogue(bare))


def test_every_fault_of_the_catalogue_is_a_test_in_its_order() -> None:
    assert tuple(fault.name for fault in catalogue(subject(power=True))) == NAMES


def test_what_is_promised_for_a_member_of_etcd_follows_from_whom_the_api_servers_ask() -> None:
    endpoint = LoadBalancer(LB, VIP, MASTERS).endpoint
    inside = ControlPlane(hosts=MASTERS, endpoint=endpoint, version="1.33.13", source=Upstream())
    apart = EtcdCluster(tuple(Host(f"etcd-{number}", f"192.168.56.3{number}") for number in (1, 2, 3)))

    def promised(*parts: Component) -> list[float | None]:
        faults = catalogue(Subject(Cluster(*parts), "test", NoPower()))
        return [fault.promise.outage for fault in faults if fault.name.startswith("etcd-")]

    assert promised(inside) == [None, 5.5, 5.5]
    assert promised(apart, evolve(inside, etcd=apart)) == [12.0, 5.5, 45.0]


def test_roles_of_hosts() -> None:
    seen = subject(power=False)
    assert [seen.role(host) for host in (LB[0], MASTERS[0])] == ["balancer", "stand-in"]
    assert seen.balancer_hosts == LB
    assert (seen.proxy_unit, str(seen.endpoint)) == ("haproxy", f"{VIP}:6443")
    guide = Subject(Cluster(StandIns(MASTERS), GuideBalancers(LB, VIP, MASTERS)), "guide")
    assert (guide.balancer_hosts, guide.proxy_unit, str(guide.endpoint)) == (LB, "haproxy", f"{VIP}:6443")


def test_credentials_come_out_of_a_kubeconfig() -> None:
    text = json.dumps(
        {
            "clusters": [{"cluster": {"certificate-authority-data": "Q0E="}}],
            "users": [{"user": {"client-certificate-data": "Y2VydA==", "client-key-data": "a2V5"}}],
        }
    )
    assert credentials(text) == ("CA", "cert", "key")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TimeoutError(), "timed out"),
        (ConnectionRefusedError(111, "x"), "refused"),
        (ConnectionResetError(), "closed"),
        (BrokenPipeError(), "closed"),
        (ssl.SSLEOFError(), "closed"),
        (OSError(113, "No route to host"), "no route to host"),
        (asyncio.IncompleteReadError(b"", 1), "IncompleteReadError"),
    ],
)
def test_failures_of_requests_in_words(error: BaseException, words: str) -> None:
    assert what_failed(error) == words


def test_headers_are_found_whatever_their_case() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-length:  12\r\nX: y"
    assert _header(head, b"content-length") == b"12"
    assert _header(head, b"transfer-encoding") is None


def test_versions_are_found_in_what_programs_print() -> None:
    printed = """\
HAProxy HAProxy version 3.0.11-1+deb13u5 2026/11/02 - https://haproxy.org/
Status: long-term supported branch
nginx nginx version: nginx/1.26.3
keepalived Keepalived v2.3.3 (03/30,2025)
Copyright(C) 2001-2025 Alexandre Cassen
containerd containerd github.com/containerd/containerd 1.7.24 ~ds1
kubelet Kubernetes v1.33.13
"""
    assert software(printed) == [
        ("HAProxy", "3.0.11-1+deb13u5"),
        ("nginx", "1.26.3"),
        ("keepalived", "2.3.3"),
        ("containerd", "1.7.24"),
        ("kubelet", "1.33.13"),
    ]


def test_a_fresh_install_is_compared_with_what_can_t_be_avoided() -> None:
    images, join = "container images", "command kubeadm join"
    spent = [("m1", images, 8.0), ("m1", "command kubeadm init", 40.0), ("m2", images, 9.0)]
    spent += [("m2", join, 15.0), ("m3", join, 17.0), ("w1", join, 7.0)]
    results = tuple(Result("c", "s", host, resource, Status.CHANGED, seconds=took) for host, resource, took in spent)
    found = unavoidable(Report(results, 10, 100.0), ("m1", "m2", "m3"))
    assert [value for _, value in found] == ["72 %", "1.25"]
    assert unavoidable(Report((), 10, 2.0), ("m1",)) == []


def given(**changed: Any) -> argparse.Namespace:
    values: Mapping[str, Any] = {**vars(parser().parse_args([])), **changed}
    return argparse.Namespace(**values)


def test_options_are_passed_on() -> None:
    passed = arguments(given(keep=True, repeat=3, bundle="/b", report="/r"))
    assert passed[1:5] == ["-c", passed[2], "-p", "no:terminal"]
    assert "--junitxml=/r/junit.xml" in passed
    assert {"--keep", "--repeat", "3", "--bundle", "/b"} <= set(passed)
    assert "0" in arguments(given(repeat=0, report="/r"))  # for pytest to refuse
    assert not {"--cluster", "--seed", "--no-faults", "None"} & set(passed)


def commands() -> list[list[str]]:
    """Every way to start it that its README has."""
    text = (ROOT / "acceptance" / "README.md").read_text()
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))
    return [shlex.split(line, comments=True) for line in blocks.splitlines() if line]


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_what_the_readme_starts_it_with_is_understood(command: list[str]) -> None:
    program, *options = command
    assert program in ("acceptance/run", ".venv/bin/pytest")
    if program == ".venv/bin/pytest":
        assert options.pop(0) == "acceptance/"
    if options != ["--help"]:
        parser().parse_args(options)


def test_tests_are_chosen_as_pytest_does() -> None:
    passed = arguments(given(kills=20, k="restore", report="/r"))
    assert passed[passed.index("-k") + 1] == "restore"
    assert passed[passed.index("--kills") + 1] == "20"


def collected(*options: str) -> list[str]:
    """The tests that would run, in their order."""
    command = [sys.executable, "-m", "pytest", "acceptance/", "--collect-only", "-q", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [line.partition("::")[2] for line in done.stdout.splitlines() if "::" in line]


def test_an_installer_that_was_killed_makes_the_cluster_whose_verbs_are_killed() -> None:
    both = [f"[{at}]" for at in ("changed", "began")]
    expected = ["test_killed_installer"]
    expected += [f"test_killed_{verb}{at}" for verb in ("replacement", "restore") for at in both]
    assert collected("--kills", "20") == expected
    assert collected("--kills", "20", "-k", "restore") == expected[-2:]


def finished(kind: str, verdict: str, *, stand_ins: bool = False, compare: bool = False) -> Session:
    from rich.console import Console

    options = Options(report=Path("/nowhere"), stand_ins=stand_ins, compare=compare)
    session = Session.begin(options, Tell(Console(quiet=True)))
    session.certificate.kind = kind  # type: ignore[assignment]
    session.certificate.steps.append(Step("a", "A", "b", verdict=verdict))  # type: ignore[arg-type]
    return session


@pytest.mark.parametrize(
    ("code", "session", "expected"),
    [
        (pytest.ExitCode.OK, finished("kubernetes", "kept"), 0),
        (pytest.ExitCode.OK, finished("stand-ins", "kept"), NO_KUBERNETES),
        (pytest.ExitCode.OK, finished("stand-ins", "kept", stand_ins=True), 0),
        (pytest.ExitCode.OK, finished("stand-ins", "kept", compare=True), 0),
        (pytest.ExitCode.OK, finished("kubernetes", "error"), 1),
        (pytest.ExitCode.TESTS_FAILED, finished("kubernetes", "broken"), 1),
        (pytest.ExitCode.INTERNAL_ERROR, finished("kubernetes", "kept"), 1),
        (pytest.ExitCode.NO_TESTS_COLLECTED, None, 1),
        (pytest.ExitCode.USAGE_ERROR, None, 2),
        (pytest.ExitCode.INTERRUPTED, finished("kubernetes", "kept"), 130),
    ],
)
def test_exit_statuses(code: int, session: Session | None, expected: int) -> None:
    assert status(code, session) == expected
