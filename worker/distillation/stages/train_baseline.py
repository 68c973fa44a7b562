"""Train the student's architecture without a teacher, to know what the teacher adds.

The same start, data, length and seed as the student's; into `baseline`. Where the student starts
from the teacher's layers, the baseline starts from random weights: it knows of no teacher.
"""

from functools import partial

from app.contracts.job import JobSpec, Phase
from app.contracts.response_losses import Labels
from worker.distillation.build import save_model, write_config
from worker.distillation.checkpoint import Checkpoints
from worker.distillation.dataset import Dataset
from worker.distillation.device import choose_device
from worker.distillation.last_good import keeping_last_good
from worker.distillation.registered import initial_student
from worker.distillation.reporting import Reporter
from worker.distillation.trainer import Plan
from worker.distillation.training import train
from worker.distillation.workspace import Workspace


def run(spec: JobSpec, workspace: Workspace, reporter: Reporter) -> None:
    """Leave the baseline's config.json, model.safetensors and history.json, if one is asked for.

    Raises:
        BadInput: as ``train`` and ``initial_student``.
    """
    if not spec.baseline:
        return
    dataset = Dataset.load(workspace.stage("prepared")).transfer_set(spec.transfer.omit_classes)
    model, description = initial_student(
        spec.student, workspace, dataset.description, spec.training.seed
    )
    plan = Plan(
        "baseline",
        Phase.TRAINING_BASELINE,
        spec.training,
        [_labels(spec)],
        choose_device(spec.resources),
        partial(write_config, architecture=spec.student.architecture, description=description),
    )
    checkpoints = Checkpoints(spec, workspace, reporter)
    with keeping_last_good(workspace, model, spec.student.architecture, description):
        history = train(model, dataset, plan, reporter, checkpoints=checkpoints)
    with workspace.writing("baseline") as folder:
        save_model(model, folder, spec.student.architecture, description)
        history.save(folder)


def _labels(spec: JobSpec) -> Labels:
    """Return the student's own loss on labels, such as its distance to targets, at full weight."""
    for loss in spec.objective:
        if isinstance(loss, Labels):
            return Labels(label_smoothing=loss.label_smoothing, distance=loss.distance)
    return Labels()
