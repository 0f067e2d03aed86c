"""Packages of the distribution: installed, at the wanted version, held."""

from __future__ import annotations

import shlex
from fnmatch import fnmatchcase

from attrs import field, frozen

from k8sha.report import Diff
from k8sha.resources.resource import Resource

__all__ = ["AptPackages", "DnfPackages", "versions_seen"]


def versions_seen(seen: bytes) -> dict[str, str]:
    """What a probe of packages found: the installed version of each, or the version that an install would bring."""
    found: dict[str, str] = {}
    for line in seen.decode(errors="replace").splitlines():
        kind, _, rest = line.partition(" ")
        name, _, version = rest.partition(" ")
        if kind == "installed" or (kind == "candidate" and name not in found):
            found[name] = version
    return found


@frozen
class _Packages(Resource):
    """Packages by name, or by ``name=version`` (``1.33.13-*`` is any build of that version).

    ``hold`` keeps them from being changed by anything else.
    """

    names: tuple[str, ...]
    hold: bool = field(default=False, kw_only=True)

    @property
    def key(self) -> str:
        return f"packages {' '.join(name for name, _ in self._wanted())}"

    @property
    def timeout(self) -> int:
        return 900

    def _wanted(self) -> list[tuple[str, str]]:
        pairs = (name.partition("=") for name in self.names)
        return [(name, version) for name, _, version in pairs]

    def diff(self, seen: bytes) -> Diff:
        installed: dict[str, str] = {}
        candidates: dict[str, str] = {}
        held: set[str] = set()
        for line in seen.decode(errors="replace").splitlines():
            kind, _, rest = line.partition(" ")
            name, _, version = rest.partition(" ")
            if kind == "installed":
                installed[name] = version
            elif kind == "candidate":
                candidates[name] = version
            elif kind == "held":
                held.add(name)
        differs = Diff.of(_INTERRUPTED) if b"interrupted" in seen.split(b"\n") else Diff()
        for name, version in self._wanted():
            if name not in installed:
                offer = version or candidates.get(name, "") or "from the repository"
                differs += Diff.of(f"+ {name} {offer}")
            elif version and not fnmatchcase(installed[name], version):
                differs += Diff.of(f"{name}: {installed[name]} -> {version}")
            if self.hold and name not in held:
                differs += Diff.of(f"{name}: hold")
        return differs


_INTERRUPTED = "an installation was interrupted, and no package may start its services since"


@frozen
class AptPackages(_Packages):
    """Packages of Debian and its family. Services are not started by the installation: configuration comes first."""

    def probe(self) -> str:
        names = " ".join(shlex.quote(name) for name, _ in self._wanted())
        return f"""\
if [ -e /usr/sbin/policy-rc.d ] && grep -qs k8sha: /usr/sbin/policy-rc.d; then echo interrupted; fi
if found=$(dpkg-query -W -f '${{Package}} ${{db:Status-Status}} ${{Version}}\\n' {names} 2>/dev/null); then :
elif [ $? != 1 ]; then exit 2; fi
missing=
for name in {names}; do
  case "
$found" in *"
$name installed "*) ;; *) missing="$missing $name";; esac
done
while read -r name state version; do
  if [ "$state" = installed ]; then echo "installed $name $version"; fi
done <<END
$found
END
if [ -n "$missing" ]; then
  apt-cache policy $missing | while read -r word rest; do
    case $word in *:) if [ -z "$rest" ]; then name=${{word%:}}; fi;; esac
    if [ "$word" = Candidate: ] && [ "$rest" != "(none)" ]; then echo "candidate $name $rest"; fi
  done
fi
""" + (f'apt-mark showhold {names} | while read -r name; do echo "held $name"; done' if self.hold else "")

    def apply(self) -> str:
        wanted = " ".join(shlex.quote(name) for name in self.names)
        names = " ".join(shlex.quote(name) for name, _ in self._wanted())
        options = (
            "-o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "
            "-y -q --no-install-recommends --allow-change-held-packages"
        )
        if any(version for _, version in self._wanted()):
            options += " --allow-downgrades"  # apt goes back to no version but one that is asked for
        return f"""\
umask 022
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
if [ -e "$policy" ] && ! grep -q k8sha: "$policy"; then policy=; fi
if [ -n "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\\n# k8sha: a service starts once it is configured\\nexit 101\\n' >"$policy"
  chmod 0755 "$policy"
fi
install() {{ apt-get install {options} {wanted}; }}
if ! install >/run/k8sha/apt.out 2>&1; then
  cat /run/k8sha/apt.out >&2
  dpkg --configure -a
  apt-get update -q -o DPkg::Lock::Timeout=300
  install
fi""" + (f"\napt-mark hold {names}" if self.hold else "")


@frozen
class DnfPackages(_Packages):
    """Packages of RHEL and its family."""

    def probe(self) -> str:
        names = " ".join(shlex.quote(name) for name, _ in self._wanted())
        held = """
if [ -r /etc/dnf/plugins/versionlock.list ]; then
  for name in NAMES; do
    if grep -Eq "^([0-9]+:)?$name-[0-9]" /etc/dnf/plugins/versionlock.list; then echo "held $name"; fi
  done
fi""".replace("NAMES", names)
        return f"""\
for name in {names}; do
  if version=$(rpm -q --qf '%{{VERSION}}-%{{RELEASE}}' "$name"); then echo "installed $name $version"; fi
done""" + (held if self.hold else "")

    def apply(self) -> str:
        wanted = " ".join(shlex.quote(f"{name}-{version}" if version else name) for name, version in self._wanted())
        names = " ".join(shlex.quote(name) for name, _ in self._wanted())
        hold = f"\ndnf install -y -q python3-dnf-plugin-versionlock\ndnf versionlock add {names}" if self.hold else ""
        return f"dnf install -y -q --setopt=install_weak_deps=False --disableexcludes=kubernetes {wanted}{hold}"
