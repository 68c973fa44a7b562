"""A training's state as files: a run that goes on from them makes the steps it would have made.

Nothing of the random generators is kept: what a step draws is a function of its number, and the
order and the views of the examples are functions of the epoch.
"""

import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from worker.distillation.errors import NonFinite
from worker.distillation.history import History
from worker.distillation.trainer import State, Trainer

STATE_FILE = "state.json"
WEIGHTS_FILE = "model.safetensors"
TENSORS_FILE = "training.safetensors"


class SavedState(BaseModel):
    """`state.json`: all of a training's state that is no tensor, and what it is the state of."""

    format: Literal[1] = 1
    step: int
    history: History
    belongs_to: dict[str, str]
    """Digests of the spec, the data and the stages before."""


def save_state(trainer: Trainer, folder: Path, belongs_to: dict[str, str]) -> None:
    """Write the state between two steps, with the weights as a model that can be used.

    Raises:
        NonFinite: a number of it is NaN or infinite; nothing would come of going on.
    """
    trainer.watch.look()
    state = trainer.state
    weights = dict(_portable(state.model.state_dict()))
    tensors = dict(_portable(_tensors(state)))
    for name, value in (weights | tensors).items():
        if value.is_floating_point() and not value.isfinite().all():
            raise NonFinite(
                f"{name} of the {trainer.plan.role} is no longer finite after step {state.step}"
            )
    trainer.plan.describe(folder)
    save_file(weights, folder / WEIGHTS_FILE)
    # Unlike the state of any other run, whatever it is the state of: the worker removes its bytes
    # from the storage as soon as it is not needed, and nobody else may rely on them.
    save_file(tensors, folder / TENSORS_FILE, {"state": secrets.token_hex(16)})
    saved = SavedState(step=state.step, history=state.history, belongs_to=belongs_to)
    (folder / STATE_FILE).write_text(saved.model_dump_json(indent=2))


def read_state(folder: Path) -> SavedState:
    """Read what ``save_state`` wrote, but for the tensors."""
    return SavedState.model_validate_json((folder / STATE_FILE).read_text())


def load_state(trainer: Trainer, folder: Path) -> None:
    """Bring a trainer that has made no step to where ``save_state`` was called.

    Raises:
        RuntimeError: the weights do not fit, name for name and shape for shape.
    """
    saved, state = read_state(folder), trainer.state
    parts = _parts(load_file(folder / TENSORS_FILE))
    state.model.load_state_dict(load_file(folder / WEIGHTS_FILE))
    state.objective.load_state_dict(parts["objective"])
    _load_optimizer(state.optimizer, parts["optimizer"])
    device = trainer.plan.device
    state.best_weights = {name: value.to(device) for name, value in parts["best"].items()}
    state.sums = [row.to(device) for sums in parts["sums"].values() for row in sums]
    state.weighted = parts["weighted"]["all"].to(device)
    state.step, state.history = saved.step, saved.history


def _tensors(state: State) -> Mapping[str, Tensor]:
    named = {f"objective/{name}": value for name, value in state.objective.state_dict().items()}
    for number, parameter in enumerate(_parameters(state.optimizer)):
        for name, value in state.optimizer.state[parameter].items():
            named[f"optimizer/{number}/{name}"] = value
    named |= {f"best/{name}": value for name, value in state.best_weights.items()}
    named["weighted/all"] = state.weighted
    if state.sums:
        named["sums/all"] = torch.stack(state.sums)
    return named


def _parts(tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    parts: dict[str, dict[str, Tensor]] = {
        part: {} for part in ("objective", "optimizer", "best", "sums", "weighted")
    }
    for name, value in tensors.items():
        part, _, rest = name.partition("/")
        parts[part][rest] = value
    return parts


def _portable(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, value in tensors.items():
        yield name, value.detach().cpu().contiguous()


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    parameters = _parameters(optimizer)
    states: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        number, _, key = name.partition("/")
        parameter = parameters[int(number)]
        # In the parameter's own layout: a fused step walks both of them in the order of memory.
        laid_out = value
        if value.shape == parameter.shape:
            laid_out = torch.empty_like(parameter, requires_grad=False).copy_(value)
        states.setdefault(int(number), {})[key] = laid_out
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": states, "param_groups": groups})


def _parameters(optimizer: torch.optim.Optimizer) -> list[torch.nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
