"""Train the student on the job's objective, with what the teacher knows; into `student`."""

import torch

from app.contracts.job import JobSpec
from worker.distillation.build import load_model, save_model
from worker.distillation.dataset import Dataset
from worker.distillation.device import choose_device
from worker.distillation.knowledge import LiveTeaching, RecordedTeaching, Teaching
from worker.distillation.objective import needs
from worker.distillation.registered import initial_student
from worker.distillation.reporting import Reporter
from worker.distillation.training import Plan, train
from worker.distillation.workspace import Workspace


def run(spec: JobSpec, workspace: Workspace, reporter: Reporter) -> None:
    """Leave the student's config.json, model.safetensors and history.json.

    Raises:
        BadInput: as ``train`` and ``initial_student``; or a loss names a layer that is not there.
    """
    dataset = Dataset.load(workspace.stage("prepared"))
    device = choose_device(spec.resources)
    model, description = initial_student(
        spec.student, workspace, dataset.description, spec.training.seed
    )
    plan = Plan("student", spec.training, spec.objective, device)
    history = train(model, dataset, plan, reporter, _teaching(spec, workspace, dataset, device))
    with workspace.writing("student") as folder:
        save_model(model, folder, spec.student.architecture, description)
        history.save(folder)


def _teaching(
    spec: JobSpec, workspace: Workspace, dataset: Dataset, device: torch.device
) -> Teaching | None:
    """Return the recorded answers where they were collected, else the teacher itself."""
    needed = needs(spec.objective)
    if not needed.teacher:
        return None
    if workspace.is_finished("knowledge"):
        return RecordedTeaching(workspace.stage("knowledge"), dataset, device)
    teacher = load_model(workspace.stage("teacher"), device)
    return LiveTeaching(teacher, spec.training.precision, needed.teacher_layers)
