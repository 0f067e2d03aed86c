"""The seven laws, as far as text can show them, for every class of resource that there is."""

from __future__ import annotations

import functools
import gc
import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest

import k8sha
from k8sha.resources import Condition, Requirement, Resource

from .conftest import Golden
from .samples import SAMPLES

CASES = Path(__file__).parent / "cases"
APPLIES = {name: "" if "known-after" in name else sample.apply() for name, sample in SAMPLES.items()}
"""What each would do; a file whose content is known later can't be written yet."""

every_sample = pytest.mark.parametrize("name", sorted(SAMPLES))


def classes(root: type[Resource] = Resource) -> Iterator[type[Resource]]:
    for kind in root.__subclasses__():
        yield kind
        yield from classes(kind)


def test_every_class_of_resource_has_a_sample() -> None:
    for module in pkgutil.walk_packages(k8sha.__path__, "k8sha."):
        importlib.import_module(module.name)
    gc.collect()  # attrs leaves behind the class that it made a class with slots of
    ours = {kind for kind in classes() if kind.__module__.startswith("k8sha.") and not inspect.isabstract(kind)}
    missing = sorted(
        f"{kind.__module__}.{kind.__name__}" for kind in ours - {type(value) for value in SAMPLES.values()}
    )
    assert missing == [], "give each a sample in tests/unit/samples.py"


@every_sample
def test_asks_of_a_host_what_was_reviewed(name: str, golden: Golden) -> None:
    sample = SAMPLES[name]
    parts = [f"key: {sample.key}\ntimeout: {sample.probe_timeout} s, {sample.timeout} s\n", sample.probe()]
    parts += [APPLIES[name]] if APPLIES[name] else []
    golden(f"resources/{name}.txt", "\n--\n".join(parts) + "\n")


def test_files_of_new_names_are_made_where_a_later_run_sweeps_them() -> None:
    """A name that nobody knows again stays for good, where the shell that made it was killed."""
    made = [
        f"{path.name}: {found}"
        for path in Path(k8sha.__file__).parent.rglob("*.py")
        for found in re.findall(r"mktemp .*", path.read_text())
        if not re.match(r'mktemp (-d )?"/run/k8sha/trip\.\$\$\.[a-z]+\.XXXXXX"', found)
    ]
    assert made == []


@every_sample
def test_is_a_frozen_value(name: str) -> None:
    sample = SAMPLES[name]
    assert attrs.has(type(sample))
    assert hash(sample) == hash(attrs.evolve(sample))
    assert sample == attrs.evolve(sample)
    for field in attrs.fields(type(sample)):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(sample, field.name, None)


@every_sample
def test_has_a_key_that_is_one_line(name: str) -> None:
    assert re.fullmatch(r"\S.*\S", SAMPLES[name].key)


@every_sample
def test_is_pure(name: str) -> None:
    sample, seen = SAMPLES[name], cases(name)[0].seen

    def told() -> tuple[object, ...]:
        apply = sample.apply() if APPLIES[name] else ""
        return (sample.key, sample.probe(), apply, sample.payloads(b""), sample.diff(seen))

    first = told()
    with nothing_touched():
        assert told() == first


@every_sample
def test_changes_nothing_unless_it_may(name: str) -> None:
    if isinstance(SAMPLES[name], Condition | Requirement):
        assert APPLIES[name] == ":"


@attrs.frozen
class Case:
    """What a host printed, and the diff that follows. Files hold any number: adding one needs no code."""

    title: str
    seen: bytes
    diff: tuple[str, ...]


@functools.cache
def cases(name: str) -> tuple[Case, ...]:
    """``== title``, what was printed, ``--``, the lines of the diff. A backslash at a line's end keeps off its newline,
    and ``\\xNN`` is a byte."""
    found = []
    for part in re.split(r"(?m)^== ", (CASES / f"{name}.txt").read_text())[1:]:
        title, _, rest = part.partition("\n")
        seen, separator, diff = rest.rpartition("--\n") if rest.startswith("--\n") else rest.rpartition("\n--\n")
        assert separator, f"{name}: {title}: there is no line --"
        text = (seen + "\n" if seen else "").replace("\\\n", "")
        raw = re.sub(rb"\\x([0-9a-f]{2})", lambda byte: bytes.fromhex(byte[1].decode()), text.encode())
        found.append(Case(title, raw, tuple(diff.rstrip("\n").split("\n")) if diff.strip("\n") else ()))
    return tuple(found)


@pytest.mark.parametrize(
    ("name", "case"),
    [
        pytest.param(path.stem, case, id=f"{path.stem}: {case.title}")
        for path in sorted(CASES.glob("*.txt"))
        for case in cases(path.stem)
    ],
)
def test_says_what_differs(name: str, case: Case) -> None:
    assert SAMPLES[name].diff(case.seen).lines == case.diff


@every_sample
def test_knows_the_wanted_state_and_another(name: str) -> None:
    empty = [not case.diff for case in cases(name)]
    assert any(empty) or "known-after" in name, "a case whose diff is empty"
    assert not all(empty) or APPLIES[name] == ":", "a case whose diff is not"


def test_a_secret_is_in_no_diff_and_no_repr() -> None:
    secret = SAMPLES["file-secret"]
    assert all("hunter2" not in str(secret.diff(case.seen)) for case in cases("file-secret"))
    assert "hunter2" not in repr(secret)
    assert "hush" not in repr(SAMPLES["command"])


_watched = False
_touched: list[str] = []


def _hook(event: str, args: tuple[object, ...]) -> None:
    if _watched and event.split(".")[0] in ("open", "socket", "subprocess", "os", "shutil"):
        _touched.append(f"{event} {args[:1]}")


sys.addaudithook(_hook)


@contextmanager
def nothing_touched() -> Iterator[None]:
    """Fails where a file is opened, a process started or the network used within."""
    global _watched
    _touched.clear()
    _watched = True
    try:
        yield
    finally:
        _watched = False
    assert _touched == []
