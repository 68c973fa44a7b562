"""What the later stages find in `prepared`, and which jobs end here."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from app.contracts.message import ProgressMade, StopReason
from tests.unit.worker.distillation.data.archives import image, write_tar_gz
from tests.unit.worker.distillation.specs import MLP, Heard, spec_of, workspace_with
from worker.distillation.dataset import Dataset
from worker.distillation.errors import BadInput, Stopped
from worker.distillation.stages import prepare

DIABETES = {"source": "builtin", "name": "diabetes"}
ROWS = [f"{number},7,{'ab'[number % 2]}" for number in range(40)]
TABLE = "\n".join(["x,constant,label", *ROWS]).encode()


def table(**split: object) -> dict[str, object]:
    return {"source": "file", "file": "file-table", "format": {"name": "csv"}, "split": split}


def targets(task: str, *names: str) -> dict[str, object]:
    return {**table(), "format": {"name": "csv", "task": task, "targets": list(names)}}


def prepared_text(folder: Path, text: str, **changes: object) -> tuple[Dataset, Heard]:
    heard = Heard()
    workspace = workspace_with(folder, table=text.encode())
    prepare.run(spec_of(**changes), workspace, heard.reporter)
    return Dataset.load(workspace.stage("prepared")), heard


def prepared(folder: Path, **changes: object) -> tuple[Dataset, Heard]:
    return prepared_text(folder, TABLE.decode(), **changes)


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
    assert heard.reporter.warnings == []


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


def test_a_target_is_measured_on_the_train_part_alone_and_kept_in_its_units(
    tmp_path: Path,
) -> None:
    data, _ = prepared(tmp_path, dataset=DIABETES)
    train = data.labels[data.ids["train"]].astype(np.float64)

    assert data.description.task == "regression"
    assert data.description.output_names == ["progression"]
    assert data.description.output_mean == pytest.approx([train.mean()])
    assert data.description.output_std == pytest.approx([train.std()])
    assert data.labels.dtype == np.dtype(np.float32)
    assert data.labels.max() == 346
    assert {part: len(ids) for part, ids in data.ids.items()} == {
        "train": 308,
        "validation": 45,
        "test": 89,
    }


def test_several_targets_each_have_their_own_mean_and_deviation(tmp_path: Path) -> None:
    rows = [f"{number},{number % 3},{10 * number}" for number in range(60)]
    text = "\n".join(["x,y,z", *rows])

    data, _ = prepared_text(tmp_path, text, dataset=targets("regression", "z", "y"))

    train = data.inputs[data.ids["train"], 0].astype(np.float64)
    assert data.description.output_mean == pytest.approx([10 * train.mean(), (train % 3).mean()])
    assert data.description.output_std == pytest.approx([10 * train.std(), (train % 3).std()])


def test_labels_are_prepared_with_what_is_unknown_and_without_a_scale(tmp_path: Path) -> None:
    rows = [f"{number},{number % 2},{'' if number % 3 else number % 2}" for number in range(60)]

    data, heard = prepared_text(
        tmp_path, "\n".join(["x,y,z", *rows]), dataset=targets("multi_label", "y", "z")
    )

    assert data.description.task == "multi_label"
    assert data.description.output_names == ["y", "z"]
    assert (data.description.output_mean, data.description.output_std) == (None, None)
    assert np.isnan(data.labels[:, 1]).sum() == 40
    assert len(heard.reporter.warnings) == 2  # of small parts; uneven labels there are none


def test_the_only_yes_of_a_label_is_trained_on(tmp_path: Path) -> None:
    for seed in range(5):
        folder = tmp_path / str(seed)
        folder.mkdir()
        rows = [f"{number},{int(number == 17)}" for number in range(40)]
        dataset = {**targets("multi_label", "y"), "split": {"seed": seed}}

        data, _ = prepared_text(folder, "\n".join(["x,y", *rows]), dataset=dataset)

        assert 17 in data.ids["train"]


@pytest.mark.parametrize("task", ["multi_label", "regression"])
def test_a_target_that_is_the_same_in_every_train_example_is_refused(
    task: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match='"y" is 1 in every train example'):
        prepared_text(tmp_path, "x,y\n" + "1,1\n2,1\n" * 20, dataset=targets(task, "y"))

    assert not (tmp_path / "prepared").exists()


def test_a_loss_for_another_task_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    error = refusal(tmp_path, dataset=DIABETES, objective=[{"loss": "soft_targets"}])

    assert error.code == "loss_does_not_fit_task"


def test_an_unknown_class_is_not_omitted(tmp_path: Path) -> None:
    error = refusal(tmp_path, transfer={"omit_classes": ["three"]})

    assert error.code == "unknown_class"


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


def test_a_student_that_is_to_see_no_validation_example_keeps_its_last_epoch(
    tmp_path: Path,
) -> None:
    rows = "\n".join(["x,label", *[f"{number},{'abc'[number % 3]}" for number in range(900)]])
    files = {"table": rows.encode(), "held": "\n".join(["x,label", *["1,c"] * 150]).encode()}
    workspace = workspace_with(tmp_path, **files)
    dataset = {**table(), "validation_file": "file-held"}
    heard, other = Heard(), Heard()

    prepare.run(
        spec_of(dataset=dataset, transfer={"omit_classes": ["c"]}), workspace, heard.reporter
    )
    shutil.rmtree(workspace.stage("prepared"))
    prepare.run(
        spec_of(dataset=dataset, transfer={"omit_classes": ["b"]}), workspace, other.reporter
    )

    said = [each for each in heard.reporter.warnings if each not in other.reporter.warnings]
    assert len(said) == 1
    assert said[0].startswith("All 150 validation examples are of classes that")
    assert "the last is kept" in said[0]


def test_reading_stops_when_it_is_asked_to(tmp_path: Path) -> None:
    heard = Heard()
    heard.reporter.stop_reason = StopReason.CANCEL

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


TRAINED = {"source": "train", "architecture": MLP}
TWICE = {"source": "ensemble", "mean": "logits", "members": [{"teacher": TRAINED}] * 2}
PEER = {"source": "mutual", "architecture": MLP}
CONVNET = {"name": "convnet", "channels": [4]}
AT_ONCE = {"micro_batch_size": 8}


def hints(student: str, teacher: str) -> dict[str, object]:
    return {"loss": "hints", "layers": [{"student": student, "teacher": teacher}]}


HINTS = hints("hidden.0", "hidden.0")
DEEPER = {"architecture": {"name": "mlp", "hidden_sizes": [8, 8]}}
HOPELESS: list[tuple[dict[str, object], str, str]] = [
    ({"dataset": DIABETES, "knowledge": {"storage": "top_k"}}, "top_k_needs_classes", "top_k"),
    ({"objective": [hints("hidden.7", "hidden.0")]}, "unknown_layer", "student"),
    ({"objective": [hints("hidden.0", "hidden.7")]}, "unknown_layer", "teacher"),
    ({"objective": [hints("hidden", "hidden.0")]}, "layer_gives_no_tensor", "'hidden'"),
    ({"objective": [HINTS], "teacher": TWICE, "assistants": [DEEPER]}, "teacher_has_no_layers",
     "ensemble"),
    ({"objective": [HINTS], "teacher": TWICE, "generations": 2}, "teacher_has_no_layers",
     "ensemble"),
    ({"objective": [hints("hidden.0", "hidden.1")], "assistants": [DEEPER]}, "unknown_layer",
     "'hidden.1'"),
    ({"objective": [{"loss": "attention", "layers": HINTS["layers"]}]}, "layers_do_not_pair",
     "two image maps"),
    ({"student": {"architecture": CONVNET}, "training": AT_ONCE}, "micro_batches_with_batch_norm",
     "micro_batch_size is 8"),
    ({"objective": [{"loss": "dist"}], "training": AT_ONCE}, "micro_batches_with_relations",
     "'dist'"),
    ({"teacher": PEER, "training": AT_ONCE}, "micro_batches_with_peer", "a peer"),
    ({"teacher": {"source": "train", "architecture": CONVNET,
      "training": {"batch_size": 1}}}, "batch_too_small", "batch_size 1"),
    ({"student": {"architecture": CONVNET}, "training": {"batch_size": 1}}, "batch_too_small",
     "of 1257 train"),
    ({"teacher": {**PEER, "architecture": CONVNET}, "training": {"batch_size": 1}},
     "batch_too_small", "batch norm"),
    ({"teacher": {"source": "ensemble", "mean": "logits", "members": [
      {"teacher": TRAINED}, {"teacher": {"source": "model", "model": "model-1"}}]}},
     "model_not_found", "model-1"),
    ({"student": {"architecture": MLP, "initialize": {"from": "model", "model": "model-1"}}},
     "model_not_found", "model-1"),
    ({"student": {**DEEPER, "initialize": {"from": "teacher"}}}, "layers_do_not_fit",
     "2 layers in 'hidden'"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "code", "says"), HOPELESS, ids=[f"{code}-{says}" for _, code, says in HOPELESS]
)
def test_what_cannot_be_trained_is_refused_before_the_teacher_is(
    changes: dict[str, object], code: str, says: str, tmp_path: Path
) -> None:
    error = refusal(tmp_path, **{"teacher": TRAINED, **changes})

    assert error.code == code
    assert says in str(error)
    assert error.hint


def test_a_memory_too_large_is_refused_before_the_teacher_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contrast = {"loss": "contrastive", "layers": HINTS["layers"], "features": 4}
    num_bytes = 2 * 1257 * 4 * 4
    monkeypatch.setattr("worker.distillation.losses.contrastive.MOST_MEMORY_BYTES", num_bytes - 1)

    error = refusal(tmp_path, teacher=TRAINED, objective=[contrast])

    assert error.code == "memory_too_large"
    assert f"{num_bytes:,} bytes" in str(error)
