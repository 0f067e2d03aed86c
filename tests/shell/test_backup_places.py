"""Places for copies, and the age format, against programs that others wrote."""

from __future__ import annotations

import hashlib
import io
import os
import pty
import random
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from k8sha import S3, Age, AgeKey, BackupError, OnHost, Passphrase
from k8sha.etcd.age import Encryption, decrypted, encrypting
from k8sha.etcd.destinations import keep

from .conftest import MakeHost
from .s3_stand_in import S3StandIn

# A pair of keys that age-keygen made for this test alone.
RECIPIENT = "age1ty28n2jz8k9x5yayzkrjlppxx3lylwk0afe4fpfhz2yklsv6xqqqnpkrtw"
SECRET = "AGE-SECRET-KEY-1WC6RND6LZRRX80WZYNS0NCJ70XJV8GE60JDSCY5GSAG5X2TJJ75Q7FUSX2"
AGE, MOTO = shutil.which("age"), shutil.which("moto_server")
DATA = random.Random(1).randbytes(200_000)
SUM = hashlib.sha256(DATA).hexdigest()
HIDDEN = "secret-key-of-s3-8841"


def sealed(data: bytes, how: Encryption) -> bytes:
    sink = io.BytesIO()
    with encrypting(sink, how) as writer:
        writer.write(data)
        writer.close()
    return sink.getvalue()


@pytest.mark.skipif(AGE is None, reason="needs the program age")
@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 200_000])
def test_the_program_age_opens_ours_and_we_open_its(size: int, tmp_path: Path) -> None:
    assert AGE is not None
    data, key = DATA[:size], tmp_path / "key"
    key.write_text(SECRET + "\n")
    theirs = subprocess.run([AGE, "-d", "-i", key], input=sealed(data, Age(RECIPIENT)), capture_output=True, check=True)
    assert theirs.stdout == data
    theirs = subprocess.run([AGE, "-r", RECIPIENT], input=data, capture_output=True, check=True)
    assert b"".join(decrypted(io.BytesIO(theirs.stdout), AgeKey(SECRET))) == data


@pytest.mark.skipif(AGE is None, reason="needs the program age")
def test_the_program_age_opens_ours_by_its_passphrase(tmp_path: Path) -> None:
    assert AGE is not None
    (tmp_path / "it.age").write_bytes(sealed(DATA, Passphrase("correct horse")))
    ours, theirs = pty.openpty()  # it asks on a terminal only
    run = subprocess.Popen(
        [AGE, "-d", "-o", "it", "it.age"],
        cwd=tmp_path,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),  # so that it is the terminal of its session
    )
    said = b""
    while b"passphrase" not in said:
        said += os.read(ours, 1000)
    os.write(ours, b"correct horse\n")
    assert run.wait(60) == 0
    os.close(ours)
    os.close(theirs)
    assert (tmp_path / "it").read_bytes() == DATA


def test_another_host_keeps_a_copy_whole_or_not_at_all(make_host: MakeHost, tmp_path: Path) -> None:
    host = make_host()
    place = OnHost(host, str(tmp_path / "kept"))
    (tmp_path / "file").write_bytes(DATA)
    with (tmp_path / "file").open("rb") as file:
        copy = place.put(file, "a.tar", len(DATA), SUM)
        assert copy.sha256 == SUM
        assert (tmp_path / "kept/a.tar").read_bytes() == DATA
        assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o700
        file.seek(0)
        with pytest.raises(BackupError, match="what arrived has the sha256"):
            place.put(file, "b.tar", len(DATA), "0" * 64)
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["a.tar"]


def test_what_killed_backups_left_on_another_host_goes_once_it_is_old(make_host: MakeHost, tmp_path: Path) -> None:
    (kept := tmp_path / "kept").mkdir()
    for name, hours in ((".k8sha.k8sha-etcd-1.tar", 25), (".k8sha.k8sha-etcd-2.tar.part", 25), ("of-others", 99)):
        (kept / name).write_text("left")
        os.utime(kept / name, (time.time() - 3600 * hours,) * 2)
    (kept / ".k8sha.k8sha-etcd-3.tar.part").write_text("young")
    place = OnHost(make_host(), str(kept))
    (tmp_path / "file").write_bytes(DATA)
    with (tmp_path / "file").open("rb") as file:
        holder = subprocess.Popen(["flock", kept, "sh", "-c", "echo held; read line"], stdin=-1, stdout=-1, text=True)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"  # as an upload does that is under way
        place.put(file, "a.tar", len(DATA), SUM)
        holder.communicate("\n")
        assert len(list(kept.iterdir())) == 5
        file.seek(0)
        place.put(file, "a.tar", len(DATA), SUM)
    assert sorted(path.name for path in kept.iterdir()) == [".k8sha.k8sha-etcd-3.tar.part", "a.tar", "of-others"]


@pytest.fixture(scope="module", params=["stand-in", "moto"])
def storage(request: pytest.FixtureRequest) -> Iterator[str]:
    """A small server on our loopback that speaks S3, with a bucket: ours, and one that others wrote where it is."""
    if request.param == "stand-in":
        with S3StandIn().serving() as address:
            yield address
        return
    if MOTO is None:
        pytest.skip("needs the program moto_server (of the package moto, in an environment of its own)")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    run = subprocess.Popen(
        [MOTO, "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(urllib.request.Request(f"{address}/backups", method="PUT"), timeout=5).close()
                break
            except urllib.error.URLError:
                time.sleep(0.1)
        else:
            pytest.fail("the server does not answer")
        yield address
    finally:
        run.terminate()
        run.wait()


def bucket(endpoint: str, **more: str) -> S3:
    return S3(**{"endpoint": endpoint, "bucket": "backups", "access_key": "AKIAEXAMPLE", "secret_key": HIDDEN, **more})  # type: ignore[arg-type]


def test_storage_that_speaks_s3_keeps_a_copy(storage: str) -> None:
    copies, problems = keep(io.BytesIO(DATA), "a.tar.age", len(DATA), SUM, [bucket(storage, prefix="one/two")])
    assert problems == ()
    assert [copy.where for copy in copies] == [f"{storage}/backups/one/two/a.tar.age"]
    answer = bucket(storage)._client().get_object(bucket_name="backups", object_name="one/two/a.tar.age")
    assert answer.read() == DATA
    answer.close()
    assert HIDDEN not in repr(bucket(storage)) + str(bucket(storage))


def test_a_large_copy_goes_in_parts(storage: str) -> None:
    data = random.Random(2).randbytes(12 << 20)
    sum = hashlib.sha256(data).hexdigest()
    assert bucket(storage).put(io.BytesIO(data), "large", len(data), sum).sha256 == sum


def test_storage_that_refuses_or_is_not_there_is_named_without_its_keys(storage: str) -> None:
    places = [bucket(storage, bucket="none-such"), bucket("http://127.0.0.1:9"), bucket(storage)]
    copies, problems = keep(io.BytesIO(DATA), "b", len(DATA), SUM, places)
    assert len(copies) == 1, "the last one is tried all the same"
    assert "NoSuchBucket" in problems[0].cause
    assert "does not answer" in problems[1].cause
    assert HIDDEN not in str(problems)
    assert "AKIAEXAMPLE" not in str(problems)


def test_what_arrives_changed_is_no_copy(storage: str) -> None:
    with pytest.raises(BackupError, match="what arrived has the sha256"):
        bucket(storage).put(io.BytesIO(DATA), "c", len(DATA), "0" * 64)


@pytest.mark.parametrize(
    ("name", "causes"),
    [
        ("spoiled", ["what arrived has the sha256"]),
        ("shut", ["it refused: AccessDenied"]),
        ("spoiled-stays", ["what arrived has the sha256", "is no proven copy, and is still there"]),
    ],
)
def test_what_is_not_proven_does_not_stay_under_the_name_of_a_copy(name: str, causes: list[str]) -> None:
    storage = S3StandIn()
    with storage.serving() as address:
        copies, problems = keep(io.BytesIO(DATA), name, len(DATA), SUM, [bucket(address, prefix="one")])
    assert copies == ()
    assert [problem.cause[: len(cause)] for problem, cause in zip(problems, causes, strict=True)] == causes
    assert list(storage.objects) == (["one/spoiled-stays"] if "stays" in name else [])
    assert HIDDEN not in str(problems)
