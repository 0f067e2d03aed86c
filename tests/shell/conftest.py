"""Shells to try things in, and hosts that are nothing but a shell in a temporary folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from k8sha.hosts import Host

from .local import SHELLS, Local

MakeHost = Callable[..., Host]


@pytest.fixture(params=sorted(SHELLS))
def shell(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Every kind of shell that a host's /bin/sh may be."""
    command = SHELLS[request.param]
    if shutil.which(command[0]) is None:
        pytest.skip(f"needs {request.param}")
    return command


@pytest.fixture
def make_host(tmp_path: Path) -> Iterator[MakeHost]:
    """Hosts by what they are made of; each is closed at the end."""
    made: list[Host] = []

    def make(name: str = "local", *, folder: Path = tmp_path / "host", **how: object) -> Host:
        folder.mkdir(exist_ok=True)
        made.append(Host(name, "127.0.0.1", ssh=Local(folder, **how)))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for host in made:
        host.close()


@pytest.fixture
def host(make_host: MakeHost, shell: tuple[str, ...], tmp_path: Path) -> Host:
    """A host whose ``sh`` is this shell, in its programs and in their snippets."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "sh").symlink_to(shell[0])
    return make_host(shell=shell, tools=tools)
