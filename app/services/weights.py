"""Whether weights are those of an architecture: names, shapes, types, and all finite."""

import difflib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from app.contracts.registration import NewModel
from app.contracts.tensors import MEAN, OUTPUT_MEAN, OUTPUT_STD, STD, TensorForm, tensors_of
from app.errors import Problem

STATISTICS = {
    MEAN: "mean",
    STD: "std",
    OUTPUT_MEAN: "output_mean",
    OUTPUT_STD: "output_std",
}
"""What config.json calls that a few tensors hold; the last two of regression alone."""
MOST_PROBLEMS = 20
MOST_SHOWN = 80
"""Characters of what was given."""


def expected_tensors(new: NewModel) -> Mapping[str, TensorForm]:
    signature = new.signature
    return tensors_of(
        new.architecture,
        signature.shape,
        len(signature.output_names),
        restores=signature.task == "regression",
    )


def check_weights(expected: Mapping[str, TensorForm], found: Mapping[str, Any]) -> list[Problem]:
    """Tell the first things that are wrong with what a look found (``app/preview/weights.py``)."""
    told = list(itertools.islice(_differences(expected, found["tensors"]), MOST_PROBLEMS))
    # The values of what is of another shape are no matter.
    told = told or list(itertools.islice(_values(found), MOST_PROBLEMS))
    return [Problem("/weights", code, message) for code, message in told]


def _differences(
    expected: Mapping[str, TensorForm], given: Mapping[str, list[Any]]
) -> Iterator[tuple[str, str]]:
    missing = [name for name in expected if name not in given]
    for name in given:
        if name not in expected:
            yield "unknown_tensor", _unknown(name, expected, missing)
    for name in missing:
        wanted = _shown(expected[name].dtype, expected[name].shape)
        yield "missing_tensor", f"the tensor {name!r} is missing; expected {wanted}"
    for name, form in expected.items():
        if name not in given:
            continue
        dtype, shape = given[name]
        code = "wrong_shape" if tuple(shape) != form.shape else "wrong_dtype"
        if (dtype, tuple(shape)) != (form.dtype, form.shape):
            wanted = _shown(form.dtype, form.shape)
            message = f"the tensor {name!r} is {_shown(dtype, shape)}; expected {wanted}"
            yield code, message


def _unknown(name: str, expected: Mapping[str, TensorForm], missing: list[str]) -> str:
    close = difflib.get_close_matches(name[:MOST_SHOWN], missing or list(expected), n=1)
    perhaps = f", perhaps {close[0]!r}" if close else ""
    return f"the architecture has no tensor {name[:MOST_SHOWN]!r}{perhaps}"


def _shown(dtype: str, shape: Sequence[int]) -> str:
    return f"{dtype} {list(shape)}"[:MOST_SHOWN]


def _values(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in found["not_finite"]:
        yield "not_finite", f"the tensor {name!r} has a value that is NaN or infinite"
    for name in found["negative"]:
        yield "negative", f"the tensor {name!r} is a variance, and has a value below 0"
    for name in (STD, OUTPUT_STD):
        if min(found["values"].get(name, [1.0])) <= 0:
            yield "not_positive", f"the tensor {name!r} divides, and has a value that is 0 or less"
