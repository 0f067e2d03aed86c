"""A kubeconfig's identity, against a server on the loopback address that asks for it, with real TLS."""

from __future__ import annotations

import base64
import datetime
import socket
import ssl
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from attrs import define, field
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from k8sha.endpoint import Endpoint
from k8sha.errors import KubeError
from k8sha.kube import Api


def pair(name: str) -> tuple[bytes, bytes]:
    """A certificate for a name that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only"), False
    )
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(digital_signature=True, key_cert_sign=True, crl_sign=True, decipher_only=False, **usage),
            critical=True,
        )
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM), private


SERVER, ADMIN = pair("kubernetes"), pair("kubernetes-admin")


@define(eq=False)
class Server:
    """Answers each request with nothing in particular, to whom it knows; ``names`` are who asked."""

    context: ssl.SSLContext
    names: list[str] = field(factory=list)
    plug: socket.socket = field(factory=lambda: socket.create_server(("127.0.0.1", 0)))

    def serve(self) -> None:
        while True:
            try:
                plain, _ = self.plug.accept()
            except OSError:
                return
            try:
                with self.context.wrap_socket(plain, server_side=True) as connection:
                    peer = connection.getpeercert() or {}
                    self.names += [value for part in peer.get("subject", ()) for _, value in part]
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
            except ssl.SSLError:
                continue


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    for name, content in zip(("crt", "key", "clients"), (*SERVER, ADMIN[0]), strict=True):
        (tmp_path / name).write_bytes(content)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "crt", tmp_path / "key")
    context.load_verify_locations(tmp_path / "clients")
    context.verify_mode = ssl.CERT_REQUIRED
    found = Server(context)
    thread = threading.Thread(target=found.serve)
    thread.start()
    yield found
    found.plug.shutdown(socket.SHUT_RDWR)
    found.plug.close()
    thread.join()


def kubeconfig(user: dict[str, str], authority: bytes = SERVER[0]) -> str:
    """One of which only the second of each is in use."""
    other = {"name": "other", "cluster": {}, "user": {}, "context": {"cluster": "other", "user": "other"}}
    cluster = {"certificate-authority-data": base64.b64encode(authority).decode()}
    chosen = {"name": "it", "cluster": cluster, "user": user, "context": {"cluster": "it", "user": "it"}}
    named = {"clusters": [other, chosen], "users": [other, chosen], "contexts": [other, chosen]}
    return yaml.safe_dump(named | {"current-context": "it"})


HELD = {
    "client-certificate-data": base64.b64encode(ADMIN[0]).decode(),
    "client-key-data": base64.b64encode(ADMIN[1]).decode(),
}


def api(server: Server, text: str) -> Api:
    return Api(lambda: text, Endpoint("127.0.0.1", server.plug.getsockname()[1]))


def test_the_administrators_key_never_lies_in_a_file(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lay in the folder for temporary files until an orderly end: for good, where we were killed."""
    empty = tmp_path / "temporary"
    empty.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(empty))
    asked = api(server, kubeconfig(HELD))
    for _ in range(2):
        assert asked.get("/api/v1/nodes") == {}
        assert list(empty.iterdir()) == []
        asked.close()
    assert server.names == ["kubernetes-admin"] * 2


def test_one_that_names_files_is_read_as_well(server: Server, tmp_path: Path) -> None:
    for name, content in zip(("a.crt", "a.key"), ADMIN, strict=True):
        (tmp_path / name).write_bytes(content)
    files = {"client-certificate": str(tmp_path / "a.crt"), "client-key": str(tmp_path / "a.key")}
    assert api(server, kubeconfig(files)).get("/api/v1/nodes") == {}


def test_a_server_of_another_authority_is_not_trusted(server: Server) -> None:
    with pytest.raises(KubeError, match="certificate verify failed"):
        api(server, kubeconfig(HELD, ADMIN[0])).get("/api/v1/nodes")
    assert server.names == []
