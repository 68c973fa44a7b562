"""An exported file answers as the student does, and says nothing of where it was made."""

import json
import logging
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from app.contracts.dataset import Task
from app.contracts.model import AnyArchitecture, CifarResnet, Convnet, Mlp
from tests.unit.worker.distillation.toys import table_of, toy_table
from worker.distillation.build import build
from worker.distillation.dataset import InputDescription
from worker.distillation.errors import BadExport
from worker.distillation.exporters import onnx as onnx_exporter
from worker.distillation.exporters import safetensors as safetensors_exporter

DESCRIPTION = InputDescription(
    kind="image", shape=[1, 8, 8], mean=[80.0], std=[90.0], output_names=["cat", 'a "dog"', "ü"]
)
EXAMPLES = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 255
ROWS = torch.tensor([[0.5, -1.0], [1.0, 1.0], [-0.25, 0.75]])


@pytest.mark.parametrize(
    "architecture",
    [Mlp(hidden_sizes=[16], dropout=0.5), Convnet(dropout=0.5), CifarResnet(variant="8")],
    ids=lambda each: each.name,
)
def test_onnx_answers_any_number_of_examples_as_the_student_does(
    architecture: AnyArchitecture, tmp_path: Path
) -> None:
    student = build(architecture, DESCRIPTION, seed=0)
    onnx_exporter.write(student, DESCRIPTION, EXAMPLES, tmp_path)

    session = onnxruntime.InferenceSession(tmp_path / "onnx" / "model.onnx")
    for batch in (EXAMPLES[:1], EXAMPLES[:3], EXAMPLES.repeat(5, 1, 1, 1)):
        (logits,) = session.run(["logits"], {"inputs": batch.numpy()})
        expected = student.eval()(batch).detach().numpy()
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("task", "output"), [("multi_label", "logits"), ("regression", "predictions")]
)
def test_onnx_answers_labels_and_targets_as_the_student_does(
    task: Task, output: str, tmp_path: Path
) -> None:
    student = build(Mlp(hidden_sizes=[16]), table_of(task), seed=0)
    rows = torch.tensor(toy_table(task).inputs)
    onnx_exporter.write(student, table_of(task), rows[:8], tmp_path)
    file = tmp_path / "onnx" / "model.onnx"

    (answers,) = onnxruntime.InferenceSession(file).run([output], {"inputs": rows.numpy()})
    np.testing.assert_allclose(answers, student(rows).detach().numpy(), rtol=1e-5, atol=1e-5)
    properties = {each.key: each.value for each in onnx.load(file).metadata_props}
    assert properties["task"] == task
    assert json.loads(properties["output_names"]) == ["height", "weight"]


def test_one_example_is_enough_to_export_for_any_number(tmp_path: Path) -> None:
    onnx_exporter.write(build(Mlp(), DESCRIPTION, seed=0), DESCRIPTION, EXAMPLES[:1], tmp_path)

    session = onnxruntime.InferenceSession(tmp_path / "onnx" / "model.onnx")
    (logits,) = session.run(["logits"], {"inputs": EXAMPLES.numpy()})
    assert logits.shape == (8, 3)


def test_onnx_carries_the_class_names_and_no_path_of_this_machine(tmp_path: Path) -> None:
    onnx_exporter.write(build(Convnet(), DESCRIPTION, seed=0), DESCRIPTION, EXAMPLES, tmp_path)
    file = tmp_path / "onnx" / "model.onnx"

    properties = {each.key: each.value for each in onnx.load(file).metadata_props}
    assert json.loads(properties["output_names"]) == DESCRIPTION.output_names
    assert ".py" not in file.read_bytes().decode("latin-1")


def test_equal_students_give_equal_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        student = build(Mlp(), DESCRIPTION, seed=0)
        onnx_exporter.write(student, DESCRIPTION, EXAMPLES, tmp_path / name)
        safetensors_exporter.write(student, DESCRIPTION, EXAMPLES, tmp_path / name)

    for file in ("onnx/model.onnx", "model.safetensors"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_exporting_is_quiet_and_leaves_logging_as_it_was(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    onnx_exporter.write(build(Mlp(), DESCRIPTION, seed=0), DESCRIPTION, EXAMPLES, tmp_path)

    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
    assert logging.root.manager.disable == logging.NOTSET


class Forgetful(nn.Module):
    """Answers otherwise once it is no longer traced, as a faulty export would."""

    def __init__(self, shift: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(64, 3))
        self.shift = shift

    def forward(self, inputs: Tensor) -> Tensor:
        shift = 0.0 if torch.compiler.is_exporting() else self.shift
        return inputs.flatten(1) @ self.weight * (1 + shift)


class ForgetfulPredictor(nn.Module):
    """As `Forgetful`, of two targets of the given mean and deviation; off by deviations."""

    def __init__(self, mean: float, std: float, shift: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[1.0, -1.0], [0.5, 2.0]]))
        self.mean, self.std, self.shift = mean, std, shift

    def forward(self, inputs: Tensor) -> Tensor:
        shift = 0.0 if torch.compiler.is_exporting() else self.shift
        return (inputs @ self.weight + shift) * self.std + self.mean


def test_an_export_that_answers_otherwise_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadExport) as caught:
        onnx_exporter.write(Forgetful(shift=0.1), DESCRIPTION, EXAMPLES, tmp_path)

    error = caught.value.as_error()
    assert (error.code, error.retryable) == ("export_differs", False)


def test_rounding_alone_does_not_refuse_an_export(tmp_path: Path) -> None:
    onnx_exporter.write(Forgetful(shift=1e-6), DESCRIPTION, EXAMPLES, tmp_path)


def targets_of(mean: float, std: float) -> InputDescription:
    return table_of("regression", num_features=2).model_copy(
        update={"output_mean": [mean] * 2, "output_std": [std] * 2}
    )


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1e-6), (1e5, 1.0)])
def test_no_unit_of_the_targets_hides_that_an_export_answers_otherwise(
    mean: float, std: float, tmp_path: Path
) -> None:
    student = ForgetfulPredictor(mean, std, shift=0.1)

    with pytest.raises(BadExport, match="predictions"):
        onnx_exporter.write(student, targets_of(mean, std), ROWS, tmp_path)


def test_predictions_far_from_zero_may_differ_by_their_last_bits(tmp_path: Path) -> None:
    student = ForgetfulPredictor(1e5, 1, shift=0.005)  # at 1e5 two neighbours are 0.0078 apart

    onnx_exporter.write(student, targets_of(1e5, 1), ROWS, tmp_path)


def test_safetensors_holds_every_tensor_of_the_student(tmp_path: Path) -> None:
    student = build(Convnet(), DESCRIPTION, seed=0)

    safetensors_exporter.write(student, DESCRIPTION, EXAMPLES, tmp_path)

    written = load_file(tmp_path / "model.safetensors")
    assert written.keys() == student.state_dict().keys()
    for name, value in student.state_dict().items():
        assert torch.equal(written[name], value)


def test_safetensors_of_predictions_hold_the_units_of_their_targets(tmp_path: Path) -> None:
    student = build(Mlp(), table_of("regression"), seed=0)

    safetensors_exporter.write(student, table_of("regression"), EXAMPLES, tmp_path)

    written = load_file(tmp_path / "model.safetensors")
    assert written["restore.mean_C"].tolist() == [170, -4]
    assert written["restore.std_C"].tolist() == [8, 0.5]
