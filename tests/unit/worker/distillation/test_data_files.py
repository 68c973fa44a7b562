"""Validation and test examples in files of their own, read as the file to learn from is."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from sklearn.datasets import load_wine

from app.contracts.job import JobSpec
from app.contracts.report import Report
from tests.unit.worker.distillation.data.archives import Contents, idx, image, write_zip
from tests.unit.worker.distillation.specs import Heard, spec_of, workspace_with
from tests.unit.worker.distillation.toys import briefly
from worker.distillation import pipeline
from worker.distillation.data_files import read_data
from worker.distillation.dataset import Dataset
from worker.distillation.errors import BadInput
from worker.distillation.stages import prepare
from worker.distillation.workspace import Workspace

TRAIN = "size,colour,label\n" + "".join(
    f"{number},{'blue,dog' if number % 2 else 'red,cat'}\n" for number in range(8)
)
VALIDATION = "size,colour,label\n100,blue,dog\n101,blue,dog\n"
TEST = "label,extra,colour,size\ncat,x,red,200\ndog,y,blue,201\ncat,z,red,202\n"
FILES = {"file": "file-file", "validation_file": "file-validation", "test_file": "file-test"}


def dataset(*fields: str, **changes: object) -> dict[str, object]:
    files = {field: FILES[field] for field in fields}
    return {"source": "file", "format": {"name": "csv"}, **files, **changes}


def prepared(
    folder: Path, files: Sequence[str | bytes], **changes: object
) -> tuple[Dataset, list[str]]:
    """Prepare the file to learn from, then those for validation and for testing."""
    contents = [each if isinstance(each, bytes) else each.encode() for each in files]
    names = ("file", "validation", "test")
    workspace = workspace_with(folder, **dict(zip(names, contents, strict=False)))
    heard = Heard()
    data = dataset(*[*FILES][: len(files)], **changes)
    prepare.run(spec_of(dataset=data), workspace, heard.reporter)
    return Dataset.load(workspace.stage("prepared")), heard.reporter.warnings


def refusal(folder: Path, files: Sequence[str | bytes], **changes: object) -> BadInput:
    with pytest.raises(BadInput) as caught:
        prepared(folder, files, **changes)
    assert not (folder / "prepared").exists()
    return caught.value


def packed(folder: Path, *archives: Contents) -> list[bytes]:
    return [write_zip(folder / "packed.zip", contents).read_bytes() for contents in archives]


def pets(*names: str, first: int = 0, **looks: Any) -> Contents:  # noqa: ANN401 (an image's)
    return {
        f"{name}/{number}.png": image(10 * number + place, **looks)
        for place, name in enumerate(names)
        for number in range(first, first + 3)
    }


def test_each_part_is_its_file_and_examples_are_numbered_through_the_files(tmp_path: Path) -> None:
    data, _ = prepared(tmp_path, [TRAIN, VALIDATION, TEST])

    assert data.inputs[:, 0].tolist() == [*range(8), 100, 101, 200, 201, 202]
    assert data.inputs[8:, 1:].tolist() == [[1, 0], [1, 0], [0, 1], [1, 0], [0, 1]]
    assert data.labels[8:].tolist() == [1, 1, 0, 1, 0]
    assert {part: ids.tolist() for part, ids in data.ids.items()} == {
        "train": [*range(8)],
        "validation": [8, 9],
        "test": [10, 11, 12],
    }
    assert sorted(path.name for path in (tmp_path / "prepared").iterdir()) == [
        "cautions.json",
        "description.json",
        "inputs.npy",
        "labels.npy",
        "test.npy",
        "train.npy",
        "validation.npy",
    ]


def test_only_the_file_to_learn_from_says_what_there_is_and_how_it_is_scaled(
    tmp_path: Path,
) -> None:
    description = prepared(tmp_path, [TRAIN, VALIDATION, TEST])[0].description

    assert description.output_names == ["cat", "dog"]
    assert [column.name for column in description.columns or []] == ["size", "colour"]
    assert description.mean == pytest.approx([3.5, 0.5, 0.5])
    assert description.std == pytest.approx([np.arange(8).std(), 0.5, 0.5])


def test_a_part_without_a_file_is_a_share_of_the_file_to_learn_from(tmp_path: Path) -> None:
    parts = {}
    for fields in ([TRAIN], [TRAIN, VALIDATION]):
        folder = tmp_path / str(len(fields))
        folder.mkdir()
        data, _ = prepared(folder, fields, split={"validation": 0.25, "test": 0.25, "seed": 3})
        parts[len(fields)] = {part: ids.tolist() for part, ids in data.ids.items()}

    assert parts[2]["test"] == parts[1]["test"]
    assert parts[2]["validation"] == [8, 9]
    assert parts[2]["train"] == sorted(parts[1]["train"] + parts[1]["validation"])


def test_validation_is_drawn_where_only_the_test_has_a_file(tmp_path: Path) -> None:
    workspace = workspace_with(tmp_path, file=TRAIN.encode(), test=TEST.encode())
    data = dataset("file", "test_file", split={"validation": 0.25})

    prepare.run(spec_of(dataset=data), workspace, Heard().reporter)

    ids = Dataset.load(workspace.stage("prepared")).ids
    assert (len(ids["validation"]), ids["test"].tolist()) == (2, [8, 9, 10])
    assert sorted([*ids["train"], *ids["validation"]]) == [*range(8)]


def test_progress_is_through_all_files(tmp_path: Path) -> None:
    workspace = workspace_with(tmp_path, file=TRAIN.encode(), test=TEST.encode())
    spec, shares = spec_of(dataset=dataset("file", "test_file")), list[float]()

    read_data(spec.dataset, workspace, tmp_path, lambda done, total: shares.append(done / total))

    assert shares == sorted(shares)
    assert (shares[0] < 0.5, shares[-1]) == (True, 1)


@pytest.mark.parametrize("task", ["multi_label", "regression"])
def test_other_tasks_have_files_of_their_own_too(task: str, tmp_path: Path) -> None:
    rows = "".join(f"{number},{number % 2},{number // 4}\n" for number in range(8))
    layout = {"name": "csv", "task": task, "targets": ["b", "a"]}
    files = [f"x,a,b\n{rows}", "b,a,x\n1,0,9\n", "x,b,a\n10,0,1\n"]

    data, _ = prepared(tmp_path, files, format=layout)

    assert data.labels[8:].tolist() == [[1, 0], [0, 1]]
    assert data.ids["train"].tolist() == [*range(8)]
    assert data.description.output_mean == ([0.5, 0.5] if task == "regression" else None)


@pytest.mark.parametrize(
    ("text", "code", "says", "hint"),
    [
        (
            "size,colour,label\n1,red,cat\n2,red,dgo\n",
            "unknown_class",
            'line 3, column "label": "dgo" is none of the 2 classes',
            'Did you mean "dog"?',
        ),
        (
            "szie,colour,label\n1,red,cat\n",
            "unknown_column",
            'line 1: no column is named "size", as there is in the file to learn from',
            'Did you mean "szie"?',
        ),
        ("size,colour,kind\n1,red,cat\n", "unknown_column", "as `label` asks", "Did you mean"),
        (
            "size,colour,label\n1,rde,cat\n",
            "unknown_category",
            'line 2, column "colour": "rde" is not among the 2 different values',
            'Did you mean "red"?',
        ),
        (
            "size,colour,label\ntall,red,cat\n",
            "not_a_number",
            'line 2, column "size": "tall" is not a finite number',
            "Correct it",
        ),
        ("size,colour,label\nnan,red,cat\n", "not_a_number", '"nan"', "Correct it"),
        ("size,colour,label\n,red,cat\n", "empty_cell", 'column "size"', "Correct it"),
        ("size,colour,label\n1,red,\n", "empty_cell", 'column "label"', None),
        ("size,colour,label\n", "empty_file", "no rows", None),
    ],
)
@pytest.mark.parametrize("field", ["validation_file", "test_file"])
def test_what_does_not_fit_names_its_file_and_line_and_what_is_nearest(
    text: str, code: str, says: str, hint: str | None, field: str, tmp_path: Path
) -> None:
    files = [TRAIN, text] if field == "validation_file" else [TRAIN, VALIDATION, text]

    error = refusal(tmp_path, files)

    assert error.code == code
    assert str(error).startswith(f"`dataset.{field}` ({FILES[field]}): ")
    assert says in str(error)
    assert (hint or "") in (error.hint or "")


def test_examples_that_are_in_two_parts_are_counted_in_a_warning(tmp_path: Path) -> None:
    again = "size,colour,label\n3,blue,dog\n4,red,dog\n100,blue,dog\n4,blue,cat\n"

    _, warnings = prepared(tmp_path, [TRAIN, VALIDATION, again])

    told = [each for each in warnings if "the same inputs" in each]
    assert [each.split(":")[0] for each in told] == [
        "2 of the 4 test examples have the same inputs as train examples",
        "1 of the 4 test examples have the same inputs as validation examples",
    ]


def test_doubles_within_one_file_are_no_matter(tmp_path: Path) -> None:
    _, warnings = prepared(tmp_path, [TRAIN + "1,blue,dog\n" * 30])

    assert not [each for each in warnings if "the same inputs" in each]


def test_archives_of_images_may_be_three(tmp_path: Path) -> None:
    files = packed(
        tmp_path, pets("cat", "dog"), pets("dog", first=5, mode="RGB"), pets("dog", "cat", first=6)
    )

    data, _ = prepared(tmp_path, files, format={"name": "image_archive"})

    assert data.inputs.shape == (15, 1, 6, 6)
    assert data.labels.tolist() == [0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 1, 1, 1]
    assert data.inputs[data.ids["test"], 0, 0, 0].tolist() == [61, 71, 81, 60, 70, 80]
    assert [len(ids) for ids in data.ids.values()] == [6, 3, 6]


def test_an_archive_keeps_its_own_test_part_beside_a_file_for_validation(tmp_path: Path) -> None:
    own = {
        f"{part}/{name}": one for part in ("train", "test") for name, one in pets("a", "b").items()
    }
    files = packed(tmp_path, own, pets("b", first=5))

    data, _ = prepared(tmp_path, files, format={"name": "image_archive"})

    assert [len(ids) for ids in data.ids.values()] == [6, 3, 6]
    assert data.inputs[data.ids["validation"], 0, 0, 0].tolist() == [50, 60, 70]
    assert data.labels[data.ids["test"]].tolist() == [0, 0, 0, 1, 1, 1]


def idx_files(labels: Sequence[int], first: int = 0, part: str = "train") -> Contents:
    pixels = np.arange(first, first + len(labels), dtype=np.uint8)
    return {
        f"{part}-images-idx3-ubyte": idx(np.tile(pixels[:, None, None], (1, 4, 4))),
        f"{part}-labels-idx1-ubyte": idx(np.array(labels, np.uint8)),
    }


def test_idx_files_are_read_with_the_classes_of_the_first(tmp_path: Path) -> None:
    files = packed(tmp_path, idx_files([7, 3] * 4), idx_files([7, 7], 50), idx_files([3], 70))

    data, _ = prepared(tmp_path, files, format={"name": "image_archive"})

    assert data.description.output_names == ["3", "7"]
    assert data.labels[8:].tolist() == [1, 1, 0]
    assert data.inputs[8:, 0, 0, 0].tolist() == [50, 51, 70]


@pytest.mark.parametrize(
    ("further", "code", "says"),
    [
        (pets("cat", "dgo"), "unknown_class", '"dgo" is none of the 2 classes'),
        (pets("cat", size=(6, 8)), "sizes_differ", "6 x 8 pixels where those to learn from"),
        (
            {f"{part}/cat/1.png": image(3) for part in ("train", "test")},
            "own_test_part",
            "a test part of its own",
        ),
    ],
    ids=["class", "size", "own test part"],
)
def test_archives_that_do_not_fit_the_first_are_refused(
    further: Contents, code: str, says: str, tmp_path: Path
) -> None:
    files = packed(tmp_path, pets("cat", "dog"), further)

    error = refusal(tmp_path, files, format={"name": "image_archive"})

    assert error.code == code
    assert str(error).startswith("`dataset.validation_file` (file-validation): ")
    assert says in str(error)
    assert error.hint


def test_two_test_parts_are_one_too_many(tmp_path: Path) -> None:
    own = {**idx_files([1, 2] * 4), **idx_files([1, 2], 9, "t10k")}
    files = packed(tmp_path, own, idx_files([1]), idx_files([2]))

    error = refusal(tmp_path, files, format={"name": "image_archive"})

    assert error.code == "two_test_parts"
    assert "`dataset.test_file` is file-test" in str(error)


WINE = load_wine()
CLASSES = [str(name) for name in WINE.target_names]


def wines(rows: Sequence[int], labels: Sequence[str]) -> bytes:
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow([*WINE.feature_names, "label"])
    table.writerows([*WINE.data[row], label] for row, label in zip(rows, labels, strict=True))
    return text.getvalue().encode()


def accuracy(folder: Path, content: bytes) -> float:
    """Count by hand how often the delivered student names the label that a file has."""
    _, *rows = csv.reader(io.StringIO(content.decode()))
    inputs = np.array([row[:-1] for row in rows], np.float32)
    session = onnxruntime.InferenceSession(folder / "outputs/student/onnx/model.onnx")
    (logits,) = session.run(None, {session.get_inputs()[0].name: inputs})
    said = [CLASSES[place] for place in np.asarray(logits).argmax(axis=1)]
    return float(np.mean([one == row[-1] for one, row in zip(said, rows, strict=True)]))


def trained(folder: Path, **files: bytes) -> Report:
    workspace = workspace_with(folder, **files)
    return pipeline.run(_spec(), Workspace(workspace.root), Heard().reporter)


def _spec() -> JobSpec:
    quick = briefly(epochs=4, batch_size=16).model_dump()
    return spec_of(
        dataset=dataset(*FILES),
        teacher={"source": "train", "architecture": {"name": "mlp"}, "training": quick},
        training=quick,
        baseline=False,
    )


def test_what_is_reported_is_measured_on_the_very_files(tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(len(WINE.target)).tolist()
    labels = [CLASSES[WINE.target[row]] for row in order]
    wrong = [CLASSES[(WINE.target[row] + 1) % 3] for row in order]
    files = {"file": wines(order[:100], labels[:100]), "test": wines(order[140:], labels[140:])}
    found: dict[str, float] = {}
    for name, given in (("true", labels), ("permuted", wrong)):
        (tmp_path / name).mkdir()
        validation = wines(order[100:140], given[100:140])
        report = trained(tmp_path / name, validation=validation, **files)
        assert report.num_examples == {"train": 100, "validation": 40, "test": 38}
        assert report.student.validation is not None
        found[name] = report.student.validation.quality
        assert found[name] == pytest.approx(accuracy(tmp_path / name, validation))
        assert report.student.test.accuracy == pytest.approx(
            accuracy(tmp_path / name, files["test"])
        )

    assert found["true"] > 0.6
    assert found["permuted"] < 0.4
