"""The list of a folder's files with their digests, written last."""

import hashlib
from pathlib import Path

from app.contracts.message import Manifest, OutputFile

MANIFEST_FILE = "manifest.json"


def write_manifest(folder: Path) -> None:
    """Write `manifest.json` of all that a folder holds."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest = Manifest(
        files=[
            OutputFile(
                path=path.relative_to(folder).as_posix(),
                bytes=path.stat().st_size,
                sha256=_sha256(path),
            )
            for path in files
        ]
    )
    (folder / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=2))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
