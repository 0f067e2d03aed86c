"""Services. A restart is state, not an event: what a service was started with is written down, and it is stale while
the files are not those.

The note moves into place only after a restart or reload succeeded, so a run that dies in between is made good by the
next one. No handler can be lost. It holds the size and the times of each file, not one time for all: so a file that was
put back by hand, one that was removed, and one that changed while the clock was set back are noticed as well.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection

from attrs import field, frozen

from k8sha.report import Diff
from k8sha.resources.resource import STATE, Resource
from k8sha.survey import Survey

__all__ = ["Service"]

_SHOW = "systemctl show -p Names -p LoadState -p ActiveState -p UnitFileState -p NeedDaemonReload --"
_UNITS = Survey("k8sha_units", f'{_SHOW} "$@"')
_UNIT_FOLDERS = ("/etc/systemd/system/", "/usr/lib/systemd/system/", "/lib/systemd/system/")


@frozen
class Service(Resource):
    """A systemd unit that is enabled, running, and has been started since the files in ``watches`` changed.

    With ``reload`` it is told to reload where only its configuration changed, not its unit or its program; connections
    live on. ``program`` is a path that it runs: another one makes it stale as well. ``active=False`` wants it stopped
    and disabled.
    """

    name: str
    reload: bool = field(default=False, kw_only=True)
    program: str | None = field(default=None, kw_only=True)
    active: bool = field(default=True, kw_only=True)

    @property
    def unit(self) -> str:
        """The unit's full name."""
        return self.name if "." in self.name else f"{self.name}.service"

    @property
    def key(self) -> str:
        return f"service {self.name}"

    @property
    def timeout(self) -> int:
        return 180

    @property
    def _stamp(self) -> str:
        return f"{STATE}/restarted/{self.unit}"

    def _files(self) -> tuple[list[str], list[str]]:
        paths = [path for item in self.watches for path in item.paths]
        hard = [path for path in paths if path.startswith(_UNIT_FOLDERS)] + ([self.program] if self.program else [])
        return hard, [path for path in paths if path not in hard]

    @property
    def surveys(self) -> tuple[tuple[Survey, str], ...]:
        return ((_UNITS, self.unit),)

    def probe(self) -> str:
        hard, soft = self._files()
        stamp, unit = shlex.quote(self._stamp), shlex.quote(self.unit)
        return f"""\
shown=; rest=${{k8sha_units-}}
while [ -n "$rest" ] && [ -z "$shown" ]; do
  one=${{rest%%

*}}
  if [ "$one" = "$rest" ]; then rest=; else rest=${{rest#*

}}; fi
  names=${{one#*Names=}}; names=${{names%%
*}}
  case " $names " in *" "{unit}" "*) shown=$one;; esac
done
if [ -z "$shown" ]; then shown=$({_SHOW} {unit}); fi
printf '%s\\n' "$shown"
echo 'files now'
{_snapshot(hard + soft)}
if [ -e {stamp} ]; then echo 'files then'; cat {stamp}.unit {stamp}; else echo unstamped; fi"""

    def diff(self, seen: bytes) -> Diff:
        lines = seen.decode(errors="replace").splitlines()
        found = dict(line.split("=", 1) for line in lines if "=" in line)
        state, enabled = found.get("ActiveState", "unknown"), found.get("UnitFileState", "")
        if found.get("LoadState") == "not-found":
            return Diff.of("is not installed -> running") if self.active else Diff()
        if not self.active:
            wrong = Diff.between("state", state, "inactive") if state not in ("inactive", "failed") else Diff()
            return wrong + (Diff.between("start at boot", enabled, "disabled") if enabled == "enabled" else Diff())
        differs = Diff.between("state", state, "active")
        if enabled not in ("enabled", "static", "enabled-runtime", "generated", "indirect"):
            differs += Diff.between("start at boot", enabled, "enabled")
        if found.get("NeedDaemonReload") == "yes":
            differs += Diff.of("its unit was changed and not loaded again")
        hard, soft = self._files()
        if "unstamped" in lines:
            return differs + (Diff.of(f"was not started by us: {self._remedy(hard)} once") if hard + soft else Diff())
        now, then = _files_in(lines, "files now"), _files_in(lines, "files then")
        changed = [path for path in hard + soft if now.get(path) != then.get(path)]
        if changed:
            differs += Diff.of(f"runs with another {', '.join(changed)}: {self._remedy(set(changed) & set(hard))}")
        return differs

    def _remedy(self, hard: Collection[str]) -> str:
        return "reload" if self.reload and not hard else "restart"

    def apply(self) -> str:
        unit, stamp = shlex.quote(self.unit), shlex.quote(self._stamp)
        if not self.active:
            there = f"$(systemctl show -p LoadState --value {unit})"
            stop = f'if [ "{there}" != not-found ]; then systemctl disable --quiet --now {unit}; fi'
            return f"{stop}\nrm -f {stamp} {stamp}.unit"
        hard, soft = self._files()
        softly = "reload" if self.reload else "restart"
        return f"""\
mkdir -p {STATE}/restarted
(
{_snapshot(hard)}
) >{stamp}.unit.new
(
{_snapshot(soft)}
) >{stamp}.new
systemctl daemon-reload
systemctl unmask --quiet {unit}
systemctl enable --quiet {unit}
if ! systemctl is-active --quiet {unit}; then
  systemctl reset-failed {unit} 2>/dev/null || echo "{self.unit} was not loaded before" >&2
  systemctl start {unit}
elif {f"! cmp -s {stamp}.unit.new {stamp}.unit" if hard else "false"}; then systemctl restart {unit}
elif {f"! cmp -s {stamp}.new {stamp}" if soft else "false"}; then systemctl {softly} {unit}
fi
{_outlasts(unit)}
systemctl is-active --quiet {unit}
mv -f {stamp}.unit.new {stamp}.unit
mv -f {stamp}.new {stamp}"""


def _outlasts(unit: str) -> str:
    """Shell that ends with an error where the unit's program ends within a second. Units of these types are "active" as
    soon as there is a process, whatever becomes of it; others say themselves when they are at work."""
    return f"""\
case $(systemctl show -p Type --value {unit}) in
  simple | exec | idle)
    if timeout 1 tail --pid="$(systemctl show -p MainPID --value {unit})" -f /dev/null; then
      systemctl status --no-pager --lines 5 {unit} >&2
      exit 1
    fi ;;
esac"""


def _snapshot(paths: list[str]) -> str:
    """Shell that prints a line for each of the paths that is there, of which some part differs once it was changed."""
    if not paths:
        return ":"
    listed = " ".join(shlex.quote(path) for path in paths)
    return f"""\
set --
for path in {listed}; do if [ -e "$path" ] || [ -L "$path" ]; then set -- "$@" "$path"; fi; done
if [ $# -gt 0 ]; then stat -c '%n|%F|%s|%y|%z' -- "$@"; fi"""


def _files_in(lines: list[str], heading: str) -> dict[str, str]:
    """The snapshot below a heading: each path with its line."""
    found: dict[str, str] = {}
    for line in lines[lines.index(heading) + 1 :] if heading in lines else ():
        if line in ("files now", "files then"):
            break
        path, bar, rest = line.partition("|")
        if bar:
            found[path] = rest
    return found
