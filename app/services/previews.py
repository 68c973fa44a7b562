"""Has a child process look at an uploaded file, so that no file can harm this one."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from structlog import get_logger

import app
from app.contracts.preview import Preview, PreviewProblem
from app.contracts.registry import File
from app.errors import Conflict
from app.room import Room
from app.storage import Storage

log = get_logger(__name__)

WALL_SECONDS = 20.0
MOST_REASON = 300
MOST_AT_ONCE, WAITING = 4, 4
PATIENCE_SECONDS = 10.0
MOST_FETCHED_BYTES = 512 * 2**20
"""A larger file is only looked at where it lies in a folder."""

_ROOM = Room(
    "files are looked at", places=MOST_AT_ONCE, waiting=WAITING, patience_seconds=PATIENCE_SECONDS
)


def preview(storage: Storage, file: File, label: str, delimiter: str) -> Preview:
    """Look at a file's beginning and at what is wrong with it.

    Raises:
        Conflict: It is too large to be fetched for a look.
        Unavailable: Others are being looked at.
    """
    with _ROOM.entered(), _opened(storage, file) as content:
        return _run(content, file, label, delimiter)


def _run(content: IO[bytes], file: File, label: str, delimiter: str) -> Preview:
    command = [sys.executable, "-S", "-s", "-P", "-m", "app.preview"]
    command += [file.media_type, str(file.bytes), label, delimiter]
    # Nothing of this process's environment: its settings and secrets are no business of a file's.
    environment = {"PYTHONPATH": str(Path(app.__file__).parents[1]), "PYTHONUTF8": "1"}
    try:
        done = subprocess.run(  # noqa: S603 (the command is ours)
            command,
            stdin=content,
            capture_output=True,
            env=environment,
            cwd="/",
            timeout=WALL_SECONDS,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        if error.returncode > 0:
            # Not the file's fault, whatever it holds: a look has an answer for all of it.
            last = error.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            log.exception("preview_crashed", file_id=file.id, reason=last[:MOST_REASON])
            return _failed(file, "not_looked_at", "the look at the file failed; the log says why")
        return _ended(file, f"signal {-error.returncode}")
    except subprocess.TimeoutExpired:
        return _ended(file, f"{WALL_SECONDS:.0f} s")
    return Preview.model_validate({"file_id": file.id, **json.loads(done.stdout)})


def _ended(file: File, reason: str) -> Preview:
    log.warning("preview_failed", file_id=file.id, reason=reason)
    message = "a look at the file had to be ended: it takes more time or memory than a look may"
    return _failed(file, "too_large", message)


def _failed(file: File, code: str, message: str) -> Preview:
    return Preview(
        file_id=file.id,
        kind="unknown",
        is_whole=False,
        columns=[],
        rows=[],
        classes=[],
        num_problems=1,
        problems=[PreviewProblem(code=code, message=message)],
    )


@contextmanager
def _opened(storage: Storage, file: File) -> Iterator[IO[bytes]]:
    path = storage.local_path(file.sha256)
    if path is not None:
        with path.open("rb") as content:
            yield content
        return
    if file.bytes > MOST_FETCHED_BYTES:
        raise Conflict(f"the file has {file.bytes} bytes; at most {MOST_FETCHED_BYTES} are fetched")
    with tempfile.TemporaryFile() as content:
        for chunk in storage.read(file.sha256, 0, file.bytes):
            content.write(chunk)
        content.seek(0)
        yield content
