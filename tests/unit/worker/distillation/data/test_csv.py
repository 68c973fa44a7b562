"""A table is read as it is meant, or refused with line and column."""

from pathlib import Path

import numpy as np
import pytest

from app.contracts.dataset import Csv
from worker.distillation.data.csv import read
from worker.distillation.dataset import RawData
from worker.distillation.errors import BadInput

GOOD = "age,colour,label\n1,red,yes\n2.5,blue,no\n-3e1,red,yes\n"


LABELS = "age,rain,wind\n1,0,1\n2,1,\n3,1.0,0\n"
NUMBERS = "city,x,price,size\nOslo,1,2.5,-1\nRome,2,-3e1,0\nOslo,3,7,1e4\n"


def unheard(done: int, total: int) -> None:
    """Nobody listens."""


def read_text(text: str | bytes, folder: Path, **settings: object) -> RawData:
    path = folder / "file-1"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read(Csv.model_validate(settings), path, folder, unheard)


def refusal(text: str | bytes, folder: Path, **settings: object) -> BadInput:
    with pytest.raises(BadInput) as caught:
        read_text(text, folder, **settings)
    return caught.value


def test_numbers_stay_and_words_become_one_input_each(tmp_path: Path) -> None:
    data = read_text(GOOD, tmp_path)

    assert data.inputs.tolist() == [[1, 0, 1], [2.5, 1, 0], [-30, 0, 1]]
    assert data.inputs.dtype == np.float32
    assert [(column.name, column.categories) for column in data.columns or []] == [
        ("age", None),
        ("colour", ["blue", "red"]),
    ]


def test_labels_are_places_among_the_sorted_class_names(tmp_path: Path) -> None:
    data = read_text(GOOD, tmp_path)

    assert data.output_names == ["no", "yes"]
    assert data.labels.tolist() == [1, 0, 1]


def test_class_names_that_are_numbers_are_in_their_order(tmp_path: Path) -> None:
    assert read_text("x,label\n1,10\n2,9\n3,1\n", tmp_path).output_names == ["1", "9", "10"]


def test_features_are_taken_in_the_order_asked_for(tmp_path: Path) -> None:
    data = read_text(
        "a;b;c;kind\n1;2;3;x\n4;5;6;y\n",
        tmp_path,
        label="kind",
        features=["c", "a"],
        delimiter=";",
    )

    assert data.inputs.tolist() == [[3, 1], [6, 4]]


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbf" + GOOD.encode(),
        GOOD.replace("\n", "\r\n").encode(),
        GOOD.replace("\n", "\n\n").encode(),
        GOOD.replace("red", '" red "').encode(),
    ],
    ids=["byte order mark", "CRLF", "empty lines", "spaces"],
)
def test_the_same_table_may_be_written_in_several_ways(text: bytes, tmp_path: Path) -> None:
    assert read_text(text, tmp_path).inputs.tolist() == [[1, 0, 1], [2.5, 1, 0], [-30, 0, 1]]


def test_an_empty_cell_among_words_is_a_category(tmp_path: Path) -> None:
    data = read_text("deck,label\nA,1\n,0\n", tmp_path)

    assert data.inputs.tolist() == [[0, 1], [1, 0]]


def test_many_rows_are_read_in_several_blocks(tmp_path: Path) -> None:
    rows = [f"{number},{'ab'[number % 2]}" for number in range(3000)]

    data = read_text("\n".join(["x,label", *rows]), tmp_path)

    assert data.inputs[:, 0].tolist() == list(range(3000))
    assert data.labels.tolist() == [number % 2 for number in range(3000)]


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        (GOOD.replace("2.5", "abc"), "not_a_number", 'line 3, column "age": "abc"'),
        (GOOD.replace("2.5", "1_0"), "not_a_number", 'line 3, column "age": "1_0"'),
        (GOOD.replace("2.5", "nan"), "not_a_number", 'line 3, column "age": "nan"'),
        (GOOD.replace("2.5", "inf"), "not_a_number", 'line 3, column "age": "inf"'),
        (GOOD.replace("2.5", "1e39"), "not_a_number", 'line 3, column "age": "1e39"'),
        (GOOD.replace("2.5", ""), "empty_cell", 'line 3, column "age"'),
        (GOOD.replace("no", ""), "empty_cell", 'line 3, column "label"'),
        (GOOD.replace("2.5,blue", "blue"), "ragged_row", "line 3: 2 values"),
        (GOOD.replace("blue", "b,l"), "ragged_row", "line 3: 4 values"),
        (GOOD.replace("colour", "age"), "duplicate_column", "columns 1 and 2"),
        (GOOD.replace("colour", " "), "unnamed_column", "column 2"),
        (GOOD.replace("blue", "b\0"), "not_text", "line 3"),
        (GOOD.replace("blue", "b" * 201), "too_long", 'line 3, column "colour"'),
        (GOOD.replace("no", "n" * 201), "too_long", 'line 3, column "label"'),
        (GOOD.replace("red", '"re"d'), "broken_csv", "line 2"),
        (GOOD.replace("blue", "b" * 200_000), "broken_csv", "line 3"),
        (GOOD.encode().replace(b"blue", b"bl\xfce"), "not_utf8", "line 1 or soon after"),
        (b"\x89PNG\r\n\x1a\n\0\0\0", "not_utf8", "line 1"),
        ("", "empty_file", "empty"),
        ("\n\n", "empty_file", "empty"),
        ("age,label\n", "empty_file", "no rows"),
        ("label\nyes\n", "no_features", '"label"'),
    ],
)
def test_what_cannot_be_used_is_refused_by_line_and_column(
    text: str | bytes, code: str, says: str, tmp_path: Path
) -> None:
    error = refusal(text, tmp_path)

    assert error.code == code
    assert says in str(error)


def test_a_row_over_several_lines_is_named_by_its_first(tmp_path: Path) -> None:
    text = 'x,note,label\n1,"a\nb",yes\n2,"c\nd"\n'

    assert "line 4: 2 values" in str(refusal(text, tmp_path))


@pytest.mark.parametrize(
    ("settings", "code", "says"),
    [
        ({"label": "lable"}, "unknown_column", '"label"'),
        ({"features": ["color"]}, "unknown_column", '"colour"'),
        ({"features": ["age", "label"]}, "label_among_features", "remove"),
        ({"delimiter": ";"}, "unknown_column", "semicolon"),
    ],
)
def test_a_column_that_is_not_there_is_answered_with_the_nearest(
    settings: dict[str, object], code: str, says: str, tmp_path: Path
) -> None:
    error = refusal(GOOD, tmp_path, **settings)

    assert error.code == code
    assert says in str(error.hint)


def test_a_feature_asked_for_twice_is_refused(tmp_path: Path) -> None:
    assert refusal(GOOD, tmp_path, features=["age", "age"]).code == "duplicate_column"


def test_labels_are_yes_no_or_unknown_and_every_other_column_is_a_feature(tmp_path: Path) -> None:
    data = read_text(LABELS, tmp_path, task="multi_label", targets=["wind", "rain"])

    assert data.task == "multi_label"
    assert data.output_names == ["wind", "rain"]
    assert data.labels.dtype == np.float32
    np.testing.assert_array_equal(data.labels, [[1, 0], [np.nan, 1], [0, 1]])
    assert data.inputs.tolist() == [[1], [2], [3]]


def test_targets_are_numbers_in_their_own_units(tmp_path: Path) -> None:
    data = read_text(NUMBERS, tmp_path, task="regression", targets=["price", "size"])

    assert data.task == "regression"
    assert data.output_names == ["price", "size"]
    assert data.labels.dtype == np.float32
    assert data.labels.tolist() == [[2.5, -1], [-30, 0], [7, 10_000]]
    assert [column.name for column in data.columns or []] == ["city", "x"]
    assert data.inputs.tolist() == [[1, 0, 1], [0, 1, 2], [1, 0, 3]]


def test_targets_of_many_rows_stay_in_order(tmp_path: Path) -> None:
    rows = [f"1,{number}" for number in range(3000)]

    data = read_text("\n".join(["x,y", *rows]), tmp_path, task="regression", targets=["y"])

    assert data.labels[:, 0].tolist() == list(range(3000))


@pytest.mark.parametrize(
    ("text", "settings", "code", "says"),
    [
        (LABELS.replace("1,0,1", "1,2,1"), {}, "not_zero_or_one", 'line 2, column "rain": "2"'),
        (LABELS.replace("3,1.0", "3,yes"), {}, "not_zero_or_one", 'line 4, column "rain": "yes"'),
        (LABELS.replace("3,1.0", "3,nan"), {}, "not_zero_or_one", 'line 4, column "rain": "nan"'),
        (LABELS.replace("3,1.0", "3,0.5"), {}, "not_zero_or_one", 'line 4, column "rain": "0.5"'),
        (LABELS, {"targets": ["rain", "rain"]}, "duplicate_column", '`targets` names "rain"'),
        (LABELS, {"features": ["age", "wind"]}, "target_among_features", '"wind" is both'),
        (LABELS, {"targets": ["age", "rain", "wind"]}, "no_features", '"age", "rain", "wind"'),
        (LABELS, {"targets": ["rain", "winds"]}, "unknown_column", "`targets.1`"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(
    text: str, settings: dict[str, object], code: str, says: str, tmp_path: Path
) -> None:
    wanted = {"task": "multi_label", "targets": ["rain", "wind"]} | settings

    error = refusal(text, tmp_path, **wanted)

    assert error.code == code
    assert says in str(error)


def test_the_nearest_columns_to_a_target_are_named(tmp_path: Path) -> None:
    error = refusal(LABELS, tmp_path, task="multi_label", targets=["winds"])

    assert '"wind"' in str(error.hint)


@pytest.mark.parametrize(
    ("cell", "code"),
    [
        ("", "empty_cell"),
        ("dear", "not_a_number"),
        ("nan", "not_a_number"),
        ("inf", "not_a_number"),
        ("1e39", "not_a_number"),
        ("1_0", "not_a_number"),
    ],
)
def test_a_target_that_is_no_finite_number_is_refused_by_line_and_column(
    cell: str, code: str, tmp_path: Path
) -> None:
    text = NUMBERS.replace("-3e1", cell)

    error = refusal(text, tmp_path, task="regression", targets=["price", "size"])

    assert error.code == code
    assert 'line 3, column "price"' in str(error)


def test_targets_count_towards_what_fits_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.distillation.data.csv.MAX_VALUES", 5)

    error = refusal(LABELS, tmp_path, task="multi_label", targets=["rain", "wind"])

    assert error.code == "too_large"
    assert "line 3" in str(error)


def test_a_column_of_free_text_is_refused(tmp_path: Path) -> None:
    rows = [f"word{number}a,{number % 2}" for number in range(1001)]

    error = refusal("\n".join(["x,label", *rows]), tmp_path)

    assert error.code == "too_many_categories"
    assert 'line 1002, column "x": "word1000a"' in str(error)


def test_a_label_column_of_amounts_is_refused(tmp_path: Path) -> None:
    rows = [f"1,{number}.5" for number in range(1001)]

    error = refusal("\n".join(["x,label", *rows]), tmp_path)

    assert error.code == "too_many_classes"
    assert 'line 1002, column "label": "1000.5"' in str(error)


def test_a_table_too_large_for_memory_is_refused_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.distillation.data.csv.MAX_VALUES", 5)

    error = refusal(GOOD, tmp_path)

    assert error.code == "too_large"
    assert "line 4" in str(error)


def test_reading_tells_how_far_it_is(tmp_path: Path) -> None:
    path = tmp_path / "file-1"
    path.write_text("x,label\n" + "1,a\n2,b\n" * 1000)
    told: list[float] = []

    read(Csv(), path, tmp_path, lambda done, total: told.append(done / total))

    assert told == sorted(told)
    assert set(told) == {0.5, 1}  # each of the two readings takes the file in one gulp
