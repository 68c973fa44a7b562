"""What a spec asks of another kind of data than it names is refused, saying where and why."""

from itertools import product

import numpy as np
import numpy.typing as npt
import pytest

from app.contracts.dataset import Task
from tests.unit.worker.distillation.specs import MLP, spec_of
from worker.distillation.dataset import Part, RawData
from worker.distillation.errors import BadInput
from worker.distillation.fit import check_fit, check_held_out, check_targets, check_task

CONVNET = {"name": "convnet"}
FLIPS = {"augmentation": [{"name": "flip"}]}
DIABETES = {"source": "builtin", "name": "diabetes"}


def data_of(task: Task, names: list[str], labels: npt.ArrayLike = ()) -> RawData:
    return RawData(np.zeros((4, 1), np.float32), np.array(labels, np.float32), names, task=task)


def refusal(task: Task, names: list[str], **changes: object) -> BadInput:
    with pytest.raises(BadInput) as caught:
        check_task(spec_of(**changes), data_of(task, names))
    return caught.value


@pytest.mark.parametrize(
    ("task", "names"),
    [("classification", ["a", "b", "c"]), ("multi_label", ["a"]), ("regression", ["a"])],
)
def test_the_default_objective_fits_every_task(task: Task, names: list[str]) -> None:
    data = DIABETES if task == "regression" else {"source": "builtin", "name": "digits"}

    check_task(spec_of(dataset=data), data_of(task, names))


@pytest.mark.parametrize(
    ("task", "loss"),
    [
        *product(["regression"], ["soft_targets", "reverse_kl", "jensen_shannon", "decoupled"]),
        *product(["multi_label"], ["decoupled", "logit_standardized", "dist", "multi_level"]),
    ],
)
def test_a_loss_of_class_probabilities_is_refused_for_data_without(task: Task, loss: str) -> None:
    error = refusal(task, ["a", "b"], objective=[{"loss": "labels"}, {"loss": loss}])

    assert error.code == "loss_does_not_fit_task"
    assert loss in str(error)
    assert error.hint


def test_decoupled_is_refused_for_two_classes_and_not_for_three() -> None:
    objective = [{"loss": "decoupled"}]

    assert refusal("classification", ["a", "b"], objective=objective).code == "too_few_classes"
    check_task(spec_of(objective=objective), data_of("classification", ["a", "b", "c"]))


def test_targets_cannot_be_smoothed_and_labels_can() -> None:
    objective = [{"loss": "logit_mse"}, {"loss": "labels", "label_smoothing": 0.1}]

    error = refusal("regression", ["a"], objective=objective)

    assert error.code == "smoothing_needs_classes"
    assert "`objective.1.label_smoothing` is 0.1" in str(error)
    check_task(spec_of(objective=objective), data_of("multi_label", ["a"]))


def test_an_assistants_own_objective_is_checked_too() -> None:
    assistant = {
        "architecture": MLP,
        "objective": [{"loss": "labels", "label_smoothing": 0.2}],
    }

    error = refusal("regression", ["a"], dataset=DIABETES, assistants=[assistant])

    assert "`assistants.0.objective.0.label_smoothing`" in str(error)


def test_predictions_have_no_mean_of_probabilities() -> None:
    member = {"teacher": {"source": "train", "architecture": MLP}}
    teacher = {"source": "ensemble", "members": [member, member], "mean": "probabilities"}

    error = refusal("regression", ["a"], dataset=DIABETES, teacher=teacher)

    assert error.code == "mean_needs_classes"
    check_task(
        spec_of(dataset=DIABETES, teacher=teacher | {"mean": "logits"}),
        data_of("regression", ["a"]),
    )


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        (
            {
                "teacher": {
                    "source": "ensemble",
                    "mean": "logits",
                    "members": [
                        {"teacher": {"source": "train", "architecture": each}}
                        for each in (MLP, CONVNET)
                    ],
                }
            },
            "`teacher.members.1.teacher.architecture`",
        ),
        ({"teacher": {"source": "mutual", "architecture": CONVNET}}, "`teacher.architecture`"),
        (
            {"assistants": [{"architecture": MLP}, {"architecture": CONVNET}]},
            "`assistants.1.architecture`",
        ),
        (
            {"assistants": [{"architecture": MLP, "training": FLIPS}]},
            "`assistants.0.training.augmentation`",
        ),
    ],
)
def test_every_model_of_a_scheme_must_take_tables(changes: dict[str, object], place: str) -> None:
    with pytest.raises(BadInput) as caught:
        check_fit(spec_of(**changes), [30])

    assert place in str(caught.value)


@pytest.mark.parametrize(
    ("transfer", "code", "says"),
    [
        ({"omit_classes": ["dog", "hore"]}, "unknown_class", '"hore"'),
        ({"omit_classes": ["dog", "cat", "horse"]}, "too_few_classes", "leaves 0 of 3"),
        ({"repair": True}, "nothing_to_repair", "`transfer.omit_classes`"),
    ],
)
def test_a_transfer_set_that_cannot_be_is_refused(
    transfer: dict[str, object], code: str, says: str
) -> None:
    error = refusal("classification", ["cat", "dog", "horse"], transfer=transfer)

    assert error.code == code
    assert says in str(error)


def test_the_nearest_class_to_an_unknown_one_is_named_first() -> None:
    transfer = {"omit_classes": ["hore"]}

    error = refusal("classification", ["cat", "dog", "horse"], transfer=transfer)

    assert str(error.hint).startswith("The nearest are horse")


def test_a_repair_counts_on_the_validation_part() -> None:
    transfer = {"omit_classes": ["cat"], "repair": True}
    names = ["cat", "dog", "horse"]
    dataset = {"source": "builtin", "name": "digits", "split": {"validation": 0}}

    error = refusal("classification", names, transfer=transfer, dataset=dataset)

    assert error.code == "nothing_to_repair"
    check_task(spec_of(transfer=transfer), data_of("classification", names))
    files = {"source": "file", "file": "file-1", "validation_file": "file-2"}
    judged = {**dataset, **files, "format": {"name": "csv"}}
    del judged["name"]
    check_task(spec_of(transfer=transfer, dataset=judged), data_of("classification", names))


@pytest.mark.parametrize("task", ["multi_label", "regression"])
def test_without_classes_none_can_be_omitted(task: Task) -> None:
    transfer = {"omit_classes": ["a"]}

    error = refusal(task, ["a", "b"], transfer=transfer, objective=[{"loss": "logit_mse"}])

    assert error.code == "no_classes_to_omit"
    assert task in str(error)


def test_the_most_probable_classes_are_kept_only_of_classes() -> None:
    changes = {"knowledge": {"storage": "top_k"}, "objective": [{"loss": "labels"}]}

    assert refusal("multi_label", ["a", "b"], **changes).code == "top_k_needs_classes"
    check_task(spec_of(**changes), data_of("classification", ["a", "b"]))


def test_a_loss_that_looks_at_each_class_is_refused_beside_the_most_probable_alone() -> None:
    assistant = {"architecture": MLP, "objective": [{"loss": "logit_mse"}]}
    few: dict[str, object] = {"knowledge": {"storage": "top_k"}}
    names = ["a", "b", "c"]

    error = refusal("classification", names, assistants=[assistant], **few)

    assert error.code == "storage_does_not_fit_loss"
    assert "`assistants.0.objective.0` is logit_mse" in str(error)
    assert "rounded and without the level" in str(error)
    check_task(spec_of(**few), data_of("classification", names))
    check_task(spec_of(assistants=[assistant]), data_of("classification", names))


@pytest.mark.parametrize(
    ("task", "column", "says"),
    [
        ("regression", [7, 7, 7, 8], '"second" is 7 in every train example'),
        ("multi_label", [1, np.nan, 1, 0], '"second" is 1 in every train example'),
        ("multi_label", [np.nan, np.nan, np.nan, 1], '"second" is not known in any train example'),
    ],
)
def test_a_target_that_does_not_vary_in_training_is_refused(
    task: Task, column: list[float], says: str
) -> None:
    labels = [[number % 2, value] for number, value in enumerate(column)]
    data = data_of(task, ["first", "second"], labels)

    with pytest.raises(BadInput) as caught:
        check_targets(data, np.arange(3))

    assert caught.value.code == "target_does_not_vary"
    assert says in str(caught.value)
    check_targets(data_of(task, ["first"], [[0], [1], [0]]), np.arange(3))


@pytest.mark.parametrize("part", ["validation", "test"])
def test_a_held_out_part_whose_labels_nobody_knows_is_refused(part: Part) -> None:
    labels = [[0.0, 1.0], [1.0, 0.0], [np.nan, np.nan], [np.nan, np.nan]]
    data = data_of("multi_label", ["first", "second"], labels)
    other: Part = "test" if part == "validation" else "validation"
    ids: dict[Part, npt.NDArray[np.int64]] = {part: np.arange(2, 4), other: np.arange(1, 3)}

    with pytest.raises(BadInput, match=f"No label of the 2 {part} examples") as caught:
        check_held_out(data, ids)

    assert caught.value.code == "no_label_known"
    check_held_out(data, ids | {part: np.arange(0)})
