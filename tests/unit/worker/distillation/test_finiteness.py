"""A loss that is no number is found at its step, and named."""

import math

import pytest
import torch
from torch import nn

from worker.distillation.errors import NonFinite
from worker.distillation.finiteness import FinitenessWatch

IDS = torch.arange(3, 6)


def watch() -> FinitenessWatch:
    return FinitenessWatch("student", ["labels", "hints"], torch.device("cpu"))


def test_finite_losses_pass() -> None:
    watching = watch()
    watching.see(torch.tensor([1e30, 0.0]), IDS, step=0, epoch=0)
    watching.look()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_the_first_broken_loss_is_named_with_its_step_and_batch(value: float) -> None:
    with pytest.raises(NonFinite) as caught:
        watch().see(torch.tensor([1.0, value]), IDS, step=6, epoch=1)

    assert str(caught.value) == (
        f"the student's loss 'hints' is {value} at step 7 (epoch 2), in the batch of examples "
        "3, 4, 5"
    )


def test_a_long_batch_is_cut_short() -> None:
    with pytest.raises(NonFinite, match=r"examples 0, 1, 2, 3, 4, 5, 6, 7, \.\.\. \(100 in all\)"):
        watch().see(torch.tensor([math.nan, 1.0]), torch.arange(100), step=0, epoch=0)


def test_weights_are_looked_at_after_an_epoch() -> None:
    model = nn.Linear(2, 2)
    watch().check_weights(model, epoch=0)
    with torch.no_grad():
        model.weight[0, 1] = math.inf
    with pytest.raises(
        NonFinite, match="a weight of the student is no longer finite after epoch 3"
    ):
        watch().check_weights(model, epoch=2)
