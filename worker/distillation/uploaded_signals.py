"""Reads the answers of any other model, uploaded as Parquet, as if a teacher had given them.

One row an example: `example_id`, its number in the data from 0, and a column an output.

Shapes: N = rows, C = outputs.
"""

import difflib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from app.contracts.dataset import Task
from worker.distillation.dataset import Dataset
from worker.distillation.errors import BadInput

ID_COLUMN = "example_id"
MOST_COLUMNS = 20_000
MOST_BYTES = 4 * 2**30
"""Of the values when decoded: a small file can hold very many."""
ROWS_AT_ONCE = 8192
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
    names = dataset.description.output_names
    try:
        with pq.ParquetFile(path) as file:
            _check_size(file, len(names))
            _check_columns(file.schema_arrow, names)
            blocks = [
                _block(batch, names)
                for batch in file.iter_batches(ROWS_AT_ONCE, columns=[ID_COLUMN, *names])
            ]
    except (pa.ArrowException, OSError) as error:
        raise BadInput(
            "not_parquet",
            f"the signals cannot be read as Parquet: {error}",
            hint="write them with pyarrow or pandas: DataFrame.to_parquet",
        ) from error
    ids_N = np.concatenate([ids for ids, _ in blocks]) if blocks else np.empty(0, np.int64)
    order = np.argsort(ids_N, kind="stable")
    ids_N = ids_N[order]
    _check_ids(ids_N, dataset)
    given_NC = np.concatenate([block for _, block in blocks])[order]
    return ids_N, _as_answers(given_NC, ids_N, dataset, values)


def _check_size(file: pq.ParquetFile, num_outputs: int) -> None:
    metadata = file.metadata
    num_bytes = metadata.num_rows * (num_outputs + 1) * 8
    stated = sum(
        metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups)
    )
    if metadata.num_columns > MOST_COLUMNS or max(num_bytes, stated) > MOST_BYTES:
        raise BadInput(
            "too_large",
            f"the signals are {metadata.num_rows:,} rows of {metadata.num_columns:,} columns, "
            f"{max(num_bytes, stated):,} bytes when decoded; at most {MOST_COLUMNS:,} columns and "
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
        fits = pa.types.is_integer(kind) if name == ID_COLUMN else _is_number(kind)
        if not fits:
            expected = "whole numbers" if name == ID_COLUMN else "numbers"
            raise BadInput(
                "wrong_type", f"column {name!r} of the signals holds {kind}, expected {expected}"
            )


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _block(batch: pa.RecordBatch, names: list[str]) -> tuple[Ids, Floats]:
    for name in [ID_COLUMN, *names]:
        if batch.column(name).null_count:
            raise BadInput("empty_cell", f"column {name!r} of the signals has an empty cell")
    ids = np.asarray(batch.column(ID_COLUMN).cast(pa.int64()))
    columns = [np.asarray(batch.column(name).cast(pa.float32(), safe=False)) for name in names]
    return ids, np.stack(columns, axis=1)


def _check_ids(ids_N: Ids, dataset: Dataset) -> None:
    num_examples = len(dataset.labels)
    if len(ids_N) and (ids_N[0] < 0 or ids_N[-1] >= num_examples):
        wrong = ids_N[0] if ids_N[0] < 0 else ids_N[-1]
        raise BadInput(
            "unknown_example",
            f"the signals name example {wrong}; the data has {num_examples:,}, numbered from 0",
        )
    twice = ids_N[1:][ids_N[1:] == ids_N[:-1]]
    if len(twice):
        raise BadInput("duplicate_example", f"the signals name example {twice[0]} twice")
    missing = np.setdiff1d(dataset.ids["train"], ids_N)
    if len(missing):
        raise BadInput(
            "missing_example",
            f"the signals lack {len(missing):,} of {len(dataset.ids['train']):,} train examples, "
            f"the first {missing[0]}",
            hint="give the answers on every example of the data",
        )
    held_out = np.concatenate([dataset.ids["validation"], dataset.ids["test"]])
    missing = np.setdiff1d(held_out, ids_N)
    if 0 < len(missing) < len(held_out):
        raise BadInput(
            "missing_example",
            f"the signals lack {len(missing):,} of {len(held_out):,} validation and test examples, "
            f"the first {missing[0]}; expected all of them or none",
        )


def _as_answers(given_NC: Floats, ids_N: Ids, dataset: Dataset, values: Values) -> Floats:
    description = dataset.description
    _refuse(~np.isfinite(given_NC), given_NC, ids_N, "a finite number")
    if (values == "predictions") != (description.task == "regression"):
        raise BadInput(
            "values_do_not_fit_task",
            f"the signals are {values}, and the data is for {description.task}",
            hint="regression has predictions; classes and labels have logits or probabilities",
        )
    if values == "predictions":
        mean = np.array(description.output_mean, np.float32)
        std = np.array(description.output_std, np.float32)
        standardised: Floats = ((given_NC - mean) / std).astype(np.float32)
        return standardised
    if values == "probabilities":
        return _from_probabilities(given_NC, ids_N, description.task)
    return given_NC


def _from_probabilities(given_NC: Floats, ids_N: Ids, task: Task) -> Floats:
    _refuse((given_NC < 0) | (given_NC > 1 + SUM_TOLERANCE), given_NC, ids_N, "from 0 to 1")
    clipped = np.clip(given_NC.astype(np.float64), LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    if task == "multi_label":
        answers: Floats = (np.log(clipped) - np.log1p(-clipped)).astype(np.float32)
        return answers
    sums_N = given_NC.sum(axis=1)
    wrong = np.flatnonzero(np.abs(sums_N - 1) > SUM_TOLERANCE)
    if len(wrong):
        raise BadInput(
            "not_a_distribution",
            f"the probabilities of example {ids_N[wrong[0]]} add up to {sums_N[wrong[0]]:g}, "
            "expected 1",
        )
    logarithms: Floats = np.log(clipped).astype(np.float32)
    return logarithms


def _refuse(broken_NC: npt.NDArray[Any], given_NC: Floats, ids_N: Ids, expected: str) -> None:
    rows, columns = np.nonzero(broken_NC)
    if len(rows):
        raise BadInput(
            "bad_signal",
            f"output {columns[0]} of example {ids_N[rows[0]]} is "
            f"{given_NC[rows[0], columns[0]]}, expected {expected}",
        )
