"""Train a model on an objective, alone or with what a teacher knows; or two on each other."""

from collections.abc import Callable

from worker.distillation.dataset import Dataset
from worker.distillation.determinism import reproducible
from worker.distillation.errors import NonFinite
from worker.distillation.history import History
from worker.distillation.predictor import Predictor
from worker.distillation.reporting import Reporter
from worker.distillation.signals import Signals
from worker.distillation.teaching import Teaching
from worker.distillation.trainer import Plan, Trainer


def train(
    model: Predictor,
    dataset: Dataset,
    plan: Plan,
    reporter: Reporter,
    teaching: Teaching | None = None,
) -> History:
    """Train ``model`` in place; it ends on the CPU, in eval mode, as its best epoch left it.

    The best epoch is that of the highest validation accuracy, then of the lowest validation log
    loss (for regression, of the lowest error); without a validation part it is the last.

    Raises:
        BadInput: the spec does not fit the model or the data.
        NonFinite: a loss or a weight is no longer finite; ``model`` is as the best epoch left it,
            and the error's ``history`` ends with the last whole epoch.
        Stopped: at a step boundary.
    """
    with reproducible(plan.device, deterministic=plan.training.deterministic):
        trainer = Trainer(model, dataset, plan, reporter, teaching)
        _run([trainer], trainer.run_epoch)
    return trainer.state.history


def train_mutually(
    models: tuple[Predictor, Predictor],
    dataset: Dataset,
    plans: tuple[Plan, Plan],
    reporter: Reporter,
) -> tuple[History, History]:
    """Train two models in step, each with the other's answers to the same views as its teacher's.

    Zhang et al., 2018, "Deep Mutual Learning", https://arxiv.org/abs/1706.00384, section 3.1; both
    answer before either is updated. The plans differ in role and objective alone.

    Raises:
        BadInput, NonFinite, Stopped: as ``train``.
    """
    plan = plans[0]
    with reproducible(plan.device, deterministic=plan.training.deterministic):
        pair = [
            Trainer(model, dataset, each, reporter, None)
            for model, each in zip(models, plans, strict=True)
        ]
        _run(pair, lambda epoch: _run_mutual_epoch(pair, epoch))
    one, other = pair
    return one.state.history, other.state.history


def _run(trainers: list[Trainer], run_epoch: Callable[[int], None]) -> None:
    try:
        for epoch in range(trainers[0].plan.training.epochs):
            run_epoch(epoch)
    except NonFinite as error:
        error.history = trainers[0].state.history
        raise
    finally:
        for trainer in trainers:
            model = trainer.state.model
            if trainer.state.best_weights:
                model.load_state_dict(trainer.state.best_weights)
            model.to("cpu").eval()


def _run_mutual_epoch(pair: list[Trainer], epoch: int) -> None:
    one, other = pair
    with one.in_epoch(epoch), other.in_epoch(epoch):
        for ids_B, inputs in one.batches(epoch):
            seen = one.view(epoch, ids_B, inputs)
            signals = []
            for trainer in pair:
                trainer.begin_step(epoch)
                signals.append(trainer.observe(seen))
            for trainer, own, peers in zip(pair, signals, reversed(signals), strict=True):
                answers = Signals(peers.logits_BC.detach())
                trainer.learn(own, answers, ids_B, epoch, len(ids_B))
                trainer.finish_step()
