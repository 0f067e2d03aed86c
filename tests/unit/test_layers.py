"""The shape of the package: imports go down only, four dependencies have one door each, and names are all there."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import k8sha

ROOT = Path(k8sha.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
MODULES = sorted(module.name for module in pkgutil.walk_packages(k8sha.__path__, "k8sha."))

# From the top down. What stands on one line knows nothing of its neighbours, but for the last line, which is values.
LAYERS = (
    "cluster",
    "policies",
    "addons",
    "components loadbalancers",
    "etcd",
    "component",
    "operation",
    "verbs",
    "objects",
    "stage lanes",
    "work parallel",
    "preflight kube",
    "hosts sources",
    "distros",
    "resources",
    "errors events report waiting facts endpoint versions progress artifacts "
    "kinds kubeconfig pods survey scratch script",
)
DOORS = {
    "paramiko": "hosts/ssh.py",
    "kubernetes": "kube.py",
    "jinja2": "resources/files.py",
    "tenacity": "waiting.py",
}


def imports(path: Path, *, types: bool) -> Iterator[str]:
    """The modules that a file imports, anywhere in it; with ``types`` also those that only type checkers see."""
    waiting: list[ast.AST] = [ast.parse(path.read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not types:
            continue
        waiting.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(module: str) -> str:
    return module.split(".")[1]


def test_every_module_has_its_layer() -> None:
    assert {room(module) for module in MODULES} == set(" ".join(LAYERS).split())


def test_imports_go_down_only() -> None:
    level = {name: depth for depth, line in enumerate(LAYERS) for name in line.split()}
    values = len(LAYERS) - 1
    wrong = []
    for path in FILES:
        own = path.relative_to(ROOT).parts[0].removesuffix(".py")
        for module in imports(path, types=False) if own in level else ():
            if not module.startswith("k8sha.") or room(module) == own or level[own] == values:
                continue
            if level[room(module)] <= level[own]:
                wrong.append(f"{path.relative_to(ROOT)} imports {module}")
    assert wrong == []


def test_each_dependency_has_one_door() -> None:
    found: dict[str, set[str]] = {name: set() for name in DOORS}
    for path in FILES:
        for module in imports(path, types=True):
            found.get(module.split(".")[0], set()).add(str(path.relative_to(ROOT)))
    assert found == {name: {door} for name, door in DOORS.items()}


def test_public_names_exist_and_are_sorted() -> None:
    for module in map(importlib.import_module, ["k8sha", *MODULES]):
        names = module.__all__
        assert names == sorted(set(names), key=_as_written), module.__name__
        assert [missing for missing in names if not hasattr(module, missing)] == [], module.__name__


def test_a_room_names_all_that_it_imports_and_holds_nothing_else() -> None:
    for path in FILES:
        if path.name == "__init__.py" and path.parent != ROOT:
            module = importlib.import_module(f"k8sha.{path.parent.relative_to(ROOT)}".replace("/", "."))
            imported = {full.rpartition(".")[2] for full in imports(path, types=True)} - {"annotations"}
            assert {name for name in imported if not name.startswith("_")} <= set(module.__all__), path
            kinds = {type(node) for node in ast.parse(path.read_text()).body}
            assert kinds <= {ast.Expr, ast.ImportFrom, ast.Assign, ast.AnnAssign}, path


def test_the_package_names_what_it_can_find() -> None:
    where: dict[str, str] = vars(k8sha)["_WHERE"]
    assert sorted(where) == sorted(k8sha.__all__)
    for name, module in where.items():
        assert name in importlib.import_module(module).__all__, f"{module} must name {name}"


def _as_written(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)
