"""The docs' site: its reference names every public name once, and what pages show as code can be used."""

from __future__ import annotations

import ast
import builtins
import importlib
import importlib.util
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from k8sha import Bundle, addons, policies

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


def test_whatever_runs_in_a_cluster_takes_the_plane_first() -> None:
    """As every page writes it. It is a field of the base class, which older attrs made keyword-only by a subclass's."""
    for room in (addons, policies):
        kinds = [kind for name in room.__all__ if isinstance(kind := getattr(room, name), type)]
        for kind in kinds:
            parameters = list(inspect.signature(kind).parameters.values())
            if "plane" in {parameter.name for parameter in parameters}:
                first = parameters[0]
                assert (first.name, first.kind) == ("plane", inspect.Parameter.POSITIONAL_OR_KEYWORD), kind


PAGES = ("guide.md", "guide.zh-CN.md")
ACTS = "<!-- acts on hosts -->\n"
"""Stands before a block that would reach hosts: it is not run, but every name and argument in it is looked up."""


def blocks(page: str) -> list[tuple[bool, str]]:
    """A page's Python, block by block, and whether it acts."""
    text = (DOCS / page).read_text()
    return [(bool(acts), code) for acts, code in re.findall(rf"({ACTS})?```python\n(.*?)```", text, re.DOTALL)]


def rows(page: str) -> list[list[int]]:
    """The numbers of a page's differences, chapter by chapter."""
    chapters = re.split(r"^## ", (DOCS / page).read_text(), flags=re.MULTILINE)[1:]
    return [[int(number) for number in re.findall(r"^\| (\d+) \|", chapter, re.MULTILINE)] for chapter in chapters]


@pytest.mark.parametrize("page", PAGES)
def test_the_guide_tells_all_76_differences_once(page: str) -> None:
    assert sorted(number for chapter in rows(page) for number in chapter) == list(range(1, 77))
    assert len(rows(page)) == 16  # fourteen chapters, what comes before them and what after


def test_both_languages_say_the_same_by_the_same_code() -> None:
    here, there = (blocks(page) for page in PAGES)
    assert rows(PAGES[0]) == rows(PAGES[1])
    assert [(acts, ast.dump(ast.parse(code))) for acts, code in here] == [
        (acts, ast.dump(ast.parse(code))) for acts, code in there
    ]


def test_the_guides_code_can_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bundle, "find", staticmethod(lambda: None))  # not what this machine happens to have
    names: dict[str, object] = {}
    for position, (acts, code) in enumerate(blocks(PAGES[0])):
        where = f"guide, block {position + 1}"
        tree = compile(code, where, "exec", ast.PyCF_ONLY_AST)
        if "k8sha.policies" in code and importlib.util.find_spec("k8sha.policies") is None:
            continue  # a room of its own; its names are looked up where it is there
        if not acts:
            exec(compile(code, where, "exec"), names)
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                exec(ast.unparse(node), names)
        assert set(called(tree, names)), where


def called(tree: ast.AST, names: dict[str, object]) -> Iterator[str]:
    """Every call in a block whose callee is known, each with arguments that it takes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) or (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            known(node if isinstance(node, ast.Attribute) else node.func, names)
        if isinstance(node, ast.Call) and callable(callee := known(node.func, names)) and callee is not print:
            keywords = {keyword.arg: None for keyword in node.keywords if keyword.arg}
            inspect.signature(callee).bind(*node.args, **keywords)
            yield ast.unparse(node.func)


def known(node: ast.AST, names: dict[str, object]) -> object:
    """What a name or an attribute of one is; None where it comes out of a call. Raises AttributeError."""
    if isinstance(node, ast.Name):
        return names.get(node.id, getattr(builtins, node.id, None))
    if isinstance(node, ast.Attribute) and (holder := known(node.value, names)) is not None:
        return getattr(holder, node.attr)
    return None
