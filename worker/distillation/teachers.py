"""The models that teach, as the stages leave them: one, or several behind one front.

A folder with `ensemble.json` holds several, in `member-0`, `member-1`, ...; any other is a model's.

Shapes: B = batch, C = outputs.
"""

import hashlib
import math
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel
from torch import Tensor, nn
from torch.nn import functional as F

from app.contracts.dataset import Task
from app.contracts.job import JobSpec
from app.contracts.model import MutualTeacher
from worker.distillation.build import load_model, read_config
from worker.distillation.dataset import Dataset, InputDescription
from worker.distillation.predictor import Predictor, Restore
from worker.distillation.workspace import Workspace

ENSEMBLE_FILE = "ensemble.json"


class EnsembleConfig(BaseModel):
    """`ensemble.json`: how the members' answers are averaged."""

    weights: list[float]
    mean: Literal["probabilities", "logits"]


class EnsembleTeacher(nn.Module):
    """Answers with the weighted mean of its members' answers."""

    def __init__(self, members: list[nn.Module], config: EnsembleConfig, task: Task) -> None:
        super().__init__()
        self.network = nn.ModuleList(members)
        self.restore: nn.Module = nn.Identity()
        self.mean = config.mean
        self.task = task
        total = sum(config.weights)
        self.shares = [weight / total for weight in config.weights]

    def answers(self, inputs: Tensor) -> Tensor:
        """Return logits (B, C), of mean probabilities their logarithms; or mean predictions."""
        each = [member.answers(inputs) for member in self.network]  # type: ignore[operator]
        if self.mean == "logits" or self.task == "regression":
            return _mean(each, self.shares)
        if self.task == "multi_label":
            yes_BC = _log_mean([F.logsigmoid(value) for value in each], self.shares)
            no_BC = _log_mean([F.logsigmoid(-value) for value in each], self.shares)
            return yes_BC - no_BC
        return _log_mean([value.log_softmax(dim=1) for value in each], self.shares)

    def forward(self, inputs: Tensor) -> Tensor:
        answers_BC: Tensor = self.restore(self.answers(inputs))
        return answers_BC


class RescaledTeacher(nn.Module):
    """A regression model whose targets were standardised otherwise than the data's are."""

    def __init__(self, model: Predictor, restore: Restore) -> None:
        super().__init__()
        self.model = model
        self.network = model.network
        self.restore = restore

    def answers(self, inputs: Tensor) -> Tensor:
        """Return predictions (B, C) in standard deviations of the data's targets."""
        predictions_BC: Tensor = self.model(inputs)
        return (predictions_BC - self.restore.mean_C) / self.restore.std_C

    def forward(self, inputs: Tensor) -> Tensor:
        predictions_BC: Tensor = self.model(inputs)
        return predictions_BC


Teacher = Predictor | EnsembleTeacher | RescaledTeacher


def load_teacher_folder(folder: Path, data: InputDescription, device: torch.device) -> Teacher:
    """Return the model or the ensemble in a folder, in eval mode, answering in the data's units."""
    if not (folder / ENSEMBLE_FILE).is_file():
        return _in_units_of(data, load_model(folder)).to(device).eval()
    config = EnsembleConfig.model_validate_json((folder / ENSEMBLE_FILE).read_text())
    members: list[nn.Module] = [
        _in_units_of(data, load_model(each)) for each in member_folders(folder)
    ]
    ensemble = EnsembleTeacher(members, config, data.task)
    if data.output_mean is not None and data.output_std is not None:
        ensemble.restore = Restore(data.output_mean, data.output_std)
    return ensemble.to(device).eval()


def member_folders(folder: Path) -> list[Path]:
    """Return the folders of the models in a teacher's folder: its members', or itself alone."""
    members = sorted(folder.glob("member-*"), key=lambda path: int(path.name.split("-")[1]))
    return members or [folder]


def load_teacher(spec: JobSpec, workspace: Workspace, device: torch.device) -> Teacher | None:
    """Return the job's teacher: of mutual learning the peer; none where only answers are known."""
    folder = teacher_folder(spec, workspace)
    if folder is None:
        return None
    data = Dataset.load(workspace.stage("prepared")).description
    return load_teacher_folder(folder, data, device)


def teacher_folder(spec: JobSpec, workspace: Workspace) -> Path | None:
    """Return where the job's teacher lies; none where only its answers are known."""
    if isinstance(spec.teacher, MutualTeacher):
        return workspace.stage("student") / "peer"
    folder = workspace.stage("teacher")
    return folder if folder.is_dir() else None


def last_teacher_folder(spec: JobSpec, workspace: Workspace) -> Path | None:
    """Return where the model lies that teaches the student: the last assistant, or the teacher."""
    chain = workspace.stage("assistants")
    if chain.is_dir():
        return max((path for path in chain.iterdir()), key=lambda path: int(path.name))
    return teacher_folder(spec, workspace)


def identity(folder: Path) -> tuple[str, str, str]:
    """Return what tells a teacher from others: weights' sha256, architectures, preprocessing's."""
    weights, preprocessing, architectures = hashlib.sha256(), hashlib.sha256(), []
    if (folder / ENSEMBLE_FILE).is_file():
        weights.update((folder / ENSEMBLE_FILE).read_bytes())
    for each in member_folders(folder):
        with (each / "model.safetensors").open("rb") as file:
            weights.update(hashlib.file_digest(file, "sha256").digest())
        config = read_config(each)
        preprocessing.update(config.description.model_dump_json().encode())
        architectures.append(config.architecture.model_dump_json())
    return weights.hexdigest(), "; ".join(architectures), preprocessing.hexdigest()


def _in_units_of(data: InputDescription, model: Predictor) -> Predictor | RescaledTeacher:
    if data.output_mean is None or data.output_std is None:
        return model
    restore = Restore(data.output_mean, data.output_std)
    own = model.restore
    if isinstance(own, Restore) and (
        torch.equal(own.mean_C, restore.mean_C) and torch.equal(own.std_C, restore.std_C)
    ):
        return model
    return RescaledTeacher(model, restore)


def _mean(values: list[Tensor], shares: list[float]) -> Tensor:
    return torch.stack([share * value for share, value in zip(shares, values, strict=True)]).sum(
        dim=0
    )


def _log_mean(log_values: list[Tensor], shares: list[float]) -> Tensor:
    """Return the logarithm of the mean of what the arguments are logarithms of."""
    weighted = [value + math.log(share) for share, value in zip(shares, log_values, strict=True)]
    return torch.stack(weighted).logsumexp(dim=0)
