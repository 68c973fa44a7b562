"""Distillation as it is mostly written: a loop that runs the teacher at every step.

In the manner of RepDistiller's `train_distill`, https://github.com/HobbitLong/RepDistiller.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from app.contracts.model import CifarResnet
from benchmarks.fashion_images import NUM_CLASSES, padded_images
from worker.distillation.models.cifar_resnet import build

Variant = Literal["56", "20", "32x4", "8x4"]


class Recipe(NamedTuple):
    """What both sides do."""

    num_train: int = 6_400
    batch_size: int = 64
    temperature: float = 4.0
    labels_weight: float = 0.1
    soft_weight: float = 0.9
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4


class PlainLoop:
    """Makes steps; the networks are the engine's own, in torch's own layout."""

    def __init__(
        self, teacher: Variant, student: Variant, recipe: Recipe, device: torch.device
    ) -> None:
        self.recipe = recipe
        self.teacher = build(CifarResnet(variant=teacher), [3, 32, 32], NUM_CLASSES)
        self.student = build(CifarResnet(variant=student), [3, 32, 32], NUM_CLASSES)
        self.teacher.to(device).eval()
        self.student.to(device).train()
        self.optimizer = torch.optim.SGD(
            self.student.parameters(),
            lr=recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
        )
        self.labels_loss = nn.CrossEntropyLoss()
        self.soft_loss = nn.KLDivLoss(reduction="batchmean")
        images, labels = padded_images(recipe.num_train)
        self.images, self.labels = images.to(device), labels.to(device)
        self.batches = self._shuffled()

    def step(self) -> None:
        images, labels = next(self.batches)
        student_logits = self.student(images)
        with torch.no_grad():
            teacher_logits = self.teacher(images)
        temperature = self.recipe.temperature
        soft = self.soft_loss(
            F.log_softmax(student_logits / temperature, dim=1),
            F.softmax(teacher_logits / temperature, dim=1),
        )
        loss = self.recipe.labels_weight * self.labels_loss(student_logits, labels)
        loss = loss + self.recipe.soft_weight * temperature**2 * soft
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        loss.item()  # the running mean that such loops print; on a GPU it waits for the step

    @torch.no_grad()
    def teacher_step(self) -> None:
        """Run the teacher alone on a batch."""
        self.teacher(next(self.batches)[0]).sum().item()

    def _shuffled(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            order = torch.randperm(self.recipe.num_train).to(self.images.device)
            for ids in order.split(self.recipe.batch_size):
                yield self.images[ids], self.labels[ids]
