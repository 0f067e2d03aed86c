#!/usr/bin/python3
"""An API server as far as a load balancer and a probing client can tell: TLS, /readyz, /version and a /watch.

Runs on hosts where Kubernetes is not installed, from one file of the standard library:
``standin_server.py ADDRESS PORT CERTIFICATE KEY``. SIGUSR1 makes it not ready, and ready again, while it goes on
answering everything else; SIGUSR2 makes it say nothing for 5 s when it is asked whether it is ready, and again at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import ssl
import sys

TICK = 0.1
"""Seconds between two lines of /watch."""

state = {"ready": True, "late": False}

VERSION = {"major": "0", "minor": "0", "gitVersion": "stand-in"}


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request, then close."""
    try:
        async with asyncio.timeout(10):
            head = await reader.readuntil(b"\r\n\r\n")
        words = head.split(b" ", 2)
        path = words[1].split(b"?")[0] if len(words) == 3 else b""
        if path == b"/watch":
            await watch(writer)
        elif path == b"/readyz" and state["late"]:
            await asyncio.sleep(5)
        elif path == b"/readyz" and not state["ready"]:
            await answer(writer, "500 Internal Server Error", b"not ready", "text/plain")
        elif path in (b"/readyz", b"/livez", b"/healthz"):
            await answer(writer, "200 OK", b"ok", "text/plain")
        elif path == b"/version":
            await answer(writer, "200 OK", json.dumps(VERSION).encode(), "application/json")
        else:
            await answer(writer, "404 Not Found", b"there is no such thing here\n", "text/plain")
    except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        # The client went away, or never said what it wants: its right. A balancer's plain TCP check looks like this.
        if not isinstance(error, OSError | asyncio.IncompleteReadError | TimeoutError):
            print(f"refused: {error}", file=sys.stderr)
    finally:
        writer.close()
        with contextlib.suppress(OSError, TimeoutError):  # the other end may be gone already
            await writer.wait_closed()


async def answer(writer: asyncio.StreamWriter, status: str, body: bytes, kind: str) -> None:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()


async def watch(writer: asyncio.StreamWriter) -> None:
    """A line every 0.1 s in an answer that never ends, each in a chunk of its own."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n")
    number = 0
    while not writer.is_closing():
        line = f"tick {number}\n".encode()
        writer.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
        await writer.drain()
        number += 1
        await asyncio.sleep(TICK)


async def main(address: str, port: str, certificate: str, key: str) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, lambda: state.update(ready=not state["ready"]))
    loop.add_signal_handler(signal.SIGUSR2, lambda: state.update(late=not state["late"]))
    server = await asyncio.start_server(
        serve, address, int(port), ssl=context, ssl_handshake_timeout=10, ssl_shutdown_timeout=1, backlog=256
    )
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
