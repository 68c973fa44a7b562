"""Tiny data and models to learn from in milliseconds."""

import numpy as np
import torch
from torch import Tensor

from app.contracts.dataset import Task
from app.contracts.model import AnyArchitecture, Mlp
from app.contracts.training import Training
from worker.distillation.build import build
from worker.distillation.dataset import Dataset, InputDescription
from worker.distillation.predictor import Predictor

CLASSES = ["a", "b", "c"]
SMALL = Mlp(hidden_sizes=[6])


def images_of(shape: list[int], num_classes: int = 3) -> InputDescription:
    return InputDescription(
        kind="image",
        shape=shape,
        mean=[100.0] * shape[0],
        std=[50.0] * shape[0],
        output_names=[str(label) for label in range(num_classes)],
    )


def toy_images(
    num_train: int = 22, num_validation: int = 9, shape: tuple[int, int, int] = (1, 5, 5)
) -> Dataset:
    """Return noisy images whose brightness tells the class; five more are for testing."""
    chance = np.random.default_rng(7)
    num_examples = num_train + num_validation + 5
    labels = np.arange(num_examples, dtype=np.int64) % len(CLASSES)
    noise = chance.integers(0, 90, (num_examples, *shape))
    ids = np.arange(num_examples, dtype=np.int64)
    return Dataset(
        inputs=(noise + 60 * labels[:, None, None, None]).astype(np.uint8),
        labels=labels,
        ids={
            "train": ids[:num_train],
            "validation": ids[num_train : num_train + num_validation],
            "test": ids[num_train + num_validation :],
        },
        description=images_of(list(shape)),
    )


def table_of(task: Task, num_features: int = 4) -> InputDescription:
    """Describe a table of two targets, whose scales differ, or of two labels."""
    return InputDescription(
        kind="table",
        shape=[num_features],
        mean=[2.0] * num_features,
        std=[3.0] * num_features,
        task=task,
        output_names=["height", "weight"],
        output_mean=[170.0, -4.0] if task == "regression" else None,
        output_std=[8.0, 0.5] if task == "regression" else None,
    )


def toy_table(task: Task, num_train: int = 22, num_validation: int = 9) -> Dataset:
    """Return rows whose features tell two numbers, or two labels that are sometimes unknown."""
    chance = np.random.default_rng(8)
    num_examples = num_train + num_validation + 5
    description = table_of(task)
    inputs = chance.normal(2, 3, (num_examples, description.shape[0])).astype(np.float32)
    hidden = (inputs[:, :2] - 2) / 3
    if task == "regression":
        labels = hidden * [8.0, 0.5] + [170.0, -4.0]
    else:
        labels = (hidden > 0).astype(np.float64)
        labels[::7, 1] = np.nan
    ids = np.arange(num_examples, dtype=np.int64)
    return Dataset(
        inputs=inputs,
        labels=labels.astype(np.float32),
        ids={
            "train": ids[:num_train],
            "validation": ids[num_train : num_train + num_validation],
            "test": ids[num_train + num_validation :],
        },
        description=description,
    )


def toy_model(
    architecture: AnyArchitecture = SMALL, shape: tuple[int, ...] = (1, 5, 5), seed: int = 0
) -> Predictor:
    return build(architecture, images_of(list(shape)), seed)


def briefly(**changes: object) -> Training:
    """Return a training of three epochs of three batches."""
    return Training.model_validate({"epochs": 3, "batch_size": 8, **changes})


def weights_of(model: Predictor) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Say whether two states are the same bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
