"""etcd's own programs on a member's host, of the member's own version, also while the member is stopped.

A snapshot can only be judged, and restored, by programs of the version that is going to run on it. kubeadm installs
none: they are inside the image. A distribution's packages are on the host, and before etcd 3.5 without ``etcdutl``.
"""

from __future__ import annotations

import functools
import re
import shlex
from pathlib import Path

from attrs import field, frozen

from k8sha.errors import ConfigError
from k8sha.etcd.access import DATA, Access
from k8sha.report import Diff
from k8sha.resources.files import render
from k8sha.resources.resource import STATE, Resource

__all__ = ["BIN", "EtcdTools", "ToolFlags", "etcd_release"]

BIN = f"{STATE}/etcd/bin"
"""The folder of ``etcd``, ``etcdctl`` and ``etcdutl`` on a member's host."""

_MANIFEST = "/etc/kubernetes/manifests/etcd.yaml"
_RELEASE = re.compile(r"v?(\d+)\.(\d+)\.(\d+)")
_STAMP = f"echo {{name}} $(stat -L -c '%s-%Y' {BIN}/etcd {BIN}/etcdctl {BIN}/etcdutl)"


def etcd_release(text: str) -> tuple[int, int, int]:
    """``3.5.30``, ``v3.5.30`` or ``3.5.30-0`` as numbers. Raises ConfigError for what is no version of etcd."""
    found = _RELEASE.match(text)
    if found is None:
        raise ConfigError.of(f"etcd version {text!r}", "is not a version", "write it as 3.5.30")
    major, minor, patch = (int(part) for part in found.groups())
    return major, minor, patch


@frozen
class ToolFlags:
    """What the programs of one version of etcd can do, by its changelogs.

    3.4.27 (CHANGELOG-3.4: pull 16193) and 3.5.10 (CHANGELOG-3.5: pull 16165) learned to raise the revision in a
    restore. ``etcdutl`` came with 3.5.0 (pull 12971); 3.6.0 took ``snapshot restore`` and ``snapshot status`` out of
    ``etcdctl`` (pull 13809).
    """

    version: tuple[int, int, int]

    @classmethod
    def of(cls, version: str) -> ToolFlags:
        """Those of a version as ``etcd --version`` or an image's tag writes it."""
        return cls(etcd_release(version))

    @property
    def bumps(self) -> bool:
        """Whether ``snapshot restore`` knows ``--bump-revision`` and ``--mark-compacted`` (they only work together)."""
        return self.version >= (3, 5, 10) or (3, 4, 27) <= self.version < (3, 5, 0)

    @property
    def own_etcdutl(self) -> bool:
        """Whether there is an ``etcdutl`` of this version; before, ``etcdctl`` does its work."""
        return self.version >= (3, 5, 0)

    @property
    def etcdctl_restores(self) -> bool:
        """Whether ``etcdctl`` still restores snapshots and tells their status."""
        return self.version < (3, 6, 0)

    def bump(self, by: int) -> tuple[str, ...]:
        """The options that make a restored store's revision higher by ``by``; none where the version has none."""
        return ("--bump-revision", str(by), "--mark-compacted") if self.bumps and by else ()


@functools.cache
def _script(stacked: bool, programs: str) -> str:
    script = Path(__file__).with_name("tools.sh.j2")
    return render(script, bin=BIN, data=DATA, stacked=stacked, programs=programs)


@frozen
class EtcdTools(Resource):
    """``etcd``, ``etcdctl`` and ``etcdutl`` in ``BIN``, of the version that this host's member runs.

    A stacked member's are copied out of its running container, or, where it is stopped, out of its image in containerd.
    Those of a member under systemd are the distribution's own (``programs`` is their folder), linked. Where there is no
    ``etcdutl``, as before 3.5, a small program by that name has ``etcdctl`` do it. What is there stays where neither a
    manifest nor a running member says which version is wanted: in the middle of a restore, nothing does.
    """

    access: Access
    programs: str = field(default="/usr/bin", kw_only=True)

    @property
    def key(self) -> str:
        return "etcd's programs"

    @property
    def timeout(self) -> int:
        return 300

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(f"{BIN}/{name}" for name in ("etcd", "etcdctl", "etcdutl"))

    def probe(self) -> str:
        return f"""\
if [ -x {BIN}/etcd ] && [ -x {BIN}/etcdctl ] && [ -x {BIN}/etcdutl ] && [ -s {BIN}/made ]; then
  cat {BIN}/made
  {_STAMP.format(name="found")}
else echo absent; fi
{self.wanted()}
echo "wanted $wanted\""""

    def wanted(self) -> str:
        """Shell that sets ``wanted``: where the programs have to come from, empty where nothing tells."""
        if self.access.stacked:
            image = "s/^ *image: *[\"']\\{0,1\\}\\([^\"']*\\)[\"']\\{0,1\\} *$/image \\1/p"
            return f"wanted=\nif [ -f {_MANIFEST} ]; then wanted=$(sed -n {shlex.quote(image)} {_MANIFEST}); fi"
        program = shlex.quote(f"{self.programs}/etcd")
        return f"""\
wanted=
if [ -x {program} ]; then wanted="file $(stat -L -c '%n %s %Y' {program})"; fi"""

    def diff(self, seen: bytes) -> Diff:
        found = _fields(seen)
        if "version" not in found:
            return Diff.of("are absent" + (f" -> from {found['wanted']}" if found.get("wanted") else ""))
        if found["wanted"] and found["wanted"] != found["source"]:
            return Diff.of(f"{found['source']} -> {found['wanted']}")
        return Diff.of("were changed by somebody else") if found.get("found") != found.get("stamp") else Diff()

    @staticmethod
    def version(seen: bytes) -> str:
        """The version of the programs in what a probe printed; empty where there are none."""
        return _fields(seen).get("version", "")

    def apply(self) -> str:
        return _script(self.access.stacked, self.programs) + self._ending()

    def _ending(self) -> str:
        return f"""
{self.wanted()}
{{ printf 'version %s\\nsource %s\\n' "$version" "${{wanted:-$from}}"; {_STAMP.format(name="stamp")}; }} >{BIN}/made.new
sync {BIN}/made.new
mv -fT {BIN}/made.new {BIN}/made"""


def _fields(seen: bytes) -> dict[str, str]:
    lines = (line.partition(" ") for line in seen.decode(errors="replace").splitlines())
    return {name: value.strip() for name, _, value in lines}
