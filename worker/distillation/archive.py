"""The files in a zip, tar or tar.gz, streamed one after another under limits.

Nothing is extracted, and no name from an archive becomes a path.
"""

import gzip
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISLNK
from typing import IO

from app.contracts.data_limits import (
    HARMLESS_BYTES,
    MAX_MEMBERS,
    MAX_NAME_LENGTH,
    MAX_RATIO,
    MAX_READS_AT_END,
)
from worker.distillation.errors import BadInput

_BROKEN = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,  # zipfile's, of a version or packing that it does not know
    ArithmeticError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    tarfile.TarError,
)
_PADDING_AT_ONCE = 2**16
_BLOCK = 512  # a tar's header is one, and its end mark is one of zeros


@dataclass(frozen=True)
class Member:
    """One regular file in an archive; its stream ends when the next member is asked for."""

    name: str
    parts: tuple[str, ...]
    """Of the name, split at `/`; none is empty, `.` or `..`."""
    num_packed_bytes: int
    stream: IO[bytes]

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Turn what damaged data raises into BadInput that names the member."""
        try:
            yield
        except _BROKEN as error:
            raise BadInput(
                "broken_file", f'"{self.name}" is damaged or cut off: {error}'
            ) from error

    def read(self, limit: int) -> bytes:
        """Read all of it. Raises BadInput if it is longer than ``limit`` bytes or damaged."""
        with self.reading():
            content = self.stream.read(limit + 1)
        if len(content) > limit:
            raise BadInput("too_large", f'"{self.name}" is larger than {limit / 2**20:.0f} MiB')
        return content

    def opened(self) -> IO[bytes]:
        """Return its stream, unpacked if its name ends with `.gz`, under the same ratio."""
        if not self.name.endswith(".gz"):
            return self.stream
        return io.BufferedReader(
            _Limited(gzip.GzipFile(fileobj=self.stream), self.num_packed_bytes, self.name)
        )


def members(path: Path) -> Iterator[Member]:
    """Yield the regular files in an archive, in its order, without hidden ones and `__MACOSX`.

    Raises BadInput where the file is no archive, is damaged, holds a link or a device, too many
    files, a name twice, or unpacks to more than 100 times its size.
    """
    with path.open("rb") as file:
        start = file.read(_BLOCK)
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        found = _zip_members(path)
    elif start.startswith(b"\x1f\x8b") or start[257:262] == b"ustar":
        found = _tar_members(path, packed=start.startswith(b"\x1f\x8b"))
    else:
        raise BadInput(
            "not_an_archive",
            f"The file starts with {start[:8].hex(' ') or 'nothing'}, so it is neither a zip, "
            "nor a tar, nor a tar.gz",
            "Pack the folder with `zip -r` or `tar -czf`.",
        )
    seen: set[str] = set()
    try:
        for member in found:
            if member.name in seen:
                raise BadInput("duplicate_member", f'"{member.name}" is in the archive twice')
            seen.add(member.name)
            if not any(part.startswith(".") or part == "__MACOSX" for part in member.parts):
                yield member
    except _BROKEN as error:
        raise BadInput("broken_archive", f"The archive is damaged or cut off: {error}") from error


def _zip_members(path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        _check_count(len(entries))
        _check_ratio(sum(entry.file_size for entry in entries), path.stat().st_size, "The archive")
        for entry in entries:
            if entry.is_dir():
                continue
            _check_entry(entry)
            with archive.open(entry) as stream:
                yield Member(entry.filename, _parts(entry.filename), entry.compress_size, stream)


def _check_entry(entry: zipfile.ZipInfo) -> None:
    if S_ISLNK(entry.external_attr >> 16):
        raise _not_a_file(entry.filename)
    if entry.flag_bits & 1:
        raise BadInput("encrypted", f'"{entry.filename}" is encrypted; pack it without a password')
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BadInput(
            "unknown_compression",
            f'"{entry.filename}" is packed by method {entry.compress_type}; only stored and '
            "deflated members are read",
        )


def _tar_members(path: Path, *, packed: bool) -> Iterator[Member]:
    with path.open("rb") as file, _unpacked(file, packed=packed) as unpacked:
        stream = _Limited(unpacked, path.stat().st_size, "The archive")
        # Read in single blocks, so that the last one read is the header that ended the archive.
        with tarfile.open(fileobj=stream, mode="r|", bufsize=_BLOCK) as archive:
            for number, entry in enumerate(archive, start=1):
                _check_count(number)
                if entry.isdir():
                    continue
                content = archive.extractfile(entry) if _is_plain(entry) else None
                if content is None:
                    raise _not_a_file(entry.name)
                yield Member(entry.name, _parts(entry.name), entry.size, content)
        # tarfile takes any header that it cannot read for the end.
        if stream.last_block != bytes(_BLOCK):
            raise BadInput(
                "broken_archive", "The archive is damaged or cut off: it has no end mark"
            )
        while stream.read(_PADDING_AT_ONCE):
            pass  # to gzip's checksum, which stands last


def _is_plain(entry: tarfile.TarInfo) -> bool:
    return entry.isreg() and not entry.issparse()


def _unpacked(file: IO[bytes], *, packed: bool) -> IO[bytes]:
    return gzip.GzipFile(fileobj=file) if packed else file  # type: ignore[return-value]  # an IO in all but type


def _check_count(number: int) -> None:
    if number > MAX_MEMBERS:
        raise BadInput("too_many_members", f"The archive holds more than {MAX_MEMBERS:,} members")


def _check_ratio(num_bytes: int, num_packed_bytes: int, name: str) -> None:
    if num_bytes > max(HARMLESS_BYTES, MAX_RATIO * num_packed_bytes):
        raise BadInput(
            "unpacks_too_large",
            f"{name} unpacks to more than {MAX_RATIO} times its size",
            "Real images never do; this is how archives that flood a disk are made.",
        )


def _parts(name: str) -> tuple[str, ...]:
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    printable = name.isprintable() and len(name) <= MAX_NAME_LENGTH
    if name.startswith("/") or ".." in parts or not parts or not printable:
        raise BadInput(
            "bad_member_name",
            f"The archive has a member named {name[:100]!a}; a name must be a plain relative "
            "path in UTF-8",
        )
    return parts


def _not_a_file(name: str) -> BadInput:
    return BadInput(
        "not_a_regular_file",
        f'"{name}" is a link or a device; an archive may hold only files and folders',
    )


class _Limited(io.RawIOBase):
    """A stream that refuses to give more than 100 times what it was packed in."""

    def __init__(self, stream: IO[bytes] | gzip.GzipFile, num_packed_bytes: int, name: str) -> None:
        self.last_block = b""
        self._stream = stream
        self._num_packed_bytes = num_packed_bytes
        self._name = name
        self._num_read = 0
        self._num_reads_at_end = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]  # what io passes
        block = self._stream.read(len(buffer))
        self._num_read += len(block)
        _check_ratio(self._num_read, self._num_packed_bytes, self._name)
        self._num_reads_at_end += not block
        if self._num_reads_at_end > MAX_READS_AT_END:
            raise EOFError("a member says that it is longer than the archive")
        self.last_block = block
        buffer[: len(block)] = block
        return len(block)
