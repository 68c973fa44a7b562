"""What holds for every loss, whatever it compares."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from app.contracts.objective import AnyLoss, Hints, Labels, LayerPair, SoftTargets
from worker.distillation.objective import build_objective
from worker.distillation.signals import Batch, Signals

EVERY_LOSS: list[AnyLoss] = [
    Labels(),
    Labels(label_smoothing=0.3),
    SoftTargets(temperature=4.0),
    Hints(layers=[LayerPair(student="vector", teacher="vector")]),
    Hints(layers=[LayerPair(student="map", teacher="map")]),
]
OF_LOGITS = EVERY_LOSS[:3]
STUDENT_SHAPES = {"vector": (3,), "map": (2, 4, 4)}
TEACHER_SHAPES = {"vector": (5,), "map": (3, 2, 2)}

every_loss = pytest.mark.parametrize("spec", EVERY_LOSS, ids=repr)
every_loss_of_logits = pytest.mark.parametrize("spec", OF_LOGITS, ids=repr)
seeds = st.integers(0, 2**32)
scales = st.sampled_from([0.0, 1.0, 1e2, 1e4])


def drawn(seed: int, scale: float = 1.0) -> tuple[Signals, Signals, Batch]:
    """Return signals of six examples in four classes, in float64."""
    generator = torch.Generator().manual_seed(seed)

    def features(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
        return {name: draw(*shape) for name, shape in shapes.items()}

    def draw(*shape: int) -> Tensor:
        return scale * torch.randn(6, *shape, dtype=torch.float64, generator=generator)

    student = Signals(draw(4), features(STUDENT_SHAPES))
    teacher = Signals(draw(4), features(TEACHER_SHAPES))
    return student, teacher, Batch(torch.arange(6), torch.arange(6) % 4)


def values_B(spec: AnyLoss, student: Signals, teacher: Signals, batch: Batch) -> Tensor:
    objective = build_objective([spec], STUDENT_SHAPES, TEACHER_SHAPES, seed=0).double()
    result: Tensor = objective(student, teacher, batch, 0)[0]
    return result


def part(signals: Signals, rows: slice) -> Signals:
    features = {name: value[rows] for name, value in signals.features.items()}
    return Signals(signals.logits_BC[rows], features)


@every_loss
@settings(deadline=None, max_examples=20)
@given(seed=seeds, scale=scales)
def test_is_finite_never_negative_and_has_a_finite_gradient(
    spec: AnyLoss, seed: int, scale: float
) -> None:
    student, teacher, batch = drawn(seed, scale)
    leaves = [student.logits_BC, *student.features.values()]
    for leaf in leaves:
        leaf.requires_grad_()

    values = values_B(spec, student, teacher, batch)
    gradients = torch.autograd.grad(values.sum(), leaves, materialize_grads=True)

    assert values.shape == (6,)
    assert values.isfinite().all()
    assert values.min() > -1e-9
    assert all(gradient.isfinite().all() for gradient in gradients)


@every_loss
@settings(deadline=None, max_examples=20)
@given(seed=seeds, cut=st.integers(1, 5))
def test_an_example_is_worth_the_same_in_any_batch(spec: AnyLoss, seed: int, cut: int) -> None:
    student, teacher, batch = drawn(seed)
    whole = values_B(spec, student, teacher, batch)

    parts = [
        values_B(
            spec,
            part(student, rows),
            part(teacher, rows),
            Batch(batch.ids_B[rows], batch.labels_B[rows]),
        )
        for rows in (slice(None, cut), slice(cut, None))
    ]

    torch.testing.assert_close(torch.cat(parts), whole)


@every_loss_of_logits
@settings(deadline=None, max_examples=20)
@given(seed=seeds, shift=st.floats(-50, 50), order=st.permutations(range(4)))
def test_neither_the_classes_order_nor_a_shift_of_logits_matters(
    spec: AnyLoss, seed: int, shift: float, order: list[int]
) -> None:
    student, teacher, batch = drawn(seed)
    place = torch.tensor(order).argsort()

    values = values_B(
        spec,
        Signals(student.logits_BC[:, order] + shift),
        Signals(teacher.logits_BC[:, order] - shift),
        Batch(batch.ids_B, place[batch.labels_B]),
    )

    torch.testing.assert_close(values, values_B(spec, student, teacher, batch))


@every_loss
def test_its_gradient_is_that_of_its_values(spec: AnyLoss) -> None:
    student, teacher, batch = drawn(1)
    names = list(student.features)

    def as_function(logits_BC: Tensor, *features: Tensor) -> Tensor:
        signals = Signals(logits_BC, dict(zip(names, features, strict=True)))
        return values_B(spec, signals, teacher, batch)

    leaves = [student.logits_BC, *student.features.values()]
    assert torch.autograd.gradcheck(as_function, [leaf.requires_grad_() for leaf in leaves])
