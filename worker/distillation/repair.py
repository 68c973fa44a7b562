"""Repairs a student of classes that were missing in its transfer set, without labels.

Hinton, Vinyals and Dean, 2015, "Distilling the Knowledge in a Neural Network",
https://arxiv.org/abs/1503.02531, section 3: a student that has never seen a digit knows it from the
teacher's soft targets, but expects it too seldom; raising one bias mends most of that. The paper
chooses the bias by test performance; here it is the one at which the student expects the class as
often as the teacher does, on the same examples, whose labels are not looked at.

Shapes: N = examples, C = classes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from app.contracts.report import Repair, RepairedClass
from worker.distillation.errors import BadInput
from worker.distillation.predictor import Predictor

LARGEST_RAISE = 100.0
HALVINGS = 60
ROUNDS = 1000
CLOSE_ENOUGH = 1e-8
SMALLEST_SHARE = 1e-6


def repaired_biases(student_NC: Tensor, expected_C: Tensor, missing: Sequence[int]) -> Tensor:
    """Return what to add to each class's logit (C), 0 but for ``missing``, in float64.

    ``student_NC`` are the student's logits on unlabelled examples, ``expected_C`` the teacher's
    mean probabilities on the same. One class after the other is solved by bisection, its mean
    probability rising with its own bias, until all agree.

    Raises:
        BadInput: the teacher hardly expects a class there, or no other; or no raise within
            ``LARGEST_RAISE`` makes the student agree.
    """
    student_NC, expected_C, labels = student_NC.double(), expected_C.double(), list(missing)
    if len(labels) == student_NC.shape[1] or (expected_C[labels] < SMALLEST_SHARE).any():
        raise BadInput(
            "repair_impossible",
            "the teacher expects hardly any example of a class to repair in the validation part",
            hint="use a validation part in which the omitted classes occur",
        )
    biases_C, shares_C = torch.zeros_like(expected_C), _shares(student_NC)
    for _ in range(ROUNDS):
        if (shares_C - expected_C)[labels].abs().max() < CLOSE_ENOUGH:
            return biases_C
        for label in labels:
            biases_C[label] = _solved(student_NC + biases_C, biases_C, label, expected_C)
        shares_C = _shares(student_NC + biases_C)
    raise BadInput(
        "repair_impossible",
        f"no raise of up to {LARGEST_RAISE:g} makes the student expect the omitted classes as "
        f"often as the teacher: it comes to {shares_C[labels].tolist()}, and the teacher expects "
        f"{expected_C[labels].tolist()}",
        hint="train the student at a lower rate or for longer, or leave transfer.repair out",
    )


def repair(
    model: Predictor,
    student_NC: Tensor,
    expected_C: Tensor,
    missing: Sequence[int],
    names: Sequence[str],
) -> Repair:
    """Raise the biases of ``model``'s last layer, and say by how much; ``names`` are the classes'.

    Raises:
        BadInput: as ``repaired_biases``; or the network does not end in a linear layer with biases.
    """
    classifier = getattr(model.network, "classifier", None)
    if not isinstance(classifier, nn.Linear) or classifier.bias is None:
        raise BadInput(
            "no_biases",
            f"the network {type(model.network).__name__} ends in no linear layer with biases",
            hint="leave transfer.repair out",
        )
    raises_C = repaired_biases(student_NC, expected_C, missing)
    with torch.no_grad():
        classifier.bias.add_(raises_C.to(classifier.bias))
    before_C, after_C = _shares(student_NC.double()), _shares(student_NC.double() + raises_C)
    return Repair(
        classes=[
            RepairedClass(
                name=names[label],
                bias=float(raises_C[label]),
                share_before=float(before_C[label]),
                share_after=float(after_C[label]),
                expected_share=float(expected_C[label]),
            )
            for label in missing
        ]
    )


def _solved(raised_NC: Tensor, biases_C: Tensor, label: int, expected_C: Tensor) -> float:
    """Return the bias of one class, the others' as they are, that gives it its expected share."""
    others_NC = raised_NC.index_fill(1, torch.tensor([label]), -torch.inf)
    margins_N = raised_NC[:, label] - biases_C[label] - others_NC.logsumexp(dim=1)
    low, high = -LARGEST_RAISE, LARGEST_RAISE
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if float((margins_N + middle).sigmoid().mean()) < float(expected_C[label]):
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _shares(logits_NC: Tensor) -> Tensor:
    return logits_NC.softmax(dim=1).mean(dim=0)
