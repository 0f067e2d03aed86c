"""The certification as pytest runs it: ``pytest acceptance/ --cluster my_cluster.py``, or without it in the lab."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import pytest
from rich.console import Console

from .record import Untested
from .session import Options, Session
from .subject import Subject
from .tell import Tell

ORDER = (
    "test_install",
    "test_drift",
    "test_sample_app",
    "test_faults",
    "test_planned",
    "test_etcd",
    "test_resume",
    "test_replace",
    "test_restore",
    "test_compare",
)
"""What must come before what: a cluster is broken only after it was installed, by a killed installer as well."""

TELL = pytest.StashKey[Tell]()
"""A caller that shows the run in its own way puts its Tell here."""

COMMAND = pytest.StashKey[str]()
"""And how it was called."""

SESSION = pytest.StashKey[Session]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("certification")
    group.addoption(
        "--cluster", metavar="PATH", help="a module that defines `cluster` (and `power`); default: the lab's"
    )
    group.addoption("--bundle", metavar="PATH", help="where the lab's Kubernetes comes from; default: what is found")
    group.addoption(
        "--stand-ins", action="store_true", help="no Kubernetes: the balancers alone, in front of stand-ins"
    )
    group.addoption("--lab", action="store_true", dest="lab", default=True, help="bring the lab up first (default)")
    group.addoption("--no-lab", action="store_false", dest="lab", help="take the lab's hosts as they are")
    group.addoption("--keep", action="store_true", help="leave the lab up at the end")
    group.addoption("--no-faults", action="store_true", help="install and verify; break nothing")
    group.addoption("--seed", type=int, default=None, help="which hosts are hit; default: drawn, and shown")
    group.addoption("--slack", type=float, default=1.0, help="loosen every promise by this factor (1): see README")
    group.addoption("--repeat", type=int, default=1, help="how often each fault is injected (1)")
    group.addoption("--report", metavar="DIR", help="where the certificate goes (reports/<time>)")
    group.addoption("--kills", type=int, default=0, help="kill the installer so often, and day-2 verbs at every step")
    group.addoption("--compare", action="store_true", help="measure the guide's balancers against ours, nothing else")


class _Terminal(io.TextIOBase):
    """Standard output as it was before pytest began to capture it."""

    def __init__(self, config: pytest.Config) -> None:
        self._capture = config.pluginmanager.getplugin("capturemanager")

    def write(self, text: str) -> int:
        with self._capture.global_and_fixture_disabled():
            sys.stdout.write(text)
            sys.stdout.flush()
        return len(text)


def pytest_configure(config: pytest.Config) -> None:
    value = config.getoption
    if value("--slack") < 1:
        raise pytest.UsageError("--slack must be at least 1")
    if value("--repeat") < 1:
        raise pytest.UsageError("--repeat must be at least 1")
    given = {name: Path(path) for name in ("cluster", "bundle") if (path := value(f"--{name}"))}
    for path in given.values():
        if not path.exists():
            raise pytest.UsageError(f"{path} does not exist")
    seed = value("--seed")
    options = Options(
        report=Path(value("--report") or f"reports/{time.strftime('%Y-%m-%d-%H%M%S')}").resolve(),
        **given,
        stand_ins=value("--stand-ins"),
        compare=value("--compare"),
        lab=value("--lab"),
        keep=value("--keep"),
        seed=seed if seed is not None else time.time_ns() % 100_000,
        slack=value("--slack"),
        repeat=value("--repeat"),
        command=config.stash.get(COMMAND, " ".join(["pytest", *map(str, config.invocation_params.args)])),
    )
    tell = config.stash.get(TELL, None)
    if tell is None:
        tell = Tell(Console(file=cast(IO[str], _Terminal(config)), width=120, force_terminal=False))
    config.stash[SESSION] = Session.begin(options, tell)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        name = item.path.stem
        return ORDER.index(name) if name in ORDER else len(ORDER)

    calm = config.getoption("--no-faults")
    alone = "test_compare" if config.getoption("--compare") else "test_resume" if config.getoption("--kills") else None
    kills = ("test_killed_replacement", "test_killed_restore")  # in a lab that stands
    chosen = [
        item
        for item in items
        if (
            item.path.stem == alone or (alone == "test_resume" and _plain(item) in kills)
            if alone
            else item.path.stem not in ("test_compare", "test_resume") and _plain(item) not in kills
        )
        and not (
            calm
            and item.path.stem
            in ("test_faults", "test_planned", "test_etcd", "test_replace", "test_restore", "test_sample_app")
        )
    ]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = sorted(chosen, key=place)


def _plain(item: pytest.Item) -> str:
    """A test's name without its parameters."""
    return item.name.partition("[")[0]


@pytest.fixture(scope="session")
def session(request: pytest.FixtureRequest) -> Iterator[Session]:
    """The certification; the certificate is saved and the lab put away whatever happens."""
    found = request.config.stash[SESSION]
    found.tell.say(f"seed {found.options.seed}; the certificate goes to {found.options.report}")
    try:
        yield found
    finally:
        try:
            found.save()
        finally:
            found.close()


@pytest.fixture(scope="session")
def subject(session: Session) -> Subject:
    """The cluster under test."""
    return session.subject


@pytest.fixture
def healthy(request: pytest.FixtureRequest, session: Session) -> Session:
    """A cluster that verify() finds nothing wrong with. Fails here, before the test: an error, not a failure."""
    if session.broken:
        first = session.broken.strip().splitlines()[0]
        session.certificate.untested.insert(0, Untested(request.node.name, f"the cluster was broken before: {first}"))
    session.check_health()
    return session


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """After the last test, and before the lab is put away."""
    found = session.config.stash.get(SESSION, None)
    if found is None:
        return
    if exitstatus == pytest.ExitCode.INTERRUPTED:
        found.certificate.interrupted = "It was interrupted before everything could be put to the test."
    elif exitstatus == pytest.ExitCode.INTERNAL_ERROR:
        found.certificate.interrupted = "The test program itself failed before everything could be put to the test."
    elif session.config.getoption("--no-faults"):
        found.certificate.notes.append("No fault was injected: --no-faults was given.")
    if found.page is not None or found.certificate.interrupted:
        found.save()
