"""What holds for every loss, whatever it compares."""

import copy
from dataclasses import replace
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from app.contracts.objective import AnyLoss
from tests.unit.worker.distillation.losses.every_loss import (
    CASES,
    Case,
    drawn,
    leaves,
    rows,
    values_B,
)
from worker.distillation.loss import Setting
from worker.distillation.objective import build_objective
from worker.distillation.signals import Batch, Signals
from worker.distillation.sparse_logits import decode, encode

every_loss = pytest.mark.parametrize("case", CASES, ids=str)
with_divergences = pytest.mark.parametrize(
    "case", [case for case in CASES if case.zero_between_equals], ids=str
)
of_single_examples = pytest.mark.parametrize(
    "case", [case for case in CASES if not case.spec.relates_examples], ids=str
)
of_relations = pytest.mark.parametrize(
    "case", [case for case in CASES if case.spec.relates_examples], ids=str
)
of_answers = pytest.mark.parametrize(
    "case", [case for case in CASES if not case.spec.pairs()], ids=str
)
of_classes = pytest.mark.parametrize(
    "case",
    [
        case
        for case in CASES
        if case.task == "classification" and case.spec.reads_teacher and not case.spec.pairs()
    ],
    ids=str,
)
shift_invariant = pytest.mark.parametrize(
    "case", [case for case in CASES if case.ignores_shift], ids=str
)
briefly = settings(deadline=None, max_examples=10)
seeds = st.integers(0, 2**32)
scales = st.sampled_from([0.0, 1e-3, 1.0, 1e2, 1e4])


@of_classes
def test_few_classes_and_the_sum_of_the_rest_teach_what_the_teacher_does_or_are_refused(
    case: Case,
) -> None:
    """By how far what is kept is from the teacher, over how far one that knows nothing is."""
    spec = case.spec
    if not spec.needs_dense_logits:
        spec = spec.model_copy(update={"temperature": 1.0})
    generator = torch.Generator().manual_seed(5)
    teacher_BC = 2 * torch.randn(64, 400, generator=generator)
    teacher_BC += 6 * F.one_hot(teacher_BC.argmax(dim=1), 400)
    kept_BC = decode(encode(teacher_BC, 16), 400, 16, torch.device("cpu"))
    batch = Batch(torch.arange(64), teacher_BC.argmax(dim=1))
    objective = build_objective([spec], Setting(num_outputs=400))
    teacher, kept, ignorant = map(Signals, (teacher_BC, kept_BC, torch.zeros(64, 400)))

    off = objective(kept, teacher, batch, 0).mean() / objective(ignorant, teacher, batch, 0).mean()

    assert (off > 0.05) == spec.needs_dense_logits


def test_every_loss_that_a_spec_offers_is_under_the_laws() -> None:
    offered = {spec.model_fields["loss"].default for spec in get_args(get_args(AnyLoss)[0])}

    assert {case.spec.loss for case in CASES} == offered


@every_loss
@briefly
@given(seed=seeds, scale=scales)
def test_is_finite_and_not_negative_with_a_finite_gradient(
    case: Case, seed: int, scale: float
) -> None:
    student, teacher, batch = drawn(seed, scale, case.task)
    given = leaves(student)

    values = values_B(case, student, teacher, batch)
    gradients = torch.autograd.grad(values.sum(), given, materialize_grads=True)

    assert values.shape == batch.ids_B.shape
    assert values.isfinite().all()
    assert not case.never_negative or values.min() > -1e-9
    assert all(gradient.isfinite().all() for gradient in gradients)


@with_divergences
@briefly
@given(seed=seeds, scale=st.sampled_from([1.0, 30.0]))
def test_between_equals_it_and_its_gradient_are_zero(case: Case, seed: int, scale: float) -> None:
    student, _, batch = drawn(seed, scale, case.task)
    same = Signals(
        student.logits_BC.clone(), {name: each.clone() for name, each in student.features.items()}
    )
    read = [student.logits_BC.requires_grad_()]
    read += [student.features[pair.student].requires_grad_() for pair in case.spec.pairs()]

    values = values_B(case, student, same, batch)
    gradients = torch.autograd.grad(values.sum(), read, materialize_grads=True)

    assert values.abs().max() < 1e-8
    assert all(gradient.abs().max() < 1e-7 for gradient in gradients)


@of_single_examples
@briefly
@given(seed=seeds, cut=st.integers(1, 5))
def test_an_example_is_worth_the_same_in_any_batch(case: Case, seed: int, cut: int) -> None:
    student, teacher, batch = drawn(seed, task=case.task)
    whole = values_B(case, student, teacher, batch)

    parts = [
        values_B(
            case,
            rows(student, part),
            rows(teacher, part),
            Batch(batch.ids_B[part], batch.labels[part]),
        )
        for part in (slice(None, cut), slice(cut, None))
    ]

    torch.testing.assert_close(torch.cat(parts), whole)


@every_loss
@briefly
@given(seed=seeds, order=st.permutations(range(6)))
def test_the_order_within_a_batch_does_not_matter(case: Case, seed: int, order: list[int]) -> None:
    student, teacher, batch = drawn(seed, task=case.task)
    values = values_B(case, student, teacher, batch)

    reordered = values_B(
        case,
        rows(student, order),
        rows(teacher, order),
        Batch(batch.ids_B[order], batch.labels[order]),
    )

    torch.testing.assert_close(reordered, values[order])


@of_relations
def test_a_relation_of_one_example_alone_is_finite(case: Case) -> None:
    student, teacher, batch = drawn(3, task=case.task)
    student, teacher = rows(student, [2]), rows(teacher, [2])
    given = leaves(student)

    values = values_B(case, student, teacher, Batch(batch.ids_B[2:3], batch.labels[2:3]))
    gradients = torch.autograd.grad(values.sum(), given, materialize_grads=True)

    assert values.isfinite().all()
    assert all(each.isfinite().all() for each in gradients)


@of_answers
@briefly
@given(seed=seeds, order=st.permutations(range(4)))
def test_the_order_of_outputs_does_not_matter(case: Case, seed: int, order: list[int]) -> None:
    student, teacher, batch = drawn(seed, task=case.task)
    labels = batch.labels[:, order] if batch.labels.ndim > 1 else None
    if labels is None:
        labels = torch.tensor(order).argsort()[batch.labels]

    values = values_B(
        case,
        replace(student, logits_BC=student.logits_BC[:, order]),
        replace(teacher, logits_BC=teacher.logits_BC[:, order]),
        Batch(batch.ids_B, labels),
    )

    torch.testing.assert_close(values, values_B(case, student, teacher, batch))


@shift_invariant
@briefly
@given(seed=seeds, shift=st.floats(-50, 50), other=st.floats(-50, 50))
def test_a_shift_of_all_logits_does_not_matter(
    case: Case, seed: int, shift: float, other: float
) -> None:
    student, teacher, batch = drawn(seed, task=case.task)

    values = values_B(
        case,
        replace(student, logits_BC=student.logits_BC + shift),
        replace(teacher, logits_BC=teacher.logits_BC + other),
        batch,
    )

    torch.testing.assert_close(values, values_B(case, student, teacher, batch))


@every_loss
def test_its_gradient_is_that_of_its_values(case: Case) -> None:
    student, teacher, batch = drawn(1, task=case.task)
    names = list(student.features)
    objective = case.objective()

    def as_function(logits_BC: Tensor, *features: Tensor) -> Tensor:
        signals = Signals(logits_BC, dict(zip(names, features, strict=True)))
        values_B: Tensor = objective(signals, teacher, batch, 0)[0]
        return values_B

    assert torch.autograd.gradcheck(as_function, leaves(student))


@every_loss
def test_its_own_parameters_have_the_gradient_of_its_values(case: Case) -> None:
    student, teacher, batch = drawn(2, task=case.task)
    objective = case.objective()
    parameters = dict(objective.named_parameters())

    def as_function(*values: Tensor) -> Tensor:
        given = dict(zip(parameters, values, strict=True))
        result = torch.func.functional_call(objective, given, (student, teacher, batch, 0))
        values_B: Tensor = result[0]
        return values_B

    if parameters and not case.gives_itself_constants:
        given = [value.detach().clone().requires_grad_() for value in parameters.values()]
        assert torch.autograd.gradcheck(as_function, given)


@every_loss
def test_neither_the_teacher_nor_the_loss_is_changed_by_a_forward_pass(case: Case) -> None:
    student, teacher, batch = drawn(4, task=case.task)
    before = copy.deepcopy(teacher)
    objective = case.objective()
    state = copy.deepcopy(objective.state_dict())
    leaves(student)

    first = objective(student, teacher, batch, 0)
    second = objective(student, teacher, batch, 0)
    first.sum().backward()

    assert torch.equal(first, second)
    assert all(torch.equal(now, state[name]) for name, now in objective.state_dict().items())
    assert torch.equal(teacher.logits_BC, before.logits_BC)
    assert all(
        torch.equal(teacher.features[name], before.features[name]) for name in before.features
    )


@every_loss
def test_two_jobs_in_one_process_do_not_touch_each_other(case: Case) -> None:
    def run(objective: torch.nn.Module, step: int) -> Tensor:
        torch.manual_seed(step)
        student, teacher, batch = drawn(step, task=case.task)
        values: Tensor = objective(student, teacher, batch, step)
        objective.finish_step()  # type: ignore[operator]  # every objective has it
        return values.detach()

    alone = case.objective()
    expected = [run(alone, step) for step in range(3)]
    one, other = case.objective(), case.objective()
    interleaved = []
    for step in range(3):
        interleaved.append(run(one, step))
        run(other, step + 7)

    assert all(torch.equal(a, b) for a, b in zip(expected, interleaved, strict=True))


@every_loss
def test_it_goes_on_from_its_saved_state_as_if_never_interrupted(case: Case) -> None:
    def run(objective: torch.nn.Module, step: int) -> Tensor:
        student, teacher, batch = drawn(step, task=case.task)
        values: Tensor = objective(student, teacher, batch, step)
        objective.finish_step()  # type: ignore[operator]  # every objective has it
        return values.detach()

    whole = case.objective()
    for step in range(2):
        run(whole, step)
    resumed = case.objective()
    resumed.load_state_dict(whole.state_dict())

    assert torch.equal(run(resumed, 2), run(whole, 2))
