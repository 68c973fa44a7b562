"""The members of a zip, tar or tar.gz, streamed under limits; nothing is extracted."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from stat import S_ISLNK
from typing import IO

from app.contracts.data_limits import (
    HARMLESS_BYTES,
    MAX_MEMBERS,
    MAX_NAME_LENGTH,
    MAX_RATIO,
    MAX_READS_AT_END,
)
from app.preview.findings import Broken

MOST_UNPACKED_BYTES = 256 * 2**20
"""More of an archive is not looked at."""
_BLOCK = 512


class Enough(Exception):
    """As much was unpacked as a look takes."""


@dataclass(frozen=True)
class Member:
    name: str
    parts: tuple[str, ...]
    stream: IO[bytes]


def members(file: IO[bytes], size: int) -> Iterator[Member]:
    """Yield the regular files of an archive of ``size`` bytes, without hidden ones.

    Raises:
        Broken: It holds what no job takes, or is damaged.
        Enough: The rest is not looked at.
    """
    start = file.read(_BLOCK)
    file.seek(0)
    if start.startswith(b"PK"):
        found = _zip_members(file, size)
    else:
        found = _tar_members(file, size, packed=start.startswith(b"\x1f\x8b"))
    seen: set[str] = set()
    for member in found:
        if member.name in seen:
            raise Broken("duplicate_member", "is in the archive twice", member=member.name)
        seen.add(member.name)
        if not any(part.startswith(".") or part == "__MACOSX" for part in member.parts):
            yield member


def opened(member: Member, size: int) -> IO[bytes]:
    """Return a member's stream, unpacked if its name ends with `.gz`."""
    if not member.name.endswith(".gz"):
        return member.stream
    unpacked = gzip.GzipFile(fileobj=member.stream)
    return io.BufferedReader(Limited(unpacked, size))  # type: ignore[arg-type]  # an IO in all but type


class Limited(io.RawIOBase):
    """A stream that gives at most what may have been packed in ``size`` bytes."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self.last_block = b""
        self._stream = stream
        self._size = size
        self._num_read = 0
        self._num_reads_at_end = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]  # what io passes
        block = self._stream.read(len(buffer))
        self._num_read += len(block)
        check_ratio(self._num_read, self._size)
        if self._num_read > MOST_UNPACKED_BYTES:
            raise Enough
        self._num_reads_at_end += not block
        if self._num_reads_at_end > MAX_READS_AT_END:
            raise EOFError("a member says that it is longer than the archive")
        self.last_block = block
        buffer[: len(block)] = block
        return len(block)


def check_ratio(num_bytes: int, size: int) -> None:
    """Refuse what unpacks to too much."""
    if num_bytes > max(HARMLESS_BYTES, MAX_RATIO * size):
        raise Broken("unpacks_too_large", f"unpacks to more than {MAX_RATIO} times its size")


def _zip_members(file: IO[bytes], size: int) -> Iterator[Member]:
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        _check_count(len(entries))
        check_ratio(sum(entry.file_size for entry in entries), size)
        for entry in entries:
            if entry.is_dir():
                continue
            name = entry.filename
            if S_ISLNK(entry.external_attr >> 16):
                raise _not_a_file(name)
            if entry.flag_bits & 1:
                raise Broken("encrypted", "is encrypted", member=name)
            if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
                message = f"is packed by method {entry.compress_type}; expected deflated or stored"
                raise Broken("unknown_compression", message, member=name)
            with archive.open(entry) as stream:
                yield Member(name, _parts(name), stream)


def _tar_members(file: IO[bytes], size: int, *, packed: bool) -> Iterator[Member]:
    unpacked = gzip.GzipFile(fileobj=file) if packed else file
    stream = Limited(unpacked, size)  # type: ignore[arg-type]  # as above
    with tarfile.open(fileobj=stream, mode="r|", bufsize=_BLOCK) as archive:
        for number, entry in enumerate(archive, start=1):
            _check_count(number)
            if entry.isdir():
                continue
            plain = entry.isreg() and not entry.issparse()
            content = archive.extractfile(entry) if plain else None
            if content is None:
                raise _not_a_file(entry.name)
            yield Member(entry.name, _parts(entry.name), content)
    # tarfile takes any header that it cannot read for the end.
    if stream.last_block != bytes(_BLOCK):
        raise Broken("broken_archive", "the archive is damaged or cut off: it has no end mark")
    while stream.read(2**16):
        pass  # to gzip's checksum, which stands last


def _check_count(number: int) -> None:
    if number > MAX_MEMBERS:
        raise Broken("too_many_members", f"the archive holds more than {MAX_MEMBERS} members")


def _parts(name: str) -> tuple[str, ...]:
    parts = tuple(part for part in name.split("/") if part not in {"", "."})
    printable = name.isprintable() and len(name) <= MAX_NAME_LENGTH
    if name.startswith("/") or ".." in parts or not parts or not printable:
        raise Broken("bad_member_name", "expected a plain relative path", member=ascii(name)[:200])
    return parts


def _not_a_file(name: str) -> Broken:
    return Broken("not_a_regular_file", "is a link or a device", member=name)
