"""Tiny data and models to learn from in milliseconds."""

import numpy as np
import torch
from torch import Tensor

from app.contracts.model import AnyArchitecture, Mlp
from app.contracts.training import Training
from worker.distillation.build import build
from worker.distillation.predictor import Predictor
from worker.distillation.dataset import Dataset, InputDescription

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
