"""Features by module path: right, isolated, without a trace; wrong names are helped."""

import pytest
import torch
from torch import Tensor, nn

from app.contracts.feature_losses import Hints
from app.contracts.loss import LayerPair
from app.contracts.model import Convnet, Mlp
from tests.unit.worker.distillation.toys import equal, images_of, toy_model, weights_of
from worker.distillation.capture import (
    capturing,
    feature_shapes,
    layer_names,
    observe,
    resolved,
)
from worker.distillation.errors import BadInput
from worker.distillation.predictor import Predictor

RAW = torch.rand(4, 1, 5, 5, generator=torch.Generator().manual_seed(0)) * 255
CONVNET = Convnet(channels=[3, 4], dropout=0.5)


def test_a_captured_feature_is_what_the_layer_gave() -> None:
    model = toy_model(Mlp(hidden_sizes=[6]))
    with capturing(model, ["hidden.0", "hidden.0"]) as features:
        signals = observe(model, RAW, "float32", features)

    hidden = model.network.get_submodule("hidden.0")(model.standardize(RAW).flatten(1))
    assert torch.equal(signals.features["hidden.0"], hidden)
    assert torch.equal(signals.logits_BC, model(RAW))


def test_two_models_do_not_hear_each_other() -> None:
    one, other = toy_model(seed=1), toy_model(seed=2)
    with capturing(one, ["hidden.0"]) as ones, capturing(other, ["hidden.0"]) as others:
        one(RAW)
        assert "hidden.0" not in others
        other(RAW)

    assert not torch.equal(ones["hidden.0"], others["hidden.0"])


def test_no_hook_stays_behind() -> None:
    model = toy_model()
    with capturing(model, ["hidden.0"]) as features:
        model(RAW)
    before = features["hidden.0"]
    model(RAW + 1)

    assert features["hidden.0"] is before


def test_shapes_are_learnt_without_touching_the_model() -> None:
    model = toy_model(CONVNET).train()
    before = weights_of(model)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)

    assert feature_shapes(model, ("stages.0", "stages.1"), RAW) == {
        "stages.0": (3, 2, 2),
        "stages.1": (4, 1, 1),
    }
    assert model.training
    assert equal(weights_of(model), before)
    assert torch.equal(torch.rand(2), expected)


def test_bfloat16_is_for_the_forward_pass_alone() -> None:
    model = toy_model(Mlp(hidden_sizes=[6]))
    with capturing(model, ["hidden.0"]) as features:
        signals = observe(model, RAW, "bfloat16", features)

    assert signals.logits_BC.dtype == signals.features["hidden.0"].dtype == torch.float32
    assert not torch.equal(signals.logits_BC, model(RAW))
    torch.testing.assert_close(signals.logits_BC, model(RAW), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("path", ["stage.0", "", "network.stages.0"])
def test_an_unknown_layer_is_refused_with_the_nearest_names(path: str) -> None:
    with (
        pytest.raises(BadInput, match="has no layer") as caught,
        capturing(toy_model(CONVNET), [path]),
    ):
        pass

    assert caught.value.code == "unknown_layer"
    assert "stages" in (caught.value.hint or "")


def test_a_layer_that_only_groups_others_is_refused() -> None:
    with pytest.raises(BadInput, match="only groups others") as caught:
        feature_shapes(toy_model(CONVNET), ("stages",), RAW)

    assert "stages.0" in (caught.value.hint or "")


class InPlace(nn.Module):
    """A network whose ReLU overwrites what its linear layer gave."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(25, 4)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, inputs: Tensor) -> Tensor:
        activated: Tensor = self.activation(self.linear(inputs.flatten(1)))
        return activated


def test_what_follows_in_place_does_not_change_what_was_captured() -> None:
    model = Predictor(images_of([1, 5, 5]), InPlace())
    with capturing(model, ["linear"]) as features:
        signals = observe(model, RAW, "float32", features)

    assert signals.features["linear"].min() < 0
    signals.features["linear"].sum().backward()


def test_globs_pair_layers_in_the_network_s_order() -> None:
    names = layer_names(toy_model(Convnet(channels=[3] * 12), shape=(1, 32, 32)).network)
    hints = Hints(layers=[LayerPair(student="stages.*", teacher="stages.*")])

    (written_out,) = resolved([hints], names, names)

    assert [pair.student for pair in written_out.pairs()] == [f"stages.{i}" for i in range(12)]
    assert hints.layers[0].student == "stages.*"


def test_globs_that_match_unequally_many_are_refused() -> None:
    one = layer_names(toy_model(CONVNET).network)
    other = layer_names(toy_model(Convnet(channels=[3])).network)
    hints = Hints(layers=[LayerPair(student="stages.*", teacher="stages.*")])

    with pytest.raises(BadInput, match=r"matches 2 layers of the student and .* 1 of the teacher"):
        resolved([hints], one, other)


def test_a_glob_that_matches_nothing_is_refused_with_the_nearest_names() -> None:
    names = layer_names(toy_model(CONVNET).network)
    hints = Hints(layers=[LayerPair(student="stage.*", teacher="stages.0")])

    with pytest.raises(BadInput, match=r"the student has no layer 'stage.\*'") as caught:
        resolved([hints], names, names)

    assert "stages" in (caught.value.hint or "")
