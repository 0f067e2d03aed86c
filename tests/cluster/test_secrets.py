"""What nobody may see, looked for wherever somebody could: in what is told, on the machines, and in every command line.

A value is planted in a Secret; join tokens, certificate keys and S3's own key are noted down as they are made. While a
backup goes to S3, a schedule runs, a restore is done and a master is exchanged, every process of this machine and its
hosts is looked at again and again. Only the Docker lab's processes can be seen from here.
"""

from __future__ import annotations

import base64
import logging
import os
import secrets
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from acceptance.vagrant import Lab
from k8sha import S3, BackupSchedule, Cluster, ControlPlane, Folder, Host, LoadBalancer, Workers
from k8sha.components import kubeadm, tickets
from k8sha.events import Event

from .conftest import whole

pytestmark = pytest.mark.timeout(900)

log = logging.getLogger(__name__)
SERVER = shutil.which("moto_server")


class CommandLines:
    """Every command line that was seen on this machine, its containers' among them, looked at without a pause."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self.passes = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="command lines")

    def __enter__(self) -> CommandLines:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(0.02):
            for entry in os.scandir("/proc"):
                if entry.name.isdigit():
                    try:
                        self.seen.add(Path(entry.path, "cmdline").read_bytes())
                    except OSError:
                        continue  # it has ended
            self.passes += 1


class Noted(dict[str, str]):
    """What nobody may see, by what it is; what is made on the way is noted down as it is made."""

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        make_token, make_key = kubeadm.new_token, secrets.token_hex

        def token() -> str:
            made = make_token()
            self[f"the secret of join token {len(self)}"] = made.partition(".")[2]
            return made

        def key(size: int | None = None) -> str:
            made = make_key(size)
            if size == 32:
                self[f"certificate key {len(self)}"] = made
            return made

        patch.setattr(tickets, "new_token", token)
        patch.setattr(secrets, "token_hex", key)

    def found_in(self, text: str) -> list[str]:
        return [what for what, value in self.items() if value in text]


@pytest.fixture
def storage() -> Iterator[str]:
    """A small server on our loopback that speaks S3, with a bucket."""
    if SERVER is None:
        pytest.skip("needs the program moto_server (of the package moto, in an environment of its own)")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    run = subprocess.Popen(
        [SERVER, "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(urllib.request.Request(f"{address}/backups", method="PUT"), timeout=5).close()
                break
            except urllib.error.URLError:
                time.sleep(0.1)  # nothing tells us when it listens
        else:
            pytest.fail("the server does not answer")
        yield address
    finally:
        run.terminate()
        run.wait()


def on_host(host: Host, values: list[str]) -> str:
    """Files with one of these in them that anybody may read, and logs with one of them, whoever may read those."""
    patterns = "\n".join(values)
    text = f"""\
umask 077
cat >/root/k8sha-patterns <<'END'
{patterns}
END
trap 'rm -f /root/k8sha-patterns' EXIT
setpriv --reuid=65534 --regid=65534 --clear-groups find / \\( -path /proc -o -path /sys -o -path /dev \\) -prune -o \\
  -type f -size -64M -readable -print0 2>/dev/null >/root/k8sha-readable || [ $? = 1 ]
xargs -0 -r -a /root/k8sha-readable grep -lF -f /root/k8sha-patterns 2>/dev/null || [ $? = 123 ] || [ $? = 1 ]
rm -f /root/k8sha-readable
{{ journalctl -q --no-pager; find /var/log -type f -exec cat {{}} +; }} 2>/dev/null |
  grep -F -f /root/k8sha-patterns | head -n 3 || [ $? = 1 ]"""
    exit, out, err = host.execute(text, timeout=300)
    assert exit == 0, err.decode(errors="replace")
    return out.decode(errors="replace")


def test_what_nobody_may_see_is_seen_nowhere(
    lab: Lab,
    cluster: Cluster,
    plane: ControlPlane,
    storage: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if lab.provider != "docker":
        pytest.skip("the processes of other machines can't be seen from here")
    caplog.set_level(logging.DEBUG)
    noted = Noted({"the Secret's value": secrets.token_urlsafe(30), "S3's key": secrets.token_urlsafe(30)})
    noted["the same as the API has it"] = base64.b64encode(noted["the Secret's value"].encode()).decode()
    noted.watch(monkeypatch)
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "planted", "namespace": "default"}}
    plane.api.apply({**secret, "stringData": {"planted": noted["the Secret's value"]}})
    told: list[str] = []

    def listen(event: Event) -> None:
        told.append(f"{event!r} {event}")

    workers = [host for group in cluster.of(Workers) for host in group.hosts]
    bucket = S3(endpoint=storage, bucket="backups", access_key="planted", secret_key=noted["S3's key"])
    last = plane.hosts[-1]
    with CommandLines() as lines:
        backup = plane.etcd.backup([Folder(tmp_path / "copies"), bucket], listen=listen)
        told += [repr(backup), str(backup), repr(bucket)]
        schedule = BackupSchedule(plane.etcd, every=timedelta(hours=12), jitter=timedelta(0))
        told += [str(schedule.plan(listen)), str(schedule.install(listen))]
        restored = plane.restore(backup, workers=workers, listen=listen)
        told += [repr(restored), str(restored)]
        last.close()
        lab.recreate(last.name)
        exchanged = plane.replace(last, last, balancers=cluster.of(LoadBalancer), listen=listen)
        told += [repr(exchanged), str(exchanged)]
        told += [str(cluster.install(listen)), str(cluster.plan(listen)), *map(str, cluster.verify(listen))]
    whole(cluster)
    assert plane.api.get("/api/v1/namespaces/default/secrets/planted")["data"]
    log.info("%d values, %d passes, %d command lines", len(noted), lines.passes, len(lines.seen))
    assert len(noted) >= 5, "no join was seen"
    assert lines.passes > 100
    assert any(b"kubeadm\0join" in line for line in lines.seen), "not even a join was seen"
    assert not [(what, line) for line in lines.seen for what in noted.found_in(line.decode(errors="replace"))]
    assert not noted.found_in("\n".join(told))
    assert not noted.found_in(caplog.text)
    readable = [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_mode & 0o077]
    assert not [path for path in readable if noted.found_in(path.read_bytes().decode(errors="replace"))]
    for host in cluster.hosts:
        assert not on_host(host, list(noted.values())), host.name
    plane.api.delete("/api/v1/namespaces/default/secrets/planted")
    plane.accept(workers=workers)
