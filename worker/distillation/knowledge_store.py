"""The files that a teacher's signals are kept in: fixed-size rows in memory-mapped shards.

A row holds the answers, then each layer's features. There is one for every (view, train example),
view after view, the train ids ascending inside a view; then one for every held-out example. So a
row's number says whose it is, whatever the order it was collected in.

Shapes: B = batch, C = outputs.
"""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Self

import numpy as np
import torch
from pydantic import BaseModel

from app.contracts.knowledge import (
    KNOWLEDGE_FORMAT,
    MANIFEST_FILE,
    KnowledgeManifest,
    Shard,
)
from worker.distillation.errors import BadInput
from worker.distillation.knowledge_layout import Layout, Records, Rows
from worker.distillation.signals import Signals
from worker.distillation.workspace import write_durably

JOURNAL_FILE = "journal.json"
SHARD_BYTES = 256 * 2**20


class _Journal(BaseModel):
    """How far a record has come: batches of the collection, and rows, that are kept for good."""

    manifest: KnowledgeManifest
    done: int
    num_written: int


def go_on_from(checkpoint: Path, folder: Path) -> None:
    """Bring into ``folder``, where nothing was begun, what ``KnowledgeWriter.copy_to`` has copied.

    A writer of the same record then goes on from there.
    """
    if not (folder / JOURNAL_FILE).exists():
        for path in [*checkpoint.glob("signals-*.bin"), checkpoint / JOURNAL_FILE]:
            shutil.copyfile(path, folder / path.name)


def read_manifest(folder: Path) -> KnowledgeManifest:
    """Read what a record holds, and not whether it is whole; it may name only its own shards.

    Raises:
        BadInput: the manifest is not there, not of this format, or names other shards.
    """
    try:
        given = json.loads((folder / MANIFEST_FILE).read_bytes())
        # Looked at first: what another version wrote may have other fields.
        number = given["format"]
        manifest = KnowledgeManifest.model_validate(given) if number == KNOWLEDGE_FORMAT else None
        fits = manifest is None or _fits(manifest)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(f"{MANIFEST_FILE} is missing or cannot be read") from error
    if manifest is None:
        raise _damaged(f"its format is {number}; this version reads {KNOWLEDGE_FORMAT}")
    if not fits:
        raise _damaged(f"{MANIFEST_FILE} names other shards than its counts mean")
    return manifest


class KnowledgeWriter:
    """Writes a record in any order of its rows, and goes on with one left half-way."""

    def __init__(self, folder: Path, manifest: KnowledgeManifest) -> None:
        """Open ``folder``; what it holds of another record, or of a whole one, is removed.

        ``manifest`` is what the record will be of; its shards are not looked at.
        """
        self._folder = folder
        self._manifest = manifest.model_copy(update={"shards": []})
        self._layout = Layout.of(manifest)
        at_most = max(1, SHARD_BYTES // self._layout.row_bytes)
        self._extents = list(_extents(_num_rows(manifest), at_most))
        journal = self._journal()
        self.done = journal.done
        """How many batches of the collection are already kept for good."""
        self._num_written = journal.num_written
        (folder / MANIFEST_FILE).unlink(missing_ok=True)
        if self.done == 0:
            self._start_over()
        self._shards = [
            np.memmap(folder / name, self._layout.dtype, "r+", shape=(num_rows,))
            for name, _, num_rows in self._extents
        ]
        self.flush(self.done)

    def write(self, rows_B: Rows, signals: Signals) -> None:
        """Keep the signals of some rows, by number; each row is written once.

        Raises:
            BadInput: a signal is not finite, or too large for half precision.
        """
        _check_rows(rows_B, self._manifest)
        records = self._layout.encoded(signals, rows_B)
        at_most = self._extents[0][2]
        for number in np.unique(rows_B // at_most):
            here = rows_B // at_most == number
            self._shards[number][rows_B[here] % at_most] = records[here]
        self._num_written += len(rows_B)

    def flush(self, done: int) -> None:
        """Make what was written durable, and note that ``done`` batches are."""
        for shard in self._shards:
            shard.flush()
        self.done = done
        journal = _Journal(manifest=self._manifest, done=done, num_written=self._num_written)
        write_durably(self._folder / JOURNAL_FILE, journal.model_dump_json())

    def copy_to(self, folder: Path) -> None:
        """Copy all that was durable at the last ``flush`` into an empty folder."""
        for name in [*(name for name, _, _ in self._extents), JOURNAL_FILE]:
            shutil.copyfile(self._folder / name, folder / name)

    def finish(self) -> KnowledgeManifest:
        """Write the manifest, last; return it."""
        num_rows = _num_rows(self._manifest)
        if self._num_written != num_rows:
            raise ValueError(f"{self._num_written:,} rows were written, expected {num_rows:,}")
        for shard in self._shards:
            shard.flush()
        shards = [
            Shard(path=name, first_row=first, num_rows=num, sha256=_sha256(self._folder / name))
            for name, first, num in self._extents
        ]
        manifest = self._manifest.model_copy(update={"shards": shards})
        write_durably(self._folder / MANIFEST_FILE, manifest.model_dump_json(indent=2))
        (self._folder / JOURNAL_FILE).unlink()
        return manifest

    def _journal(self) -> _Journal:
        """Read what an earlier writer of this very record noted; of another, that nothing is."""
        nothing = _Journal(manifest=self._manifest, done=0, num_written=0)
        try:
            journal = _Journal.model_validate_json((self._folder / JOURNAL_FILE).read_bytes())
            whole = all(
                (self._folder / name).stat().st_size == num_rows * self._layout.row_bytes
                for name, _, num_rows in self._extents
            )
        except (OSError, ValueError):
            return nothing
        is_ours = whole and journal.done > 0 and journal.manifest == self._manifest
        return journal if is_ours else nothing

    def _start_over(self) -> None:
        # The journal goes first: it must never speak of shards that are not those it was about.
        (self._folder / JOURNAL_FILE).unlink(missing_ok=True)
        # Removed, not overwritten: they may be links to shards of knowledge that was taken over.
        for stale in self._folder.glob("signals-*.bin"):
            stale.unlink()
        for name, _, num_rows in self._extents:
            _allocate(self._folder / name, num_rows * self._layout.row_bytes)


class StoredKnowledge:
    """A whole record, memory-mapped."""

    def __init__(self, folder: Path, manifest: KnowledgeManifest) -> None:
        self.manifest = manifest
        self._layout = Layout.of(manifest)
        self._at_most = manifest.shards[0].num_rows
        # As plain arrays: a memmap makes another of every part that is taken, which costs more.
        self._shards: list[Records] = [
            np.memmap(folder / shard.path, self._layout.dtype, "r", shape=(shard.num_rows,)).view(
                np.ndarray
            )
            for shard in manifest.shards
        ]

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open a record that is whole to the last bit.

        Raises:
            BadInput: the manifest cannot be read, or a shard is missing or not what it says.
        """
        manifest = read_manifest(folder)
        for shard in manifest.shards:
            _check_shard(folder / shard.path, shard, manifest.row_bytes)
        return cls(folder, manifest)

    def signals(self, rows_B: Rows, device: torch.device) -> Signals:
        """Return the signals of some rows, by number, in float32 on ``device``."""
        _check_rows(rows_B, self.manifest)
        return self._layout.decoded(self._records(rows_B), device)

    def _records(self, rows_B: Rows) -> Records:
        if len(self._shards) == 1:
            return self._shards[0].take(rows_B)
        numbers = rows_B // self._at_most
        records = np.empty(len(rows_B), self._layout.dtype)
        for number in np.unique(numbers):
            here = numbers == number
            records[here] = self._shards[number].take(rows_B[here] % self._at_most)
        return records


def _num_rows(manifest: KnowledgeManifest) -> int:
    return manifest.views * manifest.num_train + manifest.num_held_out


def _extents(num_rows: int, at_most: int) -> Iterator[tuple[str, int, int]]:
    """Yield each shard's name, first row and number of rows: ``at_most``, but in the last."""
    for number, first in enumerate(range(0, num_rows, at_most)):
        yield f"signals-{number:05}.bin", first, min(at_most, num_rows - first)


def _check_rows(rows_B: Rows, manifest: KnowledgeManifest) -> None:
    # NumPy takes -1 for the last row, which is another example's.
    if len(rows_B) and not 0 <= rows_B.min() <= rows_B.max() < _num_rows(manifest):
        raise ValueError(
            f"rows from {rows_B.min()} to {rows_B.max()}, expected 0 to {_num_rows(manifest) - 1}"
        )


def _fits(manifest: KnowledgeManifest) -> bool:
    given = [(shard.path, shard.first_row, shard.num_rows) for shard in manifest.shards]
    at_most = manifest.shards[0].num_rows if manifest.shards else 0
    if manifest.row_bytes != Layout.of(manifest).row_bytes or at_most < 1:
        return False
    # One more than are named: of senseless counts there could be more than memory holds.
    return given == list(islice(_extents(_num_rows(manifest), at_most), len(given) + 1))


def _check_shard(path: Path, shard: Shard, row_bytes: int) -> None:
    if not path.is_file():
        raise _damaged(f"{shard.path} is missing")
    expected = shard.num_rows * row_bytes
    if path.stat().st_size != expected:
        raise _damaged(f"{shard.path} has {path.stat().st_size:,} bytes, expected {expected:,}")
    if _sha256(path) != shard.sha256:
        raise _damaged(f"the bytes of {shard.path} are not those that were collected")


def _damaged(fault: str) -> BadInput:
    return BadInput(
        "damaged_knowledge",
        f"the knowledge is damaged: {fault}",
        hint="delete it and collect it anew",
    )


def _allocate(path: Path, num_bytes: int) -> None:
    """Make a file of zeros whose space is already taken."""
    with path.open("xb") as file:
        if sys.platform == "linux":
            # On a full disk this raises; a memory map of a file with holes would kill the process.
            os.posix_fallocate(file.fileno(), 0, num_bytes)
        else:
            file.truncate(num_bytes)
        os.fsync(file.fileno())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
