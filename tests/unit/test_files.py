"""Files and texts for any content whatever: what differs is said, what does not is not."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8sha.report import line_diff
from k8sha.resources import Directory, Download, File, KnownAfter, Modules
from k8sha.resources.files import beside

contents = st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode))
modes = st.sampled_from(["0600", "0644", "0755", "04755"])


def printed(content: bytes, mode: str = "0644", owner: str = "root:root", *, shown: bool = True) -> bytes:
    """What the probe of a file prints; it shows the content where that is not the wanted one."""
    lines = ["kind file", f"sum {hashlib.sha256(content).hexdigest()}", f"mode {mode}", f"owner {owner}"]
    lines += [f"content {base64.b64encode(content).decode()}"] if shown else []
    return "\n".join([*lines, ""]).encode()


@given(contents, contents, modes, modes)
def test_a_file_differs_where_content_or_mode_do_and_nowhere_else(
    wanted: bytes, seen: bytes, mode: str, seen_mode: str
) -> None:
    diff = File("/etc/x", wanted, mode=mode).diff(printed(seen, seen_mode))
    assert bool(diff) == ((wanted, mode) != (seen, seen_mode))
    assert (f"mode: {seen_mode.lstrip('0')} -> " in str(diff)) == (mode != seen_mode)


@given(contents)
def test_what_apply_writes_is_the_content(content: bytes) -> None:
    text = File("/etc/x", content).apply()
    here = re.search(r"<<'END'\n(.*?)END\n", text, re.DOTALL)
    assert here is not None
    assert base64.b64decode(here[1]) == content


@given(st.text(min_size=6, max_size=50), contents)
def test_a_secret_content_is_in_no_diff(secret: str, seen: bytes) -> None:
    diff = str(File("/etc/x", f"password={secret}", secret=True).diff(printed(seen, shown=False)))
    assert f"password={secret}" not in diff


@given(st.text("ab\n", max_size=40), st.text("ab\n", max_size=40))
def test_a_line_diff_leads_from_one_text_to_the_other(seen: str, wanted: str) -> None:
    lines = line_diff(seen, wanted, context=100)
    assert bool(lines) == (seen.splitlines() != wanted.splitlines())
    if lines:
        assert [line[1:] for line in lines[1:] if line[0] in " -"] == seen.splitlines()
        assert [line[1:] for line in lines[1:] if line[0] in " +"] == wanted.splitlines()


def test_a_file_is_made_beside_its_place_under_a_name_that_nobody_reads() -> None:
    assert beside("/etc/kubernetes/manifests/etcd.yaml") == "/etc/kubernetes/manifests/.k8sha.etcd.yaml"
    assert "'/etc/it'\"'\"'s/.k8sha.x'" in File("/etc/it's/x", "").apply()


def test_content_that_is_known_later_cannot_be_written_yet() -> None:
    with pytest.raises(TypeError, match="known after the CA was made"):
        File("/etc/x", KnownAfter("the CA was made")).apply()


@pytest.mark.parametrize(
    "make",
    [
        lambda: File("/etc/x", "", mode="644"),
        lambda: File("/etc/x", "", mode="0888"),
        lambda: File("/etc/x", "", mode="u=rw"),
        lambda: File("/etc/x", "", owner="root"),
        lambda: File("/etc/x", "", owner="0:0"),
        lambda: Directory("/etc/x", mode="755"),
        lambda: Directory("/etc/x", owner="root"),
        lambda: Download("/x", sha256="abc", url="https://example.com"),
        lambda: Modules(("br_netfilter; reboot",)),
    ],
)
def test_what_could_never_be_so_is_refused(make: object) -> None:
    assert callable(make)
    with pytest.raises(ValueError):
        make()
