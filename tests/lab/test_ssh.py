"""Getting in, becoming root and losing touch, against a real sshd and a real sudo."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import paramiko
import pytest

from acceptance.vagrant import Lab
from k8sha.errors import AccessDenied, HostBusy, HostError, HostErrors, Unreachable
from k8sha.hosts import SSH, Host, channel
from k8sha.hosts.program import Did, Frame, Program, Snippet
from k8sha.resources import File
from k8sha.stage import Stage
from tests.unit.fake import Parts

pytestmark = pytest.mark.timeout(180)

SUBJECT, JUMP = "worker-3", "worker-2"
PASSWORD, NO_SUDO = "operator-lab", "nosudo-lab"

Login = Callable[..., Host]


@pytest.fixture
def login(lab: Lab) -> Iterator[Login]:
    """The subject, reached in a way of one's own: whatever ``SSH`` takes, with the lab's known_hosts unless told."""
    made: list[Host] = []

    def make(user: str = "vagrant", *, name: str = SUBJECT, address: str = "", **how: object) -> Host:
        if user == "vagrant" and not how.keys() & {"key", "password", "agent"}:
            how["key"] = str(lab.ssh_key)
        settings = {"known_hosts": str(lab.known_hosts), "connect_timeout": 8.0, **how}
        ssh = SSH(user, **settings)  # type: ignore[arg-type]
        made.append(Host(name, address or str(lab.topology[name].address), ssh=ssh))
        return made[-1]

    yield make
    for host in made:
        host.close()
        for jump in host.way:
            jump.close()


@pytest.fixture(scope="module", autouse=True)
def no_penalties(hosts: Mapping[str, Host]) -> Iterator[None]:
    """Since OpenSSH 9.8 an address that was refused often is not listened to for a while, and much is refused here."""
    path = "/etc/ssh/sshd_config.d/k8sha-test.conf"
    for host in (hosts[SUBJECT], hosts[JUMP]):
        text = f"if sshd -T | grep -q persourcepenalties; then echo 'PerSourcePenalties no' >{path}; fi; sshd -t"
        exit, _, err = host.execute(f"{text}; systemctl reload ssh")
        assert exit == 0, err
    yield
    for host in (hosts[SUBJECT], hosts[JUMP]):
        host.execute(f"rm -f {path}; systemctl reload ssh")


@pytest.fixture
def root(hosts: Mapping[str, Host]) -> Host:
    """The subject as its lab user, to arrange things and to look."""
    return hosts[SUBJECT]


def who(host: Host) -> str:
    exit, out, err = host.read("id -un; echo ${SUDO_USER-}")[0]
    assert exit == 0, err
    return out.decode().replace("\n", " ").strip()


def refusal(host: Host) -> AccessDenied:
    """How a host refuses us: at once, and without being asked twice."""
    began = time.monotonic()
    with pytest.raises(AccessDenied) as caught:
        host.read("true")
    assert time.monotonic() - began < 12
    return caught.value


class TestGettingIn:
    def test_by_key_with_a_sudo_that_asks_nothing(self, login: Login) -> None:
        assert who(login()) == "root vagrant"

    def test_by_password_with_a_sudo_that_asks_for_it(self, login: Login) -> None:
        assert who(login("operator", password=PASSWORD, sudo_password=PASSWORD)) == "root operator"

    @pytest.mark.parametrize(
        ("kind", "passphrase"),
        [("ed25519", ""), ("ed25519", 'it\'s "hush"'), ("rsa", ""), ("rsa", "x y"), ("ecdsa", "")],
    )
    def test_by_any_kind_of_key(self, login: Login, root: Host, tmp_path: Path, kind: str, passphrase: str) -> None:
        path = tmp_path / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-f", path], check=True)
        public = Path(f"{path}.pub").read_text().strip()
        with authorized(root, public):
            assert who(login(key=str(path), passphrase=passphrase or None)) == "root vagrant"
            if passphrase:
                assert "is encrypted" in refusal(login(key=str(path))).cause
                assert "no private key that we can open" in refusal(login(key=str(path), passphrase="wrong")).cause
        assert "was not let in" in refusal(login(key=str(path), passphrase=passphrase or None)).cause

    def test_as_root_the_first_program_is_an_argument_that_names_nobody(
        self, login: Login, root: Host, lab: Lab, tmp_path: Path
    ) -> None:
        public = subprocess.run(
            ["ssh-keygen", "-y", "-f", lab.ssh_key], capture_output=True, text=True, check=True
        ).stdout.strip()
        with authorized(root, public, home="/root"):
            first, second = (login("root", key=str(lab.ssh_key)) for _ in range(2))
            first.lock("ann@desk")
            assert (first.trips, first.facts.hostname) == (1, SUBJECT)
            assert who(first) == "root"
            with pytest.raises(HostBusy) as caught:
                second.lock("bob")
            assert (caught.value.holder, caught.value.orphaned) == ("ann@desk", False)
            seen = root.read("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '")[0][1]
            assert b"ann@desk" not in seen
            first.close()
            until(lambda: takes(second, "bob"))
            assert root.read("cut -d ' ' -f 2- /run/k8sha/holder")[0][1] in (b"bob\n", b"a run that has just begun\n")
            assert root.read("true")[0][0] == 0

    def test_by_an_agent(self, login: Login, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))  # none of the keys of whoever runs the tests
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
        assert "No authentication methods" in refusal(login(agent=True)).cause
        sock = str(tmp_path / "agent")
        agent = subprocess.Popen(["ssh-agent", "-D", "-a", sock], stdout=subprocess.DEVNULL)
        try:
            monkeypatch.setenv("SSH_AUTH_SOCK", sock)
            until(lambda: Path(sock).exists())
            subprocess.run(["ssh-add", "-q", str(lab.ssh_key)], check=True)
            assert who(login(agent=True)) == "root vagrant"
            assert "No authentication methods" in refusal(login(agent=False)).cause
        finally:
            agent.terminate()
            agent.wait()

    def test_on_another_port(self, login: Login, root: Host, lab: Lab, tmp_path: Path) -> None:
        address = lab.topology[SUBJECT].address
        known = tmp_path / "known_hosts"
        lines = [line for line in lab.known_hosts.read_text().splitlines() if line.startswith(f"{address},")]
        known.write_text("".join(f"[{address}]:2222 {line.split(' ', 1)[1]}\n" for line in lines))
        root.execute("/usr/sbin/sshd -p 2222 -o PidFile=/run/k8sha-sshd-2222")
        try:
            assert who(login(port=2222, known_hosts=str(known))) == "root vagrant"
            assert f"[{address}]:2222 has no line" in refusal(login(port=2222)).cause
        finally:
            root.execute("kill $(cat /run/k8sha-sshd-2222)")

    def test_costs_one_trip_and_one_session(self, login: Login, root: Host) -> None:
        host = login("operator", password=PASSWORD, sudo_password=PASSWORD)
        assert host.facts.hostname == SUBJECT
        assert host.trips == 1
        for _ in range(5):
            host.read("true", "true")
        assert host.trips == 6
        count = "ps -eo args | grep -c '^sshd-session: operator@\\|^sshd: operator@' || :"
        until(lambda: root.read(count)[0][1] == b"1\n")  # another test's may still be about to end


class TestRefusals:
    """Each names the host, the cause and what to do; running again would not help, and nothing was changed."""

    @pytest.mark.parametrize(
        ("user", "how", "cause"),
        [
            ("operator", {"password": "wrong"}, "user operator was not let in"),
            ("nobody-of-that-name", {"password": "wrong"}, "user nobody-of-that-name was not let in"),
            ("operator", {"password": PASSWORD}, "the user can't become root: sudo: a password is required"),
            ("operator", {"password": PASSWORD, "sudo_password": "wrong"}, "sudo refused the password"),
            ("nosudo", {"password": NO_SUDO}, "the user can't become root"),
            ("nosudo", {"password": NO_SUDO, "sudo_password": NO_SUDO}, "nosudo is not in the sudoers file"),
            ("vagrant", {"key": "/nowhere/key"}, "/nowhere/key can't be read: No such file or directory"),
            ("vagrant", {"known_hosts": "/etc"}, "/etc can't be read: Is a directory"),
        ],
    )
    def test_say_why(self, login: Login, root: Host, user: str, how: dict[str, object], cause: str) -> None:
        host = login(user, **how)
        error = refusal(host)
        assert error.host == SUBJECT
        assert cause in error.cause
        assert error.remedy
        assert "wrong" not in str(error)

    def test_a_public_key_is_no_key(self, login: Login, lab: Lab) -> None:
        assert "is no private key" in refusal(login(key=f"{lab.ssh_key}.pub")).cause

    def test_a_host_that_nobody_knows(self, login: Login, tmp_path: Path) -> None:
        (tmp_path / "known_hosts").write_text("")
        error = refusal(login(known_hosts=str(tmp_path / "known_hosts")))
        assert "its host key is not known" in error.cause
        assert "ssh-keyscan" in error.remedy
        assert "its host key is not known" in refusal(login(known_hosts=str(tmp_path / "none"))).cause

    @pytest.mark.parametrize("kind", ["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256"])
    def test_one_known_key_of_any_kind_is_enough(self, login: Login, lab: Lab, tmp_path: Path, kind: str) -> None:
        lines = [line for line in lab.known_hosts.read_text().splitlines() if f" {kind} " in line]
        (tmp_path / "known_hosts").write_text("\n".join(lines) + "\n")
        assert who(login(known_hosts=str(tmp_path / "known_hosts"))) == "root vagrant"

    def test_a_host_whose_key_has_changed_is_left_alone_and_so_are_the_others(
        self, login: Login, lab: Lab, root: Host, hosts: Mapping[str, Host], tmp_path: Path
    ) -> None:
        address = str(lab.topology[SUBJECT].address)
        other = paramiko.ECDSAKey.generate()
        text = re.sub(rf"(?m)^{re.escape(address)},.*\n", "", lab.known_hosts.read_text())
        known = tmp_path / "known_hosts"
        known.write_text(f"{text}{address} {other.get_name()} {other.get_base64()}\n")
        changed = login(known_hosts=str(known))
        path = "/etc/k8sha-test-changed-key"

        work = {host: (File(path, "here\n"),) for host in (hosts[JUMP], changed)}
        with pytest.raises(AccessDenied) as caught:
            Parts((Stage("one", work),)).install()
        assert caught.value.host == SUBJECT
        assert "its host key has changed: " in caught.value.cause
        assert other.fingerprint in caught.value.cause
        assert str(known) in caught.value.remedy
        for host in (root, hosts[JUMP]):
            assert host.read(f"ls {path}")[0][0] != 0

    def test_several_hosts_are_told_together(self, login: Login) -> None:
        wrong = login("operator", password="wrong")
        unknown = login("operator", name=JUMP, password=PASSWORD, sudo_password="wrong")

        with pytest.raises(HostErrors) as caught:
            Parts((Stage("one", {wrong: (), unknown: ()}),)).install()
        assert {error.host for error in caught.value.errors if isinstance(error, AccessDenied)} == {SUBJECT, JUMP}


class TestJump:
    def test_through_a_host_where_we_may_not_become_root(self, login: Login, root: Host) -> None:
        jump = login("nosudo", name=JUMP, password=NO_SUDO)
        host = login(jump=jump)
        assert who(host) == "root vagrant"
        assert jump.trips == 0
        peers = root.read("ss -Htn state established sport = :22")[0][1].decode()
        assert jump.address in peers

    def test_to_a_host_that_does_not_answer_names_both(self, login: Login, lab: Lab) -> None:
        jump = login("nosudo", name=JUMP, password=NO_SUDO)
        nobody = str(lab.topology.network[250])
        with pytest.raises(Unreachable) as caught:
            login(address=nobody, jump=jump, connect_timeout=3.0).read("true")
        assert caught.value.host == SUBJECT
        assert f"not to be reached through {JUMP}" in caught.value.cause

    def test_that_refuses_us_is_named(self, login: Login) -> None:
        error = refusal(login(jump=login("nosudo", name=JUMP, password="wrong")))
        assert error.host == JUMP

    def test_is_closed_with_what_was_reached_through_it(self, login: Login) -> None:
        jump = login("nosudo", name=JUMP, password=NO_SUDO)
        host = login(jump=jump)

        Parts((Stage("one", {host: ()}),)).install()
        assert not host.connected
        assert not jump.connected

    def test_that_was_lost_is_opened_again(self, login: Login, hosts: Mapping[str, Host]) -> None:
        jump = login("nosudo", name=JUMP, password=NO_SUDO)
        host = login(jump=jump)
        host.read("true")
        link = host.connect()
        hosts[JUMP].execute("pkill -KILL -u nosudo || :")
        until(lambda: not link.alive)
        assert who(host) == "root vagrant"


class TestLosingTouch:
    def test_a_host_that_is_not_there(self, login: Login, lab: Lab) -> None:
        began = time.monotonic()
        with pytest.raises(Unreachable) as caught:
            login(address=str(lab.topology.network[251]), connect_timeout=3.0).read("true")
        assert time.monotonic() - began < 12
        assert "no connection to" in caught.value.cause

    def test_a_host_without_sshd(self, login: Login) -> None:
        with pytest.raises(Unreachable, match="Unable to connect"):
            login(port=9, connect_timeout=2.0).read("true")

    def test_something_that_is_no_sshd(self, login: Login, lab: Lab) -> None:
        gateway = str(lab.topology.network[1])
        with socket.create_server((gateway, 0)) as server:
            host = login(address=gateway, port=server.getsockname()[1], connect_timeout=3.0)
            with pytest.raises(Unreachable):
                host.read("true")

    def test_a_session_that_is_killed(self, login: Login, root: Host) -> None:
        host = login()
        host.lock("a test")
        with pytest.raises(Unreachable) as caught:
            host.run(Program(applies=(Snippet(KILL_SESSION), Snippet("touch /run/k8sha-never"))), lambda frame: None)
        assert "the link was lost" in caught.value.cause
        host.close()
        until(lambda: root.read("ls /run/k8sha-finished")[0][0] == 0)
        root.execute("rm /run/k8sha-finished")
        assert root.read("ls /run/k8sha-never")[0][0] != 0
        assert who(host) == "root vagrant"

    @pytest.fixture
    def impatient(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A silent host is asked after 3 s, and has 8 s to answer, where it is 15 and 30 s otherwise."""
        monkeypatch.setattr(channel, "SILENCE", 3.0)
        monkeypatch.setattr(channel, "ANSWER", 8.0)

    def test_a_host_that_freezes_while_it_works(self, login: Login, lab: Lab, impatient: None) -> None:
        """It is asked whether it is there, and given up where it does not answer; a snippet may take much longer."""
        host = login()
        host.lock("a test")
        began = time.monotonic()

        def freeze(frame: Frame) -> None:
            lab.freeze(SUBJECT)

        try:
            with pytest.raises(Unreachable, match="no sign of life for 11 s"):
                host.run(Program(applies=(Snippet("sleep 1", 900),)), freeze)
            assert 10 < time.monotonic() - began < 30
            again = time.monotonic()
            with pytest.raises(Unreachable):
                host.read("true")
            assert time.monotonic() - again < 20
        finally:
            lab.thaw(SUBJECT)
        host.close()
        assert who(host) == "root vagrant"

    def test_a_host_that_works_long_and_says_nothing_is_not_lost(self, login: Login, impatient: None) -> None:
        frames: list[Frame] = []
        login().run(Program(applies=(Snippet("sleep 12", 60),)), frames.append)
        assert [frame.exit for frame in frames if isinstance(frame, Did)] == [0]

    def test_closing_a_frozen_host_takes_no_time(self, login: Login, lab: Lab) -> None:
        host = login()
        host.read("true")
        lab.freeze(SUBJECT)
        try:
            began = time.monotonic()
            host.close()
            assert time.monotonic() - began < 2
        finally:
            lab.thaw(SUBJECT)


class TestUpload:
    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        path = tmp_path / "payload"
        path.write_bytes(bytes(range(256)) * 4096 * 20)
        return path

    @pytest.mark.parametrize("user", ["vagrant", "operator"])
    def test_arrives_whole_is_roots_alone_and_is_not_sent_twice(
        self, login: Login, root: Host, source: Path, user: str
    ) -> None:
        host = login() if user == "vagrant" else login(user, password=PASSWORD, sudo_password=PASSWORD)
        target = "/var/lib/k8sha/upload/it's a test"
        told: list[tuple[int, int]] = []
        size = source.stat().st_size
        try:
            host.upload(source, target, lambda sent, total: told.append((sent, total)))
            assert told[-1] == (size, size)
            assert sorted(told) == told
            seen = root.read(f"""stat -c '%a %U %s' "{target}"; sha256sum <"{target}" """)[0][1].decode().split()
            mine = subprocess.run(["sha256sum", source], capture_output=True, text=True, check=True).stdout.split()
            assert seen[:4] == ["600", "root", str(size), mine[0]]
            told.clear()
            host.upload(source, target, lambda sent, total: told.append((sent, total)))
            assert told == []
        finally:
            root.execute(f'rm -f "{target}"')

    def test_that_is_cut_off_leaves_nothing(self, login: Login, root: Host, source: Path) -> None:
        host, target = login(), "/var/lib/k8sha/upload/cut"

        def cut(sent: int, total: int) -> None:
            if sent > total // 2:
                host.halt()

        with pytest.raises(Unreachable):
            host.upload(source, target, cut)
        until(lambda: root.read("ls /var/lib/k8sha/upload")[0][1] == b"")
        host.close()
        host.upload(source, target, lambda sent, total: None)
        assert root.read(f"stat -c %s {target}")[0][1] == f"{source.stat().st_size}\n".encode()
        root.execute(f"rm {target}")

    def test_that_has_no_room_says_how_much_it_needs(self, login: Login, root: Host, source: Path) -> None:
        root.execute("mkdir -p /mnt/k8sha-small && mount -t tmpfs -o size=1m none /mnt/k8sha-small")
        try:
            with pytest.raises(HostError) as caught:
                login().upload(source, "/mnt/k8sha-small/x", lambda sent, total: None)
            assert not isinstance(caught.value, Unreachable)
            assert f"it needs {source.stat().st_size} bytes, " in caught.value.cause
            assert root.read("ls -A /mnt/k8sha-small")[0][1] == b""
        finally:
            root.execute("umount /mnt/k8sha-small; rmdir /mnt/k8sha-small")


class TestTunnel:
    def test_leads_to_where_the_host_sees(self, login: Login, lab: Lab) -> None:
        address = str(lab.topology[JUMP].address)
        with login().tunnel(address, 22) as end:
            assert end.recv(4) == b"SSH-"

    def test_to_nothing_leaves_the_link_alone(self, login: Login) -> None:
        host = login()
        host.read("true")
        with pytest.raises(HostError, match=r"no way through it to 127\.0\.0\.1:9"):
            host.tunnel("127.0.0.1", 9)
        assert host.connected


# Run by a snippet: ends the session that it was sent through, and goes on.
KILL_SESSION = """\
read -r session rest </run/k8sha/holder
kill -KILL "$session"
while [ -d "/proc/$session" ]; do sleep 0.05; done
sleep 0.5
touch /run/k8sha-finished"""


def takes(host: Host, name: str) -> bool:
    try:
        host.lock(name)
    except HostBusy:
        return False
    return True


class authorized:
    """One more key that may log in, for a while."""

    def __init__(self, root: Host, public: str, home: str = "/home/vagrant") -> None:
        self.root, self.public, self.file = root, public, f"{home}/.ssh/authorized_keys"

    def __enter__(self) -> None:
        self._do(f"mkdir -p -m 0700 {self.file.rpartition('/')[0]}; echo '{self.public}' >>{self.file}")

    def __exit__(self, *error: object) -> None:
        self._do(
            f"{{ grep -vF '{self.public}' {self.file} || [ $? = 1 ]; }} >/run/k8sha-keys; "
            f"cat /run/k8sha-keys >{self.file}; rm /run/k8sha-keys"
        )

    def _do(self, text: str) -> None:
        exit, _, err = self.root.execute(text)
        assert exit == 0, err


def until(so: Callable[[], object], seconds: float = 20) -> None:
    """Wait for something on a host."""
    end = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < end, "it never became so"
        time.sleep(0.1)
