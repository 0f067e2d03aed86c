"""What a host must be able to fetch before anything is changed: packages, package repositories, image registries."""

from __future__ import annotations

import re
import shlex

from attrs import field, frozen

from k8sha.resources.requirements import NodeRequirement

__all__ = ["AptPackagesAtHand", "DnfPackagesAtHand", "Reachable"]

_APT_HELPER = "/usr/lib/apt/apt-helper -o Acquire::http::Timeout=5 -o Acquire::https::Timeout=5 -o Acquire::Retries=0"


@frozen
class Reachable(NodeRequirement):
    """A web address that answers to whatever the host has: curl, apt or wget. What is not a ``file`` that must be there
    is reached with any status below 500, because registries answer 401 to strangers.

    A bare Debian has no curl, and apt's own helper goes through apt's proxy as the packages will. Certificates are not
    looked at here: they are when something is fetched. A host with none of the three can't tell, which is no problem.
    """

    name = "source"
    url: str
    what: str = field(kw_only=True)
    file: bool = field(default=True, kw_only=True)

    @property
    def key(self) -> str:
        return f"requirement {self.name}: {self.url}"

    def look(self) -> str:
        url = shlex.quote(self.url)
        return f"""\
if command -v curl >/dev/null; then
  if status=$(curl -sS -k -L -o /dev/null -w '%{{http_code}}' --connect-timeout 5 --max-time 15 {url} 2>&1); then
    echo "status $status"
  else echo "failed $status"; fi
elif [ -x /usr/lib/apt/apt-helper ]; then
  file=$(mktemp "/run/k8sha/trip.$$.reach.XXXXXX"); trap 'rm -f "$file"' EXIT
  if said=$({_APT_HELPER} -o Acquire::https::Verify-Peer=false download-file {url} "$file" 2>&1); then echo "status 200"
  else echo "failed $said" | tr '\\n' ' '; fi
elif command -v wget >/dev/null; then
  if said=$(wget -q -T 5 -t 1 --no-check-certificate -O /dev/null {url} 2>&1); then echo "status 200"
  else echo "failed wget: exit $? $said" | tr '\\n' ' '; fi
fi"""

    def judge(self, lines: list[str]) -> list[str]:
        kind, _, said = " ".join(lines).partition(" ")
        failed = re.search(r"Failed to fetch \S+ +(\d{3}) ", said)  # apt tells the status in words only
        status = int(failed[1] if failed else said[-3:] if kind == "status" else 999)
        if status < (400 if self.file else 500):
            return []
        reason = re.sub(r".*E: Failed to fetch \S+ +", "", said).replace("E: Download Failed", "").strip()
        return [f"does not reach {self.what} at {self.url}: {reason}"]


@frozen
class AptPackagesAtHand(NodeRequirement):
    """Packages that apt has, or can fetch.

    Those that are neither installed nor in apt's cache must have a candidate, and of every server that they come from
    the smallest of them is fetched and thrown away. Where apt has no lists yet, its servers must answer.
    """

    name = "packages"
    names: tuple[str, ...]

    @property
    def probe_timeout(self) -> int:
        return 120

    def look(self) -> str:
        names = " ".join(shlex.quote(name) for name in self.names)
        return f"""\
missing=
for name in {names}; do
  status=$(dpkg-query -W -f '${{db:Status-Status}}' "$name" 2>/dev/null) || status=absent
  if [ "$status" != installed ]; then missing="$missing $name"; fi
done
if [ -z "$missing" ]; then exit 0; fi
folder=$(mktemp -d "/run/k8sha/trip.$$.apt.XXXXXX")
trap 'rm -rf "$folder"' EXIT
set -- /var/lib/apt/lists/*_Packages*
if [ -e "$1" ]; then
  offered=$(apt-cache policy $missing | awk '
    /^[^ ].*:$/ {{ name = substr($0, 1, length($0) - 1) }} $1 == "Candidate:" && $2 != "(none)" {{ print name }}')
  for name in $missing; do
    case "
$offered
" in *"
$name
"*) ;; *) echo "none $name"; none=1;; esac
  done
  if [ "${{none:-}}" = 1 ]; then exit 0; fi
  # A dpkg that was interrupted makes it fail; the installation mends that, or says what can't be mended.
  if ! apt-get -qq --print-uris --no-install-recommends -y install $missing >"$folder/uris" 2>&1; then exit 0; fi
else
  apt-get -q --print-uris update | grep InRelease >"$folder/uris"
fi
tr -d "'" <"$folder/uris" | awk '{{ split($1, part, "/"); server = part[3]
  if (!(server in size) || $3 < size[server]) {{ size[server] = $3; uri[server] = $1 }} }}
  END {{ for (server in uri) print uri[server] }}' >"$folder/fetch"
while read -r uri; do
  case $uri in file:*|cdrom:*) continue;; esac
  if said=$({_APT_HELPER} download-file "$uri" "$folder/file" 2>&1); then :; else
    echo "unreachable $uri $(echo "$said" | sed -n 's/^E: Failed to fetch [^ ]* *//p')"
  fi
done <"$folder/fetch\""""

    def judge(self, lines: list[str]) -> list[str]:
        wrong: list[str] = []
        for kind, what, said in (
            line.split(" ", 2) if line.count(" ") > 1 else [*line.split(" "), ""] for line in lines
        ):
            if kind == "none":
                wrong.append(f"has no repository with the package {what}")
            else:
                wrong.append(f"can't fetch packages: {what}: {said}")
        return wrong


@frozen
class DnfPackagesAtHand(NodeRequirement):
    """Packages that are installed or that dnf finds in the enabled repositories."""

    name = "packages"
    names: tuple[str, ...]

    @property
    def probe_timeout(self) -> int:
        return 180

    def look(self) -> str:
        names = " ".join(shlex.quote(name) for name in self.names)
        return f"""\
for name in {names}; do
  if rpm -q --quiet "$name"; then continue; fi
  if found=$(dnf -q repoquery --available --qf '%{{name}}' "$name" 2>&1); then
    if [ -z "$found" ]; then echo "none $name"; fi
  else echo "failed $name $(echo "$found" | tail -n 1)"; fi
done"""

    def judge(self, lines: list[str]) -> list[str]:
        return [
            f"has no repository with the package {name}" if kind == "none" else f"can't look for the package {name}"
            for kind, name in ([*line.split(), ""][:2] for line in lines)
        ]
