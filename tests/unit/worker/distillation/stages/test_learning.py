"""The stages that learn: what each leaves, from what it starts, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.numpy import load_file

from app.contracts.job import JobSpec
from app.contracts.message import MetricsMeasured, Warned
from app.contracts.model import Mlp
from tests.unit.worker.distillation.specs import Heard
from tests.unit.worker.distillation.toys import (
    briefly,
    equal,
    images_of,
    toy_images,
    toy_model,
    weights_of,
)
from worker.distillation.build import load_model, save_model
from worker.distillation.dataset import InputDescription
from worker.distillation.errors import BadInput
from worker.distillation.history import History
from worker.distillation.stages import (
    collect_knowledge,
    train_baseline,
    train_student,
    train_teacher,
)
from worker.distillation.workspace import Workspace

CONVNET = {"name": "convnet", "channels": [4, 4]}
MLP = {"name": "mlp", "hidden_sizes": [6]}
MODEL = {"source": "model", "model": "model-1"}
BRIEFLY = briefly().model_dump()


def spec_of(**changes: object) -> JobSpec:
    fields: dict[str, object] = {
        "dataset": {"source": "builtin", "name": "digits"},
        "teacher": {"source": "train", "architecture": CONVNET, "training": BRIEFLY},
        "student": {"architecture": MLP},
        "training": BRIEFLY,
    }
    return JobSpec.model_validate(fields | changes)


def started_from(identifier: str) -> dict[str, object]:
    return {"architecture": MLP, "initialize": {"from": "model", "model": identifier}}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Return a workspace whose data is prepared."""
    found = Workspace(tmp_path)
    with found.writing("prepared") as folder:
        toy_images().save(folder)
    return found


def registered(
    workspace: Workspace, description: InputDescription, architecture: Mlp | None = None
) -> None:
    folder = workspace.input("model-1")
    folder.mkdir(parents=True)
    architecture = architecture or Mlp(hidden_sizes=[6])
    save_model(toy_model(architecture, seed=8), folder, architecture, description)


def test_a_teacher_is_trained_on_labels(workspace: Workspace) -> None:
    train_teacher.run(spec_of(), workspace, Heard().reporter)

    folder = workspace.stage("teacher")
    history = History.load(folder)
    assert [set(record.losses) for record in history.epochs] == [{"labels"}] * 3
    assert history.epoch in (1, 2, 3)
    data = toy_images()
    images = data.inputs[data.ids["validation"]].astype(np.float32)
    assert load_model(folder)(_tensor(images)).shape == (9, 3)


def test_a_registered_teacher_is_taken_as_it_is(workspace: Workspace) -> None:
    registered(workspace, images_of([1, 5, 5]))
    train_teacher.run(spec_of(teacher=MODEL), workspace, Heard().reporter)

    folder = workspace.stage("teacher")
    for name in ("config.json", "model.safetensors"):
        assert (folder / name).read_bytes() == (workspace.input("model-1") / name).read_bytes()
    assert History.load(folder) == History()


@pytest.mark.parametrize(
    ("description", "what"),
    [
        (
            images_of([1, 6, 5]),
            r"input shape .* the model has \[1, 6, 5\], the data has \[1, 5, 5\]",
        ),
        (images_of([1, 5, 5], 4), r"class names .* has \['0', '1', '2', '3'\], the data has"),
        (images_of([1, 5, 5]).model_copy(update={"kind": "table"}), "kind of input .* has table"),
    ],
)
def test_a_registered_teacher_of_other_data_is_refused(
    workspace: Workspace, description: InputDescription, what: str
) -> None:
    registered(workspace, description)
    with pytest.raises(BadInput, match=what) as caught:
        train_teacher.run(spec_of(teacher=MODEL), workspace, Heard().reporter)

    assert caught.value.code == "model_does_not_fit"
    assert not workspace.is_finished("teacher")


def test_a_model_that_is_not_there_is_named(workspace: Workspace) -> None:
    with pytest.raises(BadInput, match="'model-1' is not among") as caught:
        train_teacher.run(spec_of(teacher=MODEL), workspace, Heard().reporter)

    assert caught.value.code == "model_not_found"


def test_the_teachers_answers_are_recorded_row_by_row(workspace: Workspace) -> None:
    heard = Heard()
    train_teacher.run(spec_of(), workspace, heard.reporter)
    collect_knowledge.run(spec_of(), workspace, heard.reporter)

    data = toy_images()
    logits_VNC = np.load(workspace.stage("knowledge") / "logits.npy")
    images = _tensor(data.inputs[data.ids["train"]].astype(np.float32))
    expected_NC = load_model(workspace.stage("teacher"))(images).detach().numpy()
    assert logits_VNC.shape == (1, 22, 3)
    np.testing.assert_allclose(logits_VNC[0], expected_NC, rtol=1e-4, atol=1e-5)
    assert MetricsMeasured(step=0, values={"knowledge/bytes": 264.0}) in heard.messages


def test_knowledge_says_what_it_is_of(workspace: Workspace) -> None:
    augmented = briefly(augmentation=[{"name": "flip"}])
    train_teacher.run(spec_of(), workspace, Heard().reporter)
    collect_knowledge.run(spec_of(training=augmented), workspace, Heard().reporter)

    said = json.loads((workspace.stage("knowledge") / "knowledge.json").read_text())
    assert np.load(workspace.stage("knowledge") / "logits.npy").shape == (3, 22, 3)
    assert (said["views"], said["num_examples"], len(said["teacher_sha256"])) == (3, 22, 64)
    assert said["training"] == augmented.model_dump()


@pytest.mark.parametrize(
    "objective",
    [
        [{"loss": "labels"}],
        [{"loss": "hints", "layers": [{"student": "hidden.0", "teacher": "classifier"}]}],
    ],
)
def test_nothing_is_collected_where_no_loss_reads_logits_alone(
    workspace: Workspace, objective: list[object]
) -> None:
    spec = spec_of(objective=objective)
    train_teacher.run(spec, workspace, Heard().reporter)
    collect_knowledge.run(spec, workspace, Heard().reporter)

    assert not workspace.is_finished("knowledge")
    train_student.run(spec, workspace, Heard().reporter)
    assert workspace.is_finished("student")


def test_a_record_too_large_is_not_made_and_the_student_is_the_same(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(training=briefly(augmentation=[{"name": "shift_crop", "pixels": 1}]))
    heard = Heard()
    train_teacher.run(spec, workspace, heard.reporter)
    monkeypatch.setattr(collect_knowledge, "MOST_BYTES", 791)
    collect_knowledge.run(spec, workspace, heard.reporter)
    assert not workspace.is_finished("knowledge")
    assert [m.message[:48] for m in heard.messages if isinstance(m, Warned)] == [
        "the teacher's answers would take 792 bytes, more"
    ]
    train_student.run(spec, workspace, heard.reporter)
    live = load_file(workspace.stage("student") / "model.safetensors")
    workspace.stage("student").rename(workspace.root / "live")

    monkeypatch.setattr(collect_knowledge, "MOST_BYTES", 792)
    collect_knowledge.run(spec, workspace, heard.reporter)
    assert workspace.is_finished("knowledge")
    train_student.run(spec, workspace, heard.reporter)

    recorded = load_file(workspace.stage("student") / "model.safetensors")
    assert all(np.array_equal(live[name], recorded[name]) for name in live)


def test_baseline_and_student_are_one_when_both_learn_from_labels(workspace: Workspace) -> None:
    spec = spec_of(objective=[{"loss": "labels"}])
    train_baseline.run(spec, workspace, Heard().reporter)
    train_student.run(spec, workspace, Heard().reporter)

    baseline, student = (workspace.stage(name) for name in ("baseline", "student"))
    for name in ("config.json", "model.safetensors", "history.json"):
        assert (baseline / name).read_bytes() == (student / name).read_bytes()


def test_a_teacher_makes_a_difference(workspace: Workspace) -> None:
    spec = spec_of()
    for stage in (train_teacher, collect_knowledge, train_baseline, train_student):
        stage.run(spec, workspace, Heard().reporter)

    baseline, student = (
        weights_of(load_model(workspace.stage(name))) for name in ("baseline", "student")
    )
    assert not equal(baseline, student)


def test_no_baseline_is_trained_unless_asked_for(workspace: Workspace) -> None:
    train_baseline.run(spec_of(baseline=False), workspace, Heard().reporter)

    assert not workspace.is_finished("baseline")


def test_a_student_may_start_from_a_registered_model(workspace: Workspace) -> None:
    start = images_of([1, 5, 5]).model_copy(update={"mean": [90.0], "std": [40.0]})
    registered(workspace, start)
    still = briefly(
        epochs=1,
        optimizer={"name": "sgd", "lr": 1e-30, "weight_decay": 0},
        schedule={"name": "constant"},
    )
    spec = spec_of(student=started_from("model-1"), objective=[{"loss": "labels"}], training=still)
    train_student.run(spec, workspace, Heard().reporter)

    ours = weights_of(load_model(workspace.stage("student")))
    theirs = weights_of(load_model(workspace.input("model-1")))
    assert equal(ours, theirs)
    saved = json.loads((workspace.stage("student") / "config.json").read_text())
    assert saved["description"]["mean"] == [90.0]


def test_a_start_of_another_architecture_is_refused(workspace: Workspace) -> None:
    registered(workspace, images_of([1, 5, 5]), Mlp(hidden_sizes=[7]))
    with pytest.raises(BadInput, match=r'"hidden_sizes":\[6\].*"hidden_sizes":\[7\]') as caught:
        train_student.run(spec_of(student=started_from("model-1")), workspace, Heard().reporter)

    assert caught.value.code == "architecture_differs"


def test_a_layer_that_is_not_there_fails_the_job(workspace: Workspace) -> None:
    hints = {"loss": "hints", "layers": [{"student": "hiden.0", "teacher": "stages.1"}]}
    spec = spec_of(objective=[hints])
    train_teacher.run(spec, workspace, Heard().reporter)
    with pytest.raises(BadInput, match=r"has no layer 'hiden.0'") as caught:
        train_student.run(spec, workspace, Heard().reporter)

    assert "hidden.0" in (caught.value.hint or "")
    assert not workspace.is_finished("student")


def _tensor(images: npt.NDArray[np.float32]) -> torch.Tensor:
    return torch.from_numpy(images)
