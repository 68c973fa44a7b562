"""Blobs, content-addressed by sha256, in a local folder or in S3 and its kin."""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import obstore
from obstore.store import LocalStore, ObjectStore, S3Store

CHUNK_BYTES = 4 * 1024 * 1024
FOLDER_CHUNK_BYTES = 1024 * 1024
"""Of a folder less is read at once: there is no request to be saved, but memory is."""
PRESIGNED_FOR = timedelta(minutes=15)
STALE_AFTER = timedelta(hours=12)
"""``put`` writes older blobs again, lest it rely on one that is about to be collected."""
NUM_PARTS = 256
UNFINISHED = "*#*"
"""How obstore names a file until it is whole; it lists none of them."""
PIECE_BYTES = 8 * 1024 * 1024
PIECES_AT_ONCE = 2
"""A large blob is written in pieces; so many of one blob are in memory."""
PIECE_SECONDS, QUICK_SECONDS = 30.0, 10.0
"""How long S3 may take for a piece, from the first byte to the last, and for what moves none."""
PATIENCE_SECONDS, SHORT_PATIENCE_SECONDS = 180.0, 15.0
"""How long what fails is tried again; short where others wait meanwhile."""

Content = bytes | Iterator[bytes]


@dataclass(frozen=True)
class StoredBlob:
    """A blob, and when it was last written."""

    sha256: str
    bytes: int
    written_at: datetime

    @property
    def age(self) -> timedelta:
        return datetime.now(UTC) - self.written_at


class Storage:
    """Where blobs are kept; a blob never changes, so writing it again is harmless."""

    def __init__(self, url: str, patience_seconds: float = PATIENCE_SECONDS) -> None:
        """Open ``url``: a folder, made when it does not exist, or ``s3://BUCKET/PREFIX``."""
        self._store: ObjectStore
        self._quick_store: ObjectStore
        self._folder: Path | None = None
        self._chunk_bytes = CHUNK_BYTES
        if url.startswith("s3://"):
            self._store = _s3_store(url, PIECE_SECONDS, patience_seconds)
            self._quick_store = _s3_store(url, QUICK_SECONDS, patience_seconds)
        else:
            self._folder = Path(url).absolute()
            self._chunk_bytes = FOLDER_CHUNK_BYTES
            self._store = self._quick_store = LocalStore(prefix=self._folder, mkdir=True)

    def put(self, path: Path) -> str:
        """Store a file and return its sha256 in hex."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self._keep(digest, path.stat().st_size, lambda: path)
        return digest

    def put_chunks(self, sha256: str, size: int, chunks: Iterable[bytes]) -> None:
        """Store ``size`` bytes whose digest is known; they are not asked for if they are there.

        Raises:
            ValueError: They have another digest; nothing is stored.
        """
        self._keep(sha256, size, lambda: _small_at_once(_verified(sha256, chunks), size))

    def put_part(self, upload_id: str, sha256: str, size: int, chunks: Iterable[bytes]) -> None:
        """Store a part of an upload that is not whole yet, under the digest that it has."""
        key = f"{_upload(upload_id)}/{sha256}"
        self._write(key, _small_at_once(iter(chunks), size))

    def read_part(self, upload_id: str, sha256: str, size: int) -> Iterator[bytes]:
        """Yield the bytes of a part; whoever puts the parts together verifies the whole.

        Raises:
            FileNotFoundError: There is no such part.
        """
        return self._read(f"{_upload(upload_id)}/{sha256}", 0, size)

    def delete_parts(self, upload_id: str) -> None:
        """Remove all parts of an upload; where there are none is no error."""
        for metas in obstore.list(self._quick_store, prefix=_upload(upload_id), chunk_size=1000):
            for meta in metas:
                self._delete(meta["path"])
        if self._folder is not None:
            folder = self._folder / _upload(upload_id)
            for path in folder.glob(UNFINISHED):
                path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                folder.rmdir()

    def prepare(self) -> None:
        """Write a first blob, an empty one, so that what cannot be written shows at once.

        Some servers of S3 make their bucket with it.

        Raises:
            obstore.exceptions.BaseError: The bucket does not exist, or the key may not write to it.
        """
        obstore.put(self._store, _key(hashlib.sha256().hexdigest()), b"")

    def read(self, sha256: str, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes from ``start`` up to, not including, ``end``.

        Raises:
            FileNotFoundError: There is no such blob.
        """
        return self._read(_key(sha256), start, end)

    def local_path(self, sha256: str) -> Path | None:
        """Return the file of a blob, to be read only, or None where blobs are not in a folder."""
        return None if self._folder is None else self._folder / _key(sha256)

    def fetch(
        self, sha256: str, size: int, target: Path, check: Callable[[], None] = lambda: None
    ) -> None:
        """Write a blob of ``size`` bytes to ``target``; ``check`` is called at each chunk.

        One of other bytes is marked, so that whoever has the right ones stores it anew.

        Raises:
            FileNotFoundError: There is no such blob.
            ValueError: The bytes do not have that digest.
        """
        blob = self.find(sha256)
        # Asked first: reading beyond the end of one that was cut is an error of the storage's own.
        if blob is not None and blob.bytes != size:
            raise ValueError(f"blob {sha256} is damaged: it has {blob.bytes} bytes, not {size}")
        digest = hashlib.sha256()
        with target.open("wb") as file:
            for chunk in self.read(sha256, 0, size):
                check()
                digest.update(chunk)
                file.write(chunk)
        if digest.hexdigest() != sha256:
            # Not removed: another may be writing the right bytes at this moment.
            obstore.put(self._store, _mark(sha256), b"")
            raise ValueError(f"blob {sha256} is damaged: its bytes have {digest.hexdigest()}")

    def presigned_url(self, sha256: str) -> str | None:
        """Return where a client can read the blob without a key, or None for a local folder."""
        if isinstance(self._store, S3Store):
            return obstore.sign(self._store, "GET", _key(sha256), PRESIGNED_FOR)
        return None

    def ping(self) -> None:
        """Raise obstore's ``BaseError`` or ``OSError`` unless the storage answers."""
        next(iter(obstore.list(self._quick_store, prefix="blobs", chunk_size=1)), None)

    def find(self, sha256: str) -> StoredBlob | None:
        try:
            meta = obstore.head(self._quick_store, _key(sha256))
        except FileNotFoundError:
            return None
        return StoredBlob(sha256, meta["size"], meta["last_modified"])

    def list_part(self, part: int) -> Iterator[list[StoredBlob]]:
        """Yield, a thousand or so at a time, the blobs of one of ``NUM_PARTS`` parts, from 0."""
        for metas in obstore.list(self._quick_store, prefix=f"blobs/{part:02x}", chunk_size=1000):
            yield [
                StoredBlob(Path(meta["path"]).name, meta["size"], meta["last_modified"])
                for meta in metas
            ]

    def list_unfinished(self, part: int) -> Iterator[Path]:
        """Yield the files of a part that were being written, or that a kill has left so.

        Only in a folder: S3 is told to forget such uploads by a rule of its bucket.
        """
        if self._folder is not None:
            yield from (self._folder / "blobs" / f"{part:02x}").glob(UNFINISHED)

    def delete(self, sha256: str) -> None:
        """Remove a blob; one that is not there is no error."""
        self._delete(_key(sha256))

    def _keep(self, sha256: str, size: int, content: Callable[[], Path | Content]) -> None:
        """Write a blob unless it is there, whole and young."""
        blob = self.find(sha256)
        is_damaged = blob is not None and self._is_marked(sha256)
        # A blob of another size was cut short by bad luck, and is written again.
        is_whole = blob is not None and blob.bytes == size and not is_damaged
        if blob is None or not is_whole or blob.age > STALE_AFTER:
            self._write(_key(sha256), content())
        if is_damaged:
            self._delete(_mark(sha256))

    def _write(self, key: str, content: Path | Content) -> None:
        obstore.put(
            self._store,
            key,
            content,
            chunk_size=PIECE_BYTES,
            max_concurrency=PIECES_AT_ONCE,
        )
        if self._folder is not None:
            _sync(self._folder / key)

    def _read(self, key: str, start: int, end: int) -> Iterator[bytes]:
        for offset in range(start, end, self._chunk_bytes):
            stop = min(offset + self._chunk_bytes, end)
            yield bytes(obstore.get_range(self._store, key, start=offset, end=stop))

    def _delete(self, key: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            obstore.delete(self._quick_store, key)

    def _is_marked(self, sha256: str) -> bool:
        try:
            obstore.head(self._quick_store, _mark(sha256))
        except FileNotFoundError:
            return False
        return True


def _s3_store(url: str, request_seconds: float, patience_seconds: float) -> S3Store:
    return S3Store.from_url(
        url,
        client_options={"allow_http": True, "timeout": timedelta(seconds=request_seconds)},
        retry_config={"retry_timeout": timedelta(seconds=patience_seconds)},
    )


def _verified(sha256: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
        yield chunk
    if digest.hexdigest() != sha256:
        raise ValueError(f"the bytes have the sha256 {digest.hexdigest()}, not {sha256}")


def _small_at_once(chunks: Iterator[bytes], size: int) -> Content:
    """Join what is one piece: S3 would be asked three times for it, or never for an empty one."""
    return b"".join(chunks) if size <= PIECE_BYTES else _ahead(chunks)


def _ahead(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Take chunks in a thread, one ahead: obstore cannot read from one where it writes to one."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, chunks, None)
        while (chunk := coming.result()) is not None:
            coming = pool.submit(next, chunks, None)
            yield chunk


def _sync(path: Path) -> None:
    """Make a file and its name survive a power cut: a row will say that it is there."""
    # The folder of its first two letters may be new as well.
    for each in (path, path.parent, path.parent.parent):
        descriptor = os.open(each, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _key(sha256: str) -> str:
    return f"blobs/{sha256[:2]}/{sha256}"


def _upload(upload_id: str) -> str:
    return f"uploads/{upload_id}"


def _mark(sha256: str) -> str:
    return f"damaged/{sha256}"
