"""The module every model is: it standardises its raw inputs itself, then runs its network.

Shapes: B = batch, C = outputs; an input is an image (channels, height, width) or a row (features).
"""

import torch
from torch import Tensor, nn

from worker.distillation.dataset import InputDescription


class Standardize(nn.Module):
    """Subtract the train part's mean and divide by its deviation, per channel or feature."""

    mean: Tensor
    std: Tensor

    def __init__(self, description: InputDescription) -> None:
        super().__init__()
        shape = (-1, *[1] * (len(description.shape) - 1))
        self.register_buffer("mean", torch.tensor(description.mean).reshape(shape))
        self.register_buffer("std", torch.tensor(description.std).reshape(shape))

    def forward(self, inputs: Tensor) -> Tensor:
        return (inputs - self.mean) / self.std


class Restore(nn.Module):
    """Bring predictions from standard deviations back to the targets' own units."""

    mean_C: Tensor
    std_C: Tensor

    def __init__(self, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.register_buffer("mean_C", torch.tensor(mean))
        self.register_buffer("std_C", torch.tensor(std))

    def forward(self, predictions_BC: Tensor) -> Tensor:
        return predictions_BC * self.std_C + self.mean_C


class Predictor(nn.Module):
    """A network behind its preprocessing: raw pixels from 0 to 255, or a table's numbers, in.

    ``network`` is a module of its own, so that a user names its layers (`stages.2`) by the paths
    that the architecture documents.
    """

    def __init__(self, description: InputDescription, network: nn.Module) -> None:
        super().__init__()
        self.standardize = Standardize(description)
        self.network = network
        self.restore: nn.Module = nn.Identity()
        if description.output_mean is not None and description.output_std is not None:
            self.restore = Restore(description.output_mean, description.output_std)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, C) of raw inputs (B, *shape); predictions in the targets' units."""
        answers_BC: Tensor = self.restore(self.answers(inputs))
        return answers_BC

    def answers(self, inputs: Tensor) -> Tensor:
        """Return what losses compare: logits (B, C), or predictions in standard deviations."""
        answers_BC: Tensor = self.network(self.standardize(inputs))
        return answers_BC
