"""A model's folder as one zip, made while it is sent."""

import hashlib
import io
from collections.abc import Iterator, Sequence
from zipfile import ZipFile, ZipInfo

from app.contracts.job import FileEntry
from app.storage import Storage

FIRST_MOMENT = (1980, 1, 1, 0, 0, 0)
"""The first that a zip can name: what differs between two downloads must not be the date."""
READABLE = 0o100644 << 16


def stream(storage: Storage, files: Sequence[FileEntry]) -> Iterator[bytes]:
    """Yield a zip of the files, which is the same bytes each time; they are not compressed.

    Raises:
        FileNotFoundError: A file is gone from the storage.
        ValueError: A file is damaged; what was sent before is no whole zip.
    """
    outlet = _Outlet()
    with ZipFile(outlet, "w") as archive:
        for file in files:
            info = ZipInfo(file.path, FIRST_MOMENT)
            info.external_attr = READABLE
            # Decides how the entry's size is written, before its bytes are.
            info.file_size = file.bytes
            found = hashlib.sha256()
            with archive.open(info, "w") as entry:
                for chunk in storage.read(file.sha256, 0, file.bytes):
                    found.update(chunk)
                    entry.write(chunk)
                    yield outlet.take()
            if found.hexdigest() != file.sha256:
                raise ValueError(f"blob {file.sha256} is damaged")
    yield outlet.take()


class _Outlet(io.RawIOBase):
    """Holds what was written until it is taken; as it cannot seek, nothing is changed later."""

    def __init__(self) -> None:
        self._held = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]  # what zipfile gives
        self._held += data
        return len(data)

    def take(self) -> bytes:
        held = bytes(self._held)
        self._held.clear()
        return held
