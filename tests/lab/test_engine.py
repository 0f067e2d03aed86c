"""The engine on a real host: the lock, installers that die, links that are cut, and every step resumed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from acceptance.vagrant import Lab
from k8sha.errors import ApplyError, HostBusy, ProbeError, Unreachable
from k8sha.events import Event, Finished, Waiting
from k8sha.hosts import SSH, Host
from k8sha.report import Status
from k8sha.resources import Command, Directory, File
from k8sha.stage import Stage
from tests.shell.local import hear_signals
from tests.unit.fake import Parts
from tests.unit.samples import SAMPLES

from .demo import REMOVE_DEMO, demo
from .engine_under_test import FOLDER, GATE, RESOURCES, Gated
from .test_ssh import KILL_SESSION, PASSWORD, SUBJECT, until

pytestmark = pytest.mark.timeout(180)

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def root(hosts: Mapping[str, Host]) -> Iterator[Host]:
    """The subject, to arrange things and to look; as bare as it was, before and after."""
    host = hosts[SUBJECT]
    clean = f"rm -rf {FOLDER} {GATE} /run/k8sha-finished /run/k8sha-never; rm -f {_mark()}"
    host.execute(clean)
    yield host
    host.execute(clean)


def _mark() -> str:
    (gated,) = [item for item in RESOURCES if isinstance(item, Command)]
    return gated.mark


@pytest.fixture(params=["vagrant", "operator"])
def subject(request: pytest.FixtureRequest, lab: Lab, root: Host) -> Iterator[Host]:
    """The same host over a link of its own, with a sudo that asks for a password and one that does not."""
    known = str(lab.known_hosts)
    ssh = (
        SSH("vagrant", key=str(lab.ssh_key), known_hosts=known)
        if request.param == "vagrant"
        else SSH("operator", password=PASSWORD, sudo_password=PASSWORD, known_hosts=known)
    )
    with Host(SUBJECT, root.address, ssh=ssh) as host:
        yield host


@contextmanager
def installer(host: Host) -> Iterator[subprocess.Popen[str]]:
    """Another process that installs on the host, at its second change, which waits at the gate."""
    host_ssh = host.ssh
    assert isinstance(host_ssh, SSH)
    secret = host_ssh.key or host_ssh.password or ""
    words = ["-m", "tests.lab.engine_under_test", host_ssh.user, host.address, host_ssh.known_hosts, secret]
    with subprocess.Popen(
        [sys.executable, *words],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_signals,
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.strip() == "command wait at the gate":
                    break
            else:
                raise AssertionError(process.stderr and process.stderr.read())
            yield process
        finally:
            process.kill()


def made(root: Host) -> set[str]:
    return set(root.read(f"if [ -d {FOLDER} ]; then ls {FOLDER}; fi")[0][1].decode().split())


def at_the_gate(root: Host) -> None:
    until(lambda: root.read(f"ls {_mark()}")[0][0] == 0)


class TestLock:
    def test_of_two_installers_one_works_and_the_other_is_told_who(self, subject: Host, root: Host) -> None:
        root.execute(f"touch {GATE}")
        with installer(subject) as first:
            with pytest.raises(HostBusy) as caught:
                Gated(subject).install()
            assert caught.value.host == SUBJECT
            assert f"pid {first.pid}, installs since" in caught.value.holder
            assert not caught.value.orphaned
            assert made(root) == {"one"}
            session = root.read(f"cat /proc/{caught.value.process}/comm")[0][1].decode().strip()
            assert session.startswith("sshd")
            root.execute(f"rm {GATE}")
            assert first.wait(timeout=60) == 0
        assert made(root) == {"one", "two", "three"}
        assert not Gated(subject).install().changed

    def test_of_two_installers_at_the_same_time_one_gets_all_hosts(
        self, hosts: Mapping[str, Host], lab: Lab, root: Host
    ) -> None:
        ssh = SSH("vagrant", key=str(lab.ssh_key), known_hosts=str(lab.known_hosts))
        names = ("worker-2", SUBJECT)
        script = (
            "import sys; from k8sha import SSH, Host; from k8sha.stage import Stage; from tests.unit.fake import Parts;"
            "from k8sha.resources import Command;"
            f"ssh = SSH('vagrant', key={ssh.key!r}, known_hosts={ssh.known_hosts!r});"
            f"hosts = [Host(n, a, ssh=ssh) for n, a in {[(name, hosts[name].address) for name in names]!r}];"
            "Parts((Stage('s', {h: (Command('w', done='echo always', run='sleep 2'),) for h in hosts}),)).install()"
        )
        both = [
            subprocess.Popen([sys.executable, "-c", script], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        said = [process.communicate(timeout=90)[1] for process in both]
        busy = [text for text in said if "HostBusy" in text]
        assert len(busy) == 1, said
        assert "worker-2: another k8sha is at work there" in busy[0]
        assert sum("was carried out, and still differs: always" in text for text in said) == 1

    def test_a_run_whose_machine_is_gone_is_ended_as_the_error_says(self, subject: Host, root: Host) -> None:
        root.execute(f"touch {GATE}")
        with installer(subject) as first:
            at_the_gate(root)
            first.send_signal(signal.SIGSTOP)  # it holds its link, and will never say anything again
            with pytest.raises(HostBusy) as caught:
                Gated(subject).install()
            assert f"kill {caught.value.process}" in caught.value.remedy
            root.execute(f"kill {caught.value.process}; rm {GATE}")
            assert len(Gated(subject).install().changed) >= 1
        assert made(root) == {"one", "two", "three"}


class TestInstallersThatDie:
    def test_killed_in_the_middle_it_leaves_one_step_that_is_waited_for(self, subject: Host, root: Host) -> None:
        root.execute(f"touch {GATE}")
        with installer(subject) as first:
            at_the_gate(root)
            first.kill()
            first.wait(timeout=20)
        waits: list[str] = []

        def listen(event: Event) -> None:
            if isinstance(event, Waiting):
                if not waits:
                    assert made(root) == {"one"}
                    root.execute(f"rm {GATE}")
                waits.append(event.last)

        report = Gated(subject).install(listen)
        assert "the last step of a run that died" in waits[0]
        assert [result.resource for result in report.changed] == [f"file {FOLDER}/three"]
        assert made(root) == {"one", "two", "three"}
        assert not Gated(subject).plan()
        assert root.read("ls /run/k8sha/trip.*.on | wc -l")[0][1] == b"1\n"  # the one that looks

    def test_interrupted_it_ends_at_once_and_can_be_run_again(self, subject: Host, root: Host) -> None:
        root.execute(f"touch {GATE}")
        with installer(subject) as first:
            at_the_gate(root)
            began = time.monotonic()
            first.send_signal(signal.SIGINT)
            assert first.wait(timeout=20) == 130
            assert time.monotonic() - began < 5
        root.execute(f"rm {GATE}")
        Gated(subject).install()
        assert made(root) == {"one", "two", "three"}
        assert not Gated(subject).plan()


class TestLinksThatAreCut:
    def test_in_the_middle_of_a_change_it_ends_and_no_other_begins(self, subject: Host, root: Host) -> None:
        cut = Command("cut the link", done="ls /run/k8sha-finished || echo no", run=KILL_SESSION)
        never = File(f"{FOLDER}/never", "")
        parts = Parts((Stage("one", {subject: (File(f"{FOLDER}/one", "one\n"), cut, never)}),))
        with pytest.raises(ApplyError) as caught:
            parts.install()
        assert [result.status for result in caught.value.report.results] == [
            Status.CHANGED,
            Status.LOST,
            Status.SKIPPED,
        ]
        until(lambda: root.read("ls /run/k8sha-finished")[0][0] == 0)
        assert made(root) == {"one"}

    @pytest.mark.parametrize("subject", ["operator"], indirect=True)  # sudo's processes stand in between as well
    @pytest.mark.parametrize("place", range(4))
    def test_after_each_change_it_resumes(self, subject: Host, root: Host, place: int) -> None:
        parts = demo(subject)
        root.execute(REMOVE_DEMO)
        order = [change.resource for change in parts.plan().changes]
        ended: list[str] = []

        def cut(event: Event) -> None:
            if isinstance(event, Finished):
                ended.append(event.result.resource)
                if len(ended) == place + 1:
                    root.execute("read -r session rest </run/k8sha/holder; kill -KILL $session")

        try:
            with suppress(ApplyError, Unreachable):  # the rest may have been quicker than the cut
                parts.install(cut)
            left = [change.resource for change in parts.plan().changes]
            assert left == order[len(order) - len(left) :]
            assert len(left) < len(order) - place
            parts.install()
            assert not parts.plan()
            until(lambda: root.read("cat /run/demo/running")[0][1] == b"one\n")
        finally:
            root.execute(REMOVE_DEMO)


class TestTrips:
    def test_an_install_with_nothing_to_do_costs_one_trip_a_stage_and_one_for_the_lock(self, subject: Host) -> None:
        stages = tuple(
            Stage(f"stage {number}", {subject: (File(f"{FOLDER}/{number}", "x\n"), Directory(FOLDER))})
            for number in range(4)
        )
        parts = Parts(stages)
        first = parts.install()
        assert first.trips == 1 + 2 * 4
        before = subject.trips
        again = parts.install()
        assert not again.changed
        assert (again.trips, subject.trips - before) == (5, 5)
        assert parts.plan().trips == 4


class TestProbes:
    def test_on_a_bare_host_absence_is_an_answer_and_nothing_is_changed(self, root: Host) -> None:
        """Law 1, for every class of resource there is, but for the two whose look asks the network."""
        names = sorted(SAMPLES.keys() - {"vip-free", "reachable"})
        look = "find / -xdev -newer /run/k8sha-test-stamp ! -path '/proc/*' ! -path '/var/log/*' ! -type d -print"
        root.execute("touch /run/k8sha-test-stamp")
        seen = root.read(*(SAMPLES[name].probe() for name in names))
        failed = {name: err for name, (exit, _, err) in zip(names, seen, strict=True) if exit != 0}
        assert failed == {}
        for name, (_, out, _) in zip(names, seen, strict=True):
            SAMPLES[name].diff(out)
        touched = root.read(look)[0][1].decode().split()
        assert [path for path in touched if not path.startswith(("/var/lib/apt/", "/var/cache/apt/"))] == []

    def test_one_that_fails_is_an_error(self, subject: Host) -> None:
        with pytest.raises(ProbeError, match="no such thing"):
            Parts((Stage("one", {subject: (Command("x", done="echo no such thing >&2; exit 3", run=":"),)}),)).plan()
