"""One model in training: its parts, its state, and what one step and one epoch do.

Shapes: B = batch, M = examples trained on, K = losses of the objective.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from app.contracts.job import Phase
from app.contracts.objective import AnyLoss
from app.contracts.training import Training
from worker.distillation.capture import capturing, feature_shapes, observe
from worker.distillation.dataset import Dataset
from worker.distillation.errors import BadInput
from worker.distillation.feed import Feed, num_batches
from worker.distillation.finiteness import FinitenessWatch
from worker.distillation.history import EpochRecord, History
from worker.distillation.loss import Setting
from worker.distillation.objective import Objective, build_objective, needs
from worker.distillation.optimization import build_optimizer, rate
from worker.distillation.predictor import Predictor
from worker.distillation.reporting import Pace, Reporter
from worker.distillation.signals import Batch, Signals
from worker.distillation.teaching import Teaching
from worker.distillation.validation import validate
from worker.distillation.views import augment, epoch_order, step_seed

EXAMPLES_TO_LEARN_SHAPES = 2
NO_TEACHER = Signals(torch.empty(0, 0))


@dataclass(frozen=True)
class Plan:
    """What to train and how."""

    role: str
    """`teacher`, `baseline`, `student`, ...: what messages and series call the model."""
    phase: Phase
    training: Training
    objective: Sequence[AnyLoss]
    """Its layers are single ones, no globs."""
    device: torch.device
    describe: Callable[[Path], None] = lambda _: None
    """Writes beside the weights of a checkpoint what makes a model of them: config.json."""


@dataclass
class State:
    """All that changes from step to step; with the plan it decides the rest of the training."""

    model: Predictor
    objective: Objective
    optimizer: torch.optim.Optimizer
    step: int = 0
    history: History = field(default_factory=History)
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    sums: list[Tensor] = field(default_factory=list)
    """Of the epoch under way, for each batch: every loss (K), summed over its examples."""
    weighted: Tensor = field(default_factory=partial(torch.zeros, ()))
    """The same of all losses, each times its weight."""


class Trainer:
    """Trains one model; ``state`` is all that changes."""

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
        self.dataset = dataset
        self.ids_M = dataset.ids["train"]
        check_batches(model, training, plan.objective, len(self.ids_M))
        self.feed = Feed(dataset, plan.device)
        self.reporter = reporter
        self.teaching = teaching
        self.layers = needs(plan.objective).student_layers
        self.steps_per_epoch = num_batches(len(self.ids_M), training.batch_size)
        self.num_steps = training.epochs * self.steps_per_epoch
        in_a_step = len(self.ids_M) / self.steps_per_epoch
        self.pace = Pace(plan.phase, self.num_steps, in_a_step, training.epochs)
        self.state = self._begin(model)
        self.watch = FinitenessWatch(plan.role, self.state.objective.names, plan.device)
        self._features: dict[str, Tensor] = {}

    @contextmanager
    def in_epoch(self, epoch: int) -> Iterator[None]:
        """Prepare the model for the steps of an epoch (from 0), and measure it after them.

        Its weights are kept if they are the best.
        """
        state = self.state
        state.model.train()
        state.objective.train()
        # A run that goes on may do so in the middle of an epoch.
        if state.step % self.steps_per_epoch == 0:
            state.sums, state.weighted = [], torch.zeros((), device=self.plan.device)
        with capturing(state.model, self.layers) as self._features:
            yield
        self.watch.look()
        self.watch.check_weights(state.model, epoch)
        self._record(epoch)

    @property
    def epoch(self) -> int:
        """Return the epoch (from 0) of the next step."""
        return self.state.step // self.steps_per_epoch

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield ids (B) and raw inputs (B, ...) of the epoch's steps that are not made yet."""
        done = self.state.step - epoch * self.steps_per_epoch
        order = epoch_order(self.ids_M, self.plan.training.seed, epoch)
        return self.feed.batches(order, self.plan.training.batch_size, done)

    def view(self, epoch: int, ids_B: Tensor, inputs: Tensor) -> Tensor:
        """Return what the epoch shows of the inputs."""
        training = self.plan.training
        return augment(inputs, ids_B, training.augmentation, training.seed, epoch)

    def tell(self, epoch: int) -> None:
        """Tell how far it is, at a step boundary of an epoch (from 0).

        Raises:
            Stopped: someone has asked for it.
        """
        self.reporter.progress(partial(self.pace.at, self.state.step, epoch + 1))

    def begin_step(self) -> None:
        """Set the rate, and tie what the step draws itself, such as dropout, to its number."""
        training, state = self.plan.training, self.state
        torch.manual_seed(step_seed(training.seed, state.step))
        lr = training.optimizer.lr * rate(
            training.schedule, state.step, self.num_steps, self.steps_per_epoch
        )
        for group in state.optimizer.param_groups:
            group["lr"] = lr
        state.optimizer.zero_grad()

    def observe(self, seen: Tensor) -> Signals:
        return observe(self.state.model, seen, self.plan.training.precision, self._features)

    def learn(
        self, student: Signals, teacher: Signals, ids_B: Tensor, epoch: int, num_in_step: int
    ) -> None:
        """Add the gradient of a batch's losses, as a part of a step of ``num_in_step`` examples.

        Dividing by the step's own count, not the batch's, makes it all one however it is cut.
        """
        state = self.state
        batch = Batch(ids_B, self.feed.labels[ids_B])
        sums_K: Tensor = state.objective(student, teacher, batch, state.step).sum(dim=1)
        self.watch.see(sums_K, ids_B, state.step, epoch)
        weights = state.objective.weights(state.step, self.num_steps, self.steps_per_epoch)
        loss = torch.stack([w * part for w, part in zip(weights, sums_K, strict=True)]).sum()
        (loss / num_in_step).backward()
        state.sums.append(sums_K.detach())
        state.weighted += loss.detach()

    def leave_best(self) -> None:
        """Leave the model on the CPU, in eval mode, as its best epoch was."""
        model = self.state.model
        if self.state.best_weights:
            model.load_state_dict(self.state.best_weights)
        model.to("cpu").eval()

    def finish_step(self) -> None:
        self.state.optimizer.step()
        self.state.objective.finish_step()
        self.state.step += 1

    def _begin(self, model: Predictor) -> State:
        plan = self.plan
        # Images are fastest in this layout; weights that are no convolution's keep theirs.
        model.to(plan.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        first_ids = self.ids_M[:EXAMPLES_TO_LEARN_SHAPES]
        _, inputs = next(self.feed.batches(first_ids, EXAMPLES_TO_LEARN_SHAPES))
        setting = Setting(
            student_shapes=feature_shapes(model, self.layers, inputs),
            teacher_shapes=self.teaching.shapes(inputs) if self.teaching else {},
            task=self.dataset.description.task,
            num_outputs=self.dataset.num_outputs,
            train_ids_M=torch.tensor(np.sort(self.ids_M)),
            labels=self.feed.labels.cpu(),
            seed=plan.training.seed,
        )
        objective = build_objective(plan.objective, setting).to(plan.device)
        parameters = [*model.parameters(), *objective.parameters()]
        return State(model, objective, build_optimizer(parameters, plan.training.optimizer))

    def make_step(self, epoch: int, ids_B: Tensor, inputs: Tensor) -> None:
        """Learn from a batch of an epoch (from 0).

        Raises:
            NonFinite: a loss is no number.
            Stopped: someone has asked for it; the step is not made.
        """
        self.tell(epoch)
        self.begin_step()
        at_once = self.plan.training.micro_batch_size or len(ids_B)
        for part_ids, part_inputs in zip(ids_B.split(at_once), inputs.split(at_once), strict=True):
            seen = self.view(epoch, part_ids, part_inputs)
            student = self.observe(seen)
            teacher = self.teaching.signals(seen, part_ids, epoch) if self.teaching else NO_TEACHER
            self.learn(student, teacher, part_ids, epoch, len(ids_B))
        self.finish_step()

    def _record(self, epoch: int) -> None:
        state, num_examples = self.state, len(self.ids_M)
        means_K = (torch.stack(state.sums).sum(dim=0) / num_examples).tolist()
        state.model.eval()
        validation = validate(
            state.model, self.dataset, self.feed, self.plan.training.precision, self.reporter.alive
        )
        self.watch.check_validation(validation, epoch)
        record = EpochRecord(
            epoch=epoch + 1,
            lr=state.optimizer.param_groups[0]["lr"],
            loss=float(state.weighted) / num_examples,
            losses=dict(zip(state.objective.names, means_K, strict=True)),
            validation=validation,
        )
        state.history.epochs.append(record)
        if record.is_better_than(state.history.kept):
            state.history.epoch = record.epoch
            state.best_weights = {
                name: value.clone() for name, value in state.model.state_dict().items()
            }
        self.reporter.metrics(state.step, record.series(self.plan.role))


def check_batches(
    model: nn.Module, training: Training, objective: Sequence[AnyLoss], num_examples: int
) -> None:
    """Refuse batches of which a part would be taken for the whole, or too small for batch norm.

    Raises:
        BadInput: saying what of the model or the objective needs whole batches, or larger ones.
    """
    relating = [loss.loss for loss in objective if loss.relates_examples]
    if training.micro_batch_size is not None and relating:
        raise BadInput(
            "micro_batches_with_relations",
            f"micro_batch_size is {training.micro_batch_size}, and {relating[0]!r} relates "
            "the examples of a batch, of which it would then see only some",
            hint="leave micro_batch_size out, or leave such losses out",
        )
    if not any(isinstance(module, nn.BatchNorm2d) for module in model.modules()):
        return
    smallest = num_examples // num_batches(num_examples, training.batch_size)
    if smallest == 1:
        raise BadInput(
            "batch_too_small",
            f"batch_size {training.batch_size} leaves a batch of one of {num_examples} train "
            "examples; batch norm needs at least two in each",
            hint="raise batch_size to 4 or more",
        )
    if training.micro_batch_size is not None:
        raise BadInput(
            "micro_batches_with_batch_norm",
            f"micro_batch_size is {training.micro_batch_size}, and the model has batch norm, whose "
            "statistics would then be a micro-batch's",
            hint="leave micro_batch_size out, or use an architecture without batch norm",
        )
