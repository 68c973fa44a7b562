"""What layers each architecture has, by module path, and what each gives: known without the data.

Shapes are without the batch: (F) of a vector, (D, H, W) of an image map.
"""

from collections.abc import Iterator, Mapping

from app.contracts.known_data import Shape, Size
from app.contracts.model import AnyArchitecture, CifarResnet, Convnet, Mlp

Layers = Mapping[str, Shape | None]
"""In the network's own order; None of a layer that only groups others and gives nothing."""

NARROW = (16, 16, 32, 64)
FOUR_TIMES_WIDER = (32, 64, 128, 256)
"""Channels of a residual network's stem and three stages."""


def layers_of(
    architecture: AnyArchitecture, inputs: Shape, num_outputs: Size = None
) -> dict[str, Shape | None]:
    """Return what ``named_modules`` of the network would, but for the network itself."""
    layers: dict[str, Shape | None]
    if isinstance(architecture, Mlp):
        layers = dict(_of_mlp(architecture))
    elif isinstance(architecture, Convnet):
        layers = dict(_of_convnet(architecture, inputs))
    else:
        layers = dict(_of_cifar_resnet(architecture, inputs))
    return layers | {"classifier": (num_outputs,)}


def residual_sizes(architecture: CifarResnet) -> tuple[tuple[int, ...], int]:
    """Return the channels of stem and stages, and how many blocks a stage has."""
    depth, _, wider = architecture.variant.partition("x")
    return FOUR_TIMES_WIDER if wider else NARROW, (int(depth) - 2) // 6


def _of_mlp(architecture: Mlp) -> Iterator[tuple[str, Shape | None]]:
    yield "hidden", None
    for number, units in enumerate(architecture.hidden_sizes):
        path = f"hidden.{number}"
        for layer in (path, f"{path}.0", f"{path}.1", f"{path}.2"):
            yield layer, (units,)


def _of_convnet(architecture: Convnet, inputs: Shape) -> Iterator[tuple[str, Shape | None]]:
    yield "stages", None
    _, *sides = inputs
    for number, channels in enumerate(architecture.channels):
        path, before = f"stages.{number}", tuple(sides)
        sides = [side if side is None else max(side // 2, 1) for side in sides]
        yield path, (channels, *sides)
        for layer in ("convolution", "norm"):
            yield f"{path}.{layer}", (channels, *before)
    for layer in ("pool", "dropout"):
        yield layer, (architecture.channels[-1],)


def _of_cifar_resnet(
    architecture: CifarResnet, inputs: Shape
) -> Iterator[tuple[str, Shape | None]]:
    widths, num_blocks = residual_sizes(architecture)
    _, *sides = inputs
    for layer in ("stem", "stem.0", "stem.1", "stem.2"):
        yield layer, (widths[0], *sides)
    yield "stages", None
    before: Shape = (widths[0], *sides)
    for number, channels in enumerate(widths[1:]):
        if number > 0:
            sides = [side if side is None else (side + 1) // 2 for side in sides]
        after = (channels, *sides)
        yield f"stages.{number}", after
        for block in range(num_blocks):
            yield from _of_block(f"stages.{number}.{block}", before, after)
            before = after
    yield "pool", (widths[-1],)


def _of_block(path: str, before: Shape, after: Shape) -> Iterator[tuple[str, Shape | None]]:
    yield path, after
    for layer in ("convolution1", "norm1", "convolution2", "norm2", "shortcut"):
        yield f"{path}.{layer}", after
    if before != after:
        for layer in ("shortcut.0", "shortcut.1"):
            yield f"{path}.{layer}", after
