"""Starts a student from layers of its teacher, and says which tensors were taken and which not.

Sanh et al., 2019, "DistilBERT", https://arxiv.org/abs/1910.01108, section 3: one layer of two.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from app.contracts.report import CopiedTensor, Initialization, KeptTensor
from worker.distillation.errors import BadInput
from worker.distillation.predictor import Predictor

Layers = Literal["uniform", "first"] | list[int]


def initialize_from_teacher(
    student: Predictor, teacher: Predictor, layers: Layers
) -> Initialization:
    """Copy layers of ``teacher`` into ``student``, in place.

    A stack of like layers, the network's `nn.ModuleList` or `nn.Sequential` of composite blocks,
    takes as many of the teacher's as it has: the first to the last evenly, the first ones, or those
    of a list. A layer outside of stacks, such as the classifier, is taken where it fits as a whole.
    The student then standardises its inputs, and restores its predictions, as the teacher does.

    Raises:
        BadInput: the families differ; a chosen layer is not there, or a tensor in it has no
            counterpart of its name and shape; or nothing would be copied at all.
    """
    if type(student.network) is not type(teacher.network):
        raise _misfit(
            f"the student is a {type(student.network).__name__} and the teacher a "
            f"{type(teacher.network).__name__}",
            "give both the same architecture family",
        )
    sources = _sources(student.network, teacher.network, layers)
    ours, theirs = student.state_dict(), teacher.state_dict()
    missed: dict[str, str] = {}
    done = Initialization(copied=[])
    for name, tensor in ours.items():
        source, chosen = _source_of(name, sources)
        given = theirs.get(source)
        if given is not None and given.shape == tensor.shape:
            shape = list(tensor.shape)
            done.copied.append(CopiedTensor(student=name, teacher=source, shape=shape))
        elif chosen:
            raise _misfit(_difference(name, tensor, source, given), "choose layers that are alike")
        else:
            missed[_layer(name)] = _difference(name, tensor, source, given)
    # A bias means nothing without the weights that it was trained with.
    done.copied = [each for each in done.copied if _layer(each.student) not in missed]
    done.kept = [
        KeptTensor(student=name, reason=missed[_layer(name)])
        for name in ours
        if _layer(name) in missed
    ]
    if not any(each.student.startswith("network.") for each in done.copied):
        raise _misfit(
            "no tensor of the network has a counterpart in the teacher", "start from random"
        )
    with torch.no_grad():
        for each in done.copied:
            ours[each.student].copy_(theirs[each.teacher])
    return done


def _sources(student: nn.Module, teacher: nn.Module, layers: Layers) -> dict[str, str]:
    """Return, by the path of each stacked layer of the student, that of its source."""
    return {
        f"network.{stack}.{place}.": f"network.{stack}.{chosen}."
        for stack, size in _stacks(student).items()
        for place, chosen in enumerate(
            _chosen(stack, size, len(list(teacher.get_submodule(stack).children())), layers)
        )
    }


def _stacks(network: nn.Module) -> dict[str, int]:
    """Return the paths of the innermost lists of composite blocks, and their lengths."""
    found: dict[str, int] = {}
    for path, module in network.named_modules():
        blocks = list(module.children())
        listed = isinstance(module, nn.ModuleList | nn.Sequential) and blocks
        if path and listed and all(list(block.children()) for block in blocks):
            found[path] = len(blocks)
    return {
        path: size
        for path, size in found.items()
        if not any(other.startswith(f"{path}.") for other in found)
    }


def _chosen(stack: str, size: int, available: int, layers: Layers) -> Sequence[int]:
    if isinstance(layers, list):
        if len(layers) != size or layers[-1] >= available:
            raise _misfit(
                f"`layers` names {layers} for {stack!r}, of which the student has {size} and the "
                f"teacher {available}",
                f"name {size} layers from 0 to {available - 1}",
            )
        return layers
    if size > available:
        raise _misfit(
            f"the student has {size} layers in {stack!r}, the teacher {available}",
            "give the student at most as many",
        )
    if layers == "first" or size == 1:
        return range(size)
    return [round(place * (available - 1) / (size - 1)) for place in range(size)]


def _source_of(name: str, sources: dict[str, str]) -> tuple[str, bool]:
    """Return the name of a tensor's source, and whether it stands in a stack."""
    for own, source in sources.items():
        if name.startswith(own):
            return source + name.removeprefix(own), True
    return name, False


def _layer(name: str) -> str:
    return name.rpartition(".")[0]


def _difference(name: str, tensor: Tensor, source: str, given: Tensor | None) -> str:
    if given is None:
        return f"{name!r} has no counterpart: the teacher has no {source!r}"
    return (
        f"{name!r} has the shape {list(tensor.shape)}, the teacher's {source!r} {list(given.shape)}"
    )


def _misfit(message: str, hint: str) -> BadInput:
    return BadInput(
        "layers_do_not_fit", f"the student cannot start from the teacher: {message}", hint
    )
