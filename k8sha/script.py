"""For scripts: Ctrl-C and k8sha's own errors end them with what a person should read, and not with a traceback."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from k8sha.errors import K8shaError

__all__ = ["script"]

INTERRUPTED = 130
"""What a shell says of a program that SIGINT has ended: 128 and the signal's number."""


@contextlib.contextmanager
def script() -> Iterator[None]:
    """The main part of a script that a person runs. The library itself never prints and never exits; this does.

    Ctrl-C ends it with status 130, any K8shaError with status 1, each with its words on stderr; what else is raised is
    a mistake in the script, and keeps its traceback.

    >>> with script(), cluster:  # doctest: +SKIP
    ...     cluster.install()
    """
    try:
        yield
    except KeyboardInterrupt:
        print("interrupted: what a host was at is finished there, nothing more begins; run it again", file=sys.stderr)  # noqa: T201 (what it is for)
        raise SystemExit(INTERRUPTED) from None
    except K8shaError as error:
        print(error, file=sys.stderr)  # noqa: T201 (what it is for)
        raise SystemExit(1) from None
