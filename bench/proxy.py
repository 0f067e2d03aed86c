"""A TCP proxy that counts round trips: ``python proxy.py FROM TO PORT HOSTS DELAY``.

It listens on FROM.1, FROM.2, ... and passes each connection on to TO.1, TO.2, ... at the same port. What is read is
passed on DELAY seconds later, as on a network: without that, a client that says two things at once would be seen to
wait for an answer in between.

A turn is data from the server after data from the client, when it reaches a client that has not hung up: the client
said something and had the answer. (SSH's server greets unasked, so its first words answer nothing; and a client that
takes leave does not wait for the reply.) A connection's round trips are its turns and one for TCP itself.

Prints "ready", and on SIGTERM what it counted, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Callable

from attrs import asdict, define, field


@define
class Count:
    """What went to and from one host. Mutable: it counts."""

    connections: int = 0
    turns: int = 0
    sent: int = 0
    received: int = 0


@define(eq=False)
class _Connection:
    """One connection, while it lasts."""

    count: Count
    delay: float
    greeted: bool = False
    asked: bool = False
    hung_up: bool = False

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, to: str, port: int) -> None:
        """Both ways at once, until both sides have hung up."""
        self.count.connections += 1
        far_reader, far_writer = await asyncio.open_connection(to, port)
        ways = (
            self._pass_on(reader, far_writer, self._said),
            self._pass_on(far_reader, writer, self._answered),
        )
        for error in await asyncio.gather(*ways, return_exceptions=True):
            if error is not None and not isinstance(error, ConnectionError):
                raise error

    def _said(self, data: bytes) -> bool:
        """The client said something: never an answer."""
        self.count.sent += len(data)
        self.asked = bool(data)
        self.hung_up = not data
        return False

    def _answered(self, data: bytes) -> bool:
        """The server said something: whether that answers the client."""
        self.count.received += len(data)
        answers = self.asked and self.greeted
        self.asked = self.asked and not answers
        self.greeted = True
        return answers

    async def _pass_on(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, heard: Callable[[bytes], bool]
    ) -> None:
        """Copy until the source ends, each piece ``delay`` seconds after it was read."""
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[tuple[float, bytes, bool]] = asyncio.Queue()

        async def read() -> None:
            data = b"first"
            while data:
                try:
                    data = await source.read(1 << 16)
                except ConnectionError:
                    data = b""
                pieces.put_nowait((loop.time() + self.delay, data, heard(data)))

        reading = asyncio.create_task(read())
        try:
            while True:
                due, data, answers = await pieces.get()
                await asyncio.sleep(due - loop.time())
                if not data:
                    return
                self.count.turns += answers and not self.hung_up
                target.write(data)
                await target.drain()
        finally:
            reading.cancel()
            target.close()


@define(eq=False)
class _Proxy:
    """All hosts' listeners."""

    listen: str
    to: str
    port: int
    delay: float
    counts: dict[int, Count]
    carrying: set[asyncio.Task[None]] = field(factory=set)

    async def open(self, number: int) -> asyncio.Server:
        """Listen for one host."""

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = _Connection(self.counts[number], self.delay)
            task = asyncio.create_task(connection.carry(reader, writer, f"{self.to}.{number}", self.port))
            self.carrying.add(task)

        return await asyncio.start_server(connected, f"{self.listen}.{number}", self.port)


async def _main(listen: str, to: str, port: str, hosts: str, delay: str) -> None:
    counts = {number: Count() for number in range(1, int(hosts) + 1)}
    proxy = _Proxy(listen, to, int(port), float(delay), counts)
    servers = [await proxy.open(number) for number in counts]
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    print("ready", flush=True)
    await ended.wait()
    for server in servers:
        server.close()
    await asyncio.gather(*proxy.carrying)  # last words may be under way
    print(json.dumps([asdict(count) for count in counts.values()]), flush=True)


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
