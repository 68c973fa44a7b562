"""A multi-layer perceptron: fully connected layers with ReLU, over the flattened input."""

import itertools
import math

from torch import Tensor, nn

from app.contracts.model import Mlp


class MultiLayerPerceptron(nn.Module):
    """Layers `hidden.0`, `hidden.1`, ... (each linear, ReLU, dropout), then `classifier`."""

    def __init__(self, num_inputs: int, architecture: Mlp, num_classes: int) -> None:
        super().__init__()
        sizes = [num_inputs, *architecture.hidden_sizes]
        self.hidden = nn.ModuleList(
            nn.Sequential(nn.Linear(before, after), nn.ReLU(), nn.Dropout(architecture.dropout))
            for before, after in itertools.pairwise(sizes)
        )
        self.classifier = nn.Linear(sizes[-1], num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = inputs.flatten(1)
        for layer in self.hidden:
            hidden = layer(hidden)
        logits_BC: Tensor = self.classifier(hidden)
        return logits_BC


def build(architecture: Mlp, shape: list[int], num_classes: int) -> nn.Module:
    """Return the network for inputs of ``shape``, with weights from torch's global generator."""
    return MultiLayerPerceptron(math.prod(shape), architecture, num_classes)
