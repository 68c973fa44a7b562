"""The squared difference of logits, by hand."""

import torch

from worker.distillation.losses.logit_mse import logit_mse_B


def test_by_hand() -> None:
    student = torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    teacher = torch.tensor([[1.0, 4.0], [3.0, 1.0]])

    assert logit_mse_B(student, teacher).tolist() == [2.0, 5.0]


def test_its_gradient_by_hand() -> None:
    student = torch.tensor([[1.0, 2.0]], requires_grad=True)

    (gradient,) = torch.autograd.grad(
        logit_mse_B(student, torch.tensor([[1.0, 4.0]])).sum(), student
    )

    assert gradient.tolist() == [[0.0, -2.0]]
