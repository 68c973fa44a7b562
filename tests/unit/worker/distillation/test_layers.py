"""What the contracts say of an architecture's layers is what its network has and gives."""

from pathlib import Path
from typing import get_args

import pytest
import torch

from app.contracts.dataset import Builtin
from app.contracts.known_data import Shape, input_shape, output_names
from app.contracts.layers import layers_of
from app.contracts.model import AnyArchitecture, CifarResnet, Convnet, Mlp
from worker.distillation.build import build
from worker.distillation.capture import feature_shapes, layer_names
from worker.distillation.data.builtin import read
from worker.distillation.dataset import InputDescription

VARIANTS = [
    CifarResnet(variant=variant)
    for variant in get_args(CifarResnet.model_fields["variant"].annotation)
]
NETWORKS: list[AnyArchitecture] = [
    *(Mlp(hidden_sizes=sizes) for sizes in ([], [5], [7, 3, 4])),
    *(Convnet(channels=channels) for channels in ([4], [4, 6, 3, 5], [4] * 7)),
    *VARIANTS,
]
IMAGES: list[Shape] = [(1, 8, 8), (3, 13, 6), (2, 4, 21)]
CASES: list[tuple[AnyArchitecture, Shape]] = [
    *((network, inputs) for network in NETWORKS for inputs in IMAGES),
    *((network, (9,)) for network in NETWORKS if isinstance(network, Mlp)),
]
NUM_OUTPUTS = 3


@pytest.mark.parametrize(("architecture", "inputs"), CASES, ids=str)
def test_layers_are_those_of_the_network(architecture: AnyArchitecture, inputs: Shape) -> None:
    shape = [size for size in inputs if size is not None]
    model = build(
        architecture,
        InputDescription(
            kind="table" if len(shape) == 1 else "image",
            shape=shape,
            mean=[0.0] * shape[0],
            std=[1.0] * shape[0],
            output_names=["a", "b", "c"],
        ),
        seed=0,
    )
    said = layers_of(architecture, inputs, NUM_OUTPUTS)

    assert list(said) == layer_names(model.network)
    giving = {path: given for path, given in said.items() if given is not None}
    assert giving == feature_shapes(model, list(giving), torch.zeros(2, *shape))
    grouping = {path for path, given in said.items() if given is None}
    assert grouping == {
        path
        for path, module in model.network.named_modules()
        if isinstance(module, torch.nn.ModuleList)
    }


def test_sizes_that_only_the_data_tells_are_left_open() -> None:
    said = layers_of(Convnet(channels=[4, 6]), (None, None, None))

    assert said["stages.1"] == (6, None, None)
    assert said["pool"] == (6,)
    assert said["classifier"] == (None,)


@pytest.mark.parametrize("name", ["digits", "breast_cancer", "wine", "diabetes"])
def test_what_is_said_of_data_that_ships_is_true(name: str, tmp_path: Path) -> None:
    settings = Builtin.model_validate({"name": name})
    data = read(settings, None, tmp_path, lambda *_: None)

    assert input_shape(settings) == data.inputs.shape[1:]
    assert output_names(settings) == data.output_names
    assert settings.task == data.task
