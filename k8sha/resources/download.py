"""Files that come from elsewhere: fetched by the host itself, or brought to it by us. Always checked by their hash."""

from __future__ import annotations

import hashlib
import shlex
from pathlib import Path

from attrs import field, frozen, validators

from k8sha.report import Diff
from k8sha.resources.files import beside
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
    def paths(self) -> tuple[str, ...]:
        return (self.path,)

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

    def _made(self) -> str:
        return f"(umask 022; mkdir -p {shlex.quote(str(Path(self.path).parent))})"

    def _place(self, source: str) -> str:
        """Shell that puts a file with the right content into its place."""
        path = shlex.quote(self.path)
        return f"chmod {self.mode} {source}\nchown root:root {source}\ntouch {source}\nmv -fT {source} {path}"

    def _checked(self, source: str) -> str:
        return f"printf '%s  %s\\n' {self.sha256} {source} | sha256sum -c --quiet"


@frozen
class Download(_Placed):
    """A file that the host fetches by itself, with curl, and that must have this hash."""

    url: str = field(kw_only=True)

    def apply(self) -> str:
        return f"""\
{self._made()}
new={shlex.quote(beside(self.path))}
trap 'rm -f "$new"' EXIT
curl -fsSL --proto '=https,http' --retry 3 --connect-timeout 10 -o "$new" {shlex.quote(self.url)}
{self._checked('"$new"')}
{self._place('"$new"')}"""


@frozen
class Upload(_Placed):
    """A file of ours that is brought to the host."""

    source: Path = field(kw_only=True, eq=False)

    @property
    def _staged(self) -> str:
        place = hashlib.sha256(self.path.encode()).hexdigest()[:8]
        return f"{STATE}/upload/{self.sha256}-{place}"

    def payloads(self, seen: bytes) -> tuple[Payload, ...]:
        if seen.decode(errors="replace").startswith(f"{self.sha256} "):
            return ()  # only its mode differs
        return (Payload(self.source, self._staged, self.sha256),)

    def apply(self) -> str:
        path, new, staged = shlex.quote(self.path), shlex.quote(beside(self.path)), self._staged
        return f"""\
if [ ! -f {staged} ]; then
  {self._checked(path)}
  chmod {self.mode} {path}; chown root:root {path}; exit 0
fi
if ! {self._checked(staged)}; then rm -f {staged}; exit 1; fi
{self._made()}
mv -fT {staged} {new}
{self._place(new)}"""
