"""Whether the layers that losses name are there, and give what a loss can compare."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from app.contracts.feature_losses import Embedding, Flow
from app.contracts.known_data import Shape
from app.contracts.layer_names import MOST_NEAREST, LayerNameError, Side, expanded, matching
from app.contracts.layers import Layers
from app.contracts.loss import LayerPair
from app.contracts.objective import AnyLoss
from app.errors import Problem
from app.services.facts import Facts
from app.services.scheme import Lesson, lessons

VECTOR, MAP = 1, 3
"""How many dimensions a layer's shape has."""
SIDES: tuple[Side, ...] = ("student", "teacher")


@dataclass(frozen=True)
class Comparison:
    """A pair of names in a loss, and the layers that they are looked for among."""

    loss: AnyLoss
    pair: LayerPair
    pointers: Mapping[Side, str]
    layers: Mapping[Side, Layers]

    def path(self, side: Side) -> str:
        return self.pair.student if side == "student" else self.pair.teacher


def check_layers(facts: Facts) -> Iterator[Problem]:
    """Check the layers that losses name, in every lesson; each fault is told once."""
    told: set[str] = set()
    for lesson in lessons(facts):
        for number, loss in enumerate(lesson.objective):
            for problem in _check_loss(f"{lesson.pointer}/{number}", loss, lesson):
                if problem.pointer not in told:
                    told.add(problem.pointer)
                    yield problem


def _check_loss(pointer: str, loss: AnyLoss, lesson: Lesson) -> Iterator[Problem]:
    pairs = loss.pairs()
    if not pairs:
        return
    if lesson.why_no_layers is not None:
        named = "spans" if isinstance(loss, Flow) else "layers"
        message = f"given {loss.loss!r}, which compares layers; {lesson.why_no_layers}"
        yield Problem(f"{pointer}/{named}", "teacher_has_no_layers", message)
    elif lesson.teacher is not None:
        layers: dict[Side, Layers] = {"student": lesson.student, "teacher": lesson.teacher}
        for number, pair in enumerate(pairs):
            pointers = {side: f"{pointer}/{_place(loss, number, side)}" for side in SIDES}
            yield from _check_names(Comparison(loss, pair, pointers, layers))


def _place(loss: AnyLoss, number: int, side: Side) -> str:
    """Return where the name of one of ``loss.pairs()`` stands in the loss."""
    if isinstance(loss, Flow):
        return f"spans/{number // 2}/{side}/{('first', 'last')[number % 2]}"
    return f"layers/{number}/{side}"


def _check_names(one: Comparison) -> Iterator[Problem]:
    """Tell which names match no layer; or else the first thing that is wrong with the layers."""
    unknown = [_unknown(one, side) for side in SIDES]
    if any(unknown):
        yield from (problem for problem in unknown if problem is not None)
        return
    try:
        singles = expanded(one.pair, list(one.layers["student"]), list(one.layers["teacher"]))
    except LayerNameError as error:
        yield Problem(one.pointers["student"], "unequal_layers", f"{error}; {error.hint}")
        return
    for single in singles:
        problem = _grouping(one, single) or _misfit(one, single)
        if problem is not None:
            yield problem
            return


def _unknown(one: Comparison, side: Side) -> Problem | None:
    path, names = one.path(side), list(one.layers[side])
    if isinstance(one.loss, Flow) and path not in names:
        nearest = difflib.get_close_matches(path, names, n=MOST_NEAREST, cutoff=0.0)
        message = (
            f"the {side} has no layer {path!r}; a span is from one layer to another, and the "
            f"nearest names are {', '.join(nearest)}"
        )
        return Problem(one.pointers[side], "unknown_layer", message)
    try:
        matching(path, names, side)
    except LayerNameError as error:
        return Problem(one.pointers[side], "unknown_layer", f"{error}; {error.hint}")
    return None


def _grouping(one: Comparison, pair: LayerPair) -> Problem | None:
    for side, path in zip(SIDES, (pair.student, pair.teacher), strict=True):
        if one.layers[side][path] is None:
            inside = [name for name in one.layers[side] if name.startswith(f"{path}.")]
            instead = f"; name one inside it, such as {', '.join(inside[:MOST_NEAREST])}"
            message = (
                f"layer {path!r} of the {side} only groups others and gives nothing of its own"
                f"{instead if inside else ''}"
            )
            return Problem(one.pointers[side], "layer_gives_no_tensor", message)
    return None


def _misfit(one: Comparison, pair: LayerPair) -> Problem | None:
    """Say why a loss cannot compare what two layers give."""
    ours, theirs = one.layers["student"][pair.student], one.layers["teacher"][pair.teacher]
    assert ours is not None  # noqa: S101 (each gives something, or it would have been told)
    assert theirs is not None  # noqa: S101 (as above)
    fault = _kinds(one.loss, ours, theirs) or _sizes(one.loss, ours, theirs)
    if fault is None:
        return None
    code, reason = fault
    message = (
        f"student layer {pair.student!r} gives {_shown(ours)} and teacher layer {pair.teacher!r} "
        f"gives {_shown(theirs)}; {reason}"
    )
    return Problem(one.pointers["student"], code, message)


def _kinds(loss: AnyLoss, ours: Shape, theirs: Shape) -> tuple[str, str] | None:
    kinds = {len(ours), len(theirs)}
    if loss.maps_only and kinds != {MAP}:
        reason = f"{loss.loss!r} needs two image maps, from before the image is averaged"
        return "layers_do_not_pair", reason
    if not kinds <= {VECTOR, MAP}:
        return "layers_do_not_pair", f"{loss.loss!r} needs vectors or image maps"
    return None


def _sizes(loss: AnyLoss, ours: Shape, theirs: Shape) -> tuple[str, str] | None:
    if ours[0] is None or theirs[0] is None or ours[0] == theirs[0]:
        return None
    if isinstance(loss, Flow):
        reason = (
            "matrices of unequal numbers of channels cannot be compared: choose layers with "
            "equally many, or use 'hints'"
        )
        return "channels_differ", reason
    if isinstance(loss, Embedding) and not loss.projection:
        reason = "without a projection the sizes must agree: set `projection` to true"
        return "sizes_differ", reason
    return None


def _shown(shape: Shape) -> str:
    return " x ".join(["batch", *("?" if size is None else str(size) for size in shape)])
