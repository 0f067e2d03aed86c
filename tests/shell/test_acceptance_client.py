"""The probing client against a stand-in server on this machine's loopback address: two real processes and real TLS."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from attrs import evolve
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from acceptance import standin
from acceptance.history import outage, watch_gaps
from acceptance.workload import EtcdTarget, Target, Workload, WorkloadError
from k8sha import Check, NotReady, NotYet, wait_for


def certificate(folder: Path) -> str:
    """A certificate for 127.0.0.1 that signs itself, with its key beside it; returns it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stand-in")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(0xC0FFEE)
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    (folder / "crt").write_bytes(pem)
    (folder / "key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pem.decode()


@contextmanager
def server(folder: Path, port: int) -> Iterator[None]:
    """The stand-in, until the block ends; then it is killed, and its port refuses."""
    command = [sys.executable, "-I", str(standin.SERVER), "127.0.0.1", str(port), f"{folder}/crt", f"{folder}/key"]
    with subprocess.Popen(command) as process:
        try:
            yield
        finally:
            process.kill()


@pytest.fixture
def target(tmp_path: Path) -> Target:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return Target("127.0.0.1", port, "127.0.0.1", certificate(tmp_path))


def test_an_outage_is_seen_by_new_connections_and_by_the_watch(target: Target, tmp_path: Path) -> None:
    with Workload(target) as client:
        with server(tmp_path, target.port):
            client.settle(client.now(), least=1, quiet=1, limit=20)
            begin = client.now()
        time.sleep(1)  # for so long nobody listens
        with server(tmp_path, target.port):
            client.settle(begin, least=2, quiet=1, limit=20)
            end = client.now()
            client.answers_until(end)
        seen = outage(client.history().probes, begin, end, quiet=1)
        silent = watch_gaps(client.history().watch, begin, end)
    assert seen.seconds is not None
    assert 0.9 < seen.seconds < 4
    assert dict(seen.errors).keys() <= {"refused", "closed"}
    assert seen.failed >= 15
    assert len(silent) == 1
    assert silent[0].seconds > 0.9
    history = client.history()
    assert {probe.backend for probe in history.probes if probe.ok} == {"C0FFEE"}
    marks = [mark.kind for mark in history.watch if mark.kind != "event"]
    assert marks.count("open") >= 2
    assert "closed" in marks


def test_a_server_that_another_authority_vouches_for_is_a_failure(target: Target, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with server(tmp_path, target.port), Workload(evolve(target, ca=certificate(other), watch=False)) as client:
        with pytest.raises(NotReady, match="certificate"):
            client.settle(client.now(), least=1, quiet=1, limit=4)


@contextmanager
def member(folder: Path) -> Iterator[tuple[int, list[str]]]:
    """Something that takes keys as an etcd member does; its port, and the keys that it was given."""
    given: list[str] = []

    class Put(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            given.append(f"{self.path} {base64.b64decode(body['key']).decode()}")
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the test's output is not the place."""

    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trust.load_cert_chain(folder / "crt", folder / "key")
    with ThreadingHTTPServer(("127.0.0.1", 0), Put) as served:
        served.socket = trust.wrap_socket(served.socket, server_side=True)
        thread = threading.Thread(target=served.serve_forever, daemon=True)
        thread.start()
        try:
            yield served.server_port, given
        finally:
            served.shutdown()


def test_a_write_turns_to_the_next_etcd_member_where_one_does_not_answer(target: Target, tmp_path: Path) -> None:
    with server(tmp_path, target.port), member(tmp_path) as (port, given):
        etcd = EtcdTarget(("127.0.0.2", "127.0.0.1"), target.ca, "", "", port)
        with Workload(evolve(target, etcd=etcd, watch=False, prefix="one")) as client:
            client.settle(client.now(), least=2, quiet=1, limit=20)
            names = client.acknowledged(before=client.now())
    assert len(names) >= 5
    assert {f"/v3/kv/put k8sha-acceptance/{name}" for name in names} <= set(given)
    assert not [write for write in client.history().writes if not write.ok]


def test_the_client_ends_with_its_parent(target: Target) -> None:
    with Workload(target) as client:
        process = client._process
        assert process is not None
        assert process.stdin is not None
        process.stdin.close()

        def look() -> str:
            if process.poll() is None:
                raise NotYet("it still runs")
            return ""

        wait_for(Check("the client has ended", look), timeout=10, interval=0.05)
        with pytest.raises(WorkloadError):
            client.history()
