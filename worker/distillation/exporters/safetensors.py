"""The student's weights as `model.safetensors`, by the names of its `state_dict`."""

from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor, nn

from worker.distillation.dataset import InputDescription


def write(
    student: nn.Module, description: InputDescription, examples: Tensor, folder: Path
) -> None:
    """Write the file; equal students give equal bytes."""
    weights = {name: value.cpu().contiguous() for name, value in student.state_dict().items()}
    save_file(weights, folder / "model.safetensors")
