"""What the later stages find in `prepared`, and which jobs end here."""

from pathlib import Path

import numpy as np
import pytest

from app.contracts.message import ProgressMade
from tests.unit.worker.distillation.data.archives import image, write_tar_gz
from tests.unit.worker.distillation.specs import MLP, Heard, spec_of, workspace_with
from worker.distillation.dataset import Dataset
from worker.distillation.errors import BadInput, Stopped
from worker.distillation.stages import prepare

ROWS = [f"{number},7,{'ab'[number % 2]}" for number in range(40)]
TABLE = "\n".join(["x,constant,label", *ROWS]).encode()


def table(**split: object) -> dict[str, object]:
    return {"source": "file", "file": "file-table", "format": {"name": "csv"}, "split": split}


def prepared(folder: Path, **changes: object) -> tuple[Dataset, Heard]:
    heard = Heard()
    workspace = workspace_with(folder, table=TABLE)
    prepare.run(spec_of(**changes), workspace, heard.reporter)
    return Dataset.load(workspace.stage("prepared")), heard


def refusal(folder: Path, **changes: object) -> BadInput:
    with pytest.raises(BadInput) as caught:
        prepared(folder, **changes)
    assert not (folder / "prepared").exists()
    return caught.value


def test_digits_are_ready_to_train_on(tmp_path: Path) -> None:
    data, heard = prepared(tmp_path)

    assert {part: len(ids) for part, ids in data.ids.items()} == {
        "train": 1257,
        "validation": 180,
        "test": 360,
    }
    assert data.description.kind == "image"
    assert data.description.shape == [1, 8, 8]
    assert heard.messages == []


def test_mean_and_deviation_are_of_the_train_part_alone(tmp_path: Path) -> None:
    data, _ = prepared(tmp_path)
    train = data.inputs[data.ids["train"]].astype(np.float64)

    assert data.description.mean == pytest.approx([train.mean()])
    assert data.description.std == pytest.approx([train.std()])


def test_each_feature_of_a_table_has_its_own_and_a_constant_one_deviates_by_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.distillation.stages.prepare.BLOCK_BYTES", 7 * 2 * 8)

    data, _ = prepared(tmp_path, dataset=table(test=0.5))

    train = data.inputs[data.ids["train"]].astype(np.float64)
    assert data.description.kind == "table"
    assert data.description.mean == pytest.approx([train[:, 0].mean(), 7])
    assert data.description.std == pytest.approx([train[:, 0].std(), 1])
    assert [column.name for column in data.description.columns or []] == ["x", "constant"]


def test_inputs_and_labels_stay_together(tmp_path: Path) -> None:
    data, _ = prepared(tmp_path, dataset=table())

    assert data.inputs[:, 0].tolist() == list(range(40))
    assert data.labels.tolist() == [number % 2 for number in range(40)]


def test_an_archive_of_images_is_prepared_from_its_own_test_part(tmp_path: Path) -> None:
    contents = {
        f"{part}/{name}/{number}.png": image(100 * (name == "cat") + number)
        for part in ("train", "test")
        for name in ("cat", "dog")
        for number in range(3)
    }
    workspace = workspace_with(tmp_path, pets=b"")
    write_tar_gz(workspace.input("file-pets"), contents)
    dataset = {
        "source": "file",
        "file": "file-pets",
        "format": {"name": "image_archive"},
        "split": {"validation": 0.3},
    }

    prepare.run(spec_of(dataset=dataset), workspace, Heard().reporter)

    data = Dataset.load(workspace.stage("prepared"))
    assert {part: len(ids) for part, ids in data.ids.items()} == {
        "train": 4,
        "validation": 2,
        "test": 6,
    }
    assert sorted(data.inputs[data.ids["test"], 0, 0, 0].tolist()) == [0, 1, 2, 100, 101, 102]
    assert data.labels[data.ids["test"]].tolist() == [0, 0, 0, 1, 1, 1]


def test_the_same_spec_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        prepared(tmp_path / name, dataset=table())

    for file in sorted((tmp_path / "one" / "prepared").iterdir()):
        assert file.read_bytes() == (tmp_path / "two" / "prepared" / file.name).read_bytes()


def test_small_parts_and_rare_classes_are_warned_of(tmp_path: Path) -> None:
    rows = [f"{number},{'b' if number % 25 == 0 else 'a'}" for number in range(200)]
    workspace = workspace_with(tmp_path, table="\n".join(["x,label", *rows]).encode())
    heard = Heard()

    prepare.run(spec_of(dataset=table()), workspace, heard.reporter)

    few_test, few_validation, rare = heard.reporter.warnings
    assert "only 40 examples" in few_test
    assert "only 20 examples" in few_validation
    assert '"b" has' in rare


def test_reading_stops_when_it_is_asked_to(tmp_path: Path) -> None:
    heard = Heard()
    heard.reporter.stop_requested = True

    with pytest.raises(Stopped):
        prepare.run(spec_of(dataset=table()), workspace_with(tmp_path, table=TABLE), heard.reporter)


def test_reading_tells_its_progress_in_percent(tmp_path: Path) -> None:
    _, heard = prepared(tmp_path, dataset=table())

    first = next(each for each in heard.messages if isinstance(each, ProgressMade))
    assert (first.progress.step, first.progress.steps) == (50, 100)


@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        (
            {"student": {"architecture": {"name": "convnet"}}},
            "architecture_needs_images",
            "student.architecture",
        ),
        (
            {"teacher": {"source": "train", "architecture": {"name": "cifar_resnet"}}},
            "architecture_needs_images",
            "teacher.architecture",
        ),
        (
            {"training": {"augmentation": [{"name": "flip"}]}},
            "augmentation_needs_images",
            "`training.augmentation`",
        ),
        (
            {
                "teacher": {
                    "source": "train",
                    "architecture": MLP,
                    "training": {"augmentation": [{"name": "shift_crop"}]},
                }
            },
            "augmentation_needs_images",
            "`teacher.training.augmentation`",
        ),
    ],
)
def test_what_only_images_have_is_refused_for_a_table(
    changes: dict[str, object], code: str, says: str, tmp_path: Path
) -> None:
    error = refusal(tmp_path, dataset=table(), **changes)

    assert error.code == code
    assert says in str(error)
    assert error.hint


def test_a_shift_that_may_move_the_whole_image_away_is_refused(tmp_path: Path) -> None:
    shift = {"name": "shift_crop", "pixels": 8}

    error = refusal(tmp_path, training={"augmentation": [{"name": "flip"}, shift]})

    assert error.code == "shift_too_large"
    assert "training.augmentation.1.pixels" in str(error)


def test_images_too_small_to_see_are_refused(tmp_path: Path) -> None:
    workspace = workspace_with(tmp_path, dots=b"")
    contents = {f"{name}/{number}.png": image(size=(6, 3)) for name in "ab" for number in range(3)}
    write_tar_gz(workspace.input("file-dots"), contents)
    dataset = {"source": "file", "file": "file-dots", "format": {"name": "image_archive"}}

    with pytest.raises(BadInput) as caught:
        prepare.run(spec_of(dataset=dataset), workspace, Heard().reporter)

    assert caught.value.code == "image_too_small"
    assert "6 x 3" in str(caught.value)
