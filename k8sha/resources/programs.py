"""Programs that are brought to a host, each checked by its hash, and put in place whole."""

from __future__ import annotations

import shlex
from pathlib import Path

from attrs import field, frozen, validators

from k8sha.report import Diff
from k8sha.resources.resource import STATE, Payload, Resource

__all__ = ["Program", "Programs"]


@frozen
class Program:
    """One program: where it lies on the host, its hash, and the controller's file that it comes from."""

    path: str
    sha256: str = field(validator=validators.matches_re(r"[0-9a-f]{64}"))
    source: Path = field(eq=False)

    @property
    def staged(self) -> str:
        """Where it waits on the host until it is put in its place."""
        return f"{STATE}/upload/{self.sha256}"

    @property
    def stamp(self) -> str:
        """Holds the hash that it had when it was placed, and what ``stat`` said of it then."""
        return f"{STATE}/placed/{self.path.strip('/').replace('/', '-')}"


_LOOK = """\
look() {
  if [ ! -f "$1" ]; then echo "absent $1"; return 0; fi
  now=$(stat -L -c '%s-%i-%.Z' "$1")
  sum=
  if [ -f "$2" ]; then
    if ! read -r sum was <"$2" || [ "$was" != "$now" ]; then sum=; fi
  fi
  if [ -z "$sum" ]; then sum=$(sha256sum <"$1"); sum=${sum%% *}; fi
  echo "$sum $(stat -L -c '0%a %U:%G' "$1") $1"
}
"""

_PLACE = """\
place() {
  if [ -f "$2" ]; then
    if ! printf '%s  %s\\n' "$3" "$2" | sha256sum -c --quiet -; then
      rm -f "$2"
      echo "$1 was damaged on its way here: run again" >&2
      return 1
    fi
    (umask 022; mkdir -p "${1%/*}")
    chown root:root "$2"
    chmod 0755 "$2"
    mv -fT "$2" "$1.k8sha"
    if [ -x /usr/sbin/restorecon ]; then /usr/sbin/restorecon "$1.k8sha"; fi
    mv -fT "$1.k8sha" "$1"
  else
    printf '%s  %s\\n' "$3" "$1" | sha256sum -c --quiet -
    chown root:root "$1"
    chmod 0755 "$1"
  fi
  printf '%s %s\\n' "$3" "$(stat -L -c '%s-%i-%.Z' "$1")" >"$4.new"
  mv -f "$4.new" "$4"
}
"""


@frozen
class Programs(Resource):
    """Programs at their places, executable, with exactly these contents.

    Hashing 200 MB at every look would cost a second, so a placed program is known by its size, inode and change time
    (which nobody can set back); one that differs in any of them is hashed.
    """

    programs: tuple[Program, ...]

    @property
    def key(self) -> str:
        return f"programs {', '.join(Path(program.path).name for program in self.programs)}"

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(program.path for program in self.programs)

    @property
    def timeout(self) -> int:
        return 600

    def probe(self) -> str:
        looks = (f"look {shlex.quote(item.path)} {shlex.quote(item.stamp)}\n" for item in self.programs)
        return _LOOK + "".join(looks)

    def diff(self, seen: bytes) -> Diff:
        found = _parse(seen)
        differs = Diff()
        for item in self.programs:
            if item.path not in found:
                differs += Diff.of(f"+ {item.path} sha256 {item.sha256[:8]}")
                continue
            sum, mode, owner = found[item.path]
            differs += Diff.between(f"{item.path}: sha256", sum[:8], item.sha256[:8])
            differs += Diff.between(f"{item.path}: mode", mode, "0755")
            differs += Diff.between(f"{item.path}: owner", owner, "root:root")
        return differs

    def payloads(self, seen: bytes) -> tuple[Payload, ...]:
        found = _parse(seen)
        return tuple(
            Payload(item.source, item.staged, item.sha256)
            for item in self.programs
            if found.get(item.path, ("",))[0] != item.sha256
        )

    def apply(self) -> str:
        places = (
            "place " + " ".join(map(shlex.quote, (item.path, item.staged, item.sha256, item.stamp))) + "\n"
            for item in self.programs
        )
        return f"mkdir -p {STATE}/placed\n{_PLACE}" + "".join(places)


def _parse(seen: bytes) -> dict[str, tuple[str, str, str]]:
    found: dict[str, tuple[str, str, str]] = {}
    for line in seen.decode(errors="replace").splitlines():
        if not line.startswith("absent "):
            sum, mode, owner, path = line.split(" ", 3)
            found[path] = (sum, mode, owner)
    return found
