"""Many HTTP clients in one process, light enough not to be what is measured."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

LONGEST_SECONDS = 90


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
        if self._streams is not None and self._streams[0].at_eof():
            # A server closes what nobody has used for some seconds.
            self.close()
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(request)
        async with asyncio.timeout(LONGEST_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
            answer = Answer(int(head[9:12]), head.lower(), await _body(reader, head.lower()))
        if b"connection: close" in answer.headers:
            self.close()
        return answer

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None


def request(method: str, path: str, key: str = "", body: Any = None, **headers: str) -> bytes:  # noqa: ANN401 (JSON)
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(content)}"]
    lines += [f"Authorization: Bearer {key}"] if key else []
    lines += ["Content-Type: application/json"] if content else []
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + content


def crowd(port: int, num_clients: int, seconds: float, make: Callable[[int], bytes]) -> Heard:
    """Let clients ask one thing after another for a while; ``make`` is told each one's number."""
    return asyncio.run(_crowd(port, num_clients, seconds, make))


async def _crowd(
    port: int, num_clients: int, seconds: float, make: Callable[[int], bytes]
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

    await asyncio.gather(*(one() for _ in range(num_clients)))
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
