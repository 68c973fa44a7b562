"""Reports of models with known answers, without a run."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from app.contracts.dataset import Task
from app.contracts.report import FullReport, ModelReport
from worker.distillation.comparison import Evaluation, compared
from worker.distillation.dataset import Dataset, InputDescription
from worker.distillation.details import details
from worker.distillation.history import EpochRecord, History
from worker.distillation.metrics import scores

NOWHERE = Path("/nonexistent")


def dataset_of(labels: Tensor, names: list[str], task: Task = "classification") -> Dataset:
    """Return data whose examples are all of the test part."""
    num_examples = len(labels)
    return Dataset(
        inputs=np.zeros((num_examples, 1), np.float32),
        labels=labels.numpy(),
        ids={
            "train": np.zeros(0, np.int64),
            "validation": np.zeros(0, np.int64),
            "test": np.arange(num_examples),
        },
        description=InputDescription(
            kind="table", shape=[1], mean=[0], std=[1], task=task, output_names=names
        ),
    )


def history_of(num_epochs: int, task: Task = "classification") -> History:
    """Return a training that gets better to the last epoch but one."""

    def validation(number: int) -> dict[str, float]:
        if task == "regression":
            return {"rmse": 1 / number, "r2": 1 - 1 / number}
        figures = {"accuracy": 1 - 1 / number, "log_loss": 1 / number}
        return figures | ({"macro_f1": 0.5 - 0.5 / number} if task == "multi_label" else {})

    epochs = [
        EpochRecord(
            epoch=number,
            lr=0.1,
            loss=1 / number,
            losses={"labels": 2 / number, "soft_targets": 0.5 / number},
            validation=validation(number),
        )
        for number in range(1, num_epochs + 1)
    ]
    return History(epoch=max(1, num_epochs - 1), epochs=epochs)


def report_of(
    answers: Mapping[str, Tensor],
    labels: Tensor,
    names: list[str],
    task: Task = "classification",
    history: History | None = None,
) -> FullReport:
    """Return the report of models that give these answers (N, C) on test."""
    data = dataset_of(labels, names, task)
    measured = [
        Evaluation(
            role,
            ModelReport(
                architecture="mlp",
                num_parameters=1000,
                flops=2000,
                bytes=4000,
                latency_seconds=0.001,
                epoch=history.epoch if history else None,
                test=scores(answers_NC, labels, task),
            ),
            details(answers_NC, labels, task, names, history),
            answers_NC,
        )
        for role, answers_NC in answers.items()
    ]
    return compared(measured, data, NOWHERE, seed=0)


def logits_with_errors(labels_N: Tensor, num_errors: int, num_classes: int) -> Tensor:
    """Return logits (N, C) that are wrong, by one class, on the first examples."""
    said_N = labels_N.clone()
    said_N[:num_errors] = (said_N[:num_errors] + 1) % num_classes
    return 3.0 * torch.nn.functional.one_hot(said_N, num_classes)
