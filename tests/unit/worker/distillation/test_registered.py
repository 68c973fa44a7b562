"""A registered model fits the data, and starts a student as it was."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from app.contracts.dataset import Task
from app.contracts.model import Student
from tests.unit.worker.distillation.toys import (
    SMALL,
    equal,
    table_of,
    toy_table,
    weights_of,
)
from worker.distillation.build import build, load_model, save_model
from worker.distillation.dataset import InputDescription
from worker.distillation.errors import BadInput
from worker.distillation.registered import initial_student, registered_folder
from worker.distillation.workspace import Workspace

REGISTERED = "model-1"
ROWS = torch.tensor(toy_table("regression").inputs)
STUDENT = Student.model_validate(
    {"architecture": SMALL.model_dump(), "initialize": {"from": "model", "model": REGISTERED}}
)


def with_registered(folder: Path, description: InputDescription) -> Workspace:
    workspace = Workspace(folder)
    place = workspace.input(REGISTERED)
    place.mkdir(parents=True)
    save_model(build(SMALL, description, seed=5), place, SMALL, description)
    return workspace


def test_a_model_for_another_task_is_refused(tmp_path: Path) -> None:
    workspace = with_registered(tmp_path, table_of("multi_label"))

    with pytest.raises(BadInput, match=r"the task of model.*multi_label.*regression") as caught:
        registered_folder(REGISTERED, workspace, table_of("regression"))

    assert caught.value.code == "model_does_not_fit"


@pytest.mark.parametrize("task", ["multi_label", "regression"])
def test_a_model_for_outputs_of_other_names_is_refused(task: Task, tmp_path: Path) -> None:
    workspace = with_registered(tmp_path, table_of(task))
    data = table_of(task).model_copy(update={"output_names": ["weight", "height"]})

    with pytest.raises(BadInput, match="the output names of model"):
        registered_folder(REGISTERED, workspace, data)


def test_a_model_of_other_rows_of_the_same_kind_fits(tmp_path: Path) -> None:
    workspace = with_registered(tmp_path, table_of("regression"))
    data = table_of("regression").model_copy(
        update={"mean": [0.0] * 4, "output_mean": [0.0, 0.0], "output_std": [1.0, 1.0]}
    )

    assert registered_folder(REGISTERED, workspace, data) == workspace.input(REGISTERED)


def test_a_start_on_the_same_targets_has_the_very_weights(tmp_path: Path) -> None:
    data = table_of("regression")
    workspace = with_registered(tmp_path, data)

    student, description = initial_student(STUDENT, workspace, data, seed=0)

    assert equal(weights_of(student), weights_of(load_model(workspace.input(REGISTERED))))
    assert description == data


def test_a_start_predicts_as_before_and_answers_in_deviations_of_the_datas_own_targets(
    tmp_path: Path,
) -> None:
    """Losses compare its answers with labels in these deviations."""
    workspace = with_registered(tmp_path, table_of("regression"))
    data = table_of("regression").model_copy(
        update={"output_mean": [180.0, 1.0], "output_std": [16.0, 0.25]}
    )

    student, description = initial_student(STUDENT, workspace, data, seed=0)

    predictions_BC = load_model(workspace.input(REGISTERED))(ROWS)
    deviations_BC = (predictions_BC - torch.tensor([180.0, 1.0])) / torch.tensor([16.0, 0.25])
    torch.testing.assert_close(student(ROWS), predictions_BC)
    torch.testing.assert_close(student.answers(ROWS), deviations_BC, rtol=1e-4, atol=1e-4)
    assert description.mean == table_of("regression").mean
    assert (description.output_mean, description.output_std) == ([180.0, 1.0], [16.0, 0.25])


def test_a_start_saved_and_loaded_predicts_alike(tmp_path: Path) -> None:
    workspace = with_registered(tmp_path, table_of("regression"))
    data = table_of("regression").model_copy(
        update={"output_mean": [180.0, 1.0], "output_std": [16.0, 0.25]}
    )
    student, description = initial_student(STUDENT, workspace, data, seed=0)

    save_model(student, tmp_path, SMALL, description)

    assert torch.equal(load_model(tmp_path)(ROWS), student.eval()(ROWS))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_all_finite_are_refused(value: float, tmp_path: Path) -> None:
    workspace = with_registered(tmp_path, table_of("regression"))
    path = workspace.input(REGISTERED) / "model.safetensors"
    weights = load_file(path)
    weights["network.classifier.bias"][1] = value
    save_file(weights, path)

    with pytest.raises(BadInput, match=r"'network\.classifier\.bias' of model 'model-1'") as caught:
        registered_folder(REGISTERED, workspace, table_of("regression"))

    assert caught.value.code == "weights_not_finite"


@pytest.mark.parametrize("damage", ["another tensor", "no safetensors"])
def test_weights_that_are_not_the_architectures_are_refused(damage: str, tmp_path: Path) -> None:
    workspace = with_registered(tmp_path, table_of("regression"))
    path = workspace.input(REGISTERED) / "model.safetensors"
    if damage == "another tensor":
        save_file({**load_file(path), "extra": torch.zeros(1)}, path)
    else:
        path.write_bytes(b"PK")

    with pytest.raises(BadInput, match="not those of its architecture") as caught:
        registered_folder(REGISTERED, workspace, table_of("regression"))

    assert caught.value.code == "weights_do_not_fit"
