"""What is measured on validation, batch by batch, is what the report's scores are made of."""

from dataclasses import replace

import pytest
import torch

from app.contracts.dataset import Task
from tests.unit.worker.distillation.toys import SMALL, toy_images, toy_table
from worker.distillation.build import build
from worker.distillation.feed import Feed
from worker.distillation.metrics import COMPARED_BY, scores
from worker.distillation.validation import validate

CPU = torch.device("cpu")


@pytest.mark.parametrize("task", ["classification", "multi_label", "regression"])
def test_what_chooses_an_epoch_is_the_quality_on_the_whole_part(
    monkeypatch: pytest.MonkeyPatch, task: Task
) -> None:
    monkeypatch.setattr("worker.distillation.validation.EVALUATION_BATCH_SIZE", 4)
    data = toy_images() if task == "classification" else toy_table(task)
    ids = data.ids["validation"]
    feed, model = Feed(data, CPU), build(SMALL, data.description, seed=0).eval()
    with torch.no_grad():
        answers = model.answers(torch.tensor(data.inputs[ids]).float())

    found = validate(model, data, feed, "float32")

    expected = scores(answers, feed.labels[torch.from_numpy(ids)], task)
    assert found[COMPARED_BY[task]] == pytest.approx(expected.quality)
    for name in found.keys() - {"rmse"}:
        assert found[name] == pytest.approx(getattr(expected, name)), name


@pytest.mark.parametrize("task", ["classification", "multi_label", "regression"])
def test_where_nothing_is_known_nothing_is_measured(task: Task) -> None:
    data = (
        toy_images(num_validation=0)
        if task == "classification"
        else toy_table(task, num_validation=0)
    )
    feed, model = Feed(data, CPU), build(SMALL, data.description, seed=0).eval()

    assert validate(model, data, feed, "float32") == {}


def test_labels_of_which_none_is_known_are_not_measured() -> None:
    data = toy_table("multi_label")
    data = replace(data, labels=data.labels * torch.nan)
    model = build(SMALL, data.description, seed=0).eval()

    assert validate(model, data, Feed(data, CPU), "float32") == {}
