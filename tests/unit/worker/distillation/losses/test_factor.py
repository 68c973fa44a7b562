"""Factors: numbers by hand, the formula of the paper, and who learns from which term."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from app.contracts.feature_losses import Factor
from app.contracts.loss import LayerPair
from worker.distillation.errors import BadInput
from worker.distillation.loss import Loss, Setting
from worker.distillation.losses import factor
from worker.distillation.losses.factor import factor_B
from worker.distillation.signals import Batch, Signals

STUDENT, TEACHER = (3, 4, 4), (4, 4, 4)


def loss_of(
    student: tuple[int, ...] = STUDENT,
    teacher: tuple[int, ...] = TEACHER,
    rate: float = 0.5,
    weight: float = 1.0,
) -> Loss:
    torch.manual_seed(0)
    spec = Factor(layers=[LayerPair(student="s", teacher="t")], rate=rate, weight=weight)
    return factor.build(spec, Setting({"s": student}, {"t": teacher})).double()


def values_B(loss: Loss, student: Tensor, teacher: Tensor) -> Tensor:
    nothing, batch = torch.zeros(len(student), 3), Batch(torch.arange(2), torch.zeros(2))
    values: Tensor = loss(
        Signals(nothing, {"s": student}), Signals(nothing, {"t": teacher}), batch, 0
    )
    return values


def fixed(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, *shape, dtype=torch.float64, generator=generator)


def part(loss: Loss, name: str) -> nn.Module:
    return loss.get_submodule(f"comparisons.0.{name}")


def error_B(loss: Loss, teacher: Tensor) -> Tensor:
    rebuilt = part(loss, "decoder")(part(loss, "paraphraser")(teacher))
    squares: Tensor = (rebuilt - teacher).square().flatten(1)
    return squares.mean(dim=1)


def test_by_hand() -> None:
    """(3, 4) and (8, 6) are (0.6, 0.8) and (0.8, 0.6) at length 1: 0.2 apart in both elements."""
    student, teacher = torch.tensor([[[[3.0, 4.0]]]]), torch.tensor([[[[8.0]], [[6.0]]]])

    assert factor_B(student, teacher).tolist() == pytest.approx([0.2])


def test_is_the_papers_distance_over_the_number_of_elements() -> None:
    """Section 3's |F_T / |F_T|_2 - F_S / |F_S|_2|_1, over 2 x 3 x 3 elements as RepDistiller."""
    student, teacher = fixed(2, 3, 3), fixed(2, 3, 3, seed=1)

    expected = []
    for ours, theirs in zip(student, teacher, strict=True):
        one, other = ours.flatten().tolist(), theirs.flatten().tolist()
        size, other_size = (sum(x * x for x in each) ** 0.5 for each in (one, other))
        gaps = [abs(a / size - b / other_size) for a, b in zip(one, other, strict=True)]
        expected.append(sum(gaps) / 18)

    assert factor_B(student, teacher).tolist() == pytest.approx(expected)


def test_its_value_is_the_factors_distance_and_the_reconstructions_error() -> None:
    loss, student, teacher = loss_of(), fixed(*STUDENT), fixed(*TEACHER, seed=1)
    translated, paraphrased = part(loss, "translator")(student), part(loss, "paraphraser")(teacher)

    values = values_B(loss, student, teacher)

    assert translated.shape == paraphrased.shape == (2, 2, 4, 4)
    torch.testing.assert_close(values, factor_B(translated, paraphrased) + error_B(loss, teacher))


def test_the_paraphraser_learns_from_reconstruction_alone() -> None:
    loss, student, teacher = loss_of(), fixed(*STUDENT), fixed(*TEACHER, seed=1)
    theirs = [*part(loss, "paraphraser").parameters(), *part(loss, "decoder").parameters()]
    ours = list(part(loss, "translator").parameters())

    values_B(loss, student, teacher).sum().backward()

    expected = torch.autograd.grad(error_B(loss, teacher).sum(), theirs)
    for parameter, gradient in zip(theirs, expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
    assert all(each.grad is not None and each.grad.abs().max() > 0 for each in ours)


def test_the_losss_weight_is_no_factor_of_the_paraphrasers_gradient() -> None:
    """Else the usual weight of 200 would be one of its learning rate, and it would diverge."""
    student, teacher = fixed(*STUDENT), fixed(*TEACHER, seed=1)
    gradients = []
    for weight in (1.0, 200.0):
        loss = loss_of(weight=weight)
        (weight * values_B(loss, student, teacher)).sum().backward()
        gradients.append([each.grad for each in part(loss, "paraphraser").parameters()])

    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize("size", [(2, 4), (8, 3)])
def test_maps_of_two_sizes_meet_at_the_smaller_sides(size: tuple[int, int]) -> None:
    loss, student, teacher = loss_of((3, *size)), fixed(3, *size), fixed(*TEACHER, seed=1)
    smaller = (min(size[0], 4), min(size[1], 4))

    values = values_B(loss, student, teacher)

    ours, theirs = (F.adaptive_avg_pool2d(each, smaller) for each in (student, teacher))
    expected = factor_B(part(loss, "translator")(ours), part(loss, "paraphraser")(theirs))
    torch.testing.assert_close(values, expected + error_B(loss, theirs))


@pytest.mark.parametrize(("rate", "channels"), [(0.1, 1), (0.5, 2), (2.0, 8)])
def test_the_rate_sets_a_factors_channels(rate: float, channels: int) -> None:
    loss = loss_of(rate=rate)

    assert part(loss, "translator")(fixed(*STUDENT)).shape[1] == channels
    assert part(loss, "paraphraser")(fixed(*TEACHER)).shape[1] == channels


def test_vectors_are_refused() -> None:
    with pytest.raises(BadInput, match="expected two image maps"):
        loss_of((3,), (4,))
