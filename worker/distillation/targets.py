"""What a table says that a model shall answer: the class, the labels or the targets of a row.

Shapes: R = some rows, C = labels or targets.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from app.cells import number_of
from app.contracts.data_limits import LARGEST
from app.contracts.dataset import Task
from worker.distillation.columns import check_word
from worker.distillation.dataset import class_order
from worker.distillation.errors import BadInput, nearest, shown

MAX_CLASSES = 1000

Labels = npt.NDArray[np.int64] | npt.NDArray[np.float32]


@dataclass(frozen=True)
class Place:
    """A column and where its cells stand in a row, from 0."""

    column: str
    position: int


class Answers(Protocol):
    """The columns to predict: seen once to check them, then read."""

    def see(self, line: int, cells: Sequence[str]) -> None:
        """Check a row. Raises BadInput naming line and column."""

    def output_names(self) -> list[str]:
        """Return the names, once every row has been seen."""

    def read(self, rows: Sequence[Sequence[str]]) -> Labels:
        """Return the labels of rows that were seen, as in ``RawData``."""


def answers(
    task: Task, places: Sequence[Place], class_names: Sequence[str] | None = None
) -> Answers:
    """Return what reads the answers of a task; ``class_names`` are known from another file."""
    if task == "classification":
        return Class(places[0]) if class_names is None else KnownClass(places[0], class_names)
    if task == "multi_label":
        return YesOrNo(places)
    return Amounts(places)


@dataclass
class Class:
    """One column, whose cells are the names of classes."""

    place: Place
    names: set[str] = field(default_factory=set)

    def see(self, line: int, cells: Sequence[str]) -> None:
        column, text = self.place.column, cells[self.place.position]
        _check_class(line, column, text)
        if text not in self.names and len(self.names) == MAX_CLASSES:
            raise BadInput(
                "too_many_classes",
                f'line {line}, column "{column}": {shown(text)} is one class too many; a table '
                f"may have {MAX_CLASSES:,}",
                "Is this the column that names the class? Amounts are for regression.",
            )
        self.names.add(text)

    def output_names(self) -> list[str]:
        return class_order(self.names)

    def read(self, rows: Sequence[Sequence[str]]) -> Labels:
        return _numbers_R(self.place, self.output_names(), rows)


@dataclass(frozen=True)
class KnownClass:
    """One column, whose cells name classes that the file to learn from has."""

    place: Place
    names: Sequence[str]

    def see(self, line: int, cells: Sequence[str]) -> None:
        column, text = self.place.column, cells[self.place.position]
        _check_class(line, column, text)
        if text not in self._known:
            raise BadInput(
                "unknown_class",
                f'line {line}, column "{column}": {shown(text)} is none of the {len(self.names):,} '
                "classes of the file to learn from",
                nearest(text, self.names),
            )

    def output_names(self) -> list[str]:
        return list(self.names)

    def read(self, rows: Sequence[Sequence[str]]) -> Labels:
        return _numbers_R(self.place, self.names, rows)

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.names)


@dataclass(frozen=True)
class YesOrNo:
    """A column a label: 0 or 1, written as any number may be, or empty where nobody knows."""

    places: Sequence[Place]

    def see(self, line: int, cells: Sequence[str]) -> None:
        for place in self.places:
            text = cells[place.position]
            if text and number_of(text) not in (0, 1):
                raise BadInput(
                    "not_zero_or_one",
                    f'line {line}, column "{place.column}": {shown(text)} is neither 0 nor 1',
                    "Write 1 for yes and 0 for no, and leave the cell empty where nobody knows.",
                )

    def output_names(self) -> list[str]:
        return [place.column for place in self.places]

    def read(self, rows: Sequence[Sequence[str]]) -> Labels:
        return _numbers_RC(self.places, rows)


@dataclass(frozen=True)
class Amounts:
    """A column a target: a finite number."""

    places: Sequence[Place]

    def see(self, line: int, cells: Sequence[str]) -> None:
        for place in self.places:
            text = cells[place.position]
            if not text:
                raise BadInput(
                    "empty_cell",
                    f'line {line}, column "{place.column}": the cell is empty where a number is '
                    "expected",
                    "Fill it or remove the row: a target must be known.",
                )
            number = number_of(text)
            if number is None or not abs(number) <= LARGEST:  # NaN too
                raise BadInput(
                    "not_a_number",
                    f'line {line}, column "{place.column}": {shown(text)} is not a finite number '
                    "of 32 bits",
                    "Correct it or remove the row; words are for classification.",
                )

    def output_names(self) -> list[str]:
        return [place.column for place in self.places]

    def read(self, rows: Sequence[Sequence[str]]) -> Labels:
        return _numbers_RC(self.places, rows)


def _check_class(line: int, column: str, text: str) -> None:
    if not text:
        raise BadInput(
            "empty_cell",
            f'line {line}, column "{column}": the cell is empty where a class is due',
        )
    check_word(line, column, text)


def _numbers_R(place: Place, names: Sequence[str], rows: Sequence[Sequence[str]]) -> Labels:
    """Return the place of each row's class among all names."""
    numbers = {name: number for number, name in enumerate(names)}
    return np.array([numbers[cells[place.position]] for cells in rows], np.int64)


def _numbers_RC(places: Sequence[Place], rows: Sequence[Sequence[str]]) -> Labels:
    """Return the cells as numbers, NaN where they are empty."""
    return np.array(
        [[float(cells[place.position] or "nan") for place in places] for cells in rows], np.float32
    )
