"""A small server that stands in for storage that speaks S3: one bucket, in memory, on our loopback.

An object with ``spoiled`` in its name is not kept as it was sent; one with ``shut`` can't be read; one with ``stays``
can't be deleted.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from attrs import define, field

__all__ = ["S3StandIn"]

BUCKET = "backups"
_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
_SPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


@define
class S3StandIn:
    """The objects that lie there, by name. Mutable: it is told more, and it forgets."""

    objects: dict[str, bytes] = field(factory=dict)
    parts: dict[str, dict[int, bytes]] = field(factory=dict)

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Its address, for as long as it answers."""
        storage = self

        class Handler(_Handler):
            kept = storage

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def keep(self, key: str, data: bytes) -> None:
        self.objects[key] = b"?" + data[1:] if "spoiled" in key else data


class _Handler(BaseHTTPRequestHandler):
    kept: S3StandIn
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _said(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/xml")  # of objects as well: nobody looks at theirs
        self.send_header("ETag", '"0"')
        self.end_headers()
        self.wfile.write(body)

    def _asked(self) -> tuple[str, dict[str, list[str]], bytes] | None:
        """The object's name, what is asked of it, and what was sent; None where the bucket is another one."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = urlsplit(self.path)
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        if bucket == BUCKET:
            return key, parse_qs(parts.query, keep_blank_values=True), body
        self._refused(404, "NoSuchBucket")
        return None

    def _refused(self, status: int, code: str) -> None:
        self._said(status, f"{_HEAD}<Error><Code>{code}</Code><Message>no</Message></Error>".encode())

    def do_PUT(self) -> None:
        if (asked := self._asked()) is None:
            return
        key, query, body = asked
        if "uploadId" in query:
            self.kept.parts[query["uploadId"][0]][int(query["partNumber"][0])] = body
        else:
            self.kept.keep(key, body)
        self._said(200)

    def do_POST(self) -> None:
        if (asked := self._asked()) is None:
            return
        key, query, _ = asked
        if "uploads" in query:
            self.kept.parts[key] = {}
            text = f"<InitiateMultipartUploadResult {_SPACE}><Bucket>{BUCKET}</Bucket><Key>{key}</Key>"
            self._said(200, f"{_HEAD}{text}<UploadId>{key}</UploadId></InitiateMultipartUploadResult>".encode())
        else:
            self.kept.keep(key, b"".join(data for _, data in sorted(self.kept.parts.pop(query["uploadId"][0]).items())))
            text = f"<Bucket>{BUCKET}</Bucket><Key>{key}</Key><ETag>0</ETag>"
            whole = f"<CompleteMultipartUploadResult {_SPACE}>{text}</CompleteMultipartUploadResult>"
            self._said(200, f"{_HEAD}{whole}".encode())

    def do_GET(self) -> None:
        if (asked := self._asked()) is None:
            return
        key = asked[0]
        if "shut" in key:
            self._refused(403, "AccessDenied")
        elif key in self.kept.objects:
            self._said(200, self.kept.objects[key])
        else:
            self._refused(404, "NoSuchKey")

    def do_DELETE(self) -> None:
        if (asked := self._asked()) is None:
            return
        if "stays" in asked[0]:
            self._refused(403, "AccessDenied")
            return
        self.kept.objects.pop(asked[0], None)
        self._said(204)
