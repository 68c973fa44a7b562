"""Losses, transfer sets and storage that cannot work with the task are refused with the reason."""

from typing import Any

import pytest

from tests.unit.app.conftest import Api
from tests.unit.app.refused import knowledge_of, model_of, refusals, told, warnings

DIABETES = {"source": "builtin", "name": "diabetes"}
CANCER = {"source": "builtin", "name": "breast_cancer"}
WINE = {"source": "builtin", "name": "wine"}


def table(api: Api, task: str, *targets: str) -> dict[str, Any]:
    file_id = api.upload()["id"]
    layout = {"name": "csv", "task": task, "targets": list(targets)}
    return {"source": "file", "file": file_id, "format": layout}


@pytest.mark.parametrize(
    "loss",
    ["soft_targets", "reverse_kl", "jensen_shannon", "decoupled", "logit_standardized", "dist"],
)
def test_a_loss_of_probabilities_is_refused_for_numbers_and_told_what_works(
    api: Api, loss: str
) -> None:
    (problem,) = told(api, dataset=DIABETES, objective=[{"loss": loss}])

    assert (problem["pointer"], problem["code"]) == ("/objective/0/loss", "loss_does_not_fit_task")
    assert f"given '{loss}' for regression" in problem["message"]
    assert "'logit_mse'" in problem["message"]


@pytest.mark.parametrize("loss", ["decoupled", "logit_standardized", "dist", "multi_level"])
def test_a_loss_of_one_class_of_several_is_refused_for_labels(api: Api, loss: str) -> None:
    (problem,) = told(api, dataset=table(api, "multi_label", "a", "b"), objective=[{"loss": loss}])

    assert problem["code"] == "loss_does_not_fit_task"
    assert "multi_label" in problem["message"]


@pytest.mark.parametrize("loss", ["decoupled", "logit_standardized", "dist"])
def test_a_loss_of_the_other_classes_is_refused_where_there_are_two(api: Api, loss: str) -> None:
    objective = [{"loss": "labels"}, {"loss": loss}]
    (problem,) = told(api, dataset=CANCER, objective=objective)

    assert (problem["pointer"], problem["code"]) == ("/objective/1/loss", "too_few_classes")
    assert "2 classes; it needs at least 3" in problem["message"]
    assert warnings(api, dataset=WINE, objective=objective) == []


def test_the_classes_are_known_from_a_registered_teacher_too(api: Api) -> None:
    data = {"source": "file", "file": api.upload()["id"], "format": {"name": "csv"}}
    weights, mlp = "student/model.safetensors", {"name": "mlp"}
    two = model_of(api, mlp, weights, outputs=["no", "yes"], dataset=data)
    ten = model_of(api, mlp, weights, dataset=data)
    decoupled = [{"loss": "decoupled"}]

    def teacher(model: str) -> dict[str, Any]:
        return {"source": "model", "model": model}

    assert warnings(api, dataset=data, teacher=teacher(ten), objective=decoupled) == []
    assert refusals(api, dataset=data, teacher=teacher(two), objective=decoupled) == [
        ("/objective/0/loss", "too_few_classes")
    ]


def test_settings_of_labels_that_mean_nothing_for_the_task_are_refused(api: Api) -> None:
    smooth = {"loss": "labels", "label_smoothing": 0.1}
    huber = {"loss": "labels", "distance": {"name": "huber"}}

    assert refusals(api, dataset=DIABETES, objective=[huber, smooth]) == [
        ("/objective/1/label_smoothing", "loss_does_not_fit_task")
    ]
    assert refusals(api, objective=[huber, smooth]) == [
        ("/objective/0/distance", "loss_does_not_fit_task")
    ]


def test_an_assistants_own_objective_is_checked_like_the_jobs(api: Api) -> None:
    architecture = {"name": "mlp"}
    assistants = [
        {"architecture": architecture},
        {"architecture": architecture, "objective": [{"loss": "decoupled"}]},
        {"architecture": architecture, "objective": [{"loss": "labels", "weight": 0}]},
    ]

    assert refusals(api, dataset=CANCER, assistants=assistants) == [
        ("/assistants/1/objective/0/loss", "too_few_classes"),
        ("/assistants/2/objective", "no_weight"),
    ]


def test_only_classes_can_be_omitted(api: Api) -> None:
    transfer = {"omit_classes": ["progression"]}

    assert refusals(api, dataset=DIABETES, transfer=transfer) == [
        ("/transfer/omit_classes", "no_classes_to_omit")
    ]


def test_an_omitted_class_that_the_data_has_not_is_refused_with_the_nearest(api: Api) -> None:
    (problem,) = told(api, dataset=WINE, transfer={"omit_classes": ["class_2", "clas_1"]})

    assert (problem["pointer"], problem["code"]) == ("/transfer/omit_classes/1", "unknown_class")
    assert "class_1" in problem["message"]


def test_two_classes_must_be_left(api: Api) -> None:
    transfer = {"omit_classes": ["class_0", "class_2"]}

    assert refusals(api, dataset=WINE, transfer=transfer) == [
        ("/transfer/omit_classes", "too_few_classes")
    ]
    assert warnings(api, transfer={"omit_classes": list("01234567")}) == []


def test_a_repair_needs_omitted_classes_and_a_validation_part(api: Api) -> None:
    whole = {"source": "builtin", "name": "digits", "split": {"validation": 0}}
    repair = {"omit_classes": ["3"], "repair": True}

    judged = {**table(api, "classification"), "validation_file": api.upload()["id"]}
    judged["split"] = {"validation": 0}

    assert warnings(api, transfer=repair) == []
    assert warnings(api, transfer=repair, dataset=judged) == []
    for changes in ({"transfer": {"repair": True}}, {"transfer": repair, "dataset": whole}):
        assert refusals(api, **changes) == [("/transfer/repair", "nothing_to_repair")]


def test_the_most_probable_classes_are_kept_only_of_classes(api: Api) -> None:
    assert warnings(api, knowledge={"storage": "top_k"}) == []
    assert refusals(api, dataset=DIABETES, knowledge={"storage": "top_k"}) == [
        ("/knowledge/storage", "storage_does_not_fit_task")
    ]


DENSE = ["logit_mse", "decoupled", "logit_standardized", "dist", "multi_level"]
"""Losses that look at each class."""


@pytest.mark.parametrize("loss", DENSE)
def test_a_loss_that_looks_at_each_class_is_refused_beside_the_most_probable_alone(
    api: Api, loss: str
) -> None:
    top_k, objective = {"storage": "top_k"}, [{"loss": "soft_targets"}, {"loss": loss}]
    (problem,) = told(api, knowledge=top_k, objective=objective)

    assert (problem["pointer"], problem["code"]) == (
        "/knowledge/storage", "storage_does_not_fit_loss",
    )  # fmt: skip
    assert f"'{loss}', which looks at each class" in problem["message"]
    assert "rounded and without the level" in problem["message"]
    assert "'float16'" in problem["message"]
    assert warnings(api, objective=objective) == []


def test_the_storage_must_fit_an_assistants_own_losses_too(api: Api) -> None:
    assistant = {"architecture": {"name": "mlp"}, "objective": [{"loss": "logit_mse"}]}

    assert refusals(api, knowledge={"storage": "top_k"}, assistants=[assistant]) == [
        ("/knowledge/storage", "storage_does_not_fit_loss")
    ]


def test_knowledge_of_the_most_probable_alone_does_not_teach_such_a_loss(api: Api) -> None:
    few = {"source": "knowledge", "knowledge": knowledge_of(api, storage="top_k", top_k=3)}
    dense = {"source": "knowledge", "knowledge": knowledge_of(api)}
    objective = [{"loss": "logit_mse"}]
    (problem,) = told(api, teacher=few, objective=objective)

    assert (problem["pointer"], problem["code"]) == (
        "/teacher/knowledge", "storage_does_not_fit_loss",
    )  # fmt: skip
    assert "'soft_targets'" in problem["message"]
    assert warnings(api, teacher=few) == []
    assert warnings(api, teacher=dense, objective=objective) == []


def test_targets_may_not_be_features_nor_come_twice(api: Api) -> None:
    data = table(api, "regression", "y", "z", "y")
    data["format"]["features"] = ["a", "z"]

    assert refusals(api, dataset=data) == [
        ("/dataset/format/targets/2", "duplicate"),
        ("/dataset/format/features/1", "label_as_feature"),
    ]
