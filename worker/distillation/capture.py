"""Run a model and keep what its layers give, each named by its module path.

Shapes: B = batch, C = outputs.
"""

import copy
import difflib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from app.contracts.layer_names import LayerNameError, expanded
from app.contracts.loss import FeatureLossSpec, LayerPair
from app.contracts.objective import AnyLoss
from worker.distillation.errors import BadInput
from worker.distillation.signals import Signals

Precision = Literal["float32", "bfloat16"]


class Observable(Protocol):
    """A model that can be watched: a ``Predictor``, or several behind one front."""

    @property
    def network(self) -> nn.Module:
        """Return the module whose paths name the layers."""

    def answers(self, inputs: Tensor) -> Tensor:
        """Return what losses compare (B, C), of raw inputs."""


def layer_names(network: nn.Module) -> list[str]:
    """Return the paths of a network's layers, in its own order."""
    return [name for name, _ in network.named_modules() if name]


def resolved(
    objective: Sequence[AnyLoss], student_names: Sequence[str], teacher_names: Sequence[str]
) -> list[AnyLoss]:
    """Return the objective with its globs written out as single layers.

    Raises:
        BadInput: a name or glob matches no layer; the hint has the nearest names.
    """
    return [
        loss.model_copy(
            update={
                "layers": [
                    single
                    for pair in loss.layers
                    for single in _refusing(partial(expanded, pair, student_names, teacher_names))
                ]
            }
        )
        if isinstance(loss, FeatureLossSpec)
        else loss
        for loss in objective
    ]


@contextmanager
def capturing(model: Observable, paths: Iterable[str]) -> Iterator[dict[str, Tensor]]:
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
    model: Observable, inputs: Tensor, precision: Precision, features: dict[str, Tensor]
) -> Signals:
    """Run ``model`` on raw inputs and return its signals in float32.

    ``features`` is what ``capturing`` gave; with none captured, an empty dict.
    """
    if inputs.ndim == 4:  # noqa: PLR2004 - images, which convolutions take fastest in this layout
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    if precision == "float32":
        logits_BC = model.answers(inputs)
    else:
        with torch.autocast(inputs.device.type, dtype=torch.bfloat16):
            logits_BC = model.answers(inputs)
    return Signals(logits_BC.float(), {path: value.float() for path, value in features.items()})


def feature_shapes(
    model: Observable, paths: Sequence[str], inputs: Tensor
) -> dict[str, tuple[int, ...]]:
    """Return the shape, without the batch, of the features at each path.

    Runs a copy in eval mode without gradients: no buffer of ``model`` is touched.

    Raises:
        BadInput: a path names no module, one that does not run, or one that gives no tensor.
    """
    if not paths:
        return {}
    probe = copy.deepcopy(model)
    probe.network.eval()
    with torch.no_grad(), capturing(probe, paths) as features:
        probe.answers(inputs)
    for path in paths:
        if path not in features:
            raise gives_no_tensor(path, layer_names(probe.network))
    return {path: tuple(value.shape[1:]) for path, value in features.items()}


def gives_no_tensor(path: str, names: Sequence[str]) -> BadInput:
    """Return the refusal of a layer, one of ``names``, that gives nothing of its own."""
    return BadInput(
        "layer_gives_no_tensor",
        f"layer {path!r} only groups others and gives no features of its own",
        hint=f"name a layer inside it, such as {_nearest(path + '.0', names)}",
    )


def unknown_layer(path: str, names: Sequence[str]) -> BadInput:
    """Return the refusal of a layer that is none of ``names``."""
    return BadInput(
        "unknown_layer",
        f"the network has no layer {path!r}",
        hint=f"the nearest names are {_nearest(path, names)}",
    )


def _refusing(expand: partial[list[LayerPair]]) -> list[LayerPair]:
    try:
        return expand()
    except LayerNameError as error:
        raise BadInput("unknown_layer", str(error), hint=error.hint) from error


def _layer(network: nn.Module, path: str) -> nn.Module:
    layers: dict[str, nn.Module] = dict(network.named_modules())
    if path in layers and path:
        return layers[path]
    raise unknown_layer(path, layer_names(network))


def _nearest(path: str, names: Sequence[str]) -> str:
    return ", ".join(difflib.get_close_matches(path, names, n=3, cutoff=0.0))


def _keep(
    features: dict[str, Tensor], path: str, module: nn.Module, inputs: object, output: object
) -> None:
    """Be a forward hook, its first two arguments bound."""
    if isinstance(output, Tensor):
        # A copy: an in-place operation that follows, such as a ReLU, would change the original.
        features[path] = output.clone()
