"""The tensors of a model's weights, by their names: known without the engine that builds it."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from app.contracts.layers import residual_sizes
from app.contracts.model import AnyArchitecture, CifarResnet, Convnet, Mlp

Number = Literal["F32", "I64"]
"""As safetensors names them."""

MEAN, STD = "standardize.mean", "standardize.std"
OUTPUT_MEAN, OUTPUT_STD = "restore.mean_C", "restore.std_C"


@dataclass(frozen=True)
class TensorForm:
    """What a tensor is but for its values."""

    dtype: Number
    shape: tuple[int, ...]
    is_trained: bool
    """Whether it counts among the model's parameters."""


Named = Iterator[tuple[str, TensorForm]]


def tensors_of(
    architecture: AnyArchitecture, shape: Sequence[int], num_outputs: int, *, restores: bool
) -> Mapping[str, TensorForm]:
    """Return what the ``state_dict`` of the engine's model holds, in its order.

    ``shape`` is the input's, (C, H, W) or (F); a model that ``restores`` predicts numbers, in
    standard deviations that it brings back to their units.
    """
    statistics = (shape[0], *[1] * (len(shape) - 1))
    tensors = dict.fromkeys((MEAN, STD), _kept(*statistics))
    tensors |= {f"network.{name}": form for name, form in _network(architecture, shape)}
    tensors |= dict(_linear("network.classifier", _num_features(architecture, shape), num_outputs))
    if restores:
        tensors |= dict.fromkeys((OUTPUT_MEAN, OUTPUT_STD), _kept(num_outputs))
    return tensors


def num_parameters(tensors: Mapping[str, TensorForm]) -> int:
    return sum(math.prod(form.shape) for form in tensors.values() if form.is_trained)


def _network(architecture: AnyArchitecture, shape: Sequence[int]) -> Named:
    if isinstance(architecture, Mlp):
        yield from _of_mlp(architecture, math.prod(shape))
    elif isinstance(architecture, Convnet):
        yield from _of_convnet(architecture, shape[0])
    else:
        yield from _of_cifar_resnet(architecture, shape[0])


def _num_features(architecture: AnyArchitecture, shape: Sequence[int]) -> int:
    """Return how many numbers the last layer takes."""
    if isinstance(architecture, Mlp):
        return [math.prod(shape), *architecture.hidden_sizes][-1]
    if isinstance(architecture, Convnet):
        return architecture.channels[-1]
    return residual_sizes(architecture)[0][-1]


def _of_mlp(architecture: Mlp, num_inputs: int) -> Named:
    for number, sizes in enumerate(itertools.pairwise([num_inputs, *architecture.hidden_sizes])):
        yield from _linear(f"hidden.{number}.0", *sizes)


def _of_convnet(architecture: Convnet, channels: int) -> Named:
    for number, sizes in enumerate(itertools.pairwise([channels, *architecture.channels])):
        yield from _convolution(f"stages.{number}.convolution", *sizes)
        yield from _norm(f"stages.{number}.norm", sizes[1])


def _of_cifar_resnet(architecture: CifarResnet, channels: int) -> Named:
    widths, num_blocks = residual_sizes(architecture)
    yield from _convolution("stem.0", channels, widths[0])
    yield from _norm("stem.1", widths[0])
    for stage, (before, after) in enumerate(itertools.pairwise(widths)):
        for block in range(num_blocks):
            # The first block of every stage but the first also halves the image.
            given = before if block == 0 else after
            has_shortcut = block == 0 and (stage > 0 or before != after)
            yield from _of_block(f"stages.{stage}.{block}", given, after, shortcut=has_shortcut)


def _of_block(path: str, before: int, after: int, *, shortcut: bool) -> Named:
    for number, given in ((1, before), (2, after)):
        yield from _convolution(f"{path}.convolution{number}", given, after)
        yield from _norm(f"{path}.norm{number}", after)
    if shortcut:
        yield from _convolution(f"{path}.shortcut.0", before, after, side=1)
        yield from _norm(f"{path}.shortcut.1", after)


def _linear(path: str, before: int, after: int) -> Named:
    yield f"{path}.weight", _trained(after, before)
    yield f"{path}.bias", _trained(after)


def _convolution(path: str, before: int, after: int, *, side: int = 3) -> Named:
    yield f"{path}.weight", _trained(after, before, side, side)


def _norm(path: str, channels: int) -> Named:
    for name in ("weight", "bias"):
        yield f"{path}.{name}", _trained(channels)
    for name in ("running_mean", "running_var"):
        yield f"{path}.{name}", _kept(channels)
    yield f"{path}.num_batches_tracked", TensorForm("I64", (), is_trained=False)


def _trained(*shape: int) -> TensorForm:
    return TensorForm("F32", shape, is_trained=True)


def _kept(*shape: int) -> TensorForm:
    return TensorForm("F32", shape, is_trained=False)
