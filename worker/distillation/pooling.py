"""Image maps in other sizes, with gradients that do not depend on chance on any device.

Shapes: B = batch, D = channels, H, W = height and width.
"""

import torch
from torch import Tensor, nn


class GlobalAveragePooling(nn.Module):
    """The mean over the image: (B, D, H, W) to (B, D)."""

    def forward(self, features_BDHW: Tensor) -> Tensor:
        return features_BDHW.mean(dim=(2, 3))


class AveragePooling(nn.Module):
    """Average a map (B, D, H, W) into a smaller one, each cell over the pixels it covers.

    The bins are those of ``adaptive_avg_pool2d``, whose gradient on CUDA depends on chance; two
    products with constant matrices do not.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, before: tuple[int, int], after: tuple[int, int]) -> None:
        super().__init__()
        self.register_buffer("rows", _averaging(before[0], after[0]), persistent=False)
        self.register_buffer("columns", _averaging(before[1], after[1]), persistent=False)

    def forward(self, features_BDHW: Tensor) -> Tensor:
        return self.rows @ features_BDHW @ self.columns.T


class NearestResizing(nn.Module):
    """Resize a map (B, D, H, W), each new pixel taking the nearest old one's value."""

    rows: Tensor
    columns: Tensor

    def __init__(self, before: tuple[int, int], after: tuple[int, int]) -> None:
        super().__init__()
        self.register_buffer("rows", _choosing(before[0], after[0]), persistent=False)
        self.register_buffer("columns", _choosing(before[1], after[1]), persistent=False)

    def forward(self, features_BDHW: Tensor) -> Tensor:
        return self.rows @ features_BDHW @ self.columns.T


def pooling_to_meet(shape: tuple[int, ...], other: tuple[int, ...]) -> nn.Module:
    """Return what shrinks a map of ``shape`` (D, H, W) to the smaller of each side of the two."""
    before, after = shape[1:], tuple(map(min, shape[1:], other[1:]))
    if before == after:
        return nn.Identity()
    return AveragePooling((before[0], before[1]), (after[0], after[1]))


def _averaging(before: int, after: int) -> Tensor:
    """Return the matrix (after, before) that averages ``before`` cells into ``after``."""
    matrix = torch.zeros(after, before)
    for cell in range(after):
        start, end = cell * before // after, -(-(cell + 1) * before // after)
        matrix[cell, start:end] = 1 / (end - start)
    return matrix


def _choosing(before: int, after: int) -> Tensor:
    """Return the matrix (after, before) that chooses for each new cell the nearest old one."""
    matrix = torch.zeros(after, before)
    cells = torch.arange(after)
    matrix[cells, cells * before // after] = 1
    return matrix
