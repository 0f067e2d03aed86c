"""What the unit tests share: golden files, and that no test leaves a thread behind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Golden = Callable[[str, str], None]
"""Compares a text with the golden file of that name below ``golden/``."""


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """Texts that are reviewed like code: ``--update-golden`` writes them anew."""
    folder = Path(__file__).parent / "golden"

    def compare(name: str, text: str) -> None:
        path = folder / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        assert text == path.read_text(), f"{path} differs; if that is right: pytest --update-golden"

    return compare


@pytest.fixture(autouse=True)
def nothing_left_running() -> Iterator[None]:
    """Every thread of ours has ended when the call that began it has."""
    yield
    left = [thread.name for thread in threading.enumerate() if thread.name.startswith("k8sha")]
    assert not left, left
