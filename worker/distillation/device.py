"""Which device a run computes on."""

import os

import torch

from app.contracts.job import Resources
from app.contracts.message import NO_GPU
from worker.distillation.errors import BadInput


def choose_device(resources: Resources) -> torch.device:
    """Return the GPU where there is one and the spec allows it, else the CPU.

    On a GPU it sees to it that what is computed there can be the same from run to run.

    Raises:
        BadInput: the spec demands a GPU and there is none.
    """
    if resources.gpus != 0 and torch.cuda.is_available():
        # cuBLAS and torch read it once, at the first product of matrices, and without it refuse all
        # that are deterministic. A free run is only tied to a workspace.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        return torch.device("cuda", torch.cuda.current_device())
    if resources.gpus:
        raise BadInput(
            NO_GPU,
            f"the spec asks for {resources.gpus} GPU, but torch finds none here",
            hint="leave resources.gpus out to use whatever there is",
        )
    return torch.device("cpu")
