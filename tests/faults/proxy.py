"""A proxy before PostgreSQL that cuts a connection in the middle of a commit."""

import asyncio
import contextlib
import threading
from pathlib import Path

COMMIT = b"COMMIT\0"
PIECE_BYTES = 64 * 1024


class Proxy:
    """Listens on loopback and passes all on to a socket, until told to cut."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._armed: list[bool] = []
        self._connections: set[asyncio.StreamWriter] = set()
        self.num_cut = 0
        """Commits that were cut, before or after the server had them."""
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=[ready], daemon=True)
        self._thread.start()
        ready.wait()

    def cut_next_commit(self, *, before: bool) -> None:
        """Cut the connection of the next commit: before the server has it, or before its answer."""
        self._armed.append(before)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port: int = server.sockets[0].getsockname()[1]
        ready.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_unix_connection(self._target)
        except OSError:
            writer.close()
            return
        muted = asyncio.Event()
        there = self._pass_on(reader, server_writer, muted)
        back = _answer(server_reader, writer, muted)
        done, pending = await asyncio.wait(
            [asyncio.create_task(there), asyncio.create_task(back)],
            return_when=asyncio.FIRST_COMPLETED,
        )
        for task in pending:
            task.cancel()
        for one in (writer, server_writer):
            one.close()
            with contextlib.suppress(OSError):
                await one.wait_closed()
        for task in done:
            task.exception()

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, muted: asyncio.Event
    ) -> None:
        while piece := await reader.read(PIECE_BYTES):
            if self._armed and COMMIT in piece:
                before = self._armed.pop(0)
                self.num_cut += 1
                if before:
                    return
                muted.set()
            writer.write(piece)
            await writer.drain()


async def _answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, muted: asyncio.Event
) -> None:
    while piece := await reader.read(PIECE_BYTES):
        if muted.is_set():
            return
        writer.write(piece)
        await writer.drain()
