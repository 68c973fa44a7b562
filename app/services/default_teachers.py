"""Which teacher a student gets where its client names none: a larger one of its own family.

The same family, since what suits the data (pixels or columns) suits both; larger by a step that is
usual between teacher and student: a student that is far behind its teacher learns less from it
(Mirzadeh et al., 2020, https://arxiv.org/abs/1902.03393).
"""

from app.contracts.model import AnyArchitecture, CifarResnet, Convnet, Mlp

WIDEST = 65_536
MLP_TIMES, CONVNET_TIMES = 4, 2
"""How many times as wide: about 16 and 4 times the weights; a convnet's steps cost more."""
FOR_LINEAR = [256]
"""Hidden sizes that teach a student without hidden layers."""
DROPOUT = 0.2

RESNET_TEACHERS = {"8": "32", "20": "56", "32": "110", "56": "110", "8x4": "32x4"}
"""Variants, by the student's: for 20, 32 and 8x4 the pairs that Tian et al. (2020) compare on."""


def larger(student: AnyArchitecture) -> AnyArchitecture | None:
    """Return the architecture of a teacher; None where the family has no larger one."""
    match student:
        case Mlp():
            sizes = [min(MLP_TIMES * size, WIDEST) for size in student.hidden_sizes]
            teacher = Mlp(hidden_sizes=sizes or FOR_LINEAR, dropout=DROPOUT)
            return teacher if sizes != student.hidden_sizes or not sizes else None
        case Convnet():
            channels = [min(CONVNET_TIMES * size, WIDEST) for size in student.channels]
            is_larger = channels != student.channels
            return student.model_copy(update={"channels": channels}) if is_larger else None
        case CifarResnet():
            variant = RESNET_TEACHERS.get(student.variant)
            return None if variant is None else student.model_copy(update={"variant": variant})
