"""A small plain CNN for images of any size and number of channels.

Shapes: B = batch, D = channels of a layer, H, W = height and width.
"""

import itertools

from torch import Tensor, nn
from torch.nn import functional as F

from app.contracts.model import Convnet
from worker.distillation.pooling import GlobalAveragePooling


class PlainStage(nn.Module):
    """A 3x3 convolution, batch norm and ReLU, then a 2x2 pooling of each side longer than 1."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels_out)

    def forward(self, images_BDHW: Tensor) -> Tensor:
        features_BDHW = F.relu(self.norm(self.convolution(images_BDHW)))
        height, width = features_BDHW.shape[-2:]
        window = (min(height, 2), min(width, 2))
        return F.max_pool2d(features_BDHW, window)


class PlainNetwork(nn.Module):
    """Stages `stages.0`, `stages.1`, ..., `pool`, the mean over the image, then `classifier`."""

    def __init__(self, channels_in: int, architecture: Convnet, num_classes: int) -> None:
        super().__init__()
        channels = [channels_in, *architecture.channels]
        self.stages = nn.ModuleList(
            PlainStage(before, after) for before, after in itertools.pairwise(channels)
        )
        self.pool = GlobalAveragePooling()
        self.dropout = nn.Dropout(architecture.dropout)
        self.classifier = nn.Linear(channels[-1], num_classes)

    def forward(self, images_BDHW: Tensor) -> Tensor:
        for stage in self.stages:
            images_BDHW = stage(images_BDHW)
        logits_BC: Tensor = self.classifier(self.dropout(self.pool(images_BDHW)))
        return logits_BC


def build(architecture: Convnet, shape: list[int], num_classes: int) -> nn.Module:
    """Return the network for images of ``shape``, with weights from torch's global generator."""
    return PlainNetwork(shape[0], architecture, num_classes)
