"""What the unit tests share: golden files."""

from __future__ import annotations

from collections.abc import Callable
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
