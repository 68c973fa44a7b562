"""A receiver of webhooks on loopback: real HTTP, answers as a test says, keeps what it was sent."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event


@dataclass(frozen=True)
class Received:
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """What a test tells a running receiver, and what it was sent."""

    port: int
    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    answer: bytes = b""
    received: list[Received] = field(default_factory=list)
    may_answer: Event = field(default_factory=Event)
    """Set, unless a test wants the receiver to be slow."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"


class _Server(ThreadingHTTPServer):
    daemon_threads = False

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that go away, as tests have them do."""


@contextmanager
def receive(tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.received.append(Received(self.path, dict(self.headers), body))
            receiver.may_answer.wait(60)
            self.send_response(receiver.status)
            for name, value in receiver.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(receiver.answer)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = _Server(("127.0.0.1", 0), Handler)
    receiver = Receiver(server.server_address[1])
    receiver.may_answer.set()
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield receiver
    finally:
        receiver.may_answer.set()
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Listener:
    """A socket that counts who connects, and says nothing."""

    port: int
    num_connections: int = 0


@contextmanager
def listen(sent: bytes = b"", every_seconds: float = 0.0) -> Iterator[Listener]:
    """Accept connections; to each, send ``sent`` again and again where it is given."""
    stop = Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.02)
        listener = Listener(server.getsockname()[1])
        taken: list[socket.socket] = []

        def accept() -> None:
            while not stop.is_set():
                try:
                    taken.append(server.accept()[0])
                except TimeoutError:
                    continue
                listener.num_connections += 1
                _drip(taken[-1], sent, every_seconds, stop)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listener
        finally:
            stop.set()
            thread.join()
            for connection in taken:
                connection.close()


def _drip(connection: socket.socket, sent: bytes, every_seconds: float, stop: Event) -> None:
    connection.settimeout(20)
    with suppress(OSError):
        while sent and not stop.wait(every_seconds):
            connection.sendall(sent)
