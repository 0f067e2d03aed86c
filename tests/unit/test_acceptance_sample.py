"""The sample application's visitors: whatever an answer is, it is counted, and none of them is lost unseen."""

from __future__ import annotations

import http.client
import json
import threading
import urllib.error
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from acceptance import test_sample_app as sample
from acceptance.conftest import ORDER
from k8sha import Bundle, Problem, Upstream
from k8sha.artifacts import Artifact
from tests.unit import tiny_bundle

Answer = Callable[[], bytes]


class Page:
    """What a node answers with."""

    def __init__(self, answer: Answer) -> None:
        self.read = answer

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""


def failing(error: BaseException) -> Answer:
    def answer() -> bytes:
        raise error

    return answer


def visited(monkeypatch: pytest.MonkeyPatch, answer: Answer, rounds: int = 3) -> sample.Visitors:
    """Visitors of one node, who are sent home once that many were answered."""
    done, left = threading.Event(), [rounds]

    def opened(url: str, timeout: float) -> Page:
        left[0] -= 1
        if left[0] <= 0:
            done.set()
        return Page(answer)

    monkeypatch.setattr(sample, "INTERVAL", 0.001)
    monkeypatch.setattr(sample.urllib.request, "urlopen", opened)
    visitors = sample.Visitors()
    with visitors.at_work(["http://192.168.56.20:30080/"]):
        assert done.wait(10)
    return visitors


def test_good_answers_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    visitors = visited(monkeypatch, lambda: b"sample-1 on worker-1")
    assert sum(visitors.asked.values()) >= 3
    assert visitors.failed == []


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda: b"<html>", "answered '<html>'"),
        (failing(http.client.IncompleteRead(b"sam", 20)), "IncompleteRead(3 bytes read, 20 more expected)"),
        (failing(http.client.BadStatusLine("")), "BadStatusLine"),
        (failing(urllib.error.URLError(ConnectionRefusedError(111, "refused"))), "refused"),
        (failing(TimeoutError("timed out")), "timed out"),
        (failing(ConnectionResetError()), "ConnectionResetError"),
    ],
)
def test_every_bad_answer_is_a_failure_and_the_visitor_goes_on(
    monkeypatch: pytest.MonkeyPatch, answer: Answer, says: str
) -> None:
    visitors = visited(monkeypatch, answer)
    assert len(visitors.failed) == sum(visitors.asked.values()) >= 3
    assert all(says in text for text in visitors.failed)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_visitor_who_is_lost_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    visitors = visited(monkeypatch, failing(ZeroDivisionError()), rounds=1)
    assert visitors.failed == [
        "http://192.168.56.20:30080/ was never asked",
        "http://192.168.56.20:30080/ was not asked to the end",
    ]


def test_every_part_of_the_certification_has_its_place() -> None:
    """What breaks a cluster for good, or brings it back from a backup, comes after what only asks it."""
    parts = {path.stem for path in Path(sample.__file__).parent.glob("test_*.py")}
    assert parts == set(ORDER)
    assert ORDER.index("test_sample_app") < ORDER.index("test_faults")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a registry was asked for, which has nothing."""
    found: list[str] = []

    def unreachable(artifacts: Iterable[Artifact]) -> tuple[Problem, ...]:
        names = [item.reference for item in artifacts]
        found.extend(names)
        return tuple(Problem(f"image {name}", "can't be reached: no route", "open the way") for name in names)

    monkeypatch.setattr(sample, "unreachable", unreachable)
    return found


def without_busybox(folder: Path) -> Bundle:
    bundle = tiny_bundle.make(folder)
    index = json.loads((folder / "index.json").read_text())
    del index["images"]["images/busybox.tar"]
    (folder / "index.json").write_text(json.dumps(index))
    return bundle


def test_a_bundle_s_busybox_is_on_every_node_so_it_is_taken(tmp_path: Path, asked: list[str]) -> None:
    assert sample.available_image(tiny_bundle.make(tmp_path)) == ("example.com/busybox:1.37.0", "")
    assert asked == []


def test_the_application_s_own_image_is_taken_where_it_can_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample, "unreachable", lambda artifacts: ())
    for source in (Upstream(), without_busybox(tmp_path)):
        assert sample.available_image(source) == ("docker.io/library/busybox:1.37.0", "")


def test_without_an_image_it_is_not_tested_and_says_what_helps(tmp_path: Path, asked: list[str]) -> None:
    for source in (Upstream(), without_busybox(tmp_path)):
        _, reason = sample.available_image(source)
        assert "docker.io/library/busybox:1.37.0 can't be had (can't be reached: no route)" in reason
        assert "docs/bundle.md" in reason
    assert set(asked) == {"docker.io/library/busybox:1.37.0"}
