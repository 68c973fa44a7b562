"""A student that has never seen a class is made to expect it as often as its teacher does."""

import math
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from app.contracts.model import CifarResnet, Convnet, Mlp
from tests.unit.worker.distillation.toys import equal, images_of, toy_model, weights_of
from worker.distillation.errors import BadInput
from worker.distillation.predictor import Predictor
from worker.distillation.repair import repair, repaired_biases

NAMES = ["a", "b", "c"]
seeds = st.integers(0, 10_000)
missing_of_five = st.sampled_from([[0], [3], [1, 4], [0, 2, 3], [0, 1, 2, 3]])


def logits_NC(seed: int, num_classes: int = 5, spread: float = 4.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(40, num_classes, generator=generator, dtype=torch.float64) * spread


def shares_C(logits: Tensor) -> Tensor:
    return logits.softmax(dim=1).mean(dim=0)


def test_a_raise_by_hand() -> None:
    # One example, odds of a to the rest 1 : 9. To be expected in half of the cases, a's odds must
    # be multiplied by 9.
    student_NC = torch.tensor([[0.1, 0.6, 0.3]]).log()

    biases_C = repaired_biases(student_NC, torch.tensor([0.5, 0.2, 0.3]), [0])

    assert biases_C.tolist() == pytest.approx([math.log(9), 0, 0], abs=1e-6)


def test_two_raises_by_hand() -> None:
    # b and c are each to weigh as much as a.
    student_NC = torch.tensor([[0.8, 0.15, 0.05]]).log()

    biases_C = repaired_biases(student_NC, torch.full((3,), 1 / 3), [1, 2])

    assert biases_C.tolist() == pytest.approx([0, math.log(0.8 / 0.15), math.log(16)], abs=1e-6)


@settings(deadline=None, max_examples=30)
@given(student=seeds, teacher=seeds, missing=missing_of_five)
def test_the_student_then_expects_what_the_teacher_does(
    student: int, teacher: int, missing: list[int]
) -> None:
    student_NC, expected_C = logits_NC(student), shares_C(logits_NC(teacher, spread=1.0))

    biases_C = repaired_biases(student_NC, expected_C, missing)

    after_C = shares_C(student_NC + biases_C)
    assert (after_C - expected_C)[missing].abs().max() < 1e-6
    others = [label for label in range(5) if label not in missing]
    assert biases_C[others].tolist() == [0.0] * len(others)


@settings(deadline=None, max_examples=20)
@given(student=seeds, teacher=seeds, missing=missing_of_five)
def test_other_classes_keep_their_order_on_every_example(
    student: int, teacher: int, missing: list[int]
) -> None:
    student_NC, expected_C = logits_NC(student), shares_C(logits_NC(teacher))

    after_NC = student_NC + repaired_biases(student_NC, expected_C, missing)

    others = [label for label in range(5) if label not in missing]
    for one, other in combinations(others, 2):
        before_N = student_NC[:, one] > student_NC[:, other]
        assert torch.equal(after_NC[:, one] > after_NC[:, other], before_N)


@settings(deadline=None, max_examples=20)
@given(
    student=seeds,
    teacher=seeds,
    missing=missing_of_five,
    order=st.permutations(range(5)),
)
def test_names_of_classes_do_not_matter(
    student: int, teacher: int, missing: list[int], order: list[int]
) -> None:
    student_NC, expected_C = logits_NC(student), shares_C(logits_NC(teacher, spread=1.0))
    moved = [order.index(label) for label in missing]

    biases_C = repaired_biases(student_NC, expected_C, missing)
    moved_C = repaired_biases(student_NC[:, order], expected_C[order], moved)

    torch.testing.assert_close(moved_C, biases_C[order], rtol=0, atol=1e-5)


def test_a_student_that_agrees_is_left_as_it_is() -> None:
    student_NC = logits_NC(0)

    biases_C = repaired_biases(student_NC, shares_C(student_NC), [1, 2])

    assert biases_C.tolist() == [0.0] * 5


def test_a_class_expected_too_often_is_lowered() -> None:
    student_NC = logits_NC(1)
    expected_C = shares_C(student_NC)
    expected_C[2] /= 3

    assert repaired_biases(student_NC, expected_C, [2])[2] < 0


@pytest.mark.parametrize(
    ("expected", "missing"), [([0.6, 0.4, 0.0], [2]), ([0.2, 0.3, 0.5], [0, 1, 2])]
)
def test_a_class_that_the_teacher_does_not_expect_and_all_classes_are_refused(
    expected: list[float], missing: list[int]
) -> None:
    with pytest.raises(BadInput, match="hardly any example") as refused:
        repaired_biases(logits_NC(0, num_classes=3), torch.tensor(expected), missing)

    assert refused.value.code == "repair_impossible"


def test_a_student_too_sure_of_itself_is_refused() -> None:
    student_NC = torch.tensor([[0.0, 0.0, -1000.0]])

    with pytest.raises(BadInput, match=r"no raise of up to 100 .* it comes to \[0.0\]") as refused:
        repaired_biases(student_NC, torch.tensor([0.4, 0.4, 0.2]), [2])

    assert refused.value.code == "repair_impossible"


@pytest.mark.parametrize(
    "architecture", [Mlp(hidden_sizes=[6]), Convnet(channels=[4]), CifarResnet(variant="8")]
)
def test_a_repaired_model_answers_with_the_raise_and_is_else_unchanged(
    architecture: Mlp | Convnet | CifarResnet,
) -> None:
    model = toy_model(architecture).eval()
    images = torch.rand(20, 1, 5, 5) * 255
    before, before_NC = weights_of(model), model(images).detach()
    expected_C = torch.tensor([0.25, 0.25, 0.5])

    done = repair(model, before_NC, expected_C, [2], NAMES)

    (third,) = done.classes
    assert third.name == "c"
    assert third.share_before == pytest.approx(float(shares_C(before_NC.double())[2]))
    assert third.share_after == pytest.approx(0.5, abs=1e-6)
    assert third.expected_share == 0.5
    after_NC = model(images).detach()
    raised_NC = before_NC + torch.tensor([0.0, 0.0, third.bias])
    torch.testing.assert_close(after_NC, raised_NC)
    assert float(shares_C(after_NC)[2]) == pytest.approx(0.5, abs=1e-5)
    after = weights_of(model)
    del before["network.classifier.bias"], after["network.classifier.bias"]
    assert equal(before, after)


class Unbiased(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Linear(25, 3, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        answers: Tensor = self.classifier(images.flatten(1))
        return answers


@pytest.mark.parametrize("network", [nn.Flatten(), Unbiased()])
def test_a_network_without_biases_at_its_end_is_refused(network: nn.Module) -> None:
    model = Predictor(images_of([1, 5, 5]), network)

    with pytest.raises(BadInput, match="ends in no linear layer with biases") as refused:
        repair(model, logits_NC(0, num_classes=3), torch.full((3,), 1 / 3), [1], NAMES)

    assert refused.value.code == "no_biases"
