"""Run a model and keep what its layers give, each named by its module path.

Shapes: B = batch, C = classes.
"""

import copy
import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from worker.distillation.predictor import Predictor
from worker.distillation.errors import BadInput
from worker.distillation.signals import Signals

Precision = Literal["float32", "bfloat16"]


@contextmanager
def capturing(model: Predictor, paths: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """Give a dict that each forward pass of ``model`` fills anew with the features at ``paths``.

    The hooks are this model's alone and are gone when the block ends.

    Raises:
        BadInput: a path names no module of the model's network.
    """
    features: dict[str, Tensor] = {}
    handles = [
        _layer(model.network, path).register_forward_hook(partial(_keep, features, path))
        for path in dict.fromkeys(paths)
    ]
    try:
        yield features
    finally:
        for handle in handles:
            handle.remove()


def observe(
    model: Predictor, inputs: Tensor, precision: Precision, features: dict[str, Tensor]
) -> Signals:
    """Run ``model`` on raw inputs and return its signals in float32.

    ``features`` is what ``capturing`` gave; with none captured, an empty dict.
    """
    if inputs.ndim == 4:  # noqa: PLR2004 - images, which convolutions take fastest in this layout
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    lowered = precision == "bfloat16"
    with torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=lowered):
        logits_BC = model.answers(inputs)
    return Signals(logits_BC.float(), {path: value.float() for path, value in features.items()})


def feature_shapes(
    model: Predictor, paths: tuple[str, ...], inputs: Tensor
) -> dict[str, tuple[int, ...]]:
    """Return the shape, without the batch, of the features at each path.

    Runs a copy in eval mode without gradients: no buffer of ``model`` is touched.

    Raises:
        BadInput: a path names no module, one that does not run, or one that gives no tensor.
    """
    if not paths:
        return {}
    probe = copy.deepcopy(model).eval()
    with torch.no_grad(), capturing(probe, paths) as features:
        probe(inputs)
    for path in paths:
        if path not in features:
            raise BadInput(
                "layer_gives_no_tensor",
                f"layer {path!r} only groups others and gives no features of its own",
                hint=f"name a layer inside it, such as {_nearest(probe.network, path + '.0')}",
            )
    return {path: tuple(value.shape[1:]) for path, value in features.items()}


def _layer(network: nn.Module, path: str) -> nn.Module:
    layers: dict[str, nn.Module] = dict(network.named_modules())
    if path in layers and path:
        return layers[path]
    raise BadInput(
        "unknown_layer",
        f"the network {type(network).__name__} has no layer {path!r}",
        hint=f"the nearest names are {_nearest(network, path)}",
    )


def _nearest(network: nn.Module, path: str) -> str:
    names = [name for name, _ in network.named_modules() if name]
    return ", ".join(difflib.get_close_matches(path, names, n=3, cutoff=0.0))


def _keep(
    features: dict[str, Tensor], path: str, module: nn.Module, inputs: object, output: object
) -> None:
    """Be a forward hook, its first two arguments bound."""
    if isinstance(output, Tensor):
        features[path] = output
