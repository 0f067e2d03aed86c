"""Services. A restart is state, not an event: a service is stale while a file that it read is newer than its stamp.

The stamp moves into place only after a restart or reload succeeded, so a run that dies in between is made good by the
next one. No handler can be lost.
"""

from __future__ import annotations

import shlex

from attrs import field, frozen

from k8sha.report import Diff
from k8sha.resources.files import Absent, Directory, File, Link
from k8sha.resources.resource import STATE, Resource

__all__ = ["Service"]

_UNIT_FOLDERS = ("/etc/systemd/system/", "/usr/lib/systemd/system/", "/lib/systemd/system/")


@frozen
class Service(Resource):
    """A systemd unit that is enabled, running, and has been started since the files in ``watches`` changed.

    With ``reload`` it is told to reload where only its configuration changed, not its unit or its program; connections
    live on. ``program`` is a path that it runs: a newer one makes it stale as well. ``active=False`` wants it stopped
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
        paths = [item.path for item in self.watches if isinstance(item, File | Link | Absent | Directory)]
        hard = [path for path in paths if path.startswith(_UNIT_FOLDERS)] + ([self.program] if self.program else [])
        return hard, [path for path in paths if path not in hard]

    def _newer(self, paths: list[str], stamp: str) -> str:
        """Shell that prints ``stale`` if one of the paths changed since the stamp was made."""
        if not paths:
            return ":"
        listed = " ".join(shlex.quote(path) for path in paths)
        return f'for path in {listed}; do if [ -e "$path" ] && [ "$path" -nt {stamp} ]; then echo stale; fi; done'

    def probe(self) -> str:
        hard, soft = self._files()
        stamp = shlex.quote(self._stamp)
        return f"""\
systemctl show -p LoadState -p ActiveState -p UnitFileState -p NeedDaemonReload {shlex.quote(self.unit)}
if [ -e {stamp} ]; then
{self._newer(hard + soft, stamp)}
else echo unstamped; fi"""

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
        if "stale" in lines:
            differs += Diff.of("runs with older files than are there: " + ("reload" if self.reload else "restart"))
        elif "unstamped" in lines and self.watches:
            differs += Diff.of("was not started by us: " + ("reload" if self.reload else "restart") + " once")
        return differs

    def apply(self) -> str:
        unit, stamp = shlex.quote(self.unit), shlex.quote(self._stamp)
        if not self.active:
            return f"systemctl disable --now {unit}\nrm -f {stamp}"
        hard, soft = self._files()
        restart = f"systemctl restart {unit}"
        if self.reload:
            unstamped = "echo stale" if hard else ":"
            change = f"""\
    if [ -e {stamp} ]; then hard=$({self._newer(hard, stamp)}); else hard=$({unstamped}); fi
    if [ -n "$hard" ]; then {restart}; else systemctl reload {unit}; fi"""
        else:
            change = f"    {restart}"
        return f"""\
mkdir -p {STATE}/restarted
touch {stamp}.new
systemctl daemon-reload
systemctl unmask --quiet {unit}
systemctl enable --quiet {unit}
if systemctl is-active --quiet {unit}; then
  if [ ! -e {stamp} ] || [ -n "$({self._newer(hard + soft, stamp)})" ]; then
{change}
  fi
else
  systemctl reset-failed {unit} 2>/dev/null || echo "{self.unit} was not loaded before" >&2
  systemctl start {unit}
fi
systemctl is-active --quiet {unit}
mv -f {stamp}.new {stamp}"""
