"""Several teachers behind one front, and teachers in the data's own units."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from app.contracts.dataset import Task
from app.contracts.model import Mlp
from tests.unit.worker.distillation.toys import SMALL, images_of, toy_model
from worker.distillation.build import build, save_model
from worker.distillation.dataset import InputDescription
from worker.distillation.predictor import Predictor
from worker.distillation.teachers import (
    EnsembleConfig,
    EnsembleTeacher,
    identity,
    load_teacher_folder,
)

CPU = torch.device("cpu")
RAW = torch.rand(4, 1, 5, 5, generator=torch.Generator().manual_seed(0)) * 255


def ensemble(
    mean: str, weights: list[float], task: str = "classification"
) -> tuple[list[Predictor], EnsembleTeacher]:
    members = [toy_model(seed=seed) for seed in range(len(weights))]
    config = EnsembleConfig.model_validate({"weights": weights, "mean": mean})
    return members, EnsembleTeacher([*members], config, task)  # type: ignore[arg-type]


def test_the_mean_of_probabilities_by_hand() -> None:
    (one, other), both = ensemble("probabilities", [3.0, 1.0])

    expected = 0.75 * one(RAW).softmax(dim=1) + 0.25 * other(RAW).softmax(dim=1)

    torch.testing.assert_close(both.answers(RAW).softmax(dim=1), expected)
    torch.testing.assert_close(both.answers(RAW).exp().sum(dim=1), torch.ones(4))


def test_the_mean_of_logits_is_another_thing() -> None:
    (one, other), both = ensemble("logits", [1.0, 1.0])
    _, of_probabilities = ensemble("probabilities", [1.0, 1.0])

    torch.testing.assert_close(both.answers(RAW), (one(RAW) + other(RAW)) / 2)
    difference = both.answers(RAW).softmax(1) - of_probabilities.answers(RAW).softmax(1)
    assert difference.abs().max() > 1e-3


def test_the_mean_of_labels_probabilities_keeps_each_label_apart() -> None:
    (one, other), both = ensemble("probabilities", [1.0, 1.0], "multi_label")

    expected = (one(RAW).sigmoid() + other(RAW).sigmoid()) / 2

    torch.testing.assert_close(both.answers(RAW).sigmoid(), expected)


@pytest.mark.parametrize("task", ["classification", "multi_label"])
def test_probabilities_of_sure_teachers_stay_finite(task: Task) -> None:
    class Sure(torch.nn.Module):
        def __init__(self, gap: float) -> None:
            super().__init__()
            self.gap = gap

        def answers(self, inputs: Tensor) -> Tensor:
            return torch.tensor([[self.gap, 0.0]]).expand(len(inputs), 2)

    config = EnsembleConfig(weights=[1, 1], mean="probabilities")
    both = EnsembleTeacher([Sure(1e4), Sure(-1e4)], config, task)

    answers = both.answers(RAW)

    # One is sure of yes and one of no: even odds, of the first class and of the first label.
    assert answers.isfinite().all()
    even = answers[:, 0] - answers[:, 1] if task == "classification" else answers[:, 0]
    torch.testing.assert_close(even, torch.zeros(4))


def regression(mean: float, std: float) -> InputDescription:
    return images_of([1, 5, 5]).model_copy(
        update={
            "task": "regression",
            "output_names": ["height"],
            "output_mean": [mean],
            "output_std": [std],
        }
    )


def test_a_teacher_fitted_to_other_targets_answers_in_the_data_s_units(tmp_path: Path) -> None:
    theirs, ours = regression(100.0, 20.0), regression(50.0, 5.0)
    save_model(build(SMALL, theirs, seed=1), tmp_path, SMALL, theirs)

    teacher = load_teacher_folder(tmp_path, ours, CPU)

    centimetres = teacher(RAW)
    torch.testing.assert_close(centimetres, build(SMALL, theirs, seed=1)(RAW))
    torch.testing.assert_close(teacher.answers(RAW), (centimetres - 50.0) / 5.0)


def test_an_ensemble_of_predictions_is_in_the_targets_units(tmp_path: Path) -> None:
    (tmp_path / "ensemble.json").write_text('{"weights": [1, 3], "mean": "logits"}')
    given = [regression(100.0, 20.0), regression(50.0, 5.0)]
    for number, description in enumerate(given):
        folder = tmp_path / f"member-{number}"
        folder.mkdir()
        save_model(build(SMALL, description, seed=number), folder, SMALL, description)

    teacher = load_teacher_folder(tmp_path, given[0], CPU)

    one, other = (build(SMALL, description, n)(RAW) for n, description in enumerate(given))
    torch.testing.assert_close(teacher(RAW), one / 4 + other * 3 / 4)


@pytest.mark.parametrize("changed", ["weights", "architecture", "standardisation"])
def test_a_teacher_s_identity_tells_its_parts(tmp_path: Path, changed: str) -> None:
    def saved(name: str, *, changes: bool) -> tuple[str, str, str]:
        folder = tmp_path / name
        folder.mkdir()
        architecture = Mlp(hidden_sizes=[6], dropout=0.1 * (changes and changed == "architecture"))
        description = images_of([1, 5, 5])
        if changes and changed == "standardisation":
            description = description.model_copy(update={"mean": [1.0]})
        model = build(architecture, images_of([1, 5, 5]), int(changes and changed == "weights"))
        save_model(model, folder, architecture, description)
        return identity(folder)

    one, same, other = (
        saved("one", changes=False),
        saved("same", changes=False),
        saved("other", changes=True),
    )

    assert one == same
    differing = [a != b for a, b in zip(one, other, strict=True)]
    assert differing == [
        changed == "weights",
        changed == "architecture",
        changed == "standardisation",
    ]
