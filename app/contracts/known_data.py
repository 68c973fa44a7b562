"""What is known of a spec's data before it is read."""

import math

from app.contracts.dataset import AnyDataset, Builtin, Csv

Size = int | None
Shape = tuple[Size, ...]
"""(C, H, W) of an image, (F) of a table; None stands for a size that only the data tells."""

BUILTIN_SHAPES: dict[str, Shape] = {
    "digits": (1, 8, 8),
    "breast_cancer": (30,),
    "wine": (13,),
    "diabetes": (10,),
}
BUILTIN_OUTPUTS = {
    "digits": list("0123456789"),
    "breast_cancer": ["malignant", "benign"],
    "wine": ["class_0", "class_1", "class_2"],
    "diabetes": ["progression"],
}


def input_shape(dataset: AnyDataset) -> Shape:
    if isinstance(dataset, Builtin):
        return BUILTIN_SHAPES[dataset.name]
    if isinstance(dataset.format, Csv):
        return (None,)
    return (dataset.format.channels, dataset.format.size, dataset.format.size)


def output_names(dataset: AnyDataset) -> list[str] | None:
    """Return the names of classes, labels or targets; None where only the data tells them."""
    if isinstance(dataset, Builtin):
        return BUILTIN_OUTPUTS[dataset.name]
    if isinstance(dataset.format, Csv) and dataset.format.targets:
        return dataset.format.targets
    return None


def is_table(dataset: AnyDataset) -> bool:
    return len(input_shape(dataset)) == 1


def num_inputs(inputs: Shape) -> Size:
    """Return how many numbers an input has."""
    sizes = [size for size in inputs if size is not None]
    return math.prod(sizes) if len(sizes) == len(inputs) else None
