"""How good a model is and how close to its teacher, from logits.

Shapes: N = examples, C = classes.
"""

from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.classification import (
    multiclass_calibration_error,
    multiclass_f1_score,
)

from app.contracts.report import Fidelity, Scores

CALIBRATION_BINS = 15
TOP5_FROM_CLASSES = 6


def scores(logits_NC: Tensor, labels_N: Tensor) -> Scores:
    """Score one model on one part, in float64.

    Macro F1 leaves out a class that is neither among the labels nor predicted.
    """
    logits_NC, labels_N = logits_NC.double(), labels_N.long()
    num_examples, num_classes = logits_NC.shape
    probabilities_NC = logits_NC.softmax(dim=1)
    errors = int((logits_NC.argmax(dim=1) != labels_N).sum())
    top5_accuracy = None
    if num_classes >= TOP5_FROM_CLASSES:
        hits_N = (logits_NC.topk(5, dim=1).indices == labels_N[:, None]).any(dim=1)
        top5_accuracy = float(hits_N.double().mean())
    return Scores(
        num_examples=num_examples,
        errors=errors,
        accuracy=(num_examples - errors) / num_examples,
        top5_accuracy=top5_accuracy,
        macro_f1=float(
            multiclass_f1_score(logits_NC.argmax(dim=1), labels_N, num_classes, average="macro")
        ),
        log_loss=float(F.cross_entropy(logits_NC, labels_N)),
        calibration_error=float(
            multiclass_calibration_error(
                probabilities_NC, labels_N, num_classes, n_bins=CALIBRATION_BINS
            )
        ),
    )


def fidelity(student_NC: Tensor, teacher_NC: Tensor) -> Fidelity:
    """Say how close the student's answers are to the teacher's, in float64."""
    student_NC, teacher_NC = student_NC.double(), teacher_NC.double()
    agrees_N = student_NC.argmax(dim=1) == teacher_NC.argmax(dim=1)
    divergence = F.kl_div(
        student_NC.log_softmax(dim=1),
        teacher_NC.log_softmax(dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return Fidelity(
        agreement=float(agrees_N.double().mean()),
        # Rounding may leave equals a hair below 0.
        mean_divergence=max(0.0, float(divergence)),
    )
