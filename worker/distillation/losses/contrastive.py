"""Contrast: tell the teacher's view of an example from its views of many others.

Tian, Krishnan and Isola, 2020, "Contrastive Representation Distillation",
https://arxiv.org/abs/1910.10699, section 3, both ways: the student's feature against a memory of
the teacher's, and the teacher's against one of the student's. As in the authors' code the critic is
divided by its own mean; that mean is taken here over the first memory, which is what it meets at
the first step, so that it is the same whatever batches come. Weight 0.8.

Negatives are of other classes where there are classes, else other examples. They are drawn as a
pure function of (seed, step, example), so an example's value does not depend on its batch.

Shapes: B = batch, F = features compared in, K = negatives, M = examples trained on, N = all.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from app.contracts.feature_losses import Contrastive
from app.contracts.loss import LayerPair
from worker.distillation.errors import BadInput
from worker.distillation.features import (
    Shape,
    averaged,
    require_vectors_or_maps,
    shapes_of,
    unit_length,
)
from worker.distillation.loss import Loss, Setting
from worker.distillation.signals import Batch, Signals
from worker.distillation.views import draws

MOST_MEMORY_BYTES = 8 * 2**30
ROWS_FOR_MEAN = 1024
DRAWN_FOR_NEGATIVES = 1000
"""Sets these draws apart from those of order, dropout and augmentation."""


def noise_contrast_B(scores_BK: Tensor, positive_B: Tensor, log_mean: Tensor) -> Tensor:
    """Return each example's noise-contrastive loss of scores over temperature.

    The critic is h = e^s / (e^s + K m), with m the mean of e^s over noise: -log h of the positive
    less the sum of log(1 - h) of the K negatives.
    """
    noise = log_mean + math.log(scores_BK.shape[1])
    return F.softplus(noise - positive_B) + F.softplus(scores_BK - noise).sum(dim=1)


class Negatives(nn.Module):
    """Draws rows of the memory for each example: of other classes, or of other examples."""

    by_class_M: Tensor
    first_N: Tensor
    count_N: Tensor

    def __init__(self, setting: Setting, num_negatives: int) -> None:
        super().__init__()
        self.num_negatives = num_negatives
        self.seed = setting.seed
        ids_M = setting.train_ids_M
        one_class = setting.task == "classification"
        labels_M = setting.labels[ids_M] if one_class else torch.arange(len(ids_M))
        by_class_M = torch.argsort(labels_M, stable=True)
        _, inverse_M, counts = torch.unique(labels_M, return_inverse=True, return_counts=True)
        firsts = counts.cumsum(0) - counts
        num_examples = len(setting.labels)
        first_N, count_N = (torch.zeros(num_examples, dtype=torch.int64) for _ in range(2))
        first_N[ids_M], count_N[ids_M] = firsts[inverse_M], counts[inverse_M]
        for name, value in (
            ("by_class_M", by_class_M), ("first_N", first_N), ("count_N", count_N)
        ):  # fmt: skip
            self.register_buffer(name, value, persistent=False)

    def forward(self, ids_B: Tensor, step: int) -> Tensor:
        """Return rows (B, K) of the memory, none of the example's own class."""
        K = self.num_negatives
        numbers_BK = ids_B[:, None] * K + torch.arange(K, device=ids_B.device)
        bits_BK = draws(numbers_BK, self.seed, DRAWN_FOR_NEGATIVES, step)
        first_B1, count_B1 = self.first_N[ids_B][:, None], self.count_N[ids_B][:, None]
        # 32 bits: far more than there are examples, so the remainder is as good as even.
        places_BK = (bits_BK & 0xFFFFFFFF) % (len(self.by_class_M) - count_B1)
        places_BK = torch.where(places_BK < first_B1, places_BK, places_BK + count_B1)
        return self.by_class_M[places_BK]


class PairContrast(nn.Module):
    """One pair of layers: two learned embeddings, and a memory of what each gave last."""

    student_memory_MF: Tensor
    teacher_memory_MF: Tensor
    student_log_mean: Tensor
    teacher_log_mean: Tensor

    def __init__(self, student: Shape, teacher: Shape, spec: Contrastive, num_rows: int) -> None:
        super().__init__()
        self.temperature, self.momentum = spec.temperature, spec.momentum
        self.of_student, self.of_teacher = averaged(student), averaged(teacher)
        self.student_embedding = nn.Linear(student[0], spec.features)
        self.teacher_embedding = nn.Linear(teacher[0], spec.features)
        memories = [unit_length(torch.randn(num_rows, spec.features)) for _ in range(2)]
        few = [memory[:ROWS_FOR_MEAN] for memory in memories]
        scores = (few[0] @ few[1].T).flatten() / spec.temperature
        log_mean = scores.logsumexp(dim=0) - math.log(len(scores))
        for side, memory in zip(("student", "teacher"), memories, strict=True):
            self.register_buffer(f"{side}_memory_MF", memory)
            self.register_buffer(f"{side}_log_mean", log_mean.clone())
        self._seen: list[tuple[Tensor, Tensor, Tensor]] = []

    def forward(
        self, student: Tensor, teacher: Tensor, rows_B: Tensor, negatives_BK: Tensor
    ) -> Tensor:
        student_BF = unit_length(self.student_embedding(self.of_student(student)))
        teacher_BF = unit_length(self.teacher_embedding(self.of_teacher(teacher)))
        self._seen.append((rows_B, student_BF.detach(), teacher_BF.detach()))
        values_B = torch.zeros_like(student_BF[:, 0])
        for anchors_BF, memory_MF, log_mean in (
            (student_BF, self.teacher_memory_MF, self.teacher_log_mean),
            (teacher_BF, self.student_memory_MF, self.student_log_mean),
        ):
            # With all of the memory, then chosen: gathering B x K rows of it would take far more.
            scores_BM = anchors_BF @ memory_MF.T / self.temperature
            positive_B = scores_BM.gather(1, rows_B[:, None])[:, 0]
            scores_BK = scores_BM.gather(1, negatives_BK)
            values_B = values_B + noise_contrast_B(scores_BK, positive_B, log_mean)
        return values_B

    def remember(self) -> None:
        """Move the memory of the examples seen since the last time towards what they gave."""
        for rows_B, student_BF, teacher_BF in self._seen:
            for memory_MF, given_BF in (
                (self.student_memory_MF, student_BF),
                (self.teacher_memory_MF, teacher_BF),
            ):
                kept_BF = memory_MF[rows_B] * self.momentum
                memory_MF[rows_B] = unit_length(kept_BF + (1 - self.momentum) * given_BF)
        self._seen = []


class ContrastiveLoss(Loss):
    """The sum over the pairs."""

    rows_N: Tensor

    def __init__(self, spec: Contrastive, setting: Setting) -> None:
        super().__init__()
        num_rows = len(setting.train_ids_M)
        self.pairs: list[LayerPair] = spec.layers
        self.negatives = Negatives(setting, spec.negatives)
        rows_N = torch.zeros(len(setting.labels), dtype=torch.int64)
        rows_N[setting.train_ids_M] = torch.arange(num_rows)
        self.register_buffer("rows_N", rows_N, persistent=False)
        self.contrasts = nn.ModuleList()
        for pair in spec.layers:
            student, teacher = shapes_of(pair, setting)
            require_vectors_or_maps(pair, student, teacher)
            self.contrasts.append(PairContrast(student, teacher, spec, num_rows))

    def forward(self, student: Signals, teacher: Signals, batch: Batch, step: int) -> Tensor:
        rows_B, negatives_BK = self.rows_N[batch.ids_B], self.negatives(batch.ids_B, step)
        return torch.stack(
            [
                contrast(
                    student.features[pair.student],
                    teacher.features[pair.teacher],
                    rows_B,
                    negatives_BK,
                )
                for pair, contrast in zip(self.pairs, self.contrasts, strict=True)
            ]
        ).sum(dim=0)

    def finish_step(self) -> None:
        for contrast in self.contrasts:
            assert isinstance(contrast, PairContrast)  # noqa: S101 (for the type checker)
            contrast.remember()


def build(spec: Contrastive, setting: Setting) -> Loss:
    """Return the loss with new embeddings and memories, drawn from torch's global generator.

    Raises:
        BadInput: a layer gives neither vectors nor maps; the memory would be too large; or there is
            no other class, or no other example, to contrast with.
    """
    num_bytes = len(spec.layers) * 2 * len(setting.train_ids_M) * spec.features * 4
    if num_bytes > MOST_MEMORY_BYTES:
        raise BadInput(
            "memory_too_large",
            f"the memory of contrastive would take {num_bytes:,} bytes; at most "
            f"{MOST_MEMORY_BYTES:,} are kept",
            hint="lower its features, or name fewer layers",
        )
    labels_M = setting.labels[setting.train_ids_M]
    others = len(labels_M.unique()) if setting.task == "classification" else len(labels_M)
    if others < 2:  # noqa: PLR2004 (one and another)
        raise BadInput(
            "nothing_to_contrast",
            "contrastive needs train examples of two classes at least, or two examples",
        )
    return ContrastiveLoss(spec, setting)
