"""What etcd has of Secrets, asked by real shells with a real curl of members that want the API server's certificate."""

from __future__ import annotations

import base64
import http.server
import json
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import define, field

from k8sha.components.apiserver_host import MANIFEST
from k8sha.components.masters import ADMIN_CONF
from k8sha.policies.keys import SECRETS, Rewritten, ask_etcd

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None or shutil.which("curl") is None, reason="needs openssl and curl"
)

WRITTEN = b"k8s:enc:secretbox:v1:secretbox-1:"


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """etcd's authority, a member's certificate, and that of a client under the name that kubeadm gives it."""
    folder = tmp_path_factory.mktemp("pki")
    new = ("req", "-newkey", "rsa:2048", "-nodes")
    openssl(folder, *new, "-x509", "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=etcd-ca", "-days", "2")
    for name, more in (
        ("server", "subjectAltName=IP:127.0.0.1"),
        ("apiserver-etcd-client", "extendedKeyUsage=clientAuth"),
    ):
        openssl(folder, *new, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (folder / "extensions").write_text(more)
        signing = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "extensions", "-days", "2")
        openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.crt", *signing)
    return folder


@define
class Member:
    """A member's gateway: keys and values, told to whoever has a certificate of etcd's authority."""

    url: str
    values: dict[bytes, bytes] = field(factory=dict)


@pytest.fixture
def member(pki: Path) -> Iterator[Member]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            begin = base64.b64decode(asked["key"])
            end = base64.b64decode(asked.get("range_end", "")) or begin + b"\0"
            there = {key: value for key, value in made.values.items() if begin <= key < end}
            kvs = [
                {"key": base64.b64encode(key).decode(), "value": base64.b64encode(value).decode()}
                for key, value in there.items()
            ]
            told = {"header": {"revision": "7"}, "count": str(len(kvs))}
            if kvs and not asked.get("count_only"):
                told["kvs"] = kvs  # type: ignore[assignment]
            body = json.dumps(told, separators=(",", ":")).encode()
            self.send_response(200 if self.path == "/v3/kv/range" else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / "server.crt", pki / "server.key")
    context.load_verify_locations(pki / "ca.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    server.socket = context.wrap_socket(server.socket, server_side=True)
    made = Member(f"https://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def nobody() -> Iterator[str]:
    """Where no member answers: a port that is taken and not listened on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"https://127.0.0.1:{taken.getsockname()[1]}"


def asked(
    shell: tuple[str, ...], folder: Path, pki: Path, script: str, *servers: str, client: str = "apiserver-etcd-client"
) -> subprocess.CompletedProcess[str]:
    """A script on a master whose API server has this etcd."""
    (folder / "admin.conf").write_text("here")
    flags = {"servers": ",".join(servers), "cafile": pki / "ca.crt"}
    flags |= {"certfile": pki / f"{client}.crt", "keyfile": pki / f"{client}.key"}
    head = "spec:\n  containers:\n  - command:\n    - kube-apiserver\n"
    manifest = folder / "kube-apiserver.yaml"
    manifest.write_text(head + "".join(f"    - --etcd-{name}={value}\n" for name, value in flags.items()))
    text = script.replace(MANIFEST, str(manifest)).replace(ADMIN_CONF, f"{folder}/admin.conf")
    return subprocess.run([*shell, "-eu", "-c", text], capture_output=True, text=True, timeout=60, check=False)


def test_members_elsewhere_are_asked_with_the_api_servers_certificate(
    shell: tuple[str, ...], tmp_path: Path, pki: Path, member: Member, nobody: str
) -> None:
    """The first of those that the manifest names and that answers. What is no Secret counts for nothing."""
    probe = Rewritten("secretbox-1").probe()
    assert asked(shell, tmp_path, pki, probe, nobody, member.url).stdout == "0 0\n"
    member.values = {f"{SECRETS}a/{at}".encode(): WRITTEN + bytes(range(at, 200)) for at in range(40)}
    member.values |= {f"{SECRETS}b/plain".encode(): b"k8s\0\n\x0c", b"/registry/services/a": b"k8s\0"}
    done = asked(shell, tmp_path, pki, probe, nobody, member.url)
    assert (done.returncode, done.stdout) == (0, "41 1\n")
    done = asked(shell, tmp_path, pki, ask_etcd(f"{SECRETS}b/plain"), nobody, member.url)
    assert [base64.b64decode(kv["value"]) for kv in json.loads(done.stdout)["kvs"]] == [b"k8s\0\n\x0c"]


def test_no_answer_is_an_error_and_says_whom_was_asked(
    shell: tuple[str, ...], tmp_path: Path, pki: Path, member: Member, nobody: str
) -> None:
    probe = Rewritten("secretbox-1").probe()
    done = asked(shell, tmp_path, pki, probe, nobody)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"no member of the API server's etcd answers: {nobody}" in done.stderr
    done = asked(shell, tmp_path, pki, probe, member.url, client="missing")
    assert (done.returncode, done.stdout) == (1, "")
