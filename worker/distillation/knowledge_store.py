"""The files that a teacher's signals are kept in: fixed-size rows in memory-mapped shards.

A row holds the answers, then each layer's features. There is one for every (view, train example),
view after view, the train ids ascending inside a view; then one for every held-out example. So a
row's number says whose it is, whatever the order it was collected in.

Shapes: B = batch, C = outputs.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from pydantic import ValidationError

from app.contracts.knowledge import KNOWLEDGE_FORMAT, KnowledgeManifest, Shard, Storage
from worker.distillation import sparse_logits
from worker.distillation.errors import BadInput
from worker.distillation.signals import Signals

MANIFEST_FILE = "knowledge.json"
JOURNAL_FILE = "journal.json"
SHARD_BYTES = 256 * 2**20
LARGEST_HALF = float(np.finfo(np.float16).max)

Rows = npt.NDArray[np.int64]
Records = npt.NDArray[np.void]


@dataclass(frozen=True)
class Layout:
    """What a row holds, and how."""

    storage: Storage
    num_outputs: int
    top_k: int | None
    layers: Mapping[str, tuple[int, ...]]
    """Shapes of the features, without the batch."""

    @classmethod
    def of(cls, manifest: KnowledgeManifest) -> Self:
        layers = {name: tuple(shape) for name, shape in manifest.layers.items()}
        return cls(manifest.storage, len(manifest.output_names), manifest.top_k, layers)

    @property
    def dtype(self) -> np.dtype[np.void]:
        number = np.float32 if self.storage == "float32" else np.float16
        answers: tuple[Any, ...] = ("answers", number, (self.num_outputs,))
        if self.top_k is not None:
            width = sparse_logits.num_bytes(self.num_outputs, self.top_k)
            answers = ("answers", np.uint8, (width,))
        features = [(f"features/{name}", number, shape) for name, shape in self.layers.items()]
        return np.dtype([answers, *features])

    @property
    def row_bytes(self) -> int:
        return self.dtype.itemsize


class KnowledgeWriter:
    """Writes a record in any order of its rows, and goes on with one left half-way."""

    def __init__(self, folder: Path, manifest: KnowledgeManifest) -> None:
        """Open ``folder``; what it holds of another record is written over.

        ``manifest`` is what the record will be of; its shards are not looked at.
        """
        self._folder = folder
        self._manifest = manifest.model_copy(update={"shards": []})
        self._layout = Layout.of(manifest)
        self._extents = list(_extents(manifest))
        self.done = self._read_journal()
        """How many batches of the collection are already kept for good."""
        self._shards = [self._open(name, num_rows) for name, _, num_rows in self._extents]
        if self.done == 0:
            self.checkpoint(0)

    def write(self, rows_B: Rows, signals: Signals) -> None:
        """Keep the signals of some rows, each number below the record's count.

        Raises:
            BadInput: a signal is not finite, or too large for half precision.
        """
        records = np.empty(len(rows_B), self._layout.dtype)
        answers = signals.logits_BC.cpu().numpy()
        _check(answers, rows_B, "an answer", half=False)
        if self._layout.top_k is not None:
            records["answers"] = sparse_logits.encode(answers, self._layout.top_k)
        else:
            _check(answers, rows_B, "an answer", half=self._layout.storage == "float16")
            records["answers"] = answers
        for name in self._layout.layers:
            features = signals.features[name].cpu().numpy()
            half = self._layout.storage != "float32"
            _check(features, rows_B, f"a feature of {name}", half=half)
            records[f"features/{name}"] = features
        at_most = self._extents[0][2]
        for number in np.unique(rows_B // at_most):
            here = rows_B // at_most == number
            self._shards[number][rows_B[here] % at_most] = records[here]

    def checkpoint(self, done: int) -> None:
        """Make what was written durable, and note that ``done`` batches are."""
        for shard in self._shards:
            shard.flush()
        journal = {"manifest": self._manifest.model_dump(mode="json"), "done": done}
        _write_durably(self._folder / JOURNAL_FILE, json.dumps(journal))

    def finish(self) -> KnowledgeManifest:
        """Write the manifest, last; return it."""
        for shard in self._shards:
            shard.flush()
        shards = [
            Shard(path=name, first_row=first, num_rows=num, sha256=_sha256(self._folder / name))
            for name, first, num in self._extents
        ]
        manifest = self._manifest.model_copy(update={"shards": shards})
        _write_durably(self._folder / MANIFEST_FILE, manifest.model_dump_json(indent=2))
        (self._folder / JOURNAL_FILE).unlink()
        return manifest

    def _read_journal(self) -> int:
        try:
            journal = json.loads((self._folder / JOURNAL_FILE).read_text())
            same = journal["manifest"] == self._manifest.model_dump(mode="json")
            sizes = all(
                (self._folder / name).stat().st_size == num * self._layout.row_bytes
                for name, _, num in self._extents
            )
            return int(journal["done"]) if same and sizes else 0
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    def _open(self, name: str, num_rows: int) -> "np.memmap[Any, np.dtype[np.void]]":
        mode = "r+" if self.done else "w+"
        return np.memmap(self._folder / name, self._layout.dtype, mode, shape=(num_rows,))  # type: ignore[call-overload,no-any-return]


class StoredKnowledge:
    """A whole record, memory-mapped."""

    def __init__(self, folder: Path, manifest: KnowledgeManifest) -> None:
        self.manifest = manifest
        self._layout = Layout.of(manifest)
        self._at_most = max(1, SHARD_BYTES // manifest.row_bytes)
        if manifest.shards:
            self._at_most = manifest.shards[0].num_rows
        self._shards = [
            np.memmap(folder / shard.path, self._layout.dtype, "r", shape=(shard.num_rows,))
            for shard in manifest.shards
        ]

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open a record that is whole to the last bit.

        Raises:
            BadInput: the manifest cannot be read, or a shard is missing or not what it says.
        """
        try:
            text = (folder / MANIFEST_FILE).read_text()
            manifest = KnowledgeManifest.model_validate_json(text)
        except (OSError, ValidationError) as error:
            raise _damaged(f"{MANIFEST_FILE} is missing or cannot be read") from error
        if manifest.format != KNOWLEDGE_FORMAT:
            raise _damaged(
                f"its format is {manifest.format}; this version reads {KNOWLEDGE_FORMAT}"
            )
        expected = list(_extents(manifest))
        given = [(shard.path, shard.first_row, shard.num_rows) for shard in manifest.shards]
        if given != expected or manifest.row_bytes != Layout.of(manifest).row_bytes:
            raise _damaged(f"{MANIFEST_FILE} names other shards than its counts mean")
        for shard in manifest.shards:
            _check_shard(folder / shard.path, shard, manifest.row_bytes)
        return cls(folder, manifest)

    def signals(self, rows_B: Rows, device: torch.device) -> Signals:
        """Return the signals of some rows, by number, in float32 on ``device``."""
        records = self._records(rows_B)
        answers = records["answers"]
        if self._layout.top_k is not None:
            logits = sparse_logits.decode(answers, self._layout.num_outputs, self._layout.top_k)
        else:
            logits = answers.astype(np.float32)
        return Signals(
            torch.from_numpy(logits).to(device),
            {
                name: torch.from_numpy(records[f"features/{name}"].astype(np.float32)).to(device)
                for name in self._layout.layers
            },
        )

    def _records(self, rows_B: Rows) -> Records:
        if len(self._shards) == 1:
            return self._shards[0][rows_B]
        numbers = rows_B // self._at_most
        records = np.empty(len(rows_B), self._layout.dtype)
        for number in np.unique(numbers):
            here = numbers == number
            records[here] = self._shards[number][rows_B[here] % self._at_most]
        return records


def _extents(manifest: KnowledgeManifest) -> Iterator[tuple[str, int, int]]:
    """Yield each shard's name, first row and number of rows."""
    num_rows = manifest.views * manifest.num_train + manifest.num_held_out
    at_most = max(1, SHARD_BYTES // Layout.of(manifest).row_bytes)
    for number, first in enumerate(range(0, num_rows, at_most)):
        yield f"signals-{number:05}.bin", first, min(at_most, num_rows - first)


def _check(values: npt.NDArray[Any], rows_B: Rows, what: str, *, half: bool) -> None:
    limit = LARGEST_HALF if half else np.inf
    broken = ~(np.abs(values) <= limit) if half else ~np.isfinite(values)
    if not broken.any():
        return
    place = tuple(int(each[0]) for each in np.nonzero(broken))
    value = float(values[place])
    if np.isfinite(value):
        raise BadInput(
            "knowledge_overflow",
            f"{what} of the teacher is {value:g} in row {rows_B[place[0]]}, and float16 ends at "
            f"{limit:g}",
            hint='set knowledge.storage to "float32"',
        )
    raise BadInput(
        "non_finite_knowledge",
        f"{what} of the teacher is {value} in row {rows_B[place[0]]}",
        hint="the teacher's training went astray: give it a lower learning rate",
    )


def _check_shard(path: Path, shard: Shard, row_bytes: int) -> None:
    if not path.is_file():
        raise _damaged(f"{shard.path} is missing")
    if path.stat().st_size != shard.num_rows * row_bytes:
        raise _damaged(
            f"{shard.path} has {path.stat().st_size:,} bytes, expected "
            f"{shard.num_rows * row_bytes:,}"
        )
    if _sha256(path) != shard.sha256:
        raise _damaged(f"the bytes of {shard.path} are not those that were collected")


def _damaged(fault: str) -> BadInput:
    return BadInput(
        "damaged_knowledge",
        f"the knowledge is damaged: {fault}",
        hint="delete it and collect it anew",
    )


def _write_durably(path: Path, text: str) -> None:
    """Write a file so that a power cut leaves the old one or the new one, whole."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
