"""One POST to a URL that a user named: pinned to checked addresses, bounded in time and bytes."""

import ssl
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import httpcore2
from httpcore2 import NetworkBackend, NetworkStream

from app.outbound.addresses import Address
from app.outbound.targets import (
    Networks,
    Resolve,
    UnsafeTarget,
    addresses_of,
    read_target,
    system_resolve,
)

CONNECT_SECONDS = 5.0
TOTAL_SECONDS = 10.0
MOST_READ_BYTES = 64 * 1024
KEPT_BYTES = 1024
MOST_ADDRESSES = 4
CHUNK_BYTES = 16 * 1024


@dataclass(frozen=True)
class Reply:
    """What came back: a status and the first KiB of the body, or why nothing did."""

    seconds: float
    status: int | None
    answer: str | None
    error: str | None


class Poster:
    """Sends to public addresses over TLS, and to what an operator allows; safe between threads.

    It follows no redirect, heeds no proxy of the environment and keeps no connection.
    """

    def __init__(
        self,
        private: Networks = (),
        *,
        resolve: Resolve = system_resolve,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._private = private
        self._resolve = resolve
        self._tls = tls or ssl.create_default_context()

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Send ``body``; what goes wrong is in the reply and names no address."""
        began = time.monotonic()
        status, answer, error = None, None, None
        try:
            status, answer = self._post(url, headers, body, began)
        except UnsafeTarget as unsafe:
            error = f"refused: {unsafe}"
        except (httpcore2.TimeoutException, TimeoutError):
            error = f"no answer within {TOTAL_SECONDS:g} s, {CONNECT_SECONDS:g} s to connect"
        except ssl.SSLError as failure:
            error = f"TLS failed: {failure.reason or 'it was cut off'}"
        except (httpcore2.NetworkError, httpcore2.ProtocolError) as failure:
            error = _what_failed(failure)
        except OSError:
            error = "the host's name does not resolve, or it cannot be reached"
        return Reply(time.monotonic() - began, status, answer, error)

    def _post(
        self, url: str, headers: Mapping[str, str], body: bytes, began: float
    ) -> tuple[int, str]:
        target = read_target(url, self._private)
        pinned = _Pinned(addresses_of(target, self._private, self._resolve), began + TOTAL_SECONDS)
        scheme, host = target.scheme.encode(), target.host.encode()
        connection = httpcore2.HTTPConnection(
            httpcore2.Origin(scheme, host, target.port),
            ssl_context=self._tls,
            network_backend=pinned,
        )
        sent = {
            "Host": target.authority,
            "Content-Length": str(len(body)),
            "Accept-Encoding": "identity",
            "Connection": "close",
            **headers,
        }
        try:
            with connection.stream(
                "POST",
                httpcore2.URL(
                    scheme=scheme, host=host, port=target.port, target=target.path.encode()
                ),
                headers=list(sent.items()),
                content=body,
                extensions={"timeout": {"connect": CONNECT_SECONDS}},
            ) as response:
                return response.status, _first_of(response.iter_stream())
        finally:
            connection.close()


class _Pinned(NetworkBackend):
    """Connects to addresses that were checked, whatever host it is asked for."""

    def __init__(self, addresses: list[Address], deadline: float) -> None:
        self._addresses = addresses[:MOST_ADDRESSES]
        self._deadline = deadline
        self._sockets = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,  # noqa: ARG002 (its name is for TLS only)
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> NetworkStream:
        give_up = min(time.monotonic() + (timeout or CONNECT_SECONDS), self._deadline)
        last: Exception = httpcore2.ConnectTimeout()
        for tried, address in enumerate(self._addresses):
            share = (give_up - time.monotonic()) / (len(self._addresses) - tried)
            if share <= 0:
                break
            try:
                stream = self._sockets.connect_tcp(
                    str(address), port, share, local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                last = error
            else:
                return _Bounded(stream, self._deadline)
        raise last


class _Bounded(NetworkStream):
    """A stream whose every wait ends at one deadline: a receiver cannot drip past it."""

    def __init__(self, stream: NetworkStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), CHUNK_BYTES):
            self._stream.write(buffer[start : start + CHUNK_BYTES], self._left(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> NetworkStream:
        left = self._left(timeout)
        return _Bounded(self._stream.start_tls(ssl_context, server_hostname, left), self._deadline)

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)

    def _left(self, timeout: float | None) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise httpcore2.ReadTimeout
        return left if timeout is None else min(left, timeout)


def _first_of(chunks: Iterable[bytes]) -> str:
    """Read up to ``MOST_READ_BYTES``, and keep the first of it as text."""
    kept, read = b"", 0
    for chunk in chunks:
        kept = (kept + chunk)[:KEPT_BYTES]
        read += len(chunk)
        if read >= MOST_READ_BYTES:
            break
    # PostgreSQL's text takes no NUL.
    return kept.decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")


def _what_failed(failure: Exception) -> str:
    cause = failure.__cause__ or failure.__context__
    if isinstance(cause, ssl.SSLError):
        return f"TLS failed: {getattr(cause, 'verify_message', None) or cause.reason}"
    match failure:
        case httpcore2.ConnectError():
            return "the host does not take the connection"
        case httpcore2.ProtocolError():
            return "the answer is not HTTP"
        case _:
            return "the connection was cut before the answer was whole"
