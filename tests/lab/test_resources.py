"""Resources that need systemd, a package manager or a kernel: absent, made, again, drifted, named, repaired, killed."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from acceptance.vagrant import Lab
from k8sha.component import Component
from k8sha.errors import ApplyError
from k8sha.events import Began, Event
from k8sha.hosts import SSH, Host
from k8sha.resources import Absent, AptPackages, File, Modules, NoSwap, Resource, Service, Sysctl
from k8sha.stage import Stage
from tests.unit.fake import Parts

from .demo import REMOVE_DEMO, demo
from .test_ssh import SUBJECT, until

pytestmark = pytest.mark.timeout(300)

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def host(hosts: Mapping[str, Host]) -> Host:
    return hosts[SUBJECT]


def one(host: Host, *resources: Resource) -> Component:
    return Parts((Stage("one", {host: resources}),))


def do(host: Host, text: str) -> str:
    exit, out, err = host.execute(text, timeout=120)
    assert exit == 0, err.decode()
    return out.decode().strip()


def obeys(host: Host, resource: Resource, drifts: Mapping[str, str]) -> None:
    """Absent, made, made again, and each drift (what the plan must say: what is done by hand) named and repaired."""
    parts = one(host, resource)
    assert [change.resource for change in parts.plan().changes] == [resource.key]
    assert [result.resource for result in parts.install().changed] == [resource.key]
    assert not parts.plan()
    assert not parts.install().changed
    exit, _, err = host.execute(resource.apply(), timeout=resource.timeout)
    assert exit == 0, err.decode()
    assert not parts.plan(), "twice is once"
    for said, drift in drifts.items():
        do(host, drift)
        (change,) = parts.plan().changes
        assert change.diff.lines == tuple(said.split("\n"))
        assert len(parts.install().changed) == 1
        assert not parts.plan()


class TestKernel:
    def test_settings(self, host: Host) -> None:
        path = "/etc/sysctl.d/99-k8sha-test.conf"
        do(host, f"rm -f {path}; sysctl -q -w net.ipv4.ip_local_port_range='32768 60999' net.ipv4.tcp_fin_timeout=60")
        sysctl = Sysctl({"net.ipv4.ip_local_port_range": "20000 60000", "net.ipv4.tcp_fin_timeout": "30"}, path=path)
        try:
            obeys(
                host,
                sysctl,
                {
                    "net.ipv4.tcp_fin_timeout: 31 -> 30": "sysctl -q -w net.ipv4.tcp_fin_timeout=31",
                    f"{path}: @@ -2 +2 @@\n{path}: -net.ipv4.tcp_fin_timeout = 3\n"
                    f"{path}: +net.ipv4.tcp_fin_timeout = 30": f"sed -i 's/= 30/= 3/' {path}",
                },
            )
            assert do(host, f"stat -c %a {path}") == "644"
        finally:
            do(host, f"rm -f {path}")

    def test_a_setting_that_the_kernel_refuses_fails(self, host: Host) -> None:
        path = "/etc/sysctl.d/99-k8sha-test.conf"
        with pytest.raises(ApplyError, match="ip_local_port_range"):
            one(host, Sysctl({"net.ipv4.ip_local_port_range": "nonsense"}, path=path)).install()
        do(host, f"rm -f {path}")

    def test_modules(self, host: Host) -> None:
        """Loading itself can't be shown in a container: what is in its kernel is there from the start."""
        path = "/etc/modules-load.d/k8sha-test.conf"
        obeys(
            host,
            Modules(("overlay", "br_netfilter"), path=path),
            {f"{path}: @@ -1,0 +2 @@\n{path}: +br_netfilter": f"echo overlay >{path}"},
        )
        do(host, f"rm {path}")

    def test_a_module_that_there_is_not_fails(self, host: Host) -> None:
        path = "/etc/modules-load.d/k8sha-test.conf"
        with pytest.raises(ApplyError, match="no_such_module"):
            one(host, Modules(("no_such_module",), path=path)).install()
        do(host, f"rm {path}")

    def test_swap_stays_off(self, host: Host) -> None:
        do(host, "cp -p /etc/fstab /run/k8sha-fstab; rm -f /etc/fstab.before-k8sha")
        fstab = "# comment\\n/dev/vda1\\t/\\text4\\tdefaults\\t0\\t1\\n"
        fstab += "/dev/vda2\\tnone\\tswap\\tsw\\t0\\t0\\n#/dev/x none swap sw 0 0\\n"
        unit = "/etc/systemd/system/dev-vda3.swap"
        add_line = "printf '/swapfile none swap sw 0 0' >>/etc/fstab"  # without an end of line
        add_unit = f"rm -f {unit}; printf '[Swap]\\nWhat=/dev/vda3\\n' >{unit}; systemctl daemon-reload"
        try:
            do(host, f"printf '{fstab}' >/etc/fstab; chmod 0640 /etc/fstab")
            obeys(
                host,
                NoSwap(),
                {"- in /etc/fstab: /swapfile": add_line, "- unit: dev-vda3.swap": add_unit},
            )
            assert do(host, "cat /etc/fstab; stat -c %a /etc/fstab").splitlines() == [
                "# comment",
                "/dev/vda1\t/\text4\tdefaults\t0\t1",
                "#k8sha: swap is off# /dev/vda2\tnone\tswap\tsw\t0\t0",
                "#/dev/x none swap sw 0 0",
                "#k8sha: swap is off# /swapfile none swap sw 0 0",
                "640",
            ]
            assert do(host, f"readlink {unit}") == "/dev/null"
            assert "/dev/vda3" in do(host, f"cat {unit}.before-k8sha")
        finally:
            do(host, f"mv /run/k8sha-fstab /etc/fstab; rm -f {unit} {unit}.before-k8sha /etc/fstab.before-k8sha")
            do(host, "systemctl daemon-reload")


class TestPackages:
    NAMES = ("psmisc", "ipvsadm")

    @pytest.fixture
    def bare(self, host: Host) -> Iterator[Host]:
        purge = f"apt-mark unhold {' '.join(self.NAMES)} nginx-light >/dev/null; DEBIAN_FRONTEND=noninteractive "
        purge += f"apt-get purge -y -q {' '.join(self.NAMES)} nginx-light nginx nginx-common >/dev/null"
        do(host, f"{purge}; rm -f /usr/sbin/policy-rc.d")
        yield host
        do(host, f"dpkg --configure -a; {purge}; rm -f /usr/sbin/policy-rc.d")

    def test_are_installed_and_held(self, bare: Host) -> None:
        candidate = do(bare, "apt-cache policy psmisc | sed -n 's/ *Candidate: //p'")
        obeys(
            bare,
            AptPackages(self.NAMES, hold=True),
            {
                f"+ psmisc {candidate}": "apt-get remove -y --allow-change-held-packages psmisc; apt-mark hold psmisc",
                "ipvsadm: hold": "apt-mark unhold ipvsadm",
            },
        )

    def test_a_version_that_there_is_not_fails_and_says_so(self, bare: Host) -> None:
        with pytest.raises(ApplyError, match="psmisc"):
            one(bare, AptPackages(("psmisc=0.0-none",))).install()

    def test_services_are_not_started_before_they_are_configured(self, bare: Host) -> None:
        one(bare, AptPackages(("nginx-light",))).install()
        assert do(bare, "systemctl is-active nginx || :") in ("inactive", "failed")
        assert do(bare, "ls /usr/sbin/policy-rc.d 2>/dev/null || echo none") == "none"
        assert do(bare, "stat -c %a /etc/nginx /var/lib/apt/lists | sort -u") == "755"

    def test_anothers_policy_is_left_alone(self, bare: Host) -> None:
        do(bare, "printf '#!/bin/sh\\nexit 0\\n' >/usr/sbin/policy-rc.d; chmod 0755 /usr/sbin/policy-rc.d")
        one(bare, AptPackages(("psmisc",))).install()
        assert "exit 0" in do(bare, "cat /usr/sbin/policy-rc.d")

    @pytest.mark.parametrize("sign", ["Unpacking", "Setting up"])
    def test_an_installation_that_is_killed_is_finished(self, bare: Host, sign: str) -> None:
        """Not our process here, which it would survive, but all of it there."""
        parts = one(bare, AptPackages(("nginx-light", *self.NAMES)))
        watch = (
            f"while ! grep -q '{sign}' /run/k8sha/apt.out 2>/dev/null; do sleep 0.02; done; "
            "pkill -KILL -f 'sh -eu /dev/fd/3'; pkill -KILL apt-get; pkill -KILL dpkg"
        )
        do(bare, f'rm -f /run/k8sha/apt.out; setsid sh -c "{watch}" >/dev/null 2>&1 9>&- &')
        with pytest.raises(ApplyError):
            parts.install()
        assert "an installation was interrupted" in str(parts.plan())
        parts.install()
        assert not parts.plan()
        assert do(bare, "dpkg --audit; ls /usr/sbin/policy-rc.d 2>/dev/null || echo none") == "none"


class TestService:
    @pytest.fixture
    def host(self, hosts: Mapping[str, Host]) -> Iterator[Host]:
        host = hosts[SUBJECT]
        do(host, REMOVE_DEMO)
        yield host
        do(host, REMOVE_DEMO)

    def running(self, host: Host) -> tuple[str, str]:
        """The configuration that the service runs with, and the process that it is."""
        config, process = do(host, "cat /run/demo/running; systemctl show -p MainPID --value demo").splitlines()
        return config, process

    def only(self, host: Host, component: Component) -> str:
        """The one thing that a plan would change: the service, and why."""
        (change,) = component.plan().changes
        assert change.resource == "service demo"
        return str(change.diff)

    def test_is_enabled_and_runs(self, host: Host) -> None:
        demo(host).install()
        assert do(host, "systemctl is-enabled demo; systemctl is-active demo") == "enabled\nactive"
        assert not demo(host).plan()
        for said, drift in {
            "state: inactive -> active": "systemctl stop demo",
            "start at boot: disabled -> enabled": "systemctl disable --quiet demo",
            "runs with another /usr/local/bin/demo: restart": "touch /usr/local/bin/demo",
        }.items():
            do(host, drift)
            assert self.only(host, demo(host)) == said
            demo(host).install()
            assert not demo(host).plan()

    def test_restarts_when_its_configuration_changes_and_not_otherwise(self, host: Host) -> None:
        demo(host).install()
        first = self.running(host)
        demo(host).install()
        assert self.running(host) == first
        demo(host, "two\n").install()
        until(lambda: self.running(host)[0] == "two")
        assert self.running(host)[1] != first[1]

    def test_reloads_where_it_can_and_restarts_where_it_must(self, host: Host) -> None:
        demo(host, reload=True).install()
        first = self.running(host)
        report = demo(host, "two\n", reload=True).install()
        until(lambda: self.running(host)[0] == "two")
        assert self.running(host)[1] == first[1]
        assert len(report.changed) == 2
        do(host, "echo '# a newer program' >>/usr/local/bin/demo")
        demo(host, "two\n", reload=True).install()
        assert self.running(host)[1] != first[1]

    @pytest.mark.parametrize("reload", [False, True])
    def test_killed_between_a_file_and_the_restart_the_next_run_restarts(self, host: Host, reload: bool) -> None:
        """The handler that others lose: the file is right already, and the service does not know."""
        demo(host, reload=reload).install()
        config = File("/etc/k8sha-test/demo.conf", "two\n")
        do(host, config.apply())
        assert self.running(host)[0] == "one"
        said = self.only(host, demo(host, "two\n", reload=reload))
        assert said == "runs with another /etc/k8sha-test/demo.conf: " + ("reload" if reload else "restart")
        demo(host, "two\n", reload=reload).install()
        until(lambda: self.running(host)[0] == "two")
        assert not demo(host, "two\n", reload=reload).plan()

    def test_killed_between_the_restart_and_its_note_it_restarts_once_more(self, host: Host) -> None:
        demo(host).install()
        do(host, "rm /var/lib/k8sha/restarted/demo.service")
        assert self.only(host, demo(host)) == "was not started by us: restart once"
        demo(host).install()
        assert not demo(host).plan()

    def test_notices_a_file_that_was_put_back_by_hand(self, host: Host) -> None:
        demo(host).install()
        path = "/etc/k8sha-test/demo.conf"
        do(host, f"mv {path} {path}.bak; echo other >{path}; systemctl restart demo")
        until(lambda: self.running(host)[0] == "other")
        do(host, f"mv {path}.bak {path}")
        assert self.only(host, demo(host)) == f"runs with another {path}: restart"
        demo(host).install()
        until(lambda: self.running(host)[0] == "one")

    def test_notices_a_clock_that_was_set_back(self, host: Host) -> None:
        """Written in the future, as seen from now: what would be newer than any restart for a year."""
        demo(host).install()
        do(host, "touch -d '+1 year' /etc/k8sha-test/demo.conf")
        assert self.only(host, demo(host)).startswith("runs with another")
        demo(host).install()
        assert not demo(host).plan()

    def test_notices_a_file_that_is_gone(self, host: Host) -> None:
        extra = Absent("/etc/k8sha-test/extra.conf")
        do(host, "mkdir -p /etc/k8sha-test; echo x >/etc/k8sha-test/extra.conf; echo one >/etc/k8sha-test/demo.conf")
        demo(host).install()
        service = Service("demo", watches=(extra,))
        one(host, service).install()
        do(host, extra.apply())  # and killed before the restart
        assert self.only(host, one(host, extra, service)) == "runs with another /etc/k8sha-test/extra.conf: restart"

    def test_its_unit_is_loaded_again_when_it_changes(self, host: Host) -> None:
        demo(host).install()
        first = self.running(host)
        do(host, "sed -i 's/^ExecStart=/Environment=A=b\\nExecStart=/' /etc/systemd/system/demo.service")
        planned = [change.resource for change in demo(host).plan().changes]
        assert planned == ["file /etc/systemd/system/demo.service", "service demo"]
        demo(host).install()
        assert self.running(host)[1] != first[1]
        assert do(host, "systemctl show -p NeedDaemonReload --value demo") == "no"

    def test_that_does_not_come_up_fails_and_says_why(self, host: Host) -> None:
        demo(host).install()
        do(host, "printf '#!/bin/sh\\nexit 3\\n' >/usr/local/bin/demo")
        with pytest.raises(ApplyError) as caught:
            one(host, Service("demo", program="/usr/local/bin/demo")).install()
        assert "service demo" in str(caught.value)
        assert demo(host).install().ok

    def test_is_switched_off(self, host: Host) -> None:
        off = Service("demo", active=False)
        assert not one(host, off).plan()  # what is not installed does not run
        do(host, off.apply())
        demo(host).install()
        obeys(host, off, {"state: active -> inactive": "systemctl start demo"})
        assert do(host, "systemctl is-enabled demo || :") == "disabled"


class TestKilled:
    """The installer's own process, killed by itself the moment a change begins; then run again."""

    SCRIPT = """
        import os, signal, sys
        from k8sha.events import Began
        from k8sha.hosts import SSH, Host
        from tests.lab.demo import demo

        def listen(event):
            if isinstance(event, Began) and event.resource == {resource!r}:
                os.kill(os.getpid(), signal.SIGKILL)

        ssh = SSH("vagrant", key={key!r}, known_hosts={known!r})
        demo(Host({name!r}, {address!r}, ssh=ssh)).install(listen)
    """

    @pytest.mark.parametrize("resource", ["file /usr/local/bin/demo", "file /etc/k8sha-test/demo.conf", "service demo"])
    def test_at_any_change_it_converges(self, lab: Lab, hosts: Mapping[str, Host], resource: str) -> None:
        host = hosts[SUBJECT]
        do(host, REMOVE_DEMO)
        values = {"resource": resource, "key": str(lab.ssh_key), "known": str(lab.known_hosts)}
        script = textwrap.dedent(self.SCRIPT).format(name=host.name, address=host.address, **values)
        died = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, check=False, timeout=60)
        assert died.returncode == -9
        try:
            ssh = SSH("vagrant", key=str(lab.ssh_key), known_hosts=str(lab.known_hosts))
            began: list[str] = []

            def listen(event: Event) -> None:
                if isinstance(event, Began):
                    began.append(event.resource)

            with Host(host.name, host.address, ssh=ssh) as again:
                demo(again).install(listen)
                assert not demo(again).plan()
            until(lambda: do(host, "cat /run/demo/running") == "one")
        finally:
            do(host, REMOVE_DEMO)
