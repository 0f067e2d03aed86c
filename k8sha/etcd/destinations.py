"""Where the copies of a backup go: a folder of the caller's, another host, storage that speaks S3.

Every copy is read again where it lies and hashed there; only then does it count.
"""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from urllib.parse import urlsplit

from attrs import field, frozen

from k8sha.errors import BackupError, ConfigError, K8shaError, Problem
from k8sha.hosts.host import Host

__all__ = ["S3", "Copy", "Destination", "Folder", "OnHost", "keep"]

_CHUNK = 1 << 20


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
            part.unlink(missing_ok=True)  # of a run that was killed
            try:
                with open(part, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as copy:
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
        self._run(f"umask 077\nmkdir -p {folder}")
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
    hashed, as S3 has no hash that all its kinds agree on. ``authority`` is a file of CA certificates, where the
    endpoint's is none that the system trusts.
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
        try:
            client.put_object(bucket_name=self.bucket, object_name=key, data=file, length=size)
            answer = client.get_object(bucket_name=self.bucket, object_name=key)
            try:
                sum = hashlib.sha256()
                for chunk in answer.stream(_CHUNK):
                    sum.update(chunk)
            finally:
                answer.close()
                answer.release_conn()
        except minio.error.S3Error as error:
            cause = f"{error.code}: {error.message}".replace(self.access_key, "...").replace(self.secret_key, "...")
            raise BackupError.of(
                str(self), f"it refused: {cause}", "look at its keys, its bucket and its rules"
            ) from None
        except (minio.error.MinioException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            cause = str(error).replace(self.access_key, "...").replace(self.secret_key, "...")
            raise BackupError.of(
                str(self), f"it does not answer: {cause[:300]}", "look at its address, run again"
            ) from None
        _same(f"{self}/{name}", sum.hexdigest(), sha256)
        return Copy(f"{self.endpoint}/{self.bucket}/{key}", size, sha256)
