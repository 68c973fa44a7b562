"""Uploaded answers become a teacher's, or are refused by row, example and column."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.contracts.dataset import Task
from tests.unit.worker.distillation.toys import toy_images
from worker.distillation import uploaded_signals
from worker.distillation.dataset import Dataset
from worker.distillation.errors import BadInput
from worker.distillation.uploaded_signals import Values, read_signals

NUM_EXAMPLES = 36
"""Of which 22 to train on."""
NAMES = ["cat", "dog", "dog.1"]


def data_for(task: Task = "classification", names: list[str] = NAMES) -> Dataset:
    data = toy_images()
    description = data.description.model_copy(update={"task": task, "output_names": names})
    if task == "regression":
        description = description.model_copy(
            update={"output_mean": [10.0, 0.0, -5.0], "output_std": [2.0, 1.0, 0.5]}
        )
    return Dataset(data.inputs, data.labels, data.ids, description)


def table_of(values_NC: np.ndarray[Any, Any], **changes: object) -> pa.Table:
    columns = {
        "example_id": np.arange(len(values_NC)),
        **dict(zip(NAMES, values_NC.T, strict=True)),
    }
    return pa.table({**columns, **changes})


def logits() -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).normal(size=(NUM_EXAMPLES, 3)).astype(np.float32)


def probabilities() -> np.ndarray[Any, Any]:
    return torch.softmax(torch.from_numpy(logits()).double(), dim=1).numpy()


def read(
    folder: Path, table: pa.Table, values: Values = "logits", task: Task = "classification"
) -> tuple[list[int], torch.Tensor]:
    pq.write_table(table, folder / "signals.parquet", row_group_size=10)
    ids_N, answers_NC = read_signals(folder / "signals.parquet", data_for(task), values)
    assert answers_NC.dtype == np.float32
    return ids_N.tolist(), torch.from_numpy(answers_NC)


def refusal(
    folder: Path, table: pa.Table, values: Values = "logits", task: Task = "classification"
) -> tuple[str, str]:
    with pytest.raises(BadInput) as caught:
        read(folder, table, values, task)
    return caught.value.code, f"{caught.value}; {caught.value.hint}"


def test_logits_come_back_bit_for_bit_whatever_the_order_of_the_rows(tmp_path: Path) -> None:
    """Pitfall: signals paired with examples by position."""
    shuffled = np.random.default_rng(1).permutation(NUM_EXAMPLES)

    ids, answers_NC = read(tmp_path, table_of(logits()).take(shuffled))

    assert ids == list(range(NUM_EXAMPLES))
    assert torch.equal(answers_NC, torch.from_numpy(logits()))


def test_a_few_rows_at_a_time_are_as_good_as_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shuffled = table_of(logits()).take(np.random.default_rng(1).permutation(NUM_EXAMPLES))
    monkeypatch.setattr(uploaded_signals, "MOST_VALUES_AT_ONCE", 7)

    _, answers_NC = read(tmp_path, shuffled)

    assert torch.equal(answers_NC, torch.from_numpy(logits()))


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64(), pa.int8(), pa.uint64()])
def test_columns_of_any_kind_of_number_in_any_order_beside_others_are_read(
    tmp_path: Path, kind: pa.DataType
) -> None:
    whole = np.abs(logits()).round()
    table = table_of(whole, note=["words"] * NUM_EXAMPLES)
    table = table.set_column(1, "cat", table["cat"].cast(kind))

    _, answers_NC = read(tmp_path, table.select(["dog", "note", "cat", "example_id", "dog.1"]))

    assert torch.equal(answers_NC, torch.from_numpy(whole))


def test_held_out_examples_may_all_be_left_out(tmp_path: Path) -> None:
    ids, answers_NC = read(tmp_path, table_of(logits()).slice(0, 22))

    assert ids == list(range(22))
    assert torch.equal(answers_NC, torch.from_numpy(logits()[:22]))


def test_probabilities_become_logits_of_the_same_softmax(tmp_path: Path) -> None:
    given_NC = probabilities()
    given_NC[4] = [0.0, 1.0, 0.0]

    _, answers_NC = read(tmp_path, table_of(given_NC), "probabilities")

    torch.testing.assert_close(
        answers_NC.softmax(dim=1), torch.from_numpy(given_NC).float(), rtol=1e-5, atol=1e-8
    )
    # By hand: a probability of 0 is taken for 1e-9, whose logarithm is -20.723.
    torch.testing.assert_close(answers_NC[4], torch.tensor([-20.723266, 0, -20.723266]))


def test_probabilities_of_labels_become_log_odds(tmp_path: Path) -> None:
    given_NC = np.random.default_rng(0).random((NUM_EXAMPLES, 3))
    given_NC[5] = [0.0, 1.0, 0.75]

    _, answers_NC = read(tmp_path, table_of(given_NC), "probabilities", "multi_label")

    torch.testing.assert_close(answers_NC.sigmoid(), torch.from_numpy(given_NC).float())
    # By hand: ln(1e-9), its negative, and ln(0.75 / 0.25).
    torch.testing.assert_close(answers_NC[5], torch.tensor([-20.723266, 20.723266, 1.0986123]))


def test_predictions_are_brought_to_standard_deviations(tmp_path: Path) -> None:
    given_NC = np.tile([12.0, 3.0, -6.0], (NUM_EXAMPLES, 1))

    _, answers_NC = read(tmp_path, table_of(given_NC), "predictions", "regression")

    assert torch.equal(answers_NC, torch.tensor([[1.0, 3.0, -2.0]]).expand(NUM_EXAMPLES, 3))


@pytest.mark.parametrize(
    ("values", "task"),
    [("predictions", "classification"), ("logits", "regression"), ("probabilities", "regression")],
)
def test_values_that_do_not_fit_the_task_are_refused(
    tmp_path: Path, values: Values, task: Task
) -> None:
    code, said = refusal(tmp_path, table_of(logits()), values, task)

    assert code == "values_do_not_fit_task"
    assert f"the signals are {values}, and the data is for {task}" in said


Change = Callable[[pa.Table], pa.Table]


def with_cell(column: str, row: int, value: object) -> Change:
    def change(table: pa.Table) -> pa.Table:
        cells = table[column].to_pylist()
        cells[row] = value
        return table.set_column(table.schema.names.index(column), column, [cells])

    return change


def renamed(column: str, name: str) -> Change:
    return lambda table: table.rename_columns(
        [name if given == column else given for given in table.schema.names]
    )


def of_kind(column: str, kind: pa.DataType) -> Change:
    return lambda table: table.set_column(
        table.schema.names.index(column), column, table[column].cast(kind)
    )


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (with_cell("example_id", 7, 36), "unknown_example",
         "row 7 of the signals is of example 36; the data has 36, numbered from 0"),
        (with_cell("example_id", 0, -1), "unknown_example", "row 0 of the signals is of"),
        (with_cell("example_id", 30, 4), "duplicate_example",
         "rows 4 and 30 of the signals are both of example 4"),
        (with_cell("example_id", 30, None), "empty_cell",
         "row 30 of the signals, column 'example_id'"),
        (with_cell("dog", 23, None), "empty_cell",
         "row 23 of the signals, column 'dog': the cell is empty, expected a number"),
        (with_cell("dog", 23, float("nan")), "bad_signal",
         "row 23 of the signals (example 23), column 'dog': nan, expected a finite number"),
        (with_cell("dog.1", 35, -float("inf")), "bad_signal", "column 'dog.1': -inf"),
        (with_cell("cat", 1, 1e39), "bad_signal", "column 'cat': 1e+39, expected a finite number"),
        (renamed("example_id", "example"), "unknown_column",
         "have 0 columns named 'example_id', expected one; the nearest are example"),
        (renamed("cat", "Cat"), "unknown_column", "named 'cat', expected one; the nearest are Cat"),
        (renamed("cat", "dog"), "unknown_column", "have 0 columns named 'cat'"),
        (lambda table: table.append_column("dog", table["cat"]), "unknown_column",
         "have 2 columns named 'dog', expected one"),
        (of_kind("example_id", pa.float64()), "wrong_type",
         "column 'example_id' of the signals holds double, expected whole numbers"),
        (of_kind("dog", pa.string()), "wrong_type", "'dog' of the signals holds string"),
        (of_kind("dog", pa.decimal128(38, 20)), "wrong_type", "expected numbers"),
        (lambda table: table.slice(1), "missing_example",
         "lack 1 of 22 train examples, the first 0"),
        (lambda table: table.slice(0, 0), "missing_example", "lack 22 of 22 train examples"),
        (lambda table: table.slice(0, 30), "missing_example",
         "lack 6 of 14 validation and test examples, the first 30; expected all of them or none"),
        (lambda table: pa.concat_tables([table, table.slice(0, 1)]), "too_many_rows",
         "have 37 rows; the data has 36 examples"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path: Path, change: Change, code: str, said: str) -> None:
    table = change(table_of(logits().astype(np.float64)))

    given_code, given = refusal(tmp_path, table)

    assert given_code == code
    assert said in given


def test_ids_beyond_64_bits_with_a_sign_are_refused(tmp_path: Path) -> None:
    ids = np.arange(NUM_EXAMPLES, dtype=np.uint64)
    ids[3] = 2**64 - 1
    code, said = refusal(tmp_path, table_of(logits(), example_id=ids))

    assert code == "unknown_example"
    assert "example 18446744073709551615" in said


@pytest.mark.parametrize(
    ("row", "code", "said"),
    [
        ([0.5, 0.6, -0.1], "bad_signal", "column 'dog.1': -0.1, expected from 0 to 1"),
        ([0.0, 1.1, 0.0], "bad_signal", "column 'dog': 1.1, expected from 0 to 1"),
        ([0.5, 0.3, 0.1], "not_a_distribution", "add up to 0.9, expected 1"),
        ([0.5, 0.5, 0.0011], "not_a_distribution", "add up to 1.0011, expected 1"),
        ([0.5, 0.5, 0.0009], None, ""),
    ],
)
def test_probabilities_that_are_none_are_refused(
    tmp_path: Path, row: list[float], code: str | None, said: str
) -> None:
    given_NC = probabilities()
    given_NC[11] = row
    if code is None:
        read(tmp_path, table_of(given_NC), "probabilities")
        return
    given_code, given = refusal(tmp_path, table_of(given_NC), "probabilities")

    assert given_code == code
    assert "row 11 of the signals (example 11)" in given
    assert said in given


def test_a_small_file_of_very_many_rows_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    """20 million equal rows, 640 MB of numbers when decoded, in 300 kB."""
    block = pa.table(dict.fromkeys(["example_id", *NAMES], np.zeros(2_000_000, np.int8)))
    path = tmp_path / "signals.parquet"
    with pq.ParquetWriter(path, block.schema, compression="zstd") as writer:
        for _ in range(10):
            writer.write_table(block)
    assert path.stat().st_size < 400_000

    before = pa.default_memory_pool().max_memory()
    with pytest.raises(BadInput, match="have 20,000,000 rows"):
        read_signals(path, data_for(), "logits")
    assert pa.default_memory_pool().max_memory() - before < 1_000_000


def test_too_many_columns_or_bytes_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = table_of(logits(), **dict.fromkeys(map(str, range(1001)), np.zeros(NUM_EXAMPLES)))
    code, said = refusal(tmp_path, wide)
    assert code == "too_large"
    assert "at most 1,004 columns" in said

    monkeypatch.setattr(uploaded_signals, "MOST_BYTES", 36 * 4 * 8 - 1)
    code, said = refusal(tmp_path, table_of(logits()))
    assert code == "too_large"
    assert "36 rows of 4 columns" in said


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1", b"a,b\n1,2\n"])
def test_what_is_no_parquet_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "signals.parquet"
    path.write_bytes(content)
    with pytest.raises(BadInput, match="cannot be read as Parquet") as caught:
        read_signals(path, data_for(), "logits")

    assert caught.value.code == "not_parquet"


@given(st.data())
@settings(
    deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_wrong_bytes_are_refused_or_read_but_never_crash(
    tmp_path: Path, data: st.DataObject
) -> None:
    path = tmp_path / "signals.parquet"
    pq.write_table(table_of(logits()), path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))])
    try:
        ids_N, answers_NC = read_signals(path, data_for(), "logits")
    except BadInput:
        return
    assert len(np.unique(ids_N)) == len(ids_N)
    assert np.isfinite(answers_NC).all()
