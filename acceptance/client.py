"""The client that sees the outages: new TLS connections on a fixed grid, writes, and one watch.

A process of its own, so that nothing else on the caller's side delays it, and a single file of the standard library.
It reads one line of JSON on stdin (see :class:`acceptance.workload.Target`) and appends one line of JSON for everything
that happens to the file named there, until stdin is closed: if its parent dies, it ends.

Lines: ``["probe"|"write", planned, start, end, error, backend, name]``, ``["watch", at, kind, detail]``,
``["blind", begin, end]``, ``["note", at, text]``; times are seconds of the monotonic clock.
"""

from __future__ import annotations

import asyncio
import base64
import json
import math
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, TextIO

KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 1))
"""client-go notices a dead connection by an HTTP/2 ping after 30 s without a byte, unanswered for 15 s (its
``HTTP2_READ_IDLE_TIMEOUT_SECONDS`` and ``HTTP2_PING_TIMEOUT_SECONDS``). TCP's own probes at the same times notice the
same things at the same moments: a reset from a new holder of the address at 30 s, silence at 45 s."""

ATTEMPT = 0.5
"""Seconds after which a write to one etcd member is tried at the next."""

BACKOFF = (0.8, 2.0, 30.0)
"""client-go's reflector waits 0.8 s before it tries again, twice as long each time, at most 30 s."""


class Book:
    """The file that everything is written down in."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def note(self, *line: object) -> None:
        self._file.write(json.dumps(line) + "\n")

    async def keep_written(self) -> None:
        while True:
            await asyncio.sleep(0.1)
            self._file.flush()


class Exchange(asyncio.Protocol):
    """One request on one connection: sent at once, answered in full or not at all."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._answer = b""
        self.transport: asyncio.Transport | None = None
        self.done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, found, body = self._answer.partition(b"\r\n\r\n")
        if found:
            length = _header(head, b"content-length")
            if length is not None and len(body) >= int(length):
                self._end()

    def connection_lost(self, error: Exception | None) -> None:
        if self.done.done():
            return
        if error is None and b"\r\n\r\n" in self._answer and _header(self._answer, b"content-length") is None:
            self._end()
        else:
            self.done.set_exception(error or ConnectionResetError("closed before an answer"))

    def _end(self) -> None:
        if not self.done.done():
            self.done.set_result(self._answer)


def _header(head: bytes, name: bytes) -> bytes | None:
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.lower() == name:
            return value.strip()
    return None


def what_failed(error: BaseException) -> str:
    """A failure in a word or two, so that equal ones can be counted."""
    match error:
        case TimeoutError():
            return "timed out"
        case ConnectionRefusedError():
            return "refused"
        case ConnectionResetError() | BrokenPipeError():
            return "closed"
        case ssl.SSLCertVerificationError():
            return f"certificate: {error.verify_message}"
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError():
            return "closed"
        case ssl.SSLError():
            return f"TLS: {error.reason}"
        case OSError() if error.errno is not None:
            return os.strerror(error.errno).lower()
    return type(error).__name__


def context(identity: dict[str, Any]) -> ssl.SSLContext:
    """Whom a connection trusts, and how it says who we are."""
    made = ssl.create_default_context(cadata=identity["ca"])
    if identity["certificate"]:
        # From memory: the key never lies on a disk.
        with open(os.memfd_create("client"), "w+") as file:
            file.write(identity["certificate"] + "\n" + identity["key"])
            file.flush()
            made.load_cert_chain(f"/proc/self/fd/{file.fileno()}")
    return made


class Client:
    """Where requests go, and what is written down of each."""

    def __init__(self, target: dict[str, Any], book: Book) -> None:
        self.target, self.book = target, book
        self.version = ""
        """How far the watch has come: it goes on from there when it is opened again."""
        self.context = context(target)
        self.etcd = context(target["etcd"]) if target["etcd"] else None

    def head(self, verb: str, path: str, body: bytes = b"", *, close: bool = True) -> bytes:
        lines = [f"{verb} {path} HTTP/1.1", f"Host: {self.target['name']}", "User-Agent: k8sha-acceptance"]
        if close:
            lines.append("Connection: close")
        if body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return "\r\n".join([*lines, "", ""]).encode() + body

    async def once(self, kind: str, planned: float, request: bytes, status: int, limit: float, name: str = "") -> None:
        """One request over a new connection; its outcome is written down."""
        start = time.monotonic()
        where = self.target["host"], self.target["port"], self.target["name"]
        error, backend = await self.ask(self.context, where, request, status, limit)
        self.book.note(kind, planned, start, time.monotonic(), error, backend, name)

    async def ask(
        self, trust: ssl.SSLContext, where: tuple[str, int, str], request: bytes, status: int, limit: float
    ) -> tuple[str, str]:
        """What went wrong with a request, empty where it was answered as it should; and who answered."""
        exchange = Exchange(request)
        error = backend = ""
        host, port, name = where
        try:
            async with asyncio.timeout(limit):
                transport, _ = await asyncio.get_running_loop().create_connection(
                    lambda: exchange,
                    host,
                    port,
                    ssl=trust,
                    server_hostname=name,
                    ssl_handshake_timeout=limit + 1,
                    ssl_shutdown_timeout=1.0,
                )
                backend = str(transport.get_extra_info("peercert").get("serialNumber", ""))
                answer = await exchange.done
            code = answer.split(b" ", 2)[1].decode()
            if code != str(status):
                error = f"HTTP {code}"
        except (OSError, TimeoutError, IndexError) as caught:
            error = what_failed(caught)
        if exchange.transport is not None:
            if error:
                exchange.transport.abort()
            else:
                exchange.transport.close()
        return error, backend

    async def probe(self, planned: float, number: int) -> None:
        await self.once("probe", planned, self.head("GET", self.target["probe"]), 200, self.target["limit"])

    async def write(self, planned: float, number: int) -> None:
        """Create one small object: an acknowledged one must exist for ever after."""
        name = f"{self.target['prefix']}-{number:07d}"
        meta = {"name": name, "labels": {"k8sha-acceptance": self.target["prefix"]}}
        body = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}).encode()
        path = f"/api/v1/namespaces/{self.target['namespace']}/configmaps"
        await self.once("write", planned, self.head("POST", path, body), 201, self.target["write_limit"], name)

    async def put(self, planned: float, number: int) -> None:
        """Put one small key into etcd, as its own clients do: they know every member, and turn to the next one where
        one does not answer. (Putting it twice is putting it once.)"""
        name = f"{self.target['prefix']}-{number:07d}"
        key = base64.b64encode(f"k8sha-acceptance/{name}".encode()).decode()
        request = self.head("POST", "/v3/kv/put", json.dumps({"key": key, "value": ""}).encode())
        members, port = self.target["etcd"]["members"], self.target["etcd"]["port"]
        start = time.monotonic()
        error, backend, attempt = "timed out", "", number
        while (left := start + self.target["write_limit"] - time.monotonic()) > 0:
            member = members[attempt % len(members)]
            assert self.etcd is not None
            error, backend = await self.ask(self.etcd, (member, port, member), request, 200, min(left, ATTEMPT))
            if not error:
                break
            attempt += 1
            await asyncio.sleep(0.02)
        self.book.note("write", planned, start, time.monotonic(), error, backend, name)

    async def watch(self) -> None:
        """Hold one watch for ever, and open it again as client-go would."""
        wait, factor, longest = BACKOFF
        while True:
            began = time.monotonic()
            try:
                await self._watch_once()
                why = "too old"
            except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError) as caught:
                why = what_failed(caught) if isinstance(caught, OSError) else "closed"
            now = time.monotonic()
            self.book.note("watch", now, "closed", why)
            if now - began > 1:
                wait = BACKOFF[0]
            else:
                await asyncio.sleep(wait)
                wait = min(wait * factor, longest)

    async def _watch_once(self) -> None:
        path = "/watch"
        if self.target["namespace"]:
            path = f"/api/v1/namespaces/{self.target['namespace']}/configmaps?watch=1&resourceVersion={self.version}"
            path += f"&labelSelector=k8sha-acceptance%3D{self.target['prefix']}"
        async with asyncio.timeout(30):  # client-go's limit for a connection to be made
            reader, writer = await asyncio.open_connection(
                self.target["host"], self.target["port"], ssl=self.context, server_hostname=self.target["name"]
            )
        try:
            plug = writer.get_extra_info("socket")
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in KEEPALIVE:
                plug.setsockopt(socket.IPPROTO_TCP, option, value)
            writer.write(self.head("GET", path, close=False))
            head = await reader.readuntil(b"\r\n\r\n")
            if head.split(b" ", 2)[1] != b"200":
                raise ValueError(head.split(b"\r\n", 1)[0].decode(errors="replace"))
            self.book.note("watch", time.monotonic(), "open", "")
            while True:
                for line in await _chunk_lines(reader):
                    self.version = self._heard(line)
                    if not self.version and self.target["namespace"]:
                        return
        finally:
            writer.transport.abort()

    def _heard(self, line: bytes) -> str:
        """Write an event down; returns the version to go on from, empty where everything must be told anew."""
        now = time.monotonic()
        if not self.target["namespace"]:
            self.book.note("watch", now, "event", line.decode().strip())
            return ""
        event = json.loads(line)
        if event["type"] == "ERROR":
            self.book.note("watch", now, "relist", str(event["object"].get("code")))
            return ""
        meta = event["object"]["metadata"]
        self.book.note("watch", now, "event", f"{event['type']} {meta['name']}")
        return str(meta["resourceVersion"])


async def _chunk_lines(reader: asyncio.StreamReader) -> list[bytes]:
    """The next whole lines of a chunked answer."""
    data = b""
    while not data.endswith(b"\n"):
        size = int(await reader.readline() or b"x", 16)
        if size == 0:
            raise ConnectionResetError("the answer is over")
        data += await reader.readexactly(size)
        await reader.readexactly(2)
    return data.splitlines()


async def on_grid(interval: float, act: Callable[[float, int], Awaitable[None]], book: Book) -> None:
    """Start ``act`` at every multiple of ``interval``, whether or not earlier ones have ended.

    Where this process itself was kept from running, that is written down, and nothing is made up for it.
    """
    running: set[asyncio.Task[None]] = set()
    number = math.floor(time.monotonic() / interval) + 1
    first = number
    while True:
        planned = number * interval
        await asyncio.sleep(max(0.0, planned - time.monotonic()))
        late = time.monotonic()
        if late - planned > interval:
            book.note("blind", planned, late)
            number = math.floor(late / interval) + 1
            continue
        task = asyncio.ensure_future(act(planned, number - first))
        running.add(task)
        task.add_done_callback(running.discard)
        number += 1


async def main() -> None:
    """Read where to go, go there until stdin ends."""
    target = json.loads(sys.stdin.buffer.readline())
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), over.set)  # it becomes readable when the parent closes it, or dies
    with open(target["book"], "w", buffering=1 << 16) as file:
        book = Book(file)
        loop.set_exception_handler(lambda loop, context: book.note("note", time.monotonic(), str(context["message"])))
        client = Client(target, book)
        jobs: list[Awaitable[None]] = [book.keep_written(), on_grid(target["interval"], client.probe, book)]
        if target["watch"]:
            jobs.append(client.watch())
        if target["namespace"]:
            jobs.append(on_grid(target["write_interval"], client.write, book))
        elif target["etcd"]:
            jobs.append(on_grid(target["write_interval"], client.put, book))
        tasks = [asyncio.ensure_future(job) for job in jobs]
        ending = asyncio.ensure_future(over.wait())
        done, _ = await asyncio.wait({*tasks, ending}, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for job in done:
            job.result()  # one that ended by itself has failed: say why


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then closes our stdin
    asyncio.run(main())
