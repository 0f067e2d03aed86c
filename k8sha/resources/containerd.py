"""containerd: its configuration, by its own version, and the proof that it runs with it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from attrs import field, frozen

from k8sha.report import Diff
from k8sha.resources.files import File
from k8sha.resources.resource import Condition, KnownAfter, Resource

__all__ = ["SOCKET", "ContainerdConfig", "SystemdCgroups"]

SOCKET = "/run/containerd/containerd.sock"


@frozen
class ContainerdConfig(Resource):
    """containerd's configuration file, in the format that the installed containerd speaks.

    containerd 1.x reads ``version2``, 2.x and later ``version3``. Which of them it is is looked at on the host, so the
    package and its configuration can be in one stage.
    """

    version2: str = field(repr=False)
    version3: str = field(repr=False)
    path: str = field(default="/etc/containerd/config.toml", kw_only=True)

    @property
    def key(self) -> str:
        return f"file {self.path}"

    @property
    def paths(self) -> tuple[str, ...]:
        return (self.path,)

    def _file(self, text: str | KnownAfter) -> File:
        return File(self.path, text, check="containerd --config {} config dump >/dev/null")

    def probe(self) -> str:
        return f"""\
if command -v containerd >/dev/null; then set -- $(containerd --version); echo "version ${{3#v}}"; fi
{self._file(KnownAfter("containerd's version")).probe()}"""

    def diff(self, seen: bytes) -> Diff:
        found = re.search(rb"^version (\d+)\.", seen, re.MULTILINE)
        if found is None:
            return Diff.of("+ (known after containerd is installed: its version decides the format)")
        return self._file(self.version2 if int(found[1]) < 2 else self.version3).diff(seen)

    def apply(self) -> str:
        return f"""\
set -- $(containerd --version)
case ${{3#v}} in
[01].*)
{self._file(self.version2).apply()}
;;
*)
{self._file(self.version3).apply()}
;;
esac"""


@frozen
class SystemdCgroups(Condition):
    """containerd answers over CRI, and says itself that it lets systemd manage cgroups, as the kubelet does.

    Two managers of one tree is what breaks nodes under load, and a configuration that looks right may not be what the
    runtime goes by. So the runtime is asked, by the CRI call Status (verbose), which is what ``crictl info`` does; its
    request is seven bytes, and curl speaks the protocol (HTTP/2 in clear over the socket).
    """

    @property
    def key(self) -> str:
        return "containerd's cgroup driver"

    def probe(self) -> str:
        return f"""\
if [ -S {SOCKET} ] && command -v curl >/dev/null; then
  if printf '\\0\\0\\0\\0\\002\\010\\001' | curl -s -f --max-time 5 --http2-prior-knowledge --unix-socket {SOCKET} \\
    -H 'Content-Type: application/grpc' -H 'TE: trailers' --data-binary @- \\
    http://containerd/runtime.v1.RuntimeService/Status
  then :; else echo "no answer ($?)"; fi
fi"""

    def diff(self, seen: bytes) -> Diff:
        config = _runtime_config(seen)
        if config is None:
            return Diff.of("containerd does not answer over CRI")
        drivers = list(_cgroup_options(config))
        if not drivers:
            return Diff.of("containerd does not say which cgroup driver its runtime runc uses")
        return Diff() if all(drivers) else Diff.of("cgroup driver: cgroupfs -> systemd")


def _runtime_config(seen: bytes) -> object:
    """The configuration in the answer to Status: a map entry of name ``config`` whose value is JSON."""
    _, found, rest = seen.partition(b"\n\x06config\x12")
    start = rest.find(b"{")
    if not found or start < 0:
        return None
    try:
        config, _ = json.JSONDecoder().raw_decode(rest[start:].decode(errors="replace"))
    except ValueError:
        return None
    return config


def _cgroup_options(config: object) -> Iterator[bool]:
    match config:
        case {"containerd": {"runtimes": {"runc": {"options": {"SystemdCgroup": bool(driver)}}}}}:
            yield driver
