"""The residual networks for small images that the distillation literature compares on.

He, Zhang, Ren and Sun, 2015, "Deep Residual Learning for Image Recognition",
https://arxiv.org/abs/1512.03385, section 4.2, in the form of Tian, Krishnan and Isola, 2020,
"Contrastive Representation Distillation", https://arxiv.org/abs/1910.10699: 6n+2 layers, channels
16-16-32-64 (32-64-128-256 for x4), and a 1x1 convolution where a shortcut changes shape. It is
their parameter counts that the tests hold.

Shapes: B = batch, D = channels of a layer, H, W = height and width.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from app.contracts.model import CifarResnet
from worker.distillation.pooling import GlobalAveragePooling

NARROW = (16, 16, 32, 64)
FOUR_TIMES_WIDER = (32, 64, 128, 256)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut; its output is after the last ReLU."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.convolution1 = nn.Conv2d(
            channels_in, channels_out, 3, stride=stride, padding=1, bias=False
        )
        self.norm1 = nn.BatchNorm2d(channels_out)
        self.convolution2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels_out)
        self.shortcut = nn.Sequential()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride=stride, bias=False),
                nn.BatchNorm2d(channels_out),
            )

    def forward(self, images_BDHW: Tensor) -> Tensor:
        residual_BDHW = F.relu(self.norm1(self.convolution1(images_BDHW)))
        residual_BDHW = self.norm2(self.convolution2(residual_BDHW))
        return F.relu(residual_BDHW + self.shortcut(images_BDHW))


class ResidualNetwork(nn.Module):
    """`stem`, stages `stages.0` to `stages.2`, `pool` (the mean over the image), `classifier`."""

    def __init__(
        self, channels_in: int, widths: tuple[int, ...], blocks_a_stage: int, num_classes: int
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels_in, widths[0], 3, padding=1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        )
        self.stages = nn.ModuleList(
            _stage(widths[i], widths[i + 1], blocks_a_stage, stride=1 if i == 0 else 2)
            for i in range(3)
        )
        self.pool = GlobalAveragePooling()
        self.classifier = nn.Linear(widths[-1], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images_BDHW: Tensor) -> Tensor:
        features_BDHW = self.stem(images_BDHW)
        for stage in self.stages:
            features_BDHW = stage(features_BDHW)
        logits_BC: Tensor = self.classifier(self.pool(features_BDHW))
        return logits_BC


def _stage(channels_in: int, channels_out: int, blocks: int, stride: int) -> nn.Sequential:
    first = ResidualBlock(channels_in, channels_out, stride)
    return nn.Sequential(
        first, *[ResidualBlock(channels_out, channels_out, stride=1) for _ in range(blocks - 1)]
    )


def build(architecture: CifarResnet, shape: list[int], num_classes: int) -> nn.Module:
    """Return the network for images of ``shape``, with weights from torch's global generator."""
    depth, _, wider = architecture.variant.partition("x")
    widths = FOUR_TIMES_WIDER if wider else NARROW
    return ResidualNetwork(shape[0], widths, (int(depth) - 2) // 6, num_classes)
