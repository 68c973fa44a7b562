"""Whether each loss can work with the task and its outputs, whatever it is compared with."""

from collections.abc import Iterator, Sequence

from app.contracts.dataset import Task
from app.contracts.job import JobSpec
from app.contracts.objective import AnyLoss
from app.contracts.response_losses import Labels, Squared
from app.errors import Problem
from app.services.facts import Facts

NEEDS_EACH = (
    "looks at each class, and 'top_k' keeps the most probable ones, rounded and without the level "
    "of their logits"
)
"""Of a loss that needs dense logits, beside `top_k`."""


def objectives(spec: JobSpec) -> Iterator[tuple[str, Sequence[AnyLoss]]]:
    """Give every objective that a spec writes out, with its pointer."""
    yield "/objective", spec.objective
    for number, assistant in enumerate(spec.assistants):
        if assistant.objective is not None:
            yield f"/assistants/{number}/objective", assistant.objective


def check_losses(facts: Facts) -> Iterator[Problem]:
    """Check each loss on its own: its task, its classes, its settings."""
    for pointer, objective in objectives(facts.spec):
        if all(loss.weight == 0 for loss in objective):
            message = "every loss has weight 0, so nothing would be learned; expected one above 0"
            yield Problem(pointer, "no_weight", message)
        for number, loss in enumerate(objective):
            yield from _loss(f"{pointer}/{number}", loss, facts)


def check_storage(facts: Facts) -> Iterator[Problem]:
    """Refuse answers kept so that a loss could not be what it is from the teacher itself."""
    losses = [loss for _, objective in objectives(facts.spec) for loss in objective]
    dense = [loss.loss for loss in losses if loss.needs_dense_logits]
    if facts.spec.knowledge.storage == "top_k" and facts.task != "classification":
        message = (
            f"given 'top_k' for {facts.task}; it keeps the most probable of several classes: "
            "expected 'float16', 'float32' or 'auto'"
        )
        yield Problem("/knowledge/storage", "storage_does_not_fit_task", message)
    elif facts.spec.knowledge.storage == "top_k" and dense:
        message = (
            f"given 'top_k' beside {dense[0]!r}, which {NEEDS_EACH}: expected 'float16', "
            "'float32' or 'auto'"
        )
        yield Problem("/knowledge/storage", "storage_does_not_fit_loss", message)
    if facts.knowledge is not None and facts.knowledge.storage == "top_k" and dense:
        message = (
            f"given {facts.knowledge.id!r}, kept by 'top_k', beside {dense[0]!r}, which "
            f"{NEEDS_EACH}: expected knowledge in 'float16' or 'float32', or 'soft_targets'"
        )
        yield Problem("/teacher/knowledge", "storage_does_not_fit_loss", message)


def _loss(pointer: str, loss: AnyLoss, facts: Facts) -> Iterator[Problem]:
    name, task = loss.loss, facts.task
    num_outputs = None if facts.output_names is None else len(facts.output_names)
    if task not in loss.tasks:
        message = f"given {name!r} for {task}; {_why_not(task)}"
        yield Problem(f"{pointer}/loss", "loss_does_not_fit_task", message)
    elif task == "classification" and num_outputs is not None and num_outputs < loss.least_classes:
        message = (
            f"given {name!r} for {num_outputs} classes; it needs at least {loss.least_classes}: "
            "with two, how the others compare says nothing; 'soft_targets' works"
        )
        yield Problem(f"{pointer}/loss", "too_few_classes", message)
    if isinstance(loss, Labels):
        yield from _labels(pointer, loss, task)


def _labels(pointer: str, loss: Labels, task: Task) -> Iterator[Problem]:
    if task == "regression" and loss.label_smoothing > 0:
        message = (
            f"given {loss.label_smoothing:g} for regression; expected 0, as a target is no "
            "distribution that could be smoothed"
        )
        yield Problem(f"{pointer}/label_smoothing", "loss_does_not_fit_task", message)
    if task != "regression" and not isinstance(loss.distance, Squared):
        message = (
            f"given {loss.distance.name!r} for {task}; only regression's targets have distances"
        )
        yield Problem(f"{pointer}/distance", "loss_does_not_fit_task", message)


def _why_not(task: Task) -> str:
    if task == "regression":
        return "predictions of numbers are no distribution over classes; use 'logit_mse'"
    return (
        f"it compares one class of several, which {task} has not: use 'soft_targets' or 'logit_mse'"
    )
