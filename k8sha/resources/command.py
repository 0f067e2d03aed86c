"""The escape hatch: a command that knows when it is done, how to run, and how to recover from dying half-way."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Mapping

from attrs import field, frozen

from k8sha.report import Diff
from k8sha.resources.resource import STATE, Resource

__all__ = ["Command"]


@frozen
class Command(Resource):
    """Something that must have been done.

    ``done`` is shell that prints nothing where it has been, and otherwise one line for each thing that is missing.
    ``run`` does it. It is marked as begun first: where the mark is found, an earlier run died half-way, so it is not
    done, and ``recover`` comes before ``run``. ``secret_values`` are made just before, and reach both as shell
    variables; ``after`` is called when it has been tried.
    """

    name: str
    done: str
    run: str
    recover: str = field(default=":", kw_only=True)
    limit: int = field(default=300, kw_only=True)
    secret_values: Callable[[], Mapping[str, str]] | None = field(default=None, kw_only=True, eq=False, repr=False)
    after: Callable[[], None] | None = field(default=None, kw_only=True, eq=False, repr=False)

    @property
    def key(self) -> str:
        return f"command {self.name}"

    @property
    def timeout(self) -> int:
        return self.limit

    @property
    def mark(self) -> str:
        """The file on the host that says that it was begun and has not ended."""
        return f"{STATE}/begun/{hashlib.sha256(self.name.encode()).hexdigest()[:16]}"

    def probe(self) -> str:
        mark = shlex.quote(self.mark)
        return f"if [ -e {mark} ]; then echo 'was begun and never finished'; fi\n{self.done}"

    def diff(self, seen: bytes) -> Diff:
        return Diff(tuple(line for line in seen.decode(errors="replace").splitlines() if line.strip()))

    def apply(self) -> str:
        mark = shlex.quote(self.mark)
        return f"""\
mkdir -p {STATE}/begun
if [ -e {mark} ]; then (
{self.recover}
) fi
printf '%s\\n' {shlex.quote(self.name)} >{mark}
sync {mark}
(
{self.run}
)
rm -f {mark}"""

    def secrets(self) -> Mapping[str, str]:
        return {} if self.secret_values is None else self.secret_values()

    def clean_up(self) -> None:
        if self.after is not None:
            self.after()
