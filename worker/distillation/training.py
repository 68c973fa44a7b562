"""The one training loop: of the teacher on labels, of the baseline, and of the student.

Shapes: B = batch, C = classes, K = losses of the objective, S = steps of an epoch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from app.contracts.job import Phase
from app.contracts.objective import AnyLoss
from app.contracts.training import Training
from worker.distillation.capture import capturing, feature_shapes, observe
from worker.distillation.predictor import Predictor
from worker.distillation.dataset import Dataset
from worker.distillation.determinism import reproducible
from worker.distillation.errors import BadInput
from worker.distillation.feed import Feed, num_batches
from worker.distillation.history import EpochRecord, History
from worker.distillation.knowledge import Teaching
from worker.distillation.objective import Objective, build_objective, needs
from worker.distillation.optimization import build_optimizer, rate
from worker.distillation.reporting import Pace, Reporter
from worker.distillation.signals import Batch, Signals
from worker.distillation.views import augment, epoch_order, step_seed

CHECK_EVERY_STEPS = 100
"""Losses are looked at this often: each look makes a GPU wait."""
EXAMPLES_TO_LEARN_SHAPES = 2
EVALUATION_BATCH_SIZE = 512
NO_TEACHER = Signals(torch.empty(0, 0))

PHASES = {
    "teacher": Phase.TRAINING_TEACHER,
    "baseline": Phase.TRAINING_BASELINE,
    "student": Phase.TRAINING_STUDENT,
}


@dataclass(frozen=True)
class Plan:
    """What to train and how."""

    role: Literal["teacher", "baseline", "student"]
    training: Training
    objective: Sequence[AnyLoss]
    device: torch.device


@dataclass
class State:
    """All that changes from step to step; with the plan it decides the rest of the training."""

    model: Predictor
    objective: Objective
    optimizer: torch.optim.Optimizer
    step: int = 0
    history: History = field(default_factory=History)
    best_weights: dict[str, Tensor] = field(default_factory=dict)


def train(
    model: Predictor,
    dataset: Dataset,
    plan: Plan,
    reporter: Reporter,
    teaching: Teaching | None = None,
) -> History:
    """Train ``model`` in place; it ends on the CPU, in eval mode, as its best epoch left it.

    The best epoch is that of the highest validation accuracy, then of the lowest validation log
    loss; without a validation part it is the last.

    Raises:
        BadInput: the loss or a weight is no longer finite, or the spec does not fit the model.
        Stopped: at a step boundary.
    """
    _check_batches(model, dataset, plan.training)
    with reproducible(plan.device, deterministic=plan.training.deterministic):
        trainer = _Trainer(model, dataset, plan, reporter, teaching)
        for epoch in range(plan.training.epochs):
            trainer.run_epoch(epoch)
        model.load_state_dict(trainer.state.best_weights)
    model.to("cpu").eval()
    return trainer.state.history


class _Trainer:
    """One training's parts, and its state."""

    def __init__(
        self,
        model: Predictor,
        dataset: Dataset,
        plan: Plan,
        reporter: Reporter,
        teaching: Teaching | None,
    ) -> None:
        training = plan.training
        self.plan = plan
        self.ids = dataset.ids
        self.feed = Feed(dataset, plan.device)
        self.reporter = reporter
        self.teaching = teaching
        self.layers = needs(plan.objective).student_layers
        self.num_steps = num_batches(len(self.ids["train"]), training.batch_size)
        all_steps = training.epochs * self.num_steps
        self.pace = Pace(PHASES[plan.role], all_steps, training.batch_size, training.epochs)
        self.state = self._begin(model)

    def run_epoch(self, epoch: int) -> None:
        """Train for an epoch (from 0), measure it, and keep the weights if they are the best."""
        sums_SK = self._train_epoch(epoch)
        _check_weights(self.state.model, self.plan.role, epoch)
        means_K = (sums_SK.sum(dim=0) / len(self.ids["train"])).tolist()
        objective = self.state.objective
        accuracy, log_loss = self._validate()
        record = EpochRecord(
            epoch=epoch + 1,
            lr=self.state.optimizer.param_groups[0]["lr"],
            loss=sum(w * mean for w, mean in zip(objective.weights, means_K, strict=True)),
            losses=dict(zip(objective.names, means_K, strict=True)),
            validation_accuracy=accuracy,
            validation_log_loss=log_loss,
        )
        self.state.history.epochs.append(record)
        if record.is_better_than(self.state.history.kept):
            self.state.history.epoch = record.epoch
            self.state.best_weights = {
                name: value.clone() for name, value in self.state.model.state_dict().items()
            }
        self.reporter.metrics(self.state.step, record.series(self.plan.role))

    def _begin(self, model: Predictor) -> State:
        plan = self.plan
        # Images are fastest in this layout; weights that are no convolution's keep theirs.
        model.to(plan.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        first_ids = self.ids["train"][:EXAMPLES_TO_LEARN_SHAPES]
        _, inputs = next(self.feed.batches(first_ids, EXAMPLES_TO_LEARN_SHAPES))
        objective = build_objective(
            plan.objective,
            feature_shapes(model, self.layers, inputs),
            self.teaching.shapes(inputs) if self.teaching else {},
            plan.training.seed,
        ).to(plan.device)
        parameters = [*model.parameters(), *objective.parameters()]
        return State(model, objective, build_optimizer(parameters, plan.training.optimizer))

    def _train_epoch(self, epoch: int) -> Tensor:
        """Return the sum over the examples of each step's losses (S, K)."""
        training, state = self.plan.training, self.state
        state.model.train()
        state.objective.train()
        sums_SK = torch.zeros(self.num_steps, len(state.objective.names), device=self.plan.device)
        checked = 0
        order = epoch_order(self.ids["train"], training.seed, epoch)
        with capturing(state.model, self.layers) as features:
            for done, (ids_B, inputs) in enumerate(self.feed.batches(order, training.batch_size)):
                self.reporter.progress(partial(self.pace.at, state.step, epoch + 1))
                sums_SK[done] = self._step(epoch, ids_B, inputs, features)
                if done - checked == CHECK_EVERY_STEPS:
                    self._check_losses(sums_SK[checked:done], checked, epoch)
                    checked = done
        self._check_losses(sums_SK[checked:], checked, epoch)
        return sums_SK

    def _step(
        self, epoch: int, ids_B: Tensor, inputs: Tensor, features: dict[str, Tensor]
    ) -> Tensor:
        """Make one optimizer step and return the sum over the batch of each loss (K)."""
        training, state = self.plan.training, self.state
        # What the step itself draws, such as dropout, is then no matter of what ran before it.
        torch.manual_seed(step_seed(training.seed, state.step))
        seen = augment(inputs, ids_B, training.augmentation, training.seed, epoch)
        student = observe(state.model, seen, training.precision, features)
        teacher = self.teaching.signals(seen, ids_B, epoch) if self.teaching else NO_TEACHER
        batch = Batch(ids_B, self.feed.labels[ids_B])
        sums_K: Tensor = state.objective(student, teacher, batch, state.step).sum(dim=1)
        loss = (state.objective.weights_K * sums_K).sum() / len(ids_B)
        all_steps = training.epochs * self.num_steps
        share = rate(training.schedule, state.step, all_steps, self.num_steps)
        for group in state.optimizer.param_groups:
            group["lr"] = training.optimizer.lr * share
        state.optimizer.zero_grad()
        loss.backward()
        state.optimizer.step()
        state.step += 1
        return sums_K.detach()

    def _validate(self) -> tuple[float | None, float | None]:
        """Return accuracy and mean log loss on the validation part; nothing if it is empty."""
        num_examples = len(self.ids["validation"])
        if num_examples == 0:
            return None, None
        model = self.state.model.eval()
        correct = torch.zeros((), device=self.plan.device)
        log_loss = torch.zeros((), device=self.plan.device)
        with torch.no_grad():
            for ids_B, inputs in self.feed.batches(self.ids["validation"], EVALUATION_BATCH_SIZE):
                logits_BC = observe(model, inputs, self.plan.training.precision, {}).logits_BC
                labels_B = self.feed.labels[ids_B]
                correct += (logits_BC.argmax(dim=1) == labels_B).sum()
                log_loss += F.cross_entropy(logits_BC, labels_B, reduction="sum")
        return float(correct) / num_examples, float(log_loss) / num_examples

    def _check_losses(self, sums_SK: Tensor, first: int, epoch: int) -> None:
        """Refuse to go on after a loss that is no number; ``first`` is the first row's step."""
        broken = (~sums_SK.isfinite()).nonzero()
        if len(broken) == 0:
            return
        step, loss = broken[0].tolist()
        name = self.state.objective.names[loss]
        raise _non_finite(
            f"the {self.plan.role}'s loss {name!r} is {float(sums_SK[step, loss])} at step "
            f"{epoch * self.num_steps + first + step + 1} (epoch {epoch + 1})"
        )


def _check_weights(model: nn.Module, role: str, epoch: int) -> None:
    finite = torch.stack([value.isfinite().all() for value in model.parameters()]).all()
    if not finite:
        raise _non_finite(f"a weight of the {role} is no longer finite after epoch {epoch + 1}")


def _non_finite(message: str) -> BadInput:
    return BadInput(
        "non_finite_loss",
        message,
        hint="lower the optimizer's lr or the loss's weight, or give the schedule a warm-up",
    )


def _check_batches(model: nn.Module, dataset: Dataset, training: Training) -> None:
    """Refuse batches of one where batch norm would have to take the variance of one example."""
    num_examples = len(dataset.ids["train"])
    smallest = num_examples // num_batches(num_examples, training.batch_size)
    if smallest == 1 and any(isinstance(module, nn.BatchNorm2d) for module in model.modules()):
        raise BadInput(
            "batch_too_small",
            f"batch_size {training.batch_size} leaves a batch of one of {num_examples} train "
            "examples; batch norm needs at least two in each",
            hint="raise batch_size to 4 or more",
        )
