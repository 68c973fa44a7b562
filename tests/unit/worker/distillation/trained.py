"""A workspace as the training stages leave it, of models that were never trained."""

from collections.abc import Mapping
from pathlib import Path

import torch

from app.contracts.job import JobSpec
from app.contracts.model import AnyArchitecture, TrainedTeacher
from worker.distillation.build import build, save_model
from worker.distillation.dataset import Dataset, InputDescription
from worker.distillation.history import History
from worker.distillation.workspace import Workspace

KEPT_EPOCH = 3


def leave_models(spec: JobSpec, workspace: Workspace, says: Mapping[str, int | None]) -> None:
    """Write a finished folder for each role.

    A role's model gives the class it is mapped to for every input; with None it has its
    architecture's random weights.
    """
    description = Dataset.load(workspace.stage("prepared")).description
    for seed, (role, label) in enumerate(says.items()):
        architecture = spec.student.architecture
        if role == "teacher" and isinstance(spec.teacher, TrainedTeacher):
            architecture = spec.teacher.architecture
        with workspace.writing(role) as folder:
            leave_model(folder, architecture, description, seed, label)


def leave_model(
    folder: Path,
    architecture: AnyArchitecture,
    description: InputDescription,
    seed: int,
    label: int | None,
) -> None:
    """Write one model's folder, as ``leave_models`` does."""
    model = build(architecture, description, seed)
    if label is not None:
        *_, last_weight, last_bias = model.parameters()
        with torch.no_grad():
            last_weight.zero_()
            last_bias.zero_()[label] = 2
    save_model(model, folder, architecture, description)
    History(epoch=KEPT_EPOCH).save(folder)
