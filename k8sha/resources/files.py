"""Files, directories, links, and their absence; and the one place where templates are rendered."""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
from pathlib import Path

from attrs import field, frozen

from k8sha.report import Diff, line_diff
from k8sha.resources.resource import KnownAfter, Resource
from k8sha.survey import Survey

__all__ = ["Absent", "Contents", "Directory", "File", "Link", "render"]

_MODE = re.compile(r"0[0-7]{3,4}")
_OWNER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*:[A-Za-z_][A-Za-z0-9_.-]*")
_SHOWN = 65536

# Only plain files: to read another kind may take for ever. Each line ends in two spaces and the path.
_PLAIN = """for path in "$@"; do
  if [ -f "$path" ] && [ ! -L "$path" ]; then set -- "$@" "$path"; fi; shift
done
if [ $# -gt 0 ]; then %s "$@"; fi"""
_SUMS = Survey("k8sha_sums", _PLAIN % "sha256sum --")
_MODES = Survey("k8sha_modes", _PLAIN % "stat -c '%a %U:%G  %n' --")


def render(template: Path, **values: object) -> str:
    """A Jinja template beside the component that uses it, rendered. Undefined names are errors."""
    import jinja2

    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(template.read_text()).render(**values)


def _valid_mode(instance: object, attribute: object, value: str) -> None:
    if not _MODE.fullmatch(value):
        raise ValueError(f"{value!r} is not a file mode such as 0644")


def _valid_owner(instance: object, attribute: object, value: str) -> None:
    if not _OWNER.fullmatch(value):
        raise ValueError(f"{value!r} is not an owner such as root:root (by names, which is how a probe sees them)")


def beside(path: str) -> str:
    """Where a file is made before it is renamed into its place: in the same folder, by a name that starts with a dot,
    which the programs that read whole folders (kubelet, apt, cron, systemd, haproxy) pass over. Always the same name,
    so that what a killed run left is overwritten.
    """
    return str(Path(path).with_name(f".k8sha.{Path(path).name}"))


def _made(path: str) -> str:
    """Shell that makes the folder of a path, for all to read."""
    return f"(umask 022; mkdir -p {shlex.quote(str(Path(path).parent))})"


def _text(content: bytes) -> str | None:
    """Content as text, None where it is none that one could read."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def _told(survey: Survey, name: str, path: str, otherwise: str) -> str:
    """Shell that sets a variable to what a survey told of a path, or by itself."""
    end = shlex.quote(f"  {path}\n")
    return f"""\
  case ${{{survey.name}-}} in
  *{end}*) {name}=${{{survey.name}%%{end}*}}; {name}=${{{name}##*'
'}};;
  *) {name}={otherwise};;
  esac"""


def _fields(seen: bytes) -> dict[str, str]:
    lines = (line.partition(" ") for line in seen.decode(errors="replace").splitlines())
    return {name: value for name, _, value in lines}


@frozen
class File(Resource):
    """A file with exactly this content, mode and owner.

    It is written beside its place and renamed, so nobody ever sees half of it. ``check`` is a command that must accept
    the new file (its path in place of ``{}``) before it replaces the old one. Content that is ``secret`` is shown as a
    short hash only.
    """

    path: str
    content: str | bytes | KnownAfter = field(repr=False)
    mode: str = field(default="0644", kw_only=True, validator=_valid_mode)
    owner: str = field(default="root:root", kw_only=True, validator=_valid_owner)
    check: str | None = field(default=None, kw_only=True)
    secret: bool = field(default=False, kw_only=True)

    @property
    def key(self) -> str:
        return f"file {self.path}"

    @property
    def paths(self) -> tuple[str, ...]:
        return (self.path,)

    @property
    def _bytes(self) -> bytes:
        if isinstance(self.content, KnownAfter):
            raise TypeError(f"{self.key} can't be written yet: {self.content}")
        return self.content.encode() if isinstance(self.content, str) else self.content

    @property
    def hidden(self) -> tuple[str, ...]:
        return (self._bytes.decode(errors="replace"),) if self.secret else ()

    @property
    def surveys(self) -> tuple[tuple[Survey, str], ...]:
        return ((_SUMS, self.path), (_MODES, self.path))

    def probe(self) -> str:
        path = shlex.quote(self.path)
        wanted = "" if isinstance(self.content, KnownAfter) else hashlib.sha256(self._bytes).hexdigest()
        show = (
            ""
            if self.secret
            else f"""
  if [ "$sum" != {wanted or "unknown"} ] && [ "$(stat -c %s {path})" -le {_SHOWN} ]; then
    printf 'content %s\\n' "$(base64 -w 0 <{path})"
  fi"""
        )
        return f"""\
if [ -L {path} ]; then echo kind link
elif [ -f {path} ]; then
{_told(_SUMS, "sum", self.path, f"$(sha256sum <{path})")}
  sum=${{sum%% *}}
{_told(_MODES, "mode", self.path, f"$(stat -c '%a %U:%G' {path})")}
  printf 'kind file\\nsum %s\\nmode 0%s\\nowner %s\\n' "$sum" $mode{show}
elif [ -e {path} ]; then echo kind other
else echo kind absent; fi"""

    def diff(self, seen: bytes) -> Diff:
        found = _fields(seen)
        kind = found.get("kind", "")
        if isinstance(self.content, KnownAfter):
            return Diff.of(f"+ {self.content}" if kind == "absent" else f"content: {self.content}")
        wanted = self._bytes
        sum = hashlib.sha256(wanted).hexdigest()
        if kind != "file":
            head = Diff.of({"absent": "is absent", "link": "is a link"}.get(kind, "is there, and is no plain file"))
            return head + Diff(self._shown("", wanted)) + Diff.of(f"mode {self.mode} owner {self.owner}")
        differs = Diff()
        if found["sum"] != sum:
            old = _text(base64.b64decode(found["content"])) if "content" in found else None
            if old is None or self.secret:
                differs = Diff.of(f"content: sha256 {found['sum'][:8]} -> {sum[:8]}")
            else:
                differs = Diff(self._shown(old, wanted))
        differs += Diff.between("mode", found["mode"].lstrip("0"), self.mode.lstrip("0"))
        return differs + Diff.between("owner", found["owner"], self.owner)

    def _shown(self, old: str, wanted: bytes) -> tuple[str, ...]:
        text = _text(wanted)
        if self.secret or text is None or len(wanted) > _SHOWN:
            return (f"content: {len(wanted)} bytes, sha256 {hashlib.sha256(wanted).hexdigest()[:8]}",)
        return line_diff(old, text) or ("content: differs in its line ends",)

    def apply(self) -> str:
        path, new = shlex.quote(self.path), shlex.quote(beside(self.path))
        check = self.check.replace("{}", '"$new"') + "\n" if self.check else ""
        encoded = base64.encodebytes(self._bytes).decode()
        return f"""\
{_made(self.path)}
new={new}
rm -f "$new"
trap 'rm -f "$new"' EXIT
umask 077
set -C
base64 -d >"$new" <<'END'
{encoded}END
set +C
chown {shlex.quote(self.owner)} "$new"
chmod {self.mode} "$new"
{check}sync -d "$new"
mv -fT "$new" {path}"""


@frozen
class Contents(Resource):
    """Reads a file and changes nothing: for a stage that needs to know what is in it. Absent reads as empty."""

    path: str

    @property
    def key(self) -> str:
        return f"contents of {self.path}"

    def probe(self) -> str:
        path = shlex.quote(self.path)
        return f"if [ -f {path} ]; then cat {path}; fi"

    def diff(self, seen: bytes) -> Diff:
        return Diff()

    def apply(self) -> str:
        return ":"


@frozen
class Directory(Resource):
    """A directory with this mode and owner; what is in it is left alone.

    A service that watches it is not stale because something in it changed.
    """

    path: str
    mode: str = field(default="0755", kw_only=True, validator=_valid_mode)
    owner: str = field(default="root:root", kw_only=True, validator=_valid_owner)

    @property
    def key(self) -> str:
        return f"directory {self.path}"

    def probe(self) -> str:
        path = shlex.quote(self.path)
        return f"""\
if [ -d {path} ]; then printf 'kind directory\\nmode 0%s\\nowner %s\\n' $(stat -L -c '%a %U:%G' {path})
elif [ -e {path} ] || [ -L {path} ]; then echo kind other
else echo kind absent; fi"""

    def diff(self, seen: bytes) -> Diff:
        found = _fields(seen)
        if found["kind"] != "directory":
            return Diff.of("is absent" if found["kind"] == "absent" else "is not a directory")
        differs = Diff.between("mode", found["mode"].lstrip("0"), self.mode.lstrip("0"))
        return differs + Diff.between("owner", found["owner"], self.owner)

    def apply(self) -> str:
        path = shlex.quote(self.path)
        made = f"(umask 022; mkdir -p {path})"
        return f"{made}\nchown {shlex.quote(self.owner)} {path}\nchmod {self.mode} {path}"


@frozen
class Link(Resource):
    """A symbolic link to a target."""

    path: str
    target: str

    @property
    def key(self) -> str:
        return f"link {self.path}"

    @property
    def paths(self) -> tuple[str, ...]:
        return (self.path,)

    def probe(self) -> str:
        path = shlex.quote(self.path)
        return f"""\
if [ -L {path} ]; then printf 'link %s\\n' "$(readlink {path})"
elif [ -e {path} ]; then echo other
else echo absent; fi"""

    def diff(self, seen: bytes) -> Diff:
        found = seen.decode(errors="replace").strip()
        return Diff() if found == f"link {self.target}" else Diff.of(f"{found} -> link {self.target}")

    def apply(self) -> str:
        path, new = shlex.quote(self.path), shlex.quote(beside(self.path))
        return f"""\
{_made(self.path)}
ln -sfnT {shlex.quote(self.target)} {new}
mv -fT {new} {path}"""


@frozen
class Absent(Resource):
    """A file or link that must not be there. Directories are never removed."""

    path: str

    @property
    def key(self) -> str:
        return f"file {self.path}"

    @property
    def paths(self) -> tuple[str, ...]:
        return (self.path,)

    def probe(self) -> str:
        path = shlex.quote(self.path)
        return f"if [ -e {path} ] || [ -L {path} ]; then echo present; fi"

    def diff(self, seen: bytes) -> Diff:
        return Diff.of("is present, should be absent") if seen.strip() else Diff()

    def apply(self) -> str:
        return f"rm -f {shlex.quote(self.path)}"
