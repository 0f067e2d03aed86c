"""The docs' site: its reference names every public name once, and what pages show as code can be used."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(
    ("package", "elsewhere"), [("k8sha", ["Addon"]), ("k8sha.addons", [])], ids=["k8sha", "k8sha.addons"]
)
def test_the_reference_has_every_public_name_once(package: str, elsewhere: list[str]) -> None:
    listed = [
        name
        for page in sorted((DOCS / "api").glob("*.md"))
        for name in re.findall(rf"^\.\. auto\w+:: {package}\.(\w+)$", page.read_text(), re.MULTILINE)
    ]
    assert sorted([*listed, *elsewhere]) == sorted(importlib.import_module(package).__all__)
