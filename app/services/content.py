"""What bytes are: their size, their digests, and their kind, which they tell themselves."""

import codecs
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

CHUNK_BYTES = 1024 * 1024

ZIP, GZIP, TAR = "application/zip", "application/gzip", "application/x-tar"
TEXT, UNKNOWN = "text/plain", "application/octet-stream"
PARQUET = "application/vnd.apache.parquet"

_MAGIC = [
    (0, b"PK\x03\x04", ZIP),
    (0, b"\x1f\x8b", GZIP),
    (257, b"ustar", TAR),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"PAR1", PARQUET),
    (0, b"%PDF-", "application/pdf"),
]
"""Offset, bytes that are always there, and what they tell."""
_HEAD_BYTES = 512


@dataclass(frozen=True)
class Content:
    """What some bytes were found to be."""

    size: int
    sha256: str
    md5: str | None
    media_type: str


def inspect(chunks: Iterable[bytes], *, with_md5: bool = False) -> Content:
    """Look at all of some bytes, a chunk at a time."""
    size, head = 0, b""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False) if with_md5 else None
    decoder: codecs.IncrementalDecoder | None = codecs.getincrementaldecoder("utf-8")()
    for chunk in chunks:
        sha256.update(chunk)
        if md5:
            md5.update(chunk)
        size += len(chunk)
        if len(head) < _HEAD_BYTES:
            head += chunk[:_HEAD_BYTES]
        if decoder and not _is_text(decoder, chunk, final=False):
            decoder = None
    is_text = decoder is not None and _is_text(decoder, b"", final=True)
    kind = _media_type(head, is_text=is_text)
    return Content(size, sha256.hexdigest(), md5.hexdigest() if md5 else None, kind)


def chunks_of(file: BinaryIO) -> Iterator[bytes]:
    """Yield a file from its start."""
    file.seek(0)
    while chunk := file.read(CHUNK_BYTES):
        yield chunk


def _is_text(decoder: codecs.IncrementalDecoder, chunk: bytes, *, final: bool) -> bool:
    if b"\0" in chunk:
        return False
    try:
        decoder.decode(chunk, final)
    except UnicodeDecodeError:
        return False
    return True


def _media_type(head: bytes, *, is_text: bool) -> str:
    for offset, magic, media_type in _MAGIC:
        if head[offset:].startswith(magic):
            return media_type
    return TEXT if is_text else UNKNOWN
