"""Train the student's architecture without a teacher, to know what the teacher adds.

The same start, data, length and seed as the student's; into `baseline`.
"""

from app.contracts.job import JobSpec
from app.contracts.response_losses import Labels
from worker.distillation.build import save_model
from worker.distillation.dataset import Dataset
from worker.distillation.device import choose_device
from worker.distillation.registered import initial_student
from worker.distillation.reporting import Reporter
from worker.distillation.training import Plan, train
from worker.distillation.workspace import Workspace


def run(spec: JobSpec, workspace: Workspace, reporter: Reporter) -> None:
    """Leave the baseline's config.json, model.safetensors and history.json, if one is asked for.

    Raises:
        BadInput: as ``train`` and ``initial_student``.
    """
    if not spec.baseline:
        return
    dataset = Dataset.load(workspace.stage("prepared"))
    model, description = initial_student(
        spec.student, workspace, dataset.description, spec.training.seed
    )
    plan = Plan("baseline", spec.training, [Labels()], choose_device(spec.resources))
    history = train(model, dataset, plan, reporter)
    with workspace.writing("baseline") as folder:
        save_model(model, folder, spec.student.architecture, description)
        history.save(folder)
