"""Answers with a blob: one range, conditions, digests; from S3 by a redirect to it."""

import base64
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from fastapi import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from app.contracts.job import FileEntry
from app.entity_tags import matches
from app.errors import RangeNotSatisfiable
from app.storage import Storage

PLAIN_NAME = re.compile(r"[A-Za-z0-9._-]+")
RANGE = re.compile(r"bytes=(\d{1,18})?-(\d{1,18})?")

BYTES: dict[str, Any] = {"*/*": {}}
"""Of whatever kind the file is, JSON too."""

RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The bytes.",
        "content": BYTES,
    },
    206: {"description": "The range that was asked for.", "content": BYTES},
    304: {"description": "The client's copy is the same."},
    307: {"description": "The bytes are at another address, for 15 minutes and without a key."},
}
"""What a route that serves a blob documents."""


@dataclass(frozen=True)
class Blob:
    sha256: str
    size: int
    """In bytes."""
    media_type: str
    filename: str


def serve(request: Request, storage: Storage, blob: Blob) -> Response:
    """Answer GET or HEAD for a blob.

    Raises:
        RangeNotSatisfiable: The range begins after the end.
    """
    etag = f'"{blob.sha256}"'
    headers = _headers(blob, etag)
    if matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={"ETag": etag})
    if request.method == "HEAD":
        # A presigned address is for GET only.
        headers["Content-Length"] = str(blob.size)
        return Response(headers=headers, media_type=blob.media_type)
    url = storage.presigned_url(blob.sha256)
    if url is not None:
        return RedirectResponse(url, HTTPStatus.TEMPORARY_REDIRECT)
    asked = _asked_range(request, etag, blob.size)
    start, end = asked or (0, blob.size)
    headers["Content-Length"] = str(end - start)
    if asked:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{blob.size}"
    status = HTTPStatus.PARTIAL_CONTENT if asked else HTTPStatus.OK
    content = _begun(storage.read(blob.sha256, start, end))
    return StreamingResponse(content, status, headers, media_type=blob.media_type)


def serve_entry(request: Request, storage: Storage, file: FileEntry) -> Response:
    """Answer GET or HEAD for a file of a job or model; as ``serve``."""
    name = PurePosixPath(file.path).name
    return serve(request, storage, Blob(file.sha256, file.bytes, file.media_type, name))


def serve_made(
    request: Request, content: Iterator[bytes], digest: str, media_type: str, filename: str
) -> Response:
    """Answer GET or HEAD for bytes that are made while they are sent; ``digest`` stands for them.

    They have no length before they are made, so there are no ranges of them.
    """
    etag = f'"{digest}"'
    if matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={"ETag": etag})
    headers = {"ETag": etag, "Accept-Ranges": "none", "Content-Disposition": _attached(filename)}
    if request.method == "HEAD":
        return Response(headers=headers, media_type=media_type)
    return StreamingResponse(_begun(content), headers=headers, media_type=media_type)


def _headers(blob: Blob, etag: str) -> dict[str, str]:
    digest = base64.b64encode(bytes.fromhex(blob.sha256)).decode()
    return {
        "ETag": etag,
        "Repr-Digest": f"sha-256=:{digest}:",
        "Accept-Ranges": "bytes",
        "Content-Disposition": _attached(blob.filename),
    }


def _attached(filename: str) -> str:
    # curl, for one, reads the plain form alone.
    plain = f' filename="{filename}";' if PLAIN_NAME.fullmatch(filename) else ""
    return f"attachment;{plain} filename*=UTF-8''{quote(filename, safe='')}"


def _begun(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Read the first chunk now: a blob that is gone must not begin as a success."""
    return itertools.chain([next(chunks, b"")], chunks)


def _asked_range(request: Request, etag: str, size: int) -> tuple[int, int] | None:
    """Return the first byte and the one after the last, or None for the whole.

    A header that is not one range of bytes is ignored, as RFC 9110 asks.
    """
    match = RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    if match is None or request.headers.get("if-range", etag) != etag:
        return None
    first, last = match.groups()
    if first is None:
        return _suffix(int(last), size) if last is not None else None
    start = int(first)
    if last is not None and int(last) < start:
        return None
    if start >= size:
        raise RangeNotSatisfiable(f"given bytes from {start}; the file has {size} bytes", size=size)
    return start, min(int(last) + 1, size) if last is not None else size


def _suffix(length: int, size: int) -> tuple[int, int]:
    if length == 0 or size == 0:
        raise RangeNotSatisfiable(f"given the last {length} of {size} bytes", size=size)
    return max(size - length, 0), size
