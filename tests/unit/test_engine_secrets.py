"""Secrets: made at the last moment, shown nowhere, cleaned up always."""

from __future__ import annotations

import pytest

from k8sha.errors import (
    ApplyError,
    KubeError,
)
from k8sha.events import Event
from k8sha.resources import File

from .fake import Fact, Machine, Parts, stage
from .odd import Hides, Secret, failure


class TestSecrets:
    def test_reach_the_change_and_no_report(self) -> None:
        machine = Machine("one", fails={"a": (1, b"token hush-hush and first line and also SECRET LINE TWO of it")})
        told: list[Event] = []
        parts = Parts((stage("first", machine, facts=(Secret("a"),)),))
        with pytest.raises(ApplyError) as caught:
            parts.install(told.append)
        assert machine.heard[-1].applies[0].secrets == (
            ("token", "hush-hush"),
            ("text", "first line\n  SECRET LINE TWO\n"),
        )
        for text in (str(caught.value), repr(caught.value.report), repr(told), repr(machine.heard)):
            assert "hush-hush" not in text
            assert "SECRET LINE TWO" not in text
        assert "token (secret) and (secret) and also (secret) of it" in str(caught.value)

    def test_the_text_of_a_secret_file_is_not_quoted(self) -> None:
        said = b"/etc/x.conf: line 2: bad word in 'auth_pass hunter2'"
        machine = Machine("one", fails={"a": (1, said)})
        error = failure(Parts((stage("first", machine, facts=(Hides("a"),)),)))
        assert "bad word in '(secret)'" in str(error)
        assert File("/etc/x.conf", "auth_pass hunter2\n", secret=True).hidden == ("auth_pass hunter2\n",)
        assert File("/etc/x.conf", "auth_pass hunter2\n").hidden == ()

    def test_are_made_only_for_what_changes(self) -> None:
        machine = Machine("one", {"a": "right"})
        made: list[str] = []
        secret = Secret("a", made)
        Parts((stage("first", machine, facts=(secret,)),)).install()
        assert made == []

    @pytest.mark.parametrize("fails", [{}, {"a": (1, b"")}, {"b": (1, b"")}])
    def test_are_cleaned_up_however_it_ended(self, fails: dict[str, tuple[int, bytes]]) -> None:
        done: list[str] = []
        machine = Machine("one", fails=fails)
        facts = (Secret("a", done), Secret("b", done))
        try:
            Parts((stage("first", machine, facts=facts),)).install()
        except ApplyError:
            assert fails
        assert done == ["made a", "made b", "cleaned a", "cleaned b"]

    def test_one_that_cannot_be_made_changes_nothing(self) -> None:
        done: list[str] = []
        machine = Machine("one")
        facts = (Fact("x"), Secret("a", done, error=KubeError("post", "token", 500, "no")), Secret("b", done))
        with pytest.raises(KubeError):
            Parts((stage("first", machine, facts=facts),)).install()
        assert machine.state == {}
        assert done == ["made a", "cleaned a"]

    def test_a_cleaning_that_fails_is_told_and_hides_nothing(self) -> None:
        done: list[str] = []
        machine = Machine("one")
        facts = (Secret("a", done, dirty=KubeError("delete", "token", 500, "no")), Secret("b", done))
        with pytest.raises(KubeError):
            Parts((stage("first", machine, facts=facts),)).install()
        assert done[-1] == "cleaned b"
        machine.state.clear()
        machine.fails["b"] = (1, b"")
        error = failure(Parts((stage("first", machine, facts=facts),)))
        assert [type(other) for other in error.errors] == [KubeError]
