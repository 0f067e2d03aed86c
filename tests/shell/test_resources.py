"""Resources in a temporary folder, against real shells: the laws, and being killed at every command."""

from __future__ import annotations

import functools
import getpass
import grp
import hashlib
import http.server
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from k8sha.errors import ApplyError
from k8sha.hosts import Host
from k8sha.resources import (
    Absent,
    CertificateAuthority,
    Command,
    Contents,
    Directory,
    Download,
    File,
    Link,
    Resource,
    Sysctl,
    Upload,
)

from .conftest import MakeHost
from .laws import OneStage, everything, killed_anywhere, killing_tools, obeys
from .local import SHELLS

OWNER = f"{getpass.getuser()}:{grp.getgrgid(os.getgid()).gr_name}"
HELLO = hashlib.sha256(b"hello\n").hexdigest()

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it gives a file to root")


@pytest.fixture(params=["bash", "dash"])
def shell(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """What a supported host's /bin/sh may be."""
    return SHELLS[request.param]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where a resource is: a folder with a name that needs quoting, with other people's things in it."""
    path = tmp_path / "it's a place"
    path.mkdir()
    (path / "other").write_text("other people's")
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(b"hello\n")
    return path


@pytest.fixture
def server(source: Path) -> Iterator[str]:
    """Serves the folder of ``source`` on loopback."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(source.parent))
    ) as found:
        thread = threading.Thread(target=found.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{found.server_port}/{source.name}"
        found.shutdown()
        thread.join()


def file_at(place: Path) -> File:
    return File(
        str(place / "a" / "file"), "one\n$two `three` 'four'\n", mode="0640", owner=OWNER, check="grep -q two {}"
    )


def test_a_file(host: Host, place: Path) -> None:
    path = place / "a" / "file"

    def replace(make: Callable[[Path], object]) -> None:
        path.unlink()
        make(path)

    obeys(
        host,
        file_at(place),
        place,
        [
            ("+$two `three` 'four'", lambda: path.write_text("one\nelse\n")),
            ("mode: 600 -> 640", lambda: path.chmod(0o600)),
            ("is absent", path.unlink),
            ("is a link", lambda: replace(lambda path: path.symlink_to(place / "other"))),
            ("is a link", lambda: replace(lambda path: path.symlink_to("/nowhere"))),
            ("is absent", lambda: shutil.rmtree(path.parent)),
        ],
    )
    assert (place / "other").read_text() == "other people's"
    assert path.parent.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize(
    "content", ["", "no newline", "\n\n", b"\x00\xff\n", "ä" * 100_000], ids=lambda text: f"{len(text)}"
)
def test_a_file_has_any_content(host: Host, place: Path, content: str | bytes) -> None:
    file = File(str(place / "file"), content, owner=OWNER)
    OneStage(host, file).install()
    assert (place / "file").read_bytes() == (content if isinstance(content, bytes) else content.encode())
    assert not OneStage(host, file).plan()


def test_a_file_whose_check_refuses_it_leaves_the_old_one(host: Host, place: Path) -> None:
    (place / "file").write_text("old\n")
    file = File(str(place / "file"), "new hunter22\n", owner=OWNER, secret=True, check="cat {} >&2; false")
    with pytest.raises(ApplyError) as caught:
        OneStage(host, file).install()
    assert (place / "file").read_text() == "old\n"
    assert sorted(path.name for path in place.iterdir()) == ["file", "other"]
    assert "(secret)" in str(caught.value)
    assert "hunter22" not in str(caught.value)


def test_a_file_in_the_place_of_a_folder_fails_and_harms_nothing(host: Host, place: Path) -> None:
    (place / "file").mkdir()
    before = everything(place)
    with pytest.raises(ApplyError, match="directory"):
        OneStage(host, File(str(place / "file"), "new\n", owner=OWNER)).install()
    assert everything(place) == before


def test_a_file_for_a_user_that_is_not_there_fails_and_leaves_the_old_one(host: Host, place: Path) -> None:
    (place / "file").write_text("old\n")
    before = everything(place)
    with pytest.raises(ApplyError, match="nosuchuser"):
        OneStage(host, File(str(place / "file"), "new\n", owner="nosuchuser:nosuchuser")).install()
    assert everything(place) == before


def test_a_secret_file_is_never_open_to_others(host: Host, place: Path) -> None:
    """Not even while it is written: the check sees what everybody else would see."""
    file = File(str(place / "f"), "hush", mode="0600", owner=OWNER, secret=True, check="[ $(stat -c %a {}) = 600 ]")
    OneStage(host, file).install()
    assert (place / "f").stat().st_mode & 0o777 == 0o600


def test_a_directory(host: Host, place: Path) -> None:
    path = place / "a" / "b"
    obeys(
        host,
        Directory(str(path), mode="0750", owner=OWNER),
        place,
        [("mode: 777 -> 750", lambda: path.chmod(0o777)), ("is absent", path.rmdir)],
    )
    assert path.parent.stat().st_mode & 0o777 == 0o755


def test_a_directory_leaves_what_is_in_it(host: Host, place: Path) -> None:
    OneStage(host, Directory(str(place), mode="0711", owner=OWNER)).install()
    assert (place / "other").read_text() == "other people's"


def test_a_link(host: Host, place: Path) -> None:
    path = place / "a" / "link"

    def instead(make: Callable[[], object]) -> Callable[[], object]:
        def drift() -> None:
            path.unlink()
            make()

        return drift

    obeys(
        host,
        Link(str(path), "it's a target"),
        place,
        [
            ("link elsewhere -> link it's a target", instead(lambda: path.symlink_to("elsewhere"))),
            ("other -> link", instead(lambda: path.write_text("a file"))),
            ("absent -> link", path.unlink),
            ("link /", instead(lambda: path.symlink_to("/"))),
        ],
    )


def test_absence(host: Host, place: Path) -> None:
    path = place / "gone"
    path.write_text("here")
    obeys(
        host,
        Absent(str(path)),
        place,
        [("is present", lambda: path.write_text("again")), ("is present", lambda: path.symlink_to("/nowhere"))],
    )


def test_absence_never_removes_a_folder(host: Host, place: Path) -> None:
    with pytest.raises(ApplyError, match="directory"):
        OneStage(host, Absent(str(place))).install()
    assert (place / "other").exists()


def test_contents_are_read_and_left_alone(host: Host, place: Path) -> None:
    (place / "binary").write_bytes(bytes(range(256)))
    contents = Contents(str(place / "binary"))
    assert contents.diff(host.read(contents.probe())[0][1]) == contents.diff(b"")
    assert host.read(contents.probe(), Contents(str(place / "none")).probe()) == (
        (0, bytes(range(256)), b""),
        (0, b"", b""),
    )


def command_at(place: Path) -> Command:
    """Makes a folder of two files, and can't do it where there is half of it already."""
    return Command(
        f"make {place.name}",
        done=f"for name in a b; do if [ ! -e '{_quoted(place)}/made/'$name ]; then echo \"+ $name\"; fi; done",
        run=f"""\
cd '{_quoted(place)}'
mkdir made
cp other made/a
chmod 0600 made/a
printf %s "$word" >made/b
exit 0  # as a script does that has nothing more to do""",
        recover=f"rm -rf '{_quoted(place)}/made'",
        secret_values=lambda: {"word": "hush"},
    )


def _quoted(place: Path) -> str:
    return str(place).replace("'", "'\"'\"'")


def test_a_command(host: Host, place: Path, tmp_path: Path) -> None:
    command = command_at(place)
    one = OneStage(host, command)
    assert [str(change.diff) for change in one.plan().changes] == ["+ a\n+ b"]
    assert len(one.install().changed) == 1
    assert (place / "made" / "b").read_text() == "hush"
    assert not one.install().changed
    assert everything(tmp_path / "host" / "state" / "begun") == {}


def test_a_command_that_failed_recovers_the_next_time(host: Host, place: Path) -> None:
    (place / "made").mkdir()
    one = OneStage(host, command_at(place))
    with pytest.raises(ApplyError, match="exists"):
        one.install()
    assert "was begun and never finished" in str(one.plan())
    one.install()
    assert not one.plan()


@needs_root
def test_an_upload(host: Host, place: Path, source: Path, tmp_path: Path) -> None:
    path = place / "a" / "program"
    upload = Upload(str(path), sha256=HELLO, mode="0755", source=source)
    one = OneStage(host, upload)
    assert one.plan()
    one.install()
    made = everything(place)
    assert made["a/program"] == ("file", 0o755, b"hello\n")
    assert not one.install().changed
    for drift in (lambda: path.chmod(0o600), lambda: path.write_text("else"), path.unlink):
        drift()
        assert len(one.plan().changes) == 1
        one.install()
        assert everything(place) == made
    assert everything(tmp_path / "host" / "state" / "upload") == {}


@needs_root
def test_an_upload_that_was_damaged_on_its_way_is_brought_again(host: Host, place: Path, source: Path) -> None:
    """It is hashed before it is put into its place."""
    source.write_bytes(b"jello\n")
    upload = Upload(str(place / "program"), sha256=HELLO, source=source)
    with pytest.raises(ApplyError):
        OneStage(host, upload).install()
    assert not (place / "program").exists()
    source.write_bytes(b"hello\n")
    OneStage(host, upload).install()
    assert (place / "program").read_bytes() == b"hello\n"


@needs_root
def test_one_content_may_be_brought_to_two_places(host: Host, place: Path, source: Path) -> None:
    uploads = [Upload(str(place / name), sha256=HELLO, source=source) for name in "ab"]
    OneStage(host, *uploads).install()
    assert not OneStage(host, *uploads).plan()


@needs_root
def test_a_download(host: Host, place: Path, server: str) -> None:
    path = place / "a" / "program"
    obeys(
        host,
        Download(str(path), sha256=HELLO, mode="0755", url=server),
        place,
        [
            ("mode: 600 -> 755", lambda: path.chmod(0o600)),
            ("sha256", lambda: path.write_text("else")),
            ("is absent", path.unlink),
        ],
    )


@needs_root
@pytest.mark.parametrize(("sha256", "tail"), [("0" * 64, ""), (HELLO, "/none")])
def test_a_download_that_is_not_what_was_asked_for_replaces_nothing(
    host: Host, place: Path, server: str, sha256: str, tail: str
) -> None:
    (place / "program").write_text("old\n")
    before = everything(place)
    with pytest.raises(ApplyError):
        OneStage(host, Download(str(place / "program"), sha256=sha256, url=server + tail)).install()
    assert everything(place) == before


@needs_root
def test_settings_of_the_kernel(host: Host, place: Path) -> None:
    """The value is what the kernel has already: this machine is not ours to change."""
    now = Path("/proc/sys/kernel/pid_max").read_text().strip()
    path = place / "sysctl.d" / "90-test.conf"
    obeys(
        host,
        Sysctl({"kernel.pid_max": now}, path=str(path)),
        place,
        [
            (f"-kernel.pid_max = {now}0", lambda: path.write_text(f"kernel.pid_max = {now}0\n")),
            (f"+kernel.pid_max = {now}", path.unlink),
        ],
    )


def test_a_certificate_authority(host: Host, place: Path) -> None:
    path = place / "pki" / "ca"
    authority = CertificateAuthority(str(path), common_name="test")
    one = OneStage(host, authority)
    assert "is absent -> CN=test" in str(one.plan())
    one.install()
    made = everything(place)
    assert {name: mode for name, (_, mode, _) in made.items()} == {
        "other": made["other"][1],
        "pki": 0o755,
        "pki/ca.crt": 0o644,
        "pki/ca.key": 0o600,
    }
    assert not one.install().changed
    assert everything(place) == made
    subprocess.run(["openssl", "verify", "-CAfile", f"{path}.crt", f"{path}.crt"], check=True, capture_output=True)
    said = _openssl("x509", "-in", f"{path}.crt", "-noout", "-text")
    assert "CA:TRUE" in said
    assert "Certificate Sign" in said
    assert "2048 bit" in said
    assert _openssl("pkey", "-in", f"{path}.key", "-pubout") == _openssl(
        "x509", "-in", f"{path}.crt", "-noout", "-pubkey"
    )
    assert authority.pem(host.read(authority.probe())[0][1]) == Path(f"{path}.crt").read_text()


def test_a_certificate_authority_without_its_key_is_left_to_a_person(host: Host, place: Path) -> None:
    one = OneStage(host, CertificateAuthority(str(place / "ca")))
    one.install()
    (place / "ca.key").unlink()
    before = everything(place)
    assert "without its key" in str(one.plan())
    with pytest.raises(ApplyError, match="without its key"):
        one.install()
    assert everything(place) == before


def test_a_key_without_its_certificate_gets_one(host: Host, place: Path) -> None:
    one = OneStage(host, CertificateAuthority(str(place / "ca")))
    one.install()
    key = (place / "ca.key").read_bytes()
    (place / "ca.crt").unlink()
    one.install()
    assert (place / "ca.key").read_bytes() == key
    assert not one.plan()


def _openssl(*words: str) -> str:
    return subprocess.run(["openssl", *words], check=True, capture_output=True, text=True).stdout


Make = Callable[[Path, Path, str], Resource]

KILLED: dict[str, Make] = {
    "file": lambda place, source, server: file_at(place),
    "directory": lambda place, source, server: Directory(str(place / "a" / "b"), mode="0750", owner=OWNER),
    "link": lambda place, source, server: Link(str(place / "a" / "link"), "target"),
    "command": lambda place, source, server: command_at(place),
    "download": lambda place, source, server: Download(str(place / "a" / "it"), sha256=HELLO, mode="0755", url=server),
    "upload": lambda place, source, server: Upload(str(place / "a" / "it"), sha256=HELLO, source=source),
    "authority": lambda place, source, server: CertificateAuthority(str(place / "pki" / "ca")),
}


# Killed before a command, what it was to write is there and empty. Keys take long to make: once is enough.
@pytest.mark.parametrize(
    ("name", "when"),
    [
        (name, when)
        for name in sorted(KILLED)
        for when in ("after", "before")
        if (name, when) != ("authority", "before")
    ],
)
def test_killed_at_any_command_it_converges_and_leaves_nothing(
    make_host: MakeHost, place: Path, source: Path, server: str, tmp_path: Path, name: str, when: str
) -> None:
    if name in ("download", "upload") and os.geteuid() != 0:
        pytest.skip("needs root: it gives a file to root")
    resource = KILLED[name](place, source, server)
    tools, host = killing_tools(tmp_path / "killers", when), make_host()
    wanted: list[dict[str, tuple[str, int, bytes]]] = []

    def reset() -> None:
        shutil.rmtree(place)
        place.mkdir()
        (place / "other").write_text("other people's")
        for payload in resource.payloads(b""):
            host.upload(payload.source, payload.staged, lambda sent, total: None)

    def check() -> None:
        made = everything(place)
        if name == "authority":  # keys are never the same twice
            assert sorted(made) == ["other", "pki", "pki/ca.crt", "pki/ca.key"]
            assert _public_keys(place / "pki" / "ca") == 1
        else:
            wanted.append(made)
            assert made == wanted[0]

    reset()
    OneStage(host, resource).install()
    check()
    assert killed_anywhere(host, tools, resource, reset, check) >= 3
    assert everything(tmp_path / "host" / "state").keys() <= {"begun", "upload"}


def _public_keys(path: Path) -> int:
    """How many keys a certificate and its key are of."""
    key = _openssl("pkey", "-in", f"{path}.key", "-pubout")
    return len({key, _openssl("x509", "-in", f"{path}.crt", "-noout", "-pubkey")})
