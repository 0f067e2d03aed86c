"""SSH: the settings, and the one place where paramiko is used. It loads when the first link is opened.

One connection a host for the whole run, and on it one channel with a root shell that all programs go through. Secrets
go down that shell's stdin. Host keys are checked against known_hosts; an unknown or changed one is refused.
"""

from __future__ import annotations

import functools
import os
import secrets
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen, validators

from k8sha.errors import AccessDenied, NotReady, Unreachable
from k8sha.hosts.link import Link, ShellLink
from k8sha.waiting import Check, NotYet, wait_for

if TYPE_CHECKING:
    import paramiko

    from k8sha.hosts.host import Host

__all__ = ["SSH"]

_READY = b"k8sha-ready"
_CHUNK = 1 << 18


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
        try:
            return _SSHLink(name, found[0], self)
        except BaseException:
            found[0].close()
            raise

    def _connect(self, name: str, address: str) -> paramiko.SSHClient:
        import paramiko

        client = paramiko.SSHClient()
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        where = address if self.port == 22 else f"[{address}]:{self.port}"
        for path in (os.path.expanduser(self.known_hosts), "/etc/ssh/ssh_known_hosts"):
            for kind, key in (_known(path, _stamp(path)).lookup(where) or {}).items():
                client.get_host_keys().add(where, kind, key)
        sock = None
        if self.jump is not None:
            sock = self.jump.tunnel(address, self.port)
        given = self.key is not None or self.password is not None
        try:
            client.connect(
                address,
                port=self.port,
                username=self.user,
                key_filename=os.path.expanduser(self.key) if self.key else None,
                passphrase=self.passphrase,
                password=self.password,
                allow_agent=self.agent and not given,
                look_for_keys=not given,
                timeout=self.connect_timeout,
                banner_timeout=self.connect_timeout,
                auth_timeout=self.connect_timeout,
                sock=sock,
                transport_factory=_transport,
            )
        except paramiko.BadHostKeyException as error:
            raise AccessDenied(
                name,
                f"its host key has changed: {error.key.get_name()} {_fingerprint(error.key)}, "
                f"known is {_fingerprint(error.expected_key)}",
                f"find out why; if the host was set up anew, remove its line from {self.known_hosts}",
            ) from None
        except paramiko.PasswordRequiredException:
            raise AccessDenied(name, f"the key {self.key} is encrypted", "give SSH(passphrase=...)") from None
        except paramiko.AuthenticationException as error:
            raise AccessDenied(
                name, f"user {self.user} was not let in: {error}", "check the user, the key or the password"
            ) from None
        except paramiko.SSHException as error:
            if "not found in known_hosts" in str(error):
                raise AccessDenied(
                    name,
                    f"its host key is not known ({where} has no line in {self.known_hosts})",
                    f"compare the key with the host's own, then add it: ssh-keyscan -p {self.port} {address}",
                ) from None
            raise Unreachable(name, f"no SSH with {address}:{self.port}: {error}") from None
        except FileNotFoundError as error:
            raise AccessDenied(name, f"no such key file: {error.filename}", "check SSH(key=...)") from None
        except OSError as error:
            raise Unreachable(
                name, f"no connection to {address}:{self.port}: {error}", "check that the host is up and not firewalled"
            ) from None
        return client


class _Channel:
    """One command's streams, seen as a shell. With a sudo password it answers the prompt, once."""

    def __init__(self, name: str, transport: paramiko.Transport, ssh: SSH, script: str) -> None:
        import paramiko

        self._name = name
        self._head = b""
        prompt = b""
        command = f"/bin/sh -c {shlex.quote(f'echo {_READY.decode()}; {script}')}"
        if ssh.user != "root":
            if ssh.sudo_password is None:
                command = f"sudo -n {command}"
            else:
                prompt = f"k8sha-{secrets.token_hex(8)}:".encode()
                command = f"sudo -S -p {prompt.decode()} {command}"
        try:
            self._channel = transport.open_session(timeout=ssh.connect_timeout)
            self._channel.set_combine_stderr(True)
            self._channel.exec_command(command)
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise Unreachable(name, f"the link was lost: {error}") from None
        if ssh.user != "root":
            self._become_root(ssh, prompt)

    def _become_root(self, ssh: SSH, prompt: bytes) -> None:
        asked = 0
        while _READY + b"\n" not in self._head:
            try:
                data = self._channel.recv(4096)
            except TimeoutError:
                data = b""
            self._head += data
            if prompt and self._head.count(prompt) > asked:
                asked += 1
                if asked > 1:
                    self._channel.close()
                    raise AccessDenied(self._name, "sudo refused the password", "check SSH(sudo_password=...)")
                self._channel.sendall((ssh.sudo_password or "").encode() + b"\n")
            if not data:
                said = self._head.replace(prompt, b"") if prompt else self._head
                raise AccessDenied(
                    self._name,
                    f"user {ssh.user} can't become root: {said.decode(errors='replace').strip() or 'sudo said nothing'}",
                    "allow it in sudoers, or give SSH(sudo_password=...)",
                )
        self._head = self._head.partition(_READY + b"\n")[2]

    def write(self, data: bytes) -> None:
        self._channel.sendall(data)

    def read(self, timeout: float) -> bytes:
        if self._head:
            data, self._head = self._head, b""
            return data
        self._channel.settimeout(timeout)
        return self._channel.recv(1 << 16)

    def finish(self) -> int:
        self._channel.shutdown_write()
        return self._channel.recv_exit_status()

    def close(self) -> None:
        self._channel.close()


class _SSHLink(ShellLink):
    def __init__(self, name: str, client: paramiko.SSHClient, ssh: SSH) -> None:
        transport = client.get_transport()
        if transport is None:
            raise Unreachable(name, "the link was lost")
        transport.set_keepalive(10)
        self._client, self._transport, self._ssh, self._name = client, transport, ssh, name
        super().__init__(name, _Channel(name, transport, ssh, "exec /bin/sh -s"))

    def upload(self, source: Path, destination: str, tell: Callable[[int, int], None]) -> None:
        """See :meth:`Link.upload`."""
        size = source.stat().st_size
        folder = os.path.dirname(destination)
        script = (
            f"umask 077; set -e; mkdir -p {shlex.quote(folder)}; d={shlex.quote(destination)}; "
            f'if [ -f "$d" ] && [ "$(stat -c %s "$d")" = {size} ]; then echo have; '
            f'else echo send; cat >"$d.part"; [ "$(stat -c %s "$d.part")" = {size} ]; mv "$d.part" "$d"; fi'
        )
        channel = _Channel(self._name, self._transport, self._ssh, script)
        try:
            answer = b""
            while b"have\n" not in answer and b"send\n" not in answer:
                data = channel.read(60)
                if not data:
                    raise Unreachable(self._name, f"could not stage {destination}: {answer.decode(errors='replace')}")
                answer += data
            if b"send\n" in answer:
                with source.open("rb") as file:
                    sent = 0
                    while chunk := file.read(_CHUNK):
                        channel.write(chunk)
                        sent += len(chunk)
                        tell(sent, size)
            if channel.finish() != 0:
                raise Unreachable(self._name, f"{destination} did not arrive whole", "check the host's free disk space")
        except OSError as error:
            raise Unreachable(self._name, f"the link was lost during the upload of {destination}: {error}") from None
        finally:
            channel.close()

    def tunnel(self, address: str, port: int) -> Any:
        """See :meth:`Link.tunnel`."""
        import paramiko

        try:
            return self._transport.open_channel(
                "direct-tcpip", (address, port), ("127.0.0.1", 0), timeout=self._ssh.connect_timeout
            )
        except (paramiko.SSHException, OSError) as error:
            raise Unreachable(self._name, f"no way through it to {address}:{port}: {error}") from None

    def close(self) -> None:
        """See :meth:`Link.close`."""
        super().close()
        self._client.close()


def _transport(sock: Any, **kwargs: Any) -> paramiko.Transport:
    """A transport that prefers AES-GCM, which OpenSSL does in one pass: bundles are large."""
    import paramiko

    transport = paramiko.Transport(sock, **kwargs)
    options = transport.get_security_options()
    options.ciphers = sorted(options.ciphers, key=lambda cipher: "gcm" not in cipher)
    return transport


def _stamp(path: str) -> int:
    return os.stat(path).st_mtime_ns if os.path.exists(path) else 0


@functools.lru_cache(maxsize=16)
def _known(path: str, stamp: int) -> paramiko.HostKeys:
    import paramiko

    return paramiko.HostKeys(path if stamp else None)


def _fingerprint(key: paramiko.PKey) -> str:
    return str(key.fingerprint)
