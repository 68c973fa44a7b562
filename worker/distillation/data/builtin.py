"""Real data that ships with scikit-learn, read from its wheel."""

from pathlib import Path

import numpy as np
from sklearn import datasets

from app.contracts.dataset import Builtin
from worker.distillation.dataset import Column, RawData, Tell

DIGITS_LARGEST_VALUE = 16


def read(settings: Builtin, path: Path | None, scratch: Path, tell: Tell) -> RawData:
    """Read a dataset by name; needs no file.

    The digits' pixels, 0 to 16 in their source, become 0 to 255 like any other image's, so that
    a student takes the pixels that an image viewer shows; the 17 values stay apart.
    """
    if settings.name == "digits":
        digits = datasets.load_digits()
        pixels = np.rint(digits.images * (255 / DIGITS_LARGEST_VALUE)).astype(np.uint8)
        return RawData(
            inputs=pixels[:, None],
            labels=digits.target.astype(np.int64),
            output_names=[str(name) for name in digits.target_names],
        )
    if settings.name == "diabetes":
        table = datasets.load_diabetes(scaled=False)
        return RawData(
            inputs=table.data.astype(np.float32),
            labels=table.target.astype(np.float32)[:, None],
            output_names=["progression"],
            columns=[Column(name=str(name)) for name in table.feature_names],
            task="regression",
        )
    loaders = {"breast_cancer": datasets.load_breast_cancer, "wine": datasets.load_wine}
    table = loaders[settings.name]()
    return RawData(
        inputs=table.data.astype(np.float32),
        labels=table.target.astype(np.int64),
        output_names=[str(name) for name in table.target_names],
        columns=[Column(name=str(name)) for name in table.feature_names],
    )
