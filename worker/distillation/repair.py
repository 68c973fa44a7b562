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
from pydantic import BaseModel, Field
from torch import Tensor, nn

from worker.distillation.errors import BadInput
from worker.distillation.predictor import Predictor

LARGEST_RAISE = 100.0
HALVINGS = 60
ROUNDS = 200
CLOSE_ENOUGH = 1e-9
SMALLEST_SHARE = 1e-6


class Raise(BaseModel):
    """What one class was given."""

    name: str
    bias: float = Field(description="Added to the class's logit.")
    share_before: float = Field(description="The student's mean probability of the class.")
    share_after: float
    expected_share: float = Field(description="The teacher's, on the same examples.")


class Repair(BaseModel):
    """`repair.json`: the classes that were missing, each with its raise."""

    classes: list[Raise]


def repaired_biases(student_NC: Tensor, expected_C: Tensor, missing: Sequence[int]) -> Tensor:
    """Return what to add to each class's logit (C), 0 but for ``missing``, in float64.

    ``student_NC`` are the student's logits on unlabelled examples, ``expected_C`` the teacher's
    mean probabilities on the same. One class after the other is solved by bisection, its mean
    probability rising with its own bias, until all agree.

    Raises:
        BadInput: the teacher hardly expects a class there, so nothing can be told of it.
    """
    student_NC, expected_C = student_NC.double(), expected_C.double()
    if len(missing) == student_NC.shape[1] or (expected_C[list(missing)] < SMALLEST_SHARE).any():
        raise BadInput(
            "repair_impossible",
            "the teacher expects hardly any example of a class to repair in the validation part",
            hint="use a validation part in which the omitted classes occur",
        )
    biases_C = torch.zeros_like(expected_C)
    for _ in range(ROUNDS):
        for label in missing:
            biases_C[label] = _solved(student_NC, biases_C, label, float(expected_C[label]))
        shares_C = _shares(student_NC + biases_C)
        if (shares_C - expected_C)[list(missing)].abs().max() < CLOSE_ENOUGH:
            break
    return biases_C


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
    if not isinstance(classifier, nn.Linear):
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
            Raise(
                name=names[label],
                bias=float(raises_C[label]),
                share_before=float(before_C[label]),
                share_after=float(after_C[label]),
                expected_share=float(expected_C[label]),
            )
            for label in missing
        ]
    )


def _solved(student_NC: Tensor, biases_C: Tensor, label: int, expected: float) -> float:
    low, high = -LARGEST_RAISE, LARGEST_RAISE
    tried_C = biases_C.clone()
    for _ in range(HALVINGS):
        tried_C[label] = (low + high) / 2
        if float(_shares(student_NC + tried_C)[label]) < expected:
            low = float(tried_C[label])
        else:
            high = float(tried_C[label])
    return (low + high) / 2


def _shares(logits_NC: Tensor) -> Tensor:
    return logits_NC.softmax(dim=1).mean(dim=0)
