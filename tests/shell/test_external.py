"""A load balancer that somebody else runs, played on loopback; and certificates that end, by openssl."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from k8sha import Endpoint, ExternalLoadBalancer
from k8sha.components.checks import _EXPIRY
from k8sha.waiting import NotYet

MAKE = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=x"


def certificate(folder: Path, name: str, *, days: int = 90) -> str:
    """A certificate of its own authority for loopback, beside its key."""
    words = [*MAKE.split(), "-days", str(days), "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", folder / f"{name}.key", "-out", folder / f"{name}.crt"]
    subprocess.run([*words, *files], check=True, capture_output=True)
    return (folder / f"{name}.crt").read_text()


@pytest.fixture
def authority(tmp_path: Path) -> str:
    return certificate(tmp_path, "server")


@pytest.fixture
def port(tmp_path: Path, authority: str) -> Iterator[int]:
    """Of a server that does a handshake with whoever comes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    plug = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = plug.accept()
            except OSError:
                return
            try:
                context.wrap_socket(connection, server_side=True).close()
            except OSError:  # whoever came does not trust us
                connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    yield int(plug.getsockname()[1])
    plug.shutdown(socket.SHUT_RDWR)
    plug.close()
    thread.join()


def answers(port: int, ca: str | None = None, host: str = "127.0.0.1") -> str:
    (check,) = ExternalLoadBalancer(Endpoint(host, port, address="127.0.0.1"), ca=ca, timeout=5).checks()
    return check.look()


def test_one_that_answers(port: int, authority: str) -> None:
    assert answers(port).startswith("TLS")
    assert answers(port, authority).startswith("TLS")
    assert answers(port, host="api.example.org").startswith("TLS"), "without an authority any answer will do"


def test_a_certificate_of_another_authority_or_for_another_name(tmp_path: Path, port: int, authority: str) -> None:
    with pytest.raises(NotYet, match=rf"^127.0.0.1:{port}: .*CERTIFICATE_VERIFY_FAILED"):
        answers(port, certificate(tmp_path, "other"))
    with pytest.raises(NotYet, match="Hostname mismatch"):
        answers(port, authority, host="api.example.org")


def test_nobody_there_and_one_that_speaks_no_tls() -> None:
    with socket.create_server(("127.0.0.1", 0)) as plug:
        port = plug.getsockname()[1]
        thread = threading.Thread(target=lambda: plug.accept()[0].close())
        thread.start()
        with pytest.raises(NotYet, match=f"127.0.0.1:{port}: "):
            answers(port)
        thread.join()
    with pytest.raises(NotYet, match="Connection refused"):
        answers(port)


def expiry(folder: Path) -> subprocess.CompletedProcess[str]:
    text = _EXPIRY.replace("/etc/kubernetes", f"{folder}/etc").replace("/var/lib/kubelet", f"{folder}/kubelet")
    return subprocess.run(["sh", "-eu", "-c", text], capture_output=True, text=True, check=False)


def test_when_certificates_end_is_read_of_all_that_a_worker_has(tmp_path: Path) -> None:
    """Of a master's as well, which has more of them; one that can't be read is an error."""
    for folder in ("etc/pki", "kubelet/pki"):
        (tmp_path / folder).mkdir(parents=True)
    certificate(tmp_path / "etc/pki", "ca")
    made = certificate(tmp_path, "client", days=9)
    (tmp_path / "kubelet/pki/kubelet-client-2026.pem").write_text(made)
    (tmp_path / "kubelet/pki/kubelet-client-current.pem").symlink_to("kubelet-client-2026.pem")
    done = expiry(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    found = [line.split() for line in done.stdout.splitlines()]
    assert [Path(path).name for _, path in found] == ["ca.crt", "kubelet-client-current.pem"]
    assert int(found[0][0]) - int(found[1][0]) == pytest.approx(81 * 86400, abs=5)
    (tmp_path / "etc/pki/ca.crt").write_text("nonsense")
    done = expiry(tmp_path)
    assert done.returncode != 0
    assert "ca.crt" in done.stderr or "unable to load certificate" in done.stderr.lower()
