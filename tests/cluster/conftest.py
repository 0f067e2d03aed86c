"""A real cluster for tests: the lab of ``tests/lab``, in which each module here installs Kubernetes from a bundle.

Asked for with ``tests/run tests/cluster``: its cluster would be in the way of tests that begin with bare hosts.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.conftest import hosts, lab

__all__ = ["hosts", "lab"]

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.lab)
