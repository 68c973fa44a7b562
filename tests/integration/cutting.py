"""A proxy that cuts one download."""

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

RANGE = re.compile(rb"\r\nrange: bytes=(\d+)-", re.IGNORECASE)
PIECE_BYTES = 64 * 1024


class Proxy:
    """Stands before a server, and cuts the first connection that has brought so many bytes."""

    def __init__(self, url: str, after_bytes: int) -> None:
        self._target = urlsplit(url)
        self._after_bytes = after_bytes
        self._is_cut = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.asked_from: list[int] = []
        """From which bytes clients have asked for the rest, since the cut."""
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=[client]).start()

    def _serve(self, client: socket.socket) -> None:
        address = (self._target.hostname, self._target.port)
        with client, socket.create_connection(address) as server:
            there = threading.Thread(target=self._pass_up, args=[client, server])
            there.start()
            self._pass_down(client, server)
            there.join()

    def _pass_up(self, client: socket.socket, server: socket.socket) -> None:
        with _ending(server):
            while piece := client.recv(PIECE_BYTES):
                if self._is_cut:
                    self.asked_from += [int(start) for start in RANGE.findall(piece)]
                server.sendall(piece)

    def _pass_down(self, client: socket.socket, server: socket.socket) -> None:
        brought = 0
        with _ending(client):
            while piece := server.recv(PIECE_BYTES):
                brought += len(piece)
                if brought > self._after_bytes and not self._is_cut:
                    self._is_cut = True
                    return
                client.sendall(piece)


@contextmanager
def cutting(url: str, *, after_bytes: int) -> Iterator[Proxy]:
    proxy = Proxy(url, after_bytes)
    try:
        yield proxy
    finally:
        proxy.close()


@contextmanager
def _ending(one: socket.socket) -> Iterator[None]:
    """End a connection after the block, and the block where either side is gone."""
    with contextlib.suppress(OSError):
        yield
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
