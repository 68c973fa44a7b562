"""The architectures: their sizes in the literature, any input size, layers by name."""

from typing import Literal

import pytest
import torch

from app.contracts.model import AnyArchitecture, CifarResnet, Convnet, Mlp
from tests.unit.worker.distillation.toys import images_of
from worker.distillation.build import build
from worker.distillation.capture import capturing


@pytest.mark.parametrize(
    ("variant", "num_parameters"),
    [("20", 278_324), ("56", 861_620), ("8x4", 1_233_540), ("32x4", 7_433_860)],
)
def test_residual_networks_have_the_literatures_number_of_parameters(
    variant: Literal["20", "56", "8x4", "32x4"], num_parameters: int
) -> None:
    network = build(CifarResnet(variant=variant), images_of([3, 32, 32], 100), seed=0).network

    assert sum(parameter.numel() for parameter in network.parameters()) == num_parameters


@pytest.mark.parametrize(
    "architecture", [Mlp(hidden_sizes=[]), Mlp(), Convnet(), CifarResnet(variant="8")]
)
@pytest.mark.parametrize("shape", [[1, 8, 8], [3, 32, 32], [2, 5, 9], [1, 1, 1], [1, 28, 28]])
def test_any_image_gives_one_logit_a_class(architecture: AnyArchitecture, shape: list[int]) -> None:
    model = build(architecture, images_of(shape, 7), seed=0).eval()

    assert model(torch.rand(2, *shape) * 255).shape == (2, 7)


def test_a_perceptron_by_hand() -> None:
    network = build(Mlp(hidden_sizes=[1]), images_of([1, 1, 2], 2), seed=0).network
    with torch.no_grad():
        for name, values in {
            "hidden.0.0.weight": [[1.0, -1.0]],
            "hidden.0.0.bias": [0.5],
            "classifier.weight": [[2.0], [-3.0]],
            "classifier.bias": [0.0, 1.0],
        }.items():
            network.get_parameter(name).copy_(torch.tensor(values))

    logits_BC = network(torch.tensor([[[[3.0, 1.0]]], [[[0.0, 9.0]]]]))

    assert logits_BC.tolist() == [[5.0, -6.5], [0.0, 1.0]]


def test_dropout_acts_in_training_alone() -> None:
    images = torch.rand(8, 1, 6, 6) * 255
    for architecture in (Mlp(dropout=0.5), Convnet(dropout=0.5)):
        model = build(architecture, images_of([1, 6, 6]), seed=0)
        assert not torch.equal(model.train()(images), model(images))
        assert torch.equal(model.eval()(images), model(images))


@pytest.mark.parametrize("architecture", [Convnet(), CifarResnet(variant="8")])
def test_stages_can_be_named_and_nothing_changes_their_features_afterwards(
    architecture: AnyArchitecture,
) -> None:
    model = build(architecture, images_of([1, 16, 16]), seed=0).eval()
    kept = []
    last = model.network.get_submodule("stages.2")
    last.register_forward_hook(lambda _module, _inputs, output: kept.append(output.clone()))
    with capturing(model, ["stages.2"]) as features:
        model(torch.rand(2, 1, 16, 16) * 255)

    assert torch.equal(features["stages.2"], kept[0])
    assert features["stages.2"].shape[:2] == (2, last_channels(architecture))


def last_channels(architecture: AnyArchitecture) -> int:
    return architecture.channels[-1] if isinstance(architecture, Convnet) else 64


def test_a_residual_block_adds_its_input() -> None:
    network = build(CifarResnet(variant="20"), images_of([1, 8, 8]), seed=0).network.eval()
    block = network.get_submodule("stages.0.1")
    torch.nn.init.zeros_(network.get_parameter("stages.0.1.norm2.weight"))
    images = torch.rand(2, 16, 8, 8)

    assert torch.equal(block(images), images)
