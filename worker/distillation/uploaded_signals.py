"""Reads the answers of any other model, uploaded as Parquet, as if a teacher had given them.

One row an example: `example_id`, its number in the data from 0, and a column an output; in any
order, other columns are not looked at. Messages count the file's rows from 0, as pandas does.

Shapes: N = rows, ascending by id; M = some rows, as in the file; C = outputs.
"""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from app.contracts.dataset import Task
from worker.distillation.dataset import Dataset
from worker.distillation.errors import BadInput

ID_COLUMN = "example_id"
MOST_OTHER_COLUMNS = 1000
MOST_BYTES = 4 * 2**30
"""Of the values when decoded: a small file can hold very many."""
MOST_VALUES_AT_ONCE = 2**22
SUM_TOLERANCE = 1e-3
LEAST_PROBABILITY = 1e-9

Values = Literal["logits", "probabilities", "predictions"]
Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]


def read_signals(path: Path, dataset: Dataset, values: Values) -> tuple[Ids, Floats]:
    """Return ids (N), ascending, and what losses compare (N, C), as a teacher's answers.

    Probabilities become their logarithms (of labels: log odds); predictions are brought from the
    targets' units to standard deviations.

    Raises:
        BadInput: the file is no Parquet, too large, lacks a column or an example, names an example
            twice, or holds a value that cannot be what it is said to be.
    """
    description = dataset.description
    if (values == "predictions") != (description.task == "regression"):
        raise BadInput(
            "values_do_not_fit_task",
            f"the signals are {values}, and the data is for {description.task}",
            hint="regression has predictions; classes and labels have logits or probabilities",
        )
    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            _check_size(file.metadata, dataset)
            _check_columns(file.schema_arrow, description.output_names)
            return _read(file, dataset, values)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise BadInput(
            "not_parquet",
            f"the signals cannot be read as Parquet: {error}",
            hint="write them with pyarrow or pandas: DataFrame.to_parquet",
        ) from error


def _check_size(metadata: pq.FileMetaData, dataset: Dataset) -> None:
    """Refuse what is too much, by what the file says of itself, before anything is decoded."""
    num_examples, num_outputs = len(dataset.labels), dataset.num_outputs
    if metadata.num_rows > num_examples:
        raise BadInput(
            "too_many_rows",
            f"the signals have {metadata.num_rows:,} rows; the data has {num_examples:,} examples, "
            "and each may have one row",
        )
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    num_bytes = max(
        metadata.num_rows * (num_outputs + 1) * 8, sum(group.total_byte_size for group in groups)
    )
    most_columns = 1 + num_outputs + MOST_OTHER_COLUMNS
    if metadata.num_columns > most_columns or num_bytes > MOST_BYTES:
        raise BadInput(
            "too_large",
            f"the signals are {metadata.num_rows:,} rows of {metadata.num_columns:,} columns, "
            f"{num_bytes:,} bytes when decoded; at most {most_columns:,} columns and "
            f"{MOST_BYTES:,} bytes are read",
            hint="leave out columns that are no outputs",
        )


def _check_columns(schema: pa.Schema, names: list[str]) -> None:
    for name in [ID_COLUMN, *names]:
        if schema.names.count(name) != 1:
            nearest = difflib.get_close_matches(name, schema.names, n=3, cutoff=0.5)
            raise BadInput(
                "unknown_column",
                f"the signals have {schema.names.count(name)} columns named {name!r}, expected one",
                hint=f"the nearest are {', '.join(nearest or schema.names[:5])}",
            )
        kind = schema.field(name).type
        is_whole = pa.types.is_integer(kind)
        fits = is_whole if name == ID_COLUMN else is_whole or pa.types.is_floating(kind)
        if not fits:
            expected = "whole numbers" if name == ID_COLUMN else "numbers"
            raise BadInput(
                "wrong_type", f"column {name!r} of the signals holds {kind}, expected {expected}"
            )


def _read(file: pq.ParquetFile, dataset: Dataset, values: Values) -> tuple[Ids, Floats]:
    """Read the ids, then the answers, a few rows at a time and straight to their places."""
    description = dataset.description
    names, task = description.output_names, description.task
    mean_C, std_C = description.output_mean or 0.0, description.output_std or 1.0
    ids_M = _read_ids(file, len(dataset.labels))
    _check_whole(ids_M, dataset)
    order_N = np.argsort(ids_M)
    places_M = np.empty_like(order_N)
    places_M[order_N] = np.arange(len(order_N))
    answers_NC = np.empty((len(ids_M), len(names)), np.float32)
    first = 0
    for batch in file.iter_batches(max(1, MOST_VALUES_AT_ONCE // len(names)), columns=names):
        rows = slice(first, first + batch.num_rows)
        given = _Block(names, _numbers(batch, names, first), ids_M[rows], first)
        given.refuse(~(np.abs(given.values_MC) <= np.finfo(np.float32).max), "a finite number")
        answers_MC = given.values_MC
        if values == "probabilities":
            answers_MC = _from_probabilities(given, task)
        answers_NC[places_M[rows]] = (answers_MC - mean_C) / std_C
        first += batch.num_rows
    return ids_M[order_N], answers_NC


@dataclass(frozen=True)
class _Block:
    """Some rows of the file."""

    names: list[str]
    values_MC: npt.NDArray[np.float64]
    ids_M: Ids
    first_row: int

    def refuse(self, broken_MC: npt.NDArray[np.bool_], expected: str) -> None:
        rows, columns = np.nonzero(broken_MC)
        if len(rows):
            raise BadInput(
                "bad_signal",
                f"{self.named(rows[0])}, column {self.names[columns[0]]!r}: "
                f"{self.values_MC[rows[0], columns[0]]:g}, expected {expected}",
            )

    def named(self, row: int) -> str:
        return f"row {self.first_row + row} of the signals (example {self.ids_M[row]})"


def _read_ids(file: pq.ParquetFile, num_examples: int) -> Ids:
    """Return each row's id, in the data and there once."""
    blocks, first = [np.empty(0, np.int64)], 0
    for batch in file.iter_batches(columns=[ID_COLUMN]):
        _check_filled(batch, [ID_COLUMN], first)
        given_M = np.asarray(batch.column(ID_COLUMN))
        outside = np.flatnonzero((given_M < 0) | (given_M >= num_examples))
        if len(outside):
            raise BadInput(
                "unknown_example",
                f"row {first + outside[0]} of the signals is of example {given_M[outside[0]]}; the "
                f"data has {num_examples:,}, numbered from 0",
            )
        blocks.append(given_M.astype(np.int64))
        first += batch.num_rows
    ids_M = np.concatenate(blocks)
    order = np.argsort(ids_M, kind="stable")
    again = np.flatnonzero(np.diff(ids_M[order]) == 0)
    if len(again):
        one, other = order[again[0]], order[again[0] + 1]
        raise BadInput(
            "duplicate_example",
            f"rows {one} and {other} of the signals are both of example {ids_M[one]}",
        )
    return ids_M


def _check_whole(ids_M: Ids, dataset: Dataset) -> None:
    """Refuse ids that lack a train example, or some of the held-out ones and not all."""
    train, held_out = dataset.ids["train"], [dataset.ids["validation"], dataset.ids["test"]]
    missing = np.setdiff1d(train, ids_M)
    if len(missing):
        raise BadInput(
            "missing_example",
            f"the signals lack {len(missing):,} of {len(train):,} train examples, the first "
            f"{missing[0]}",
            hint="give the answers on every example of the data",
        )
    others = np.concatenate(held_out)
    missing = np.setdiff1d(others, ids_M)
    if 0 < len(missing) < len(others):
        raise BadInput(
            "missing_example",
            f"the signals lack {len(missing):,} of {len(others):,} validation and test examples, "
            f"the first {missing[0]}; expected all of them or none",
        )


def _numbers(batch: pa.RecordBatch, names: list[str], first: int) -> npt.NDArray[np.float64]:
    _check_filled(batch, names, first)
    columns = [batch.column(name).cast(pa.float64(), safe=False) for name in names]
    return np.stack([np.asarray(column) for column in columns], axis=1)


def _check_filled(batch: pa.RecordBatch, names: list[str], first: int) -> None:
    for name in names:
        column = batch.column(name)
        if column.null_count:
            empty = int(np.argmin(column.is_valid().to_numpy(zero_copy_only=False)))
            raise BadInput(
                "empty_cell",
                f"row {first + empty} of the signals, column {name!r}: the cell is empty, expected "
                "a number",
            )


def _from_probabilities(given: _Block, task: Task) -> npt.NDArray[np.float64]:
    values_MC = given.values_MC
    given.refuse((values_MC < 0) | (values_MC > 1 + SUM_TOLERANCE), "from 0 to 1")
    clipped_MC = np.clip(values_MC, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    if task == "multi_label":
        log_odds_MC: npt.NDArray[np.float64] = np.log(clipped_MC) - np.log1p(-clipped_MC)
        return log_odds_MC
    sums_M = values_MC.sum(axis=1)
    wrong = np.flatnonzero(np.abs(sums_M - 1) > SUM_TOLERANCE)
    if len(wrong):
        raise BadInput(
            "not_a_distribution",
            f"{given.named(wrong[0])}: the probabilities add up to {sums_M[wrong[0]]:g}, expected "
            "1",
            hint="for numbers before a softmax, say that `values` are logits",
        )
    log_probs_MC: npt.NDArray[np.float64] = np.log(clipped_MC)
    return log_probs_MC
