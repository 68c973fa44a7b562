"""The files in a zip, tar or tar.gz, streamed one after another under limits.

Nothing is extracted, and no name from an archive becomes a path. The trainer reads data with it,
and the preview looks at what was uploaded: what one takes, the other must take, too.
"""

import gzip
import io
import struct
import tarfile
import zipfile
import zlib
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

BROKEN = (
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
"""What damaged data raises."""

_PADDING_AT_ONCE = 2**16
_BLOCK = 512  # a tar's header is one, and its end mark is one of zeros


class Refused(Exception):
    """An archive that is not read: what is wrong, by code and in words, and with which member."""

    def __init__(
        self, code: str, message: str, *, member: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.member = member
        self.hint = hint


class Enough(Exception):
    """As much was unpacked as was asked for."""


@dataclass(frozen=True)
class Member:
    """One regular file in an archive; its stream ends when the next member is asked for."""

    name: str
    parts: tuple[str, ...]
    """Of the name, split at `/`; none is empty, `.` or `..`."""
    num_packed_bytes: int
    stream: IO[bytes]

    def opened(self) -> IO[bytes]:
        """Return its stream, unpacked if its name ends with `.gz`, under the same ratio.

        Reading it may raise Refused.
        """
        if not self.name.endswith(".gz"):
            return self.stream
        unpacked = gzip.GzipFile(fileobj=self.stream)
        return io.BufferedReader(_Limited(unpacked, self.num_packed_bytes, member=self.name))


def members(file: IO[bytes], size: int, most_bytes: int | None = None) -> Iterator[Member]:
    """Yield the regular files in an archive, in its order, without hidden ones and `__MACOSX`.

    ``size`` is the file's, in bytes; ``most_bytes`` of a tar are unpacked, or all.

    Raises:
        Refused: The file is no archive, holds a link or a device, too many files, a name twice, or
            unpacks to more than 100 times its size.
        Enough: There is more of it.
        BROKEN: It is damaged.
    """
    start = file.read(_BLOCK)
    file.seek(0)
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        found = _zip_members(file, size)
    elif start.startswith(b"\x1f\x8b") or start[257:262] == b"ustar":
        unpacked = gzip.GzipFile(fileobj=file) if start.startswith(b"\x1f\x8b") else file
        found = _tar_members(_Limited(unpacked, size, most_bytes=most_bytes))
    else:
        raise Refused(
            "not_an_archive",
            f"the file starts with {start[:8].hex(' ') or 'nothing'}, so it is neither a zip, nor "
            "a tar, nor a tar.gz",
            hint="Pack the folder with `zip -r` or `tar -czf`.",
        )
    seen: set[str] = set()
    for member in found:
        if member.name in seen:
            raise Refused("duplicate_member", "is in the archive twice", member=member.name)
        seen.add(member.name)
        if not any(part.startswith(".") or part == "__MACOSX" for part in member.parts):
            yield member


def _zip_members(file: IO[bytes], size: int) -> Iterator[Member]:
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        _check_count(len(entries))
        _check_ratio(sum(entry.file_size for entry in entries), size)
        for entry in entries:
            if entry.is_dir():
                continue
            _check_entry(entry)
            with archive.open(entry) as stream:
                yield Member(entry.filename, _parts(entry.filename), entry.compress_size, stream)


def _check_entry(entry: zipfile.ZipInfo) -> None:
    name = entry.filename
    if S_ISLNK(entry.external_attr >> 16):
        raise _not_a_file(name)
    if entry.flag_bits & 1:
        message = "is encrypted; pack it without a password"
        raise Refused("encrypted", message, member=_shown(name))
    if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        message = f"is packed by method {entry.compress_type}; expected stored or deflated"
        raise Refused("unknown_compression", message, member=_shown(name))


def _tar_members(stream: "_Limited") -> Iterator[Member]:
    # Read in single blocks, so that the last one read is the header that ended the archive.
    with tarfile.open(fileobj=stream, mode="r|", bufsize=_BLOCK) as archive:
        for number, entry in enumerate(archive, start=1):
            _check_count(number)
            if entry.isdir():
                continue
            plain = entry.isreg() and not entry.issparse()
            content = archive.extractfile(entry) if plain else None
            if content is None:
                raise _not_a_file(entry.name)
            yield Member(entry.name, _parts(entry.name), entry.size, content)
    # tarfile takes any header that it cannot read for the end.
    if stream.last_block != bytes(_BLOCK):
        raise Refused("broken_archive", "the archive is damaged or cut off: it has no end mark")
    while stream.read(_PADDING_AT_ONCE):
        pass  # to gzip's checksum, which stands last


def _check_count(number: int) -> None:
    if number > MAX_MEMBERS:
        raise Refused("too_many_members", f"the archive holds more than {MAX_MEMBERS:,} members")


def _check_ratio(num_bytes: int, num_packed_bytes: int, member: str | None = None) -> None:
    if num_bytes > max(HARMLESS_BYTES, MAX_RATIO * num_packed_bytes):
        raise Refused(
            "unpacks_too_large",
            f"{'' if member else 'the archive '}unpacks to more than {MAX_RATIO} times its size",
            member=member,
            hint="Real images never do; this is how archives that flood a disk are made.",
        )


def _parts(name: str) -> tuple[str, ...]:
    parts = tuple(part for part in name.split("/") if part not in {"", "."})
    if name.startswith("/") or ".." in parts or not parts or not _can_be_shown(name):
        message = "is no plain relative path in UTF-8, as the name of a member must be"
        raise Refused("bad_member_name", message, member=_shown(name))
    return parts


def _not_a_file(name: str) -> Refused:
    message = "is a link or a device; an archive may hold only files and folders"
    return Refused("not_a_regular_file", message, member=_shown(name))


def _shown(name: str) -> str:
    """Return a member's name as text that can be sent and kept, whatever bytes it is of."""
    return name if _can_be_shown(name) else ascii(name[:MAX_NAME_LENGTH])[1:-1]


def _can_be_shown(name: str) -> bool:
    return name.isprintable() and len(name) <= MAX_NAME_LENGTH


class _Limited(io.RawIOBase):
    """A stream that refuses to give more than 100 times what it was packed in."""

    def __init__(
        self,
        stream: IO[bytes] | gzip.GzipFile,
        num_packed_bytes: int,
        *,
        most_bytes: int | None = None,
        member: str | None = None,
    ) -> None:
        self.last_block = b""
        self._stream = stream
        self._num_packed_bytes = num_packed_bytes
        self._most_bytes = most_bytes
        self._member = member
        self._num_read = 0
        self._num_reads_at_end = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]  # what io passes
        block = self._stream.read(len(buffer))
        self._num_read += len(block)
        _check_ratio(self._num_read, self._num_packed_bytes, self._member)
        if self._most_bytes is not None and self._num_read > self._most_bytes:
            raise Enough
        self._num_reads_at_end += not block
        if self._num_reads_at_end > MAX_READS_AT_END:
            raise EOFError("a member says that it is longer than the archive")
        self.last_block = block
        buffer[: len(block)] = block
        return len(block)
