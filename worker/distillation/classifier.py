"""The module every model is: it standardises its raw inputs itself, then runs its network.

Shapes: B = batch, C = classes; an input is an image (channels, height, width) or a row (features).
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


class Classifier(nn.Module):
    """A network behind its preprocessing: raw pixels from 0 to 255, or a table's numbers, in.

    ``network`` is a module of its own, so that a user names its layers (`stages.2`) by the paths
    that the architecture documents.
    """

    def __init__(self, standardize: Standardize, network: nn.Module) -> None:
        super().__init__()
        self.standardize = standardize
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, C) of a float tensor (B, *shape) of raw inputs."""
        logits_BC: Tensor = self.network(self.standardize(inputs))
        return logits_BC
