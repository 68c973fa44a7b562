"""Build the model that a spec describes, and keep it in a folder: config.json and weights."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, cast

import torch
from pydantic import BaseModel, Field
from safetensors.torch import load_file, save_file
from torch import nn

from app.contracts.model import AnyArchitecture
from worker.distillation.dataset import InputDescription
from worker.distillation.predictor import Predictor


class ModelConfig(BaseModel):
    """A model's config.json: all that its weights need to be a model again."""

    architecture: AnyArchitecture = Field(discriminator="name")
    description: InputDescription


class _Family(Protocol):
    """What every module in ``models`` offers."""

    build: Callable[[AnyArchitecture, list[int], int], nn.Module]


def build(architecture: AnyArchitecture, description: InputDescription, seed: int) -> Predictor:
    """Return a new model on the CPU, in train mode.

    Its weights are a function of the arguments alone; torch's global generator is left as it was.
    """
    module = importlib.import_module(f"worker.distillation.models.{architecture.name}")
    family = cast("_Family", module)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = family.build(architecture, description.shape, len(description.output_names))
    return Predictor(description, network)


def save_model(
    model: nn.Module, folder: Path, architecture: AnyArchitecture, description: InputDescription
) -> None:
    """Write ``config.json`` and ``model.safetensors``; equal models give equal bytes."""
    write_config(folder, architecture, description)
    weights = {
        name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()
    }
    save_file(weights, folder / "model.safetensors")


def write_config(
    folder: Path, architecture: AnyArchitecture, description: InputDescription
) -> None:
    config = ModelConfig(architecture=architecture, description=description)
    (folder / "config.json").write_text(config.model_dump_json(indent=2))


def read_config(folder: Path) -> ModelConfig:
    """Read a saved model's ``config.json``.

    Raises:
        pydantic.ValidationError: it is not one that ``save_model`` writes.
    """
    return ModelConfig.model_validate_json((folder / "config.json").read_text())


def load_model(folder: Path, device: torch.device | str = "cpu") -> Predictor:
    """Return a saved model on ``device``, in eval mode.

    Raises:
        RuntimeError: the weights do not fit the architecture, name for name and shape for shape.
    """
    config = read_config(folder)
    model = build(config.architecture, config.description, seed=0)
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.to(device).eval()
