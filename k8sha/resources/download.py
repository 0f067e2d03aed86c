"""Files that come from elsewhere: fetched by the host itself, or brought to it by us. Always checked by their hash."""

from __future__ import annotations

import shlex
from pathlib import Path

from attrs import field, frozen, validators

from k8sha.report import Diff
from k8sha.resources.resource import STATE, Payload, Resource

__all__ = ["Download", "Upload"]

_sha256 = validators.matches_re(r"[0-9a-f]{64}")


@frozen
class _Placed(Resource):
    path: str
    sha256: str = field(validator=_sha256, kw_only=True)
    mode: str = field(default="0644", kw_only=True)

    @property
    def key(self) -> str:
        return f"file {self.path}"

    @property
    def timeout(self) -> int:
        return 1200

    def probe(self) -> str:
        path = shlex.quote(self.path)
        return f'if [ -f {path} ]; then echo "$(sha256sum <{path}) $(stat -c 0%a {path})"; fi'

    def diff(self, seen: bytes) -> Diff:
        words = seen.decode(errors="replace").split()
        if not words:
            return Diff.of("is absent", f"sha256 {self.sha256[:8]}, mode {self.mode}")
        differs = Diff.between("sha256", words[0][:8], self.sha256[:8])
        return differs + Diff.between("mode", words[-1].lstrip("0"), self.mode.lstrip("0"))

    def _place(self, source: str) -> str:
        return f"""\
printf '%s  %s\\n' {self.sha256} {source} | sha256sum -c --quiet
chmod {self.mode} {source}
chown root:root {source}
mv -fT {source} {shlex.quote(self.path)}"""


@frozen
class Download(_Placed):
    """A file that the host fetches by itself, with curl, and that must have this hash."""

    url: str = field(kw_only=True)

    def apply(self) -> str:
        path = shlex.quote(self.path)
        return f"""\
mkdir -p {shlex.quote(str(Path(self.path).parent))}
curl -fsSL --proto '=https,http' --retry 3 --connect-timeout 10 -o {path}.part {shlex.quote(self.url)}
{self._place(path + ".part")}"""


@frozen
class Upload(_Placed):
    """A file of ours that is brought to the host."""

    source: Path = field(kw_only=True, eq=False)

    @property
    def _staged(self) -> str:
        return f"{STATE}/upload/{self.sha256}"

    def payloads(self) -> tuple[Payload, ...]:
        return (Payload(self.source, self._staged, self.sha256),)

    def apply(self) -> str:
        path, new = shlex.quote(self.path), shlex.quote(f"{self.path}.part")
        return f"""\
mkdir -p {shlex.quote(str(Path(self.path).parent))}
if [ ! -f {self._staged} ]; then
  printf '%s  %s\\n' {self.sha256} {path} | sha256sum -c --quiet
  chmod {self.mode} {path}; exit 0
fi
cp {self._staged} {new}
{self._place(new)}
rm -f {self._staged}"""
