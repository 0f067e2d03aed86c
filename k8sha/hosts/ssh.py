"""SSH: the settings, and the one place where paramiko is used. It loads when the first link is opened.

One connection a host for the whole run, and on it one channel with a root shell that all programs go through; a host
that is only jumped through gets none. Secrets go down that shell's stdin. Host keys are checked against known_hosts; an
unknown or changed one is refused.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen, validators

from k8sha.errors import AccessDenied, HostError, NotReady, Unreachable
from k8sha.hosts.channel import ANSWER, Channel, LateChannel, as_root, within
from k8sha.hosts.first import command, follow_up
from k8sha.hosts.known import known_lines
from k8sha.hosts.link import Link, ShellLink
from k8sha.hosts.program import Program
from k8sha.waiting import Check, NotYet, wait_for

if TYPE_CHECKING:
    import paramiko

    from k8sha.hosts.host import Host

__all__ = ["SSH"]

_CHUNK = 1 << 18

# What paramiko's text says where its type does not.
_NO_ANSWER = ("timeout", "saw EOF")
_REFUSALS = ("No authentication methods available", "Too many authentication failures")

_KEEP = """\
umask 077; set -e; d={d}
mkdir -p {folder}; exec 8<{folder}; flock 8
if [ -f "$d" ] && [ "$(stat -c %s "$d")" = {size} ]; then
  if [ -z "{sum}" ] || [ "$(sha256sum <"$d")" = "{sum}  -" ]; then echo have; exit; fi
fi
rm -f "$d.part"
free=$(($(stat -f -c '%a * %S' {folder})))
if [ "$free" -lt {size} ]; then echo "it needs {size} bytes, $free are free"; exit 1; fi
trap 'rm -f "$d.part"' EXIT
echo send
cat >"$d.part"
if [ "$(stat -c %s "$d.part")" != {size} ]; then rm -f "$d.part"; echo 'it did not arrive whole'; exit 1; fi
mv "$d.part" "$d"
"""


@frozen
class SSH:
    """How to log in to hosts, and how to become root there.

    With a ``key`` or a ``password`` only that is tried, and otherwise the agent's keys and the user's own. A user that
    is not root needs sudo: without a password, or with ``sudo_password`` (sent on stdin, when sudo asks for it).
    ``jump`` is a host to go through. ``connect_timeout`` is in seconds.
    """

    user: str = field(default="root", validator=validators.matches_re(r"[A-Za-z_][A-Za-z0-9_.@-]*\$?"))
    port: int = field(default=22, kw_only=True)
    key: str | None = field(default=None, kw_only=True)
    passphrase: str | None = field(default=None, kw_only=True, repr=False)
    password: str | None = field(default=None, kw_only=True, repr=False)
    sudo_password: str | None = field(default=None, kw_only=True, repr=False)
    agent: bool = field(default=True, kw_only=True)
    known_hosts: str = field(default="~/.ssh/known_hosts", kw_only=True)
    jump: Host | None = field(default=None, kw_only=True)
    connect_timeout: float = field(default=15.0, kw_only=True)

    def open(self, name: str, address: str) -> Link:
        """Open a link. Raises AccessDenied at once, Unreachable once ``connect_timeout`` is over."""
        lost: list[Unreachable] = []
        found: list[paramiko.SSHClient] = []

        def look() -> str:
            try:
                found.append(self._connect(name, address))
            except Unreachable as error:
                lost.append(error)
                raise NotYet(str(error)) from None
            return ""

        try:
            wait_for(Check(f"{name} lets us in", look), timeout=self.connect_timeout, interval=1.0)
        except NotReady:
            raise lost[-1] from None
        return _SSHLink(name, found[0], self)

    def _connect(self, name: str, address: str) -> paramiko.SSHClient:
        import paramiko

        client = paramiko.SSHClient()
        with contextlib.ExitStack() as undo:
            undo.callback(client.close)
            with self._told(name, address):
                self._log_in(client, name, address)
            undo.pop_all()
        return client

    def _log_in(self, client: paramiko.SSHClient, name: str, address: str) -> None:
        import paramiko

        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        try:
            for path in (os.path.expanduser(self.known_hosts), "/etc/ssh/ssh_known_hosts"):
                for kind, key in _known(path, self._place(address)).items():
                    client.get_host_keys().add(self._place(address), kind, key)
            path = os.path.expanduser(self.key or "")
            with _reading:
                own = _private_key(path, _stamp(path), self.passphrase) if self.key else None
        except OSError as error:
            cause = f"{error.filename} can't be read: {error.strerror}"
            raise AccessDenied(name, cause, "check SSH(key=..., known_hosts=...)") from None
        except ValueError as error:
            raise AccessDenied(name, str(error), "check SSH(key=..., passphrase=...)") from None
        given = self.key is not None or self.password is not None
        client.connect(
            address,
            port=self.port,
            username=self.user,
            pkey=own,
            password=self.password,
            allow_agent=self.agent and not given,
            look_for_keys=not given,
            timeout=self.connect_timeout,
            banner_timeout=self.connect_timeout,
            auth_timeout=self.connect_timeout,
            sock=None if self.jump is None else _through(self.jump, name, address, self.port),
            transport_factory=_transport,
        )

    def _place(self, address: str) -> str:
        """A host as known_hosts names it."""
        return address if self.port == 22 else f"[{address}]:{self.port}"

    @contextmanager
    def _told(self, name: str, address: str) -> Iterator[None]:
        """Say in our errors what paramiko says in its own: by what the caller can do about it."""
        import paramiko

        try:
            yield
        except paramiko.BadHostKeyException as error:
            raise AccessDenied(
                name,
                f"its host key has changed: {error.key.get_name()} {error.key.fingerprint}, "
                f"known is {error.expected_key.get_name()} {error.expected_key.fingerprint}",
                f"find out why; if the host was set up anew, remove its line from {self.known_hosts}",
            ) from None
        except (paramiko.SSHException, EOFError) as error:
            said = str(error)
            if "not found in known_hosts" in said:
                raise AccessDenied(
                    name,
                    f"its host key is not known ({self._place(address)} has no line in {self.known_hosts})",
                    f"compare the key with the host's own, then add it: ssh-keyscan -p {self.port} {address}",
                ) from None
            refused = isinstance(error, paramiko.AuthenticationException | paramiko.ssh_exception.IncompatiblePeer)
            if (refused and not any(word in said for word in _NO_ANSWER)) or any(word in said for word in _REFUSALS):
                remedy = "check the user, the key or the password"
                raise AccessDenied(name, f"user {self.user} was not let in: {said}", remedy) from None
            remedy = "check that its sshd runs and has room for another login, then run again"
            raise Unreachable(name, f"no SSH with {address}:{self.port}: {said or 'it hung up'}", remedy) from None
        except OSError as error:
            raise Unreachable(
                name, f"no connection to {address}:{self.port}: {error}", "check that the host is up and not firewalled"
            ) from None


class _SSHLink(ShellLink):
    def __init__(self, name: str, client: paramiko.SSHClient, ssh: SSH) -> None:
        transport = client.get_transport()
        assert transport is not None, "a client that is logged in has a transport"
        transport.set_keepalive(10)
        self._client, self._transport, self._ssh, self._name = client, transport, ssh, name
        self._late, self._argued = LateChannel(self._channel), False
        super().__init__(name, self._late)

    def _send(self, program: Program) -> None:
        """The first program travels with the request for the shell where it may: OpenSSH takes no input before."""
        script = None if self._late.opened or self._ssh.user != "root" else command(program)  # sudo would log it
        self._argued = script is not None
        if script is None:
            super()._send(program)
        else:
            self._late.open(script)

    def _sent(self, program: Program) -> None:
        if self._argued:
            self._shell.write(follow_up(program).encode())
            self._opening = ""

    def _channel(self, script: str) -> Channel:
        import paramiko

        command, prompt = as_root(script, self._ssh.user, self._ssh.sudo_password)
        try:
            channel = self._transport.open_session(timeout=self._ssh.connect_timeout)
            channel.set_combine_stderr(True)
            with within(self._transport, ANSWER):
                channel.exec_command(command)
            return Channel(self._name, self._transport, channel, prompt, self._ssh.sudo_password)
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise Unreachable(self._name, f"the link was lost: {str(error) or 'no answer'}", "run again") from None

    @property
    def alive(self) -> bool:
        """See :attr:`Link.alive`."""
        return self._transport.is_active()

    def upload(self, source: Path, destination: str, tell: Callable[[int, int], None], sha256: str = "") -> None:
        """See :meth:`Link.upload`."""
        size = source.stat().st_size
        folder, target = shlex.quote(os.path.dirname(destination)), shlex.quote(destination)
        channel = self._channel(_KEEP.format(folder=folder, d=target, size=size, sum=sha256))
        try:
            said = b""
            while not said.endswith((b"have\n", b"send\n")) and (data := channel.read(600)):
                said += data
            if said.endswith(b"send\n"):
                with source.open("rb") as file:
                    sent = 0
                    while chunk := file.read(_CHUNK):
                        channel.write(chunk)
                        sent += len(chunk)
                        tell(sent, size)
            exit, rest = channel.finish()
        except (OSError, EOFError) as error:
            cause = f"the link was lost during the upload of {destination}: {error}"
            raise Unreachable(self._name, cause, "run again") from None
        finally:
            channel.close()
        if exit != 0:
            cause = f"could not keep {destination}: {rest or said.decode(errors='replace').strip() or f'exit {exit}'}"
            raise HostError(self._name, cause, "check the host's free disk space")

    def tunnel(self, address: str, port: int) -> Any:
        """See :meth:`Link.tunnel`."""
        import paramiko

        try:
            return self._transport.open_channel(
                "direct-tcpip", (address, port), ("127.0.0.1", 0), timeout=self._ssh.connect_timeout
            )
        except (paramiko.SSHException, OSError, EOFError) as error:
            if not self.alive:
                raise Unreachable(self._name, f"the link was lost: {error}", "run again") from None
            remedy = "check that it listens there, and that sshd may forward (AllowTcpForwarding)"
            raise HostError(self._name, f"no way through it to {address}:{port}: {error}", remedy) from None

    def close(self) -> None:
        """See :meth:`Link.close`. Cuts the connection rather than taking leave, for which a frozen host has no ear."""
        self._client.close()


def _through(jump: Host, name: str, address: str, port: int) -> Any:
    try:
        return jump.tunnel(address, port)
    except AccessDenied:
        raise
    except HostError as error:
        raise Unreachable(name, f"not to be reached through {error.host}: {error.cause}", error.remedy) from None


def _transport(sock: Any, **kwargs: Any) -> paramiko.Transport:
    """A transport that prefers AES-GCM, which OpenSSL does in one pass: bundles are large."""
    import paramiko

    transport = paramiko.Transport(sock, **kwargs)
    options = transport.get_security_options()
    options.ciphers = sorted(options.ciphers, key=lambda cipher: "gcm" not in cipher)
    return transport


def _stamp(path: str) -> int:
    return os.stat(path).st_mtime_ns if os.path.exists(path) else 0


_reading = threading.Lock()  # many hosts are connected to at once: one of them reads a key, the others wait for it


def _known(path: str, place: str) -> dict[str, paramiko.PKey]:
    """The keys that a known_hosts file has for a host, by their kind; the first of each."""
    import paramiko
    from paramiko.hostkeys import HostKeyEntry, InvalidHostKey

    keys: dict[str, paramiko.PKey] = {}
    for line in known_lines(path, place):
        try:
            entry = HostKeyEntry.from_line(line)
        except (paramiko.SSHException, InvalidHostKey):  # a damaged line is no key
            continue
        if entry is not None and entry.key is not None:
            keys.setdefault(entry.key.get_name(), entry.key)
    return keys


@functools.lru_cache(maxsize=16)
def _private_key(path: str, stamp: int, passphrase: str | None) -> paramiko.PKey:
    """A key file, read once for all hosts: to open an encrypted one takes a good part of a second. Raises OSError where
    it can't be read, ValueError with the reason where it is no key for us."""
    import paramiko

    reason = ""
    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        try:
            key = kind.from_private_key_file(path, passphrase)
        except paramiko.PasswordRequiredException:
            raise ValueError(f"the key {path} is encrypted") from None
        except (paramiko.SSHException, ValueError) as error:
            reason = reason or str(error)
            continue
        if os.path.exists(f"{path}-cert.pub"):
            key.load_certificate(f"{path}-cert.pub")
        return key
    raise ValueError(f"{path} is no private key that we can open: {reason}")
