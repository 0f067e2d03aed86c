"""Where the copies of a backup go: a folder of the caller's, another host, storage that speaks S3.

Every copy is read again where it lies and hashed there; only then does it count.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shlex
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from urllib.parse import urlsplit

from attrs import field, frozen

from k8sha.errors import BackupError, ConfigError, K8shaError, Problem
from k8sha.hosts.host import Host

__all__ = ["S3", "Copy", "Destination", "Folder", "OnHost", "keep"]

_CHUNK = 1 << 20
_DAY = 86400  # nobody has been writing a copy for so long: each piece of it makes the file new


@frozen
class Copy:
    """A copy that was read again where it lies, and has the right hash there."""

    where: str
    size: int
    sha256: str


class Destination(Protocol):
    """A place for copies."""

    def put(self, file: BinaryIO, name: str, size: int, sha256: str) -> Copy:
        """Keep a file under a name, whole or not at all. Raises BackupError where it can't be kept."""
        ...


def keep(
    file: BinaryIO, name: str, size: int, sha256: str, to: Iterable[Destination]
) -> tuple[tuple[Copy, ...], tuple[Problem, ...]]:
    """A copy at each of these; one that fails keeps no other from being tried."""
    copies: list[Copy] = []
    problems: list[Problem] = []
    for destination in to:
        file.seek(0)
        try:
            copies.append(destination.put(file, name, size, sha256))
        except BackupError as error:
            problems += error.problems
        except K8shaError as error:
            problems.append(Problem(str(destination), str(error), "run again"))
    return tuple(copies), tuple(problems)


def _hashed(file: BinaryIO) -> str:
    sum = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        sum.update(chunk)
    return sum.hexdigest()


def _same(where: str, found: str, sha256: str) -> None:
    if found != sha256:
        raise BackupError.of(where, f"what arrived has the sha256 {found[:12]}..., not {sha256[:12]}...", "run again")


@frozen
class Folder:
    """A folder of the caller's machine. Files in it are 0600 and appear whole; the folder is made if need be, 0700."""

    path: Path = field(converter=Path)

    def __str__(self) -> str:
        return f"folder {self.path}"

    def put(self, file: BinaryIO, name: str, size: int, sha256: str) -> Copy:
        """See :meth:`Destination.put`."""
        target, part = self.path / name, self.path / f".k8sha.{name}.part"
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._sweep()
            part.unlink(missing_ok=True)  # of a run that was killed
            try:
                with open(part, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as copy:
                    with contextlib.suppress(OSError):  # a file system without locks: its age tells that it is in use
                        fcntl.flock(copy, fcntl.LOCK_EX)
                    while chunk := file.read(_CHUNK):
                        copy.write(chunk)
                    copy.flush()
                    os.fsync(copy.fileno())
                with part.open("rb") as copy:
                    _same(str(target), _hashed(copy), sha256)
                part.replace(target)
            finally:
                part.unlink(missing_ok=True)
            self._sync()
        except OSError as error:
            raise BackupError.of(str(self), error.strerror or str(error), "make it writable, with room") from None
        return Copy(str(target), size, sha256)

    def _sweep(self) -> None:
        """Remove what backups left that were killed: their names never come again. Whatever is young, or locked by the
        backup that writes it, stays, and so does what can't be looked at."""
        for left in self.path.glob(".k8sha.k8sha-etcd-*.part"):
            with contextlib.suppress(OSError):
                with left.open("r+b") as file:
                    if os.fstat(file.fileno()).st_mtime > time.time() - _DAY:
                        continue
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    left.unlink()

    def _sync(self) -> None:
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@frozen
class OnHost:
    """A folder on a host that is none of the cluster's own. Files in it are root's, 0600."""

    host: Host
    path: str = "/var/backups/k8sha"

    def __str__(self) -> str:
        return f"{self.host.name}:{self.path}"

    def put(self, file: BinaryIO, name: str, size: int, sha256: str) -> Copy:
        """See :meth:`Destination.put`."""
        target = f"{self.path}/{name}"
        folder, new, place = (shlex.quote(text) for text in (self.path, f"{self.path}/.k8sha.{name}", target))
        # What backups left that were killed goes; an upload that is under way holds the folder's lock.
        old = f"-maxdepth 1 -type f -name '.k8sha.k8sha-etcd-*' -mmin +{_DAY // 60}"
        self._run(
            f"umask 077\nmkdir -p {folder}\nexec 8<{folder}\n"
            f"if flock -n 8; then find {folder} {old} -exec rm -f {{}} +; fi"
        )
        self.host.upload(Path(f"/dev/fd/{file.fileno()}"), f"{self.path}/.k8sha.{name}", lambda done, total: None)
        said = self._run(
            f'sync {new}\nsum=$(sha256sum <{new})\necho "${{sum%% *}}"\n'
            f'if [ "${{sum%% *}}" = {sha256} ]; then mv -fT {new} {place}; sync {folder}; else rm -f {new}; fi'
        )
        _same(f"{self.host.name}:{target}", said.strip(), sha256)
        return Copy(f"{self.host.name}:{target}", size, sha256)

    def _run(self, text: str) -> str:
        exit, out, err = self.host.execute(text, timeout=1800)
        if exit != 0:
            raise BackupError.of(str(self), err.decode(errors="replace").strip()[-300:], "make it writable, with room")
        return out.decode(errors="replace")


@frozen(kw_only=True)
class S3:
    """A bucket of storage that speaks S3; ``endpoint`` is its address. Needs the extra ``k8sha[s3]``.

    Both keys are given here, never looked for in the environment, and never shown. A copy is downloaded again and
    hashed, as S3 has no hash that all its kinds agree on; one that can't be read again, or is another, is removed.
    ``authority`` is a file of CA certificates, where the endpoint's is none that the system trusts.
    """

    endpoint: str
    bucket: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    prefix: str = ""
    region: str = "us-east-1"
    authority: Path | None = None

    def __attrs_post_init__(self) -> None:
        parts = urlsplit(self.endpoint)
        if parts.scheme not in ("https", "http") or not parts.hostname or parts.path.strip("/") or parts.username:
            raise ConfigError.of(
                "S3", "the endpoint is no address such as https://s3.example.com", "give scheme and host, no path"
            )
        if not (self.bucket and self.access_key and self.secret_key):
            raise ConfigError.of("S3", "bucket, access_key and secret_key are all needed", "give all three")

    def __str__(self) -> str:
        return f"{self.endpoint}/{self.bucket}/{self.prefix}".rstrip("/")

    def _client(self) -> Any:
        try:
            import minio
        except ImportError:
            raise ConfigError.of("S3", "its library is not installed", "pip install 'k8sha[s3]'") from None
        import urllib3

        parts = urlsplit(self.endpoint)
        pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=10, read=300),
            retries=urllib3.Retry(total=3, backoff_factor=0.5, status_forcelist=(500, 502, 503, 504)),
            cert_reqs="CERT_REQUIRED",
            ca_certs=str(self.authority) if self.authority else None,
        )
        return minio.Minio(
            endpoint=parts.netloc,
            access_key=self.access_key,
            secret_key=self.secret_key,
            secure=parts.scheme == "https",
            region=self.region,
            http_client=pool,
        )

    def put(self, file: BinaryIO, name: str, size: int, sha256: str) -> Copy:
        """See :meth:`Destination.put`."""
        client = self._client()
        import minio
        import urllib3

        key = f"{self.prefix.strip('/')}/{name}".lstrip("/")
        sent: list[str | None] = []
        try:
            written = client.put_object(bucket_name=self.bucket, object_name=key, data=file, length=size)
            sent.append(written.version_id)
            _same(f"{self}/{name}", self._read(client, key, written.version_id), sha256)
        except BackupError as error:
            raise self._take_back(client, key, sent, error) from None
        except minio.error.S3Error as error:
            cause = f"it refused: {self._hushed(f'{error.code}: {error.message}')}"
            refused = BackupError.of(str(self), cause, "look at its keys, its bucket and its rules")
            raise self._take_back(client, key, sent, refused) from None
        except (minio.error.MinioException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            cause = f"it does not answer: {self._hushed(str(error))[:300]}"
            silent = BackupError.of(str(self), cause, "look at its address, run again")
            raise self._take_back(client, key, sent, silent) from None
        return Copy(f"{self.endpoint}/{self.bucket}/{key}", size, sha256)

    def _read(self, client: Any, key: str, version: str | None) -> str:
        """The hash of an object as it lies there."""
        answer = client.get_object(bucket_name=self.bucket, object_name=key, version_id=version)
        try:
            sum = hashlib.sha256()
            for chunk in answer.stream(_CHUNK):
                sum.update(chunk)
        finally:
            answer.close()
            answer.release_conn()
        return sum.hexdigest()

    def _take_back(self, client: Any, key: str, sent: list[str | None], error: BackupError) -> BackupError:
        """Remove what was written and is not proven: it lies under the name of a good one. Returns the error, which
        says so where that can't be done."""
        import minio
        import urllib3

        for version in sent:
            try:
                client.remove_object(bucket_name=self.bucket, object_name=key, version_id=version)
            except (minio.error.MinioException, urllib3.exceptions.HTTPError, OSError, ValueError):
                left = Problem(
                    f"{self.endpoint}/{self.bucket}/{key}", "is no proven copy, and is still there", "delete it"
                )
                return BackupError([*error.problems, left])
        return error

    def _hushed(self, text: str) -> str:
        return text.replace(self.access_key, "...").replace(self.secret_key, "...")
