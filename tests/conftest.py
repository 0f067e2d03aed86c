"""What every kind of test may use."""

from __future__ import annotations

import pytest
from hypothesis import settings

# No deadline, because a machine may be busy; no database, because what it found belongs into a test as an example.
settings.register_profile("k8sha", deadline=None, database=None)
settings.load_profile("k8sha")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden files anew, to be reviewed")
