"""Downloads that are whole or not there: resumed where they broke off, verified by digest."""

import hashlib
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path, PurePosixPath

from app.cli.client import Refused, Service, checked
from app.contracts.job import FileEntry

PIECE_BYTES = 1024 * 1024


def download(
    service: Service, source: str, entry: FileEntry, folder: Path, advance: Callable[[int], None]
) -> bool:
    """Bring ``source``/PATH to ``folder``/PATH; return False where it is there and whole already.

    Bytes are kept in PATH.partial until they are all there and have the digest that the service
    names. ``advance`` is told how many bytes have come.

    Raises:
        Refused: The path leads out of the folder, or the bytes do not have the digest.
    """
    target = folder / _safe(entry.path)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_file() and _digest(target) == entry.sha256:
        advance(entry.bytes)
        return False
    partial = target.with_name(f"{target.name}.partial")
    # What an earlier run left may be of another file: then once more from the start.
    resumed = partial.exists()
    _fetch(service, f"{source}/{entry.path}", partial, advance)
    if resumed and _digest(partial) != entry.sha256:
        partial.unlink()
        _fetch(service, f"{source}/{entry.path}", partial, lambda _: None)
    found = _digest(partial)
    if found != entry.sha256:
        partial.unlink()
        raise Refused(f"{entry.path} is damaged: expected sha256 {entry.sha256}, got {found}")
    partial.replace(target)
    return True


def _fetch(service: Service, url: str, partial: Path, advance: Callable[[int], None]) -> None:
    present = partial.stat().st_size if partial.exists() else 0
    headers = {"Accept-Encoding": "identity"}
    if present:
        headers["Range"] = f"bytes={present}-"
    with service.http.stream("GET", url, headers=headers) as response:
        if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # all bytes are there
        checked(response)
        goes_on = response.status_code == HTTPStatus.PARTIAL_CONTENT
        if goes_on:
            advance(present)
        with partial.open("ab" if goes_on else "wb") as file:
            for piece in response.iter_bytes(PIECE_BYTES):
                file.write(piece)
                advance(len(piece))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _safe(path: str) -> PurePosixPath:
    """Return a path that stays inside whatever folder it is put into."""
    inside = PurePosixPath(path)
    if inside.is_absolute() or ".." in inside.parts or "\\" in path or not inside.parts:
        raise Refused(f"the service names a file {path!r}, which leads out of the folder")
    return inside
