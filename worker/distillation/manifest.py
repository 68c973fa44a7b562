"""The list of a folder's files with their digests, written last."""

import hashlib
from pathlib import Path

from app.contracts.message import Manifest, OutputFile

MANIFEST_FILE = "manifest.json"


def write_manifest(folder: Path) -> None:
    """Write `manifest.json` of all that a folder holds."""
    manifest = Manifest(files=listed(folder))
    (folder / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=2))


def listed(folder: Path) -> list[OutputFile]:
    """Return all files of a folder, by path, with their digests."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [file_of(folder, path.relative_to(folder).as_posix()) for path in paths]


def file_of(folder: Path, path: str) -> OutputFile:
    """Return a file of a folder with its digest."""
    whole = folder / path
    return OutputFile(path=path, bytes=whole.stat().st_size, sha256=_sha256(whole))


def is_whole(folder: Path) -> bool:
    """Say whether a folder has a manifest, and every file of it is as it was written."""
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST_FILE).read_bytes())
        return all(
            (folder / file.path).stat().st_size == file.bytes
            and _sha256(folder / file.path) == file.sha256
            for file in manifest.files
        )
    except (OSError, ValueError):
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
