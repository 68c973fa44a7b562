"""The data of a run: what a format reads, and what the stages after `prepare` see.

Shapes: N = examples, C = channels, H, W = height and width in pixels, F = features of a table.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field, model_validator

from app.contracts.dataset import Task

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")

DIGESTED_BYTES = 2**24
"""At once, so that data larger than memory is never in it whole."""

Tell = Callable[[int, int], None]
"""Called now and then while data is read with (done, total); may raise ``Stopped``."""


class Column(BaseModel):
    """How one column of a table became inputs."""

    name: str
    categories: list[str] | None = Field(
        None, description="One input each, 1 where the row has it; none for a column of numbers."
    )


class InputDescription(BaseModel):
    """What a model takes and answers; stored in every model's config.json.

    A model standardises its raw inputs itself: pixels from 0 to 255, or a table's numbers.
    """

    kind: Literal["image", "table"]
    shape: list[int] = Field(description="[C, H, W] of an image, [F] of a table.")
    mean: list[float] = Field(description="Of the train part: one a channel, or one a feature.")
    std: list[float] = Field(description="As `mean`; never 0.")
    task: Task = "classification"
    output_names: list[str] = Field(description="The classes, the labels or the targets.")
    output_mean: list[float] | None = Field(
        None, description="Of each target on the train part; for regression alone."
    )
    output_std: list[float] | None = Field(None, description="As `output_mean`; never 0.")
    columns: list[Column] | None = Field(None, description="Of a table, in order.")

    @model_validator(mode="before")
    @classmethod
    def _reads_what_was_saved_before_there_were_other_tasks(cls, given: object) -> object:
        if isinstance(given, dict) and "class_names" in given:
            return {**given, "output_names": given["class_names"]}
        return given


@dataclass(frozen=True)
class RawData:
    """What a format reads from its source."""

    inputs: npt.NDArray[np.uint8] | npt.NDArray[np.float32]
    """Images: uint8 (N, C, H, W). Tables: float32 (N, F), finite. May be memory-mapped."""
    labels: npt.NDArray[np.int64] | npt.NDArray[np.float32]
    """Classification: int64 (N,), indices into ``output_names``. Else float32 (N, C): multi-label
    0, 1, or NaN where nobody knows; regression numbers in the data's units."""
    output_names: list[str]
    test: npt.NDArray[np.bool_] | None = None
    """(N,), true where the data itself says that an example is for testing."""
    validation: npt.NDArray[np.bool_] | None = None
    """(N,), true where it says that an example is for validation."""
    columns: list[Column] | None = None
    task: Task = "classification"


def inputs_file(folder: Path) -> Path:
    """Return where ``Dataset`` keeps its inputs; a format may map its array there as it reads."""
    return folder / "inputs.npy"


def class_order(names: Iterable[str]) -> list[str]:
    """Sort class names: as numbers where all are whole ones ("2" before "10"), else as words."""
    names = list(names)
    if all(name.isascii() and name.isdigit() for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


@dataclass(frozen=True)
class Dataset:
    """Prepared data, memory-mapped from the workspace. An example's id is its row."""

    inputs: npt.NDArray[np.uint8] | npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64] | npt.NDArray[np.float32]
    """As in ``RawData``."""
    ids: dict[Part, npt.NDArray[np.int64]]
    """The example ids of each part, ascending; validation may be empty."""
    description: InputDescription

    @property
    def num_outputs(self) -> int:
        return len(self.description.output_names)

    @cached_property
    def digest(self) -> str:
        """The sha256 of all that the data is: inputs, labels, parts, and what they are called."""
        total = hashlib.sha256(self.description.model_dump_json().encode())
        for array in (self.inputs, self.labels, *(self.ids[part] for part in PARTS)):
            total.update(f"{array.dtype.str} {array.shape}".encode())
            at_once = max(1, DIGESTED_BYTES // (array.itemsize * math.prod(array.shape[1:])))
            for start in range(0, len(array), at_once):
                total.update(np.ascontiguousarray(array[start : start + at_once]).data)
        return total.hexdigest()

    def transfer_set(self, omit_classes: Sequence[str]) -> Self:
        """Return the data of a student that is to see no example of some classes until the test.

        Neither learns it from their train examples nor do those for validation choose its epoch.

        Raises:
            ValueError: a name is no class of the data.
        """
        if not omit_classes:
            return self
        omitted = [self.description.output_names.index(name) for name in omit_classes]
        seen = {
            part: ids if part == "test" else ids[~np.isin(self.labels[ids], omitted)]
            for part, ids in self.ids.items()
        }
        return replace(self, ids=seen)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Open what the `prepare` stage wrote into ``folder``."""
        return cls(
            inputs=np.load(inputs_file(folder), mmap_mode="r", allow_pickle=False),
            labels=np.load(folder / "labels.npy", allow_pickle=False),
            ids={part: np.load(folder / f"{part}.npy", allow_pickle=False) for part in PARTS},
            description=InputDescription.model_validate(
                json.loads((folder / "description.json").read_text())
            ),
        )

    def save(self, folder: Path) -> None:
        if isinstance(self.inputs, np.memmap):  # read straight into `inputs_file` by its format
            self.inputs.flush()
        else:
            np.save(inputs_file(folder), self.inputs, allow_pickle=False)
        np.save(folder / "labels.npy", self.labels, allow_pickle=False)
        for part, ids in self.ids.items():
            np.save(folder / f"{part}.npy", ids, allow_pickle=False)
        (folder / "description.json").write_text(self.description.model_dump_json(indent=2))

    def batches(self, part: Part, batch_size: int) -> Iterator[npt.NDArray[np.int64]]:
        """Yield the ids of a part in ascending order, ``batch_size`` at a time."""
        ids = self.ids[part]
        for start in range(0, len(ids), batch_size):
            yield ids[start : start + batch_size]
