"""Versions: what is one, in which order they come, which are supported, and what follows from them."""

from __future__ import annotations

from datetime import date

import pytest

from k8sha.errors import ConfigError
from k8sha.versions import Version, check_supported, default_pause, kubeadm_api

TODAY = date(2026, 11, 22)


@pytest.mark.parametrize("text", ["1.33.13", "v1.33.13"])
def test_a_full_version_is_read_with_and_without_its_v(text: str) -> None:
    version = Version.parse(text)
    assert (str(version), version.minor) == ("1.33.13", "1.33")


@pytest.mark.parametrize(
    "text", ["1.33", "1.33.x", "1.33.1-rc.0", "1.33.01", "", "latest", "1.33.13; reboot", "1.33.13\n"]
)
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match=r"1\.33\.13"):
        Version.parse(text)


def test_versions_are_ordered_by_number_not_by_text() -> None:
    texts = ["1.30.9", "1.30.10", "1.33.2", "1.33.13", "2.0.0"]
    assert [str(version) for version in sorted(map(Version.parse, reversed(texts)))] == texts


@pytest.mark.parametrize(
    ("text", "cause"), [("1.29.15", "older"), ("1.38.0", "newer"), ("2.0.0", "newer"), ("0.9.0", "older")]
)
def test_versions_that_nobody_knows_to_work_are_refused(text: str, cause: str) -> None:
    problem, warning = check_supported(Version.parse(text), today=TODAY)
    assert problem is not None
    assert cause in problem.cause
    assert "1.30 to 1.37" in problem.cause
    assert warning is None


@pytest.mark.parametrize(
    ("text", "end"), [("1.30.14", "2025-06-28"), ("1.33.13", "2026-06-28"), ("1.34.9", "2026-10-27")]
)
def test_a_minor_without_fixes_warns_with_its_date_and_source(text: str, end: str) -> None:
    problem, warning = check_supported(Version.parse(text), today=TODAY)
    assert problem is None
    assert warning is not None
    assert end in warning
    assert "kubernetes.io" in warning


@pytest.mark.parametrize("text", ["1.35.0", "1.36.1", "1.37.1"])
def test_a_living_minor_says_nothing(text: str) -> None:
    assert check_supported(Version.parse(text), today=TODAY) == (None, None)


def test_the_last_day_still_counts_as_supported() -> None:
    version = Version.parse("1.35.3")
    assert check_supported(version, today=date(2027, 2, 28))[1] is None
    assert check_supported(version, today=date(2027, 3, 1))[1] is not None


@pytest.mark.parametrize(("text", "api"), [("1.30.14", "v1beta3"), ("1.31.0", "v1beta4"), ("1.37.1", "v1beta4")])
def test_kubeadm_reads_the_old_api_at_1_30_only(text: str, api: str) -> None:
    assert kubeadm_api(Version.parse(text)) == api


@pytest.mark.parametrize(
    ("text", "tag"), [("1.30.14", "3.9"), ("1.33.13", "3.10"), ("1.35.2", "3.10.1"), ("1.36.1", "3.10.2")]
)
def test_the_pause_image_is_kubeadms(text: str, tag: str) -> None:
    assert default_pause(Version.parse(text)) == tag
