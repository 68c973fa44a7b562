"""What the contracts say of a model's weights is what the engine's model has."""

import math

import pytest
import torch

from app.contracts.model import AnyArchitecture, Mlp
from app.contracts.tensors import num_parameters, tensors_of
from tests.unit.worker.distillation.test_layers import NETWORKS
from worker.distillation.build import build
from worker.distillation.dataset import InputDescription

DTYPES = {torch.float32: "F32", torch.int64: "I64"}
SHAPES = [[1, 8, 8], [3, 13, 6]]
CASES: list[tuple[AnyArchitecture, list[int]]] = [
    *((network, shape) for network in NETWORKS for shape in SHAPES),
    *((network, [9]) for network in NETWORKS if isinstance(network, Mlp)),
]


@pytest.mark.parametrize("restores", [False, True])
@pytest.mark.parametrize(("architecture", "shape"), CASES, ids=str)
def test_tensors_are_those_of_the_model(
    architecture: AnyArchitecture, shape: list[int], *, restores: bool
) -> None:
    numbers = [0.5, 2.0, 3.0] if restores else None
    model = build(
        architecture,
        InputDescription(
            kind="table" if len(shape) == 1 else "image",
            shape=shape,
            mean=[0.0] * shape[0],
            std=[1.0] * shape[0],
            task="regression" if restores else "classification",
            output_names=["a", "b", "c"],
            output_mean=numbers,
            output_std=numbers,
        ),
        seed=0,
    )

    said = tensors_of(architecture, shape, 3, restores=restores)

    weights = model.state_dict()
    assert list(said) == list(weights)
    assert {name: (form.dtype, form.shape) for name, form in said.items()} == {
        name: (DTYPES[value.dtype], tuple(value.shape)) for name, value in weights.items()
    }
    trained = {name: math.prod(value.shape) for name, value in model.named_parameters()}
    assert {name for name, form in said.items() if form.is_trained} == set(trained)
    assert num_parameters(said) == sum(trained.values())
