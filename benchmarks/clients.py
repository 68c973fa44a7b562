"""Many HTTP clients in one process, light enough not to be what is measured."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

LONGEST_SECONDS = 90
FOLLOWED_SECONDS = 5.0
MOST_AT_ONCE = 65_536


@dataclass
class Answer:
    status: int
    headers: bytes
    body: bytes


@dataclass
class Heard:
    """What a crowd of clients was answered."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    followed: Counter[int] = field(default_factory=Counter)
    """The statuses of streams."""
    took_seconds: float = 0

    @property
    def rate(self) -> float:
        return len(self.seconds) / self.took_seconds

    def quantile(self, share: float) -> float:
        """Return the seconds within which this share was answered."""
        ordered = sorted(self.seconds)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


class Client:
    """One connection that is kept alive."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> Answer:
        async with asyncio.timeout(LONGEST_SECONDS):
            reader, head = await self._head(request)
            answer = Answer(int(head[9:12]), head, await _body(reader, head))
        if b"connection: close" in answer.headers:
            self.close()
        return answer

    async def follow(self, request: bytes, seconds: float) -> Answer:
        """Ask for a stream and return what came in this many seconds, or until it ended."""
        async with asyncio.timeout(LONGEST_SECONDS):
            reader, head = await self._head(request)
        pieces: list[bytes] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while piece := await reader.read(MOST_AT_ONCE):
                    pieces.append(piece)
        return Answer(int(head[9:12]), head, b"".join(pieces))

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None

    async def _head(self, request: bytes) -> tuple[asyncio.StreamReader, bytes]:
        """Send a request and return its answer's head, in small letters."""
        if self._streams is not None and self._streams[0].at_eof():
            # A server closes what nobody has used for some seconds.
            self.close()
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(request)
        return reader, (await reader.readuntil(b"\r\n\r\n")).lower()


def request(method: str, path: str, key: str = "", body: Any = None, **headers: str) -> bytes:  # noqa: ANN401 (JSON)
    """Write a request; in the names of further headers, `_` stands for `-`."""
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(content)}"]
    lines += [f"Authorization: Bearer {key}"] if key else []
    lines += ["Content-Type: application/json"] if content else []
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + content


def ask(port: int, request: bytes) -> Answer:
    """Ask one thing on a connection of its own."""

    async def one() -> Answer:
        client = Client(port)
        try:
            return await client.ask(request)
        finally:
            client.close()

    return asyncio.run(one())


def crowd(
    port: int,
    num_clients: int,
    seconds: float,
    make: Callable[[int], bytes],
    streams: Sequence[bytes] = (),
) -> Heard:
    """Let clients ask one thing after another for a while; ``make`` is told each one's number.

    Beside them, each of ``streams`` is asked for by a client that follows it and comes again.
    """
    return asyncio.run(_crowd(port, num_clients, seconds, make, streams))


async def _crowd(
    port: int,
    num_clients: int,
    seconds: float,
    make: Callable[[int], bytes],
    streams: Sequence[bytes],
) -> Heard:
    heard = Heard()
    start = time.perf_counter()
    numbers = iter(range(10**9))

    async def one() -> None:
        client = Client(port)
        while time.perf_counter() < start + seconds:
            asked = time.perf_counter()
            answer = await client.ask(make(next(numbers)))
            heard.seconds.append(time.perf_counter() - asked)
            heard.statuses[answer.status] += 1
            heard.answers.append(answer)
        client.close()

    async def follow(stream: bytes) -> None:
        while time.perf_counter() < start + seconds:
            client = Client(port)
            answer = await client.follow(stream, FOLLOWED_SECONDS)
            heard.followed[answer.status] += 1
            heard.answers.append(answer)
            client.close()

    await asyncio.gather(*(one() for _ in range(num_clients)), *map(follow, streams))
    heard.took_seconds = time.perf_counter() - start
    return heard


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    if b"transfer-encoding: chunked" in head:
        pieces = []
        while size := int(await reader.readline(), 16):
            pieces.append(await reader.readexactly(size + 2))
        await reader.readline()
        return b"".join(piece[:-2] for piece in pieces)
    _, found, rest = head.partition(b"content-length: ")
    return await reader.readexactly(int(rest.split(b"\r")[0])) if found else b""
