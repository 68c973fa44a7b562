"""What losses of hidden layers share: lengths by hand, zeros, and layers that do not pair."""

import pytest
import torch
from torch.nn import functional as F

from app.contracts.feature_losses import Attention, Hints, Nst, Similarity, Vid
from app.contracts.job import Phase
from app.contracts.loss import LayerPair
from app.contracts.model import Convnet
from app.contracts.objective import AnyLoss
from tests.unit.worker.distillation.specs import Heard
from tests.unit.worker.distillation.toys import briefly, equal, toy_images, toy_model, weights_of
from worker.distillation.errors import BadInput
from worker.distillation.features import (
    Shape,
    as_vectors_BF,
    meeting,
    require_maps,
    require_vectors_or_maps,
    unit_length,
)
from worker.distillation.objective import needs
from worker.distillation.teaching import LiveTeaching
from worker.distillation.trainer import Plan
from worker.distillation.training import train

PAIR = LayerPair(student="stages.1", teacher="stages.2")


def test_a_unit_length_by_hand() -> None:
    assert unit_length(torch.tensor([3.0, -4.0])).tolist() == pytest.approx([0.6, -0.8])


@pytest.mark.parametrize("scale", [1e-15, 1.0, 1e30])  # squares would leave float32
def test_a_unit_length_does_not_depend_on_scale(scale: float) -> None:
    vectors = torch.tensor([[3.0, -4.0, 0.0], [0.1, 0.0, 0.0]])

    torch.testing.assert_close(unit_length(scale * vectors), unit_length(vectors))


def test_a_zero_keeps_its_length_and_has_a_small_gradient() -> None:
    vectors = torch.zeros(2, 3, requires_grad=True)

    lengthened = unit_length(vectors)
    lengthened.sum().backward()

    assert vectors.grad is not None
    assert lengthened.abs().max() == 0
    assert vectors.grad.abs().max() <= 1


def test_the_gradient_of_a_unit_length_is_that_of_its_values() -> None:
    vectors = torch.tensor([[3.0, -4.0, 1.0], [0.1, 0.2, -2.0]], dtype=torch.float64)

    assert torch.autograd.gradcheck(unit_length, vectors.requires_grad_())


def test_maps_are_flattened_and_numbers_become_vectors_of_one() -> None:
    assert as_vectors_BF(torch.zeros(2, 3, 4, 5)).shape == (2, 60)
    assert as_vectors_BF(torch.zeros(2)).shape == (2, 1)


@pytest.mark.parametrize(
    ("student", "teacher", "met"),
    [
        ((2, 8, 6), (3, 4, 3), ((2, 4, 3), (3, 4, 3))),
        ((2, 7, 2), (3, 3, 5), ((2, 3, 2), (3, 3, 2))),
        ((4,), (5,), ((4,), (5,))),
        ((2, 7, 2), (5,), ((2,), (5,))),
        ((4,), (3, 3, 5), ((4,), (3,))),
    ],
)
def test_two_features_meet_at_one_kind_and_size(
    student: Shape, teacher: Shape, met: tuple[Shape, Shape]
) -> None:
    ours, theirs = meeting(student, teacher)

    assert ours(torch.zeros(1, *student)).shape[1:] == met[0]
    assert theirs(torch.zeros(1, *teacher)).shape[1:] == met[1]


def test_maps_meet_as_averages() -> None:
    student, teacher = torch.rand(2, 3, 7, 5), torch.rand(2, 4, 3, 6)

    ours, theirs = meeting((3, 7, 5), (4, 3, 6))

    torch.testing.assert_close(ours(student), F.adaptive_avg_pool2d(student, (3, 5)))
    torch.testing.assert_close(theirs(teacher), F.adaptive_avg_pool2d(teacher, (3, 5)))


@pytest.mark.parametrize("shapes", [((3,), (3, 4, 4)), ((3, 4, 4), (3,)), ((3,), (3,))])
def test_what_is_no_map_is_refused_with_both_layers_and_their_shapes(
    shapes: tuple[Shape, Shape],
) -> None:
    with pytest.raises(BadInput, match="expected two image maps") as caught:
        require_maps(PAIR, *shapes)

    assert caught.value.code == "layers_do_not_pair"
    assert caught.value.hint
    for given in ("'stages.1' gives batch x 3", "'stages.2' gives batch x 3"):
        assert given in str(caught.value)


@pytest.mark.parametrize("shapes", [((5, 3), (3,)), ((3, 4, 4), ()), ((2, 3, 4, 5), (3,))])
def test_what_is_neither_a_vector_nor_a_map_is_refused(shapes: tuple[Shape, Shape]) -> None:
    with pytest.raises(BadInput, match="expected vectors or image maps"):
        require_vectors_or_maps(PAIR, *shapes)


def test_losses_that_share_layers_train_a_student_and_leave_nothing_in_it() -> None:
    """Two losses on one layer of the teacher, two pairs on it, one loss twice."""
    student, teacher = (toy_model(Convnet(channels=[width, width])) for width in (4, 6))
    one = [LayerPair(student="stages.0", teacher="stages.0")]
    two = [*one, LayerPair(student="stages.1", teacher="stages.0")]
    objective: list[AnyLoss] = [Hints(layers=one), Hints(layers=two), Vid(layers=two)]
    objective += [Attention(layers=one), Nst(layers=two), Similarity(layers=two)]
    before, taught = weights_of(student), weights_of(teacher)

    history = train(
        student,
        toy_images(),
        Plan("student", Phase.TRAINING_STUDENT, briefly(), objective, torch.device("cpu")),
        Heard().reporter,
        LiveTeaching(teacher, "float32", needs(objective).teacher_layers),
    )

    assert history.epochs[-1].losses.keys() == {
        "hints", "hints_2", "vid", "attention", "nst", "similarity",
    }  # fmt: skip
    assert weights_of(student).keys() == before.keys()
    assert not equal(weights_of(student), before)
    assert equal(weights_of(teacher), taught)
