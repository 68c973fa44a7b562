"""Train a model on an objective, alone or with what a teacher knows; or two on each other."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from app.contracts.message import WentOn
from worker.distillation.checkpoint import Checkpoints, Mark
from worker.distillation.dataset import Dataset
from worker.distillation.determinism import reproducible
from worker.distillation.errors import NonFinite
from worker.distillation.history import History
from worker.distillation.predictor import Predictor
from worker.distillation.reporting import Reporter
from worker.distillation.signals import Signals
from worker.distillation.teaching import Teaching
from worker.distillation.trainer import Plan, Trainer
from worker.distillation.training_state import load_state, read_state, save_state

PEER = "peer"
"""The folder, in a checkpoint of mutual training, of the second model."""

MakeStep = Callable[[int, Tensor, Tensor], None]
"""Makes a step of an epoch (from 0) on ids (B) and raw inputs (B, ...)."""


def train(
    model: Predictor,
    dataset: Dataset,
    plan: Plan,
    reporter: Reporter,
    teaching: Teaching | None = None,
    checkpoints: Checkpoints | None = None,
) -> History:
    """Train ``model`` in place; it ends on the CPU, in eval mode, as its best epoch left it.

    The best epoch is best by what models are compared by (accuracy, of labels macro F1, of numbers
    R2) on the validation part, then by log loss or error; without such a part it is the last. Where
    ``checkpoints`` has one of this very training, it goes on from there, and then makes the steps
    that it would have made; it writes them when they are due.

    Raises:
        BadInput: the spec does not fit the model or the data.
        NonFinite: a loss or a weight is no longer finite; ``model`` is as the best epoch left it,
            and the error's ``history`` ends with the last whole epoch.
        Stopped: at a step boundary, after a checkpoint where one was asked for.
    """
    with reproducible(plan.device, deterministic=plan.training.deterministic):
        trainer = Trainer(model, dataset, plan, reporter, teaching)
        _run([trainer], trainer.make_step, checkpoints)
    return trainer.state.history


def train_mutually(
    models: tuple[Predictor, Predictor],
    dataset: Dataset,
    plans: tuple[Plan, Plan],
    reporter: Reporter,
    checkpoints: Checkpoints | None = None,
) -> tuple[History, History]:
    """Train two models in step, each with the other's answers to the same views as its teacher's.

    Zhang et al., 2018, "Deep Mutual Learning", https://arxiv.org/abs/1706.00384, section 3.1; both
    answer before either is updated. The plans differ in role and objective alone; what the second
    model draws itself, such as dropout, is of another seed, so that equals drop different units.

    Raises:
        BadInput, NonFinite, Stopped: as ``train``.
    """
    plan = plans[0]
    with reproducible(plan.device, deterministic=plan.training.deterministic):
        seeded = plan.training.model_copy(update={"seed": plan.training.seed + 1})
        one, other = (
            Trainer(model, dataset, each, reporter, None)
            for model, each in zip(models, (plan, replace(plans[1], training=seeded)), strict=True)
        )
        _run([one, other], _mutual(one, other), checkpoints)
    return one.state.history, other.state.history


def _run(trainers: list[Trainer], make_step: MakeStep, checkpoints: Checkpoints | None) -> None:
    first = trainers[0]
    try:
        if checkpoints is not None:
            _go_on(trainers, checkpoints)
        for epoch in range(first.epoch, first.plan.training.epochs):
            with ExitStack() as stack:
                for trainer in trainers:
                    stack.enter_context(trainer.in_epoch(epoch))
                for ids_B, inputs in first.batches(epoch):
                    _keep_if_due(trainers, checkpoints)
                    make_step(epoch, ids_B, inputs)
    except NonFinite as error:
        error.history = first.state.history
        raise
    finally:
        for trainer in trainers:
            trainer.leave_best()


def _mutual(one: Trainer, other: Trainer) -> MakeStep:
    pair = [one, other]

    def make_step(epoch: int, ids_B: Tensor, inputs: Tensor) -> None:
        seen = one.view(epoch, ids_B, inputs)
        one.tell(epoch)
        signals = []
        for trainer in pair:
            trainer.begin_step()
            signals.append(trainer.observe(seen))
        for trainer, own, peers in zip(pair, signals, reversed(signals), strict=True):
            answers = Signals(peers.logits_BC.detach())
            trainer.learn(own, answers, ids_B, epoch, len(ids_B))
            trainer.finish_step()

    return make_step


def _keep_if_due(trainers: Sequence[Trainer], checkpoints: Checkpoints | None) -> None:
    if checkpoints is None or not checkpoints.due:
        return
    first = trainers[0]
    belongs_to = _belonging(first, checkpoints)

    def fill(folder: Path) -> None:
        for trainer, inside in zip(trainers, _folders(folder), strict=False):
            inside.mkdir(exist_ok=True)
            save_state(trainer, inside, belongs_to)

    epochs = first.state.history.epochs
    metrics = epochs[-1].series(first.plan.role) if epochs else {}
    step = first.state.step
    checkpoints.write(Mark(first.plan.phase, first.plan.role, step, first.epoch + 1, metrics), fill)


def _go_on(trainers: Sequence[Trainer], checkpoints: Checkpoints) -> None:
    """Bring the trainers to the newest checkpoint that is of this very training."""
    plan, reporter = trainers[0].plan, trainers[0].reporter
    folder = checkpoints.newest(plan.role)
    if folder is None:
        return
    saved, belongs_to = read_state(folder), _belonging(trainers[0], checkpoints)
    if saved.belongs_to != belongs_to:
        differing = ", ".join(_differing(saved.belongs_to, belongs_to))
        reporter.warn(f"the checkpoint {folder.name} is of another {differing} and not used")
        checkpoints.discard(plan.role)
        return
    for trainer, inside in zip(trainers, _folders(folder), strict=False):
        load_state(trainer, inside)
    reporter.send(WentOn(phase=plan.phase, role=plan.role, step=saved.step))
    if not plan.training.deterministic:
        reporter.warn(
            f"the {plan.role} goes on from step {saved.step}; without `training.deterministic` "
            "it may differ from an undisturbed run in its last bits"
        )


def _belonging(trainer: Trainer, checkpoints: Checkpoints) -> dict[str, str]:
    return {**checkpoints.belonging(), "data": trainer.dataset.digest}


def _differing(one: dict[str, str], other: dict[str, str]) -> list[str]:
    return sorted(name for name in one | other if one.get(name) != other.get(name))


def _folders(checkpoint: Path) -> tuple[Path, Path]:
    return checkpoint, checkpoint / PEER
