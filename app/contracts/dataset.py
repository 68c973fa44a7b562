"""Where the data comes from and how it is split.

The engine reads each source or format with the module of the same name in
``worker/distillation/data``.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from app.contracts.strict import FileId, Strict

MOST_HELD_OUT = 0.95

Task = Literal["classification", "multi_label", "regression"]
"""One class of several; any number of labels, each yes or no; numbers."""


class Split(Strict):
    """How examples are divided, evenly over the classes, by a seed.

    Data that brings its own test part (a `test` folder, MNIST's `t10k` files) keeps it, and
    `test` is then not used; nor is the share of a part that has a file of its own.
    """

    validation: float = Field(
        0.1,
        ge=0,
        le=0.9,
        description="Share of the examples that chooses the best epoch; with 0 the last is kept.",
    )
    test: float = Field(
        0.2, gt=0, le=0.9, description="Share of the examples that only the evaluation sees."
    )
    seed: int = Field(0, ge=0, lt=2**63)

    @model_validator(mode="after")
    def _leaves_examples_to_train_on(self) -> Self:
        # Rounded, since 0.05 + 0.9 is a hair above 0.95.
        if round(self.validation + self.test, 9) > MOST_HELD_OUT:
            raise ValueError(
                f"validation + test is {self.validation + self.test:g}; it may be at most "
                f"{MOST_HELD_OUT}, to leave examples to train on"
            )
        return self


class Builtin(Strict):
    """Real data that ships with scikit-learn."""

    source: Literal["builtin"] = "builtin"
    name: Literal["digits", "breast_cancer", "wine", "diabetes"] = Field(
        description="`digits`: 1,797 images of 8x8 in 10 classes; `breast_cancer`: 569 rows of 30 "
        "measurements in 2 classes; `wine`: 178 rows of 13 measurements in 3 classes; `diabetes`: "
        "442 rows of 10 measurements, to predict the progression of a disease in a year."
    )
    split: Split = Split()

    @property
    def task(self) -> Task:
        return "regression" if self.name == "diabetes" else "classification"

    @property
    def has_validation(self) -> bool:
        return self.split.validation > 0


ColumnName = Annotated[str, Field(min_length=1, max_length=200)]


class Csv(Strict):
    """A table with a header row: one example a row, one or more columns to learn to predict."""

    name: Literal["csv"] = "csv"
    task: Task = "classification"
    label: ColumnName = Field(
        "label", description="The column that names the class; for classification alone."
    )
    targets: list[ColumnName] = Field(
        default=[],
        max_length=1000,
        description="Columns to predict. Multi-label: 0 or 1, empty where nobody knows. "
        "Regression: numbers.",
    )
    features: list[str] | None = Field(
        None,
        min_length=1,
        max_length=10_000,
        description="Columns to learn from; every other column where not given. A column of "
        "numbers is standardised, one of words becomes one input a word.",
    )
    delimiter: Literal[",", ";", "\t", "|"] = ","

    @model_validator(mode="after")
    def _says_what_to_predict(self) -> Self:
        if self.task == "classification":
            if self.targets:
                raise ValueError(
                    "`targets` are for multi_label and regression; classification has one `label`"
                )
        elif not self.targets:
            raise ValueError(f"{self.task} needs `targets`: the columns to predict")
        return self


class ImageArchive(Strict):
    """A zip or tar of class folders (`cat/1.png`, or `train/cat/1.png` and `test/...`).

    Or of IDX files such as MNIST's and Fashion-MNIST's (`train-images-idx3-ubyte.gz`, ...).
    """

    name: Literal["image_archive"] = "image_archive"
    size: int | None = Field(
        None,
        ge=4,
        le=1024,
        description="Side in pixels that images are fitted to, padding with black; where not "
        "given, all must have one size already.",
    )
    channels: Literal[1, 3] | None = Field(
        None, description="1 for grey, 3 for colour; where not given, as the images are."
    )

    @property
    def task(self) -> Task:
        return "classification"


AnyFormat = Annotated[Csv | ImageArchive, Field(discriminator="name")]


class FileDataset(Strict):
    """Data that a client has uploaded.

    Further files are of the same format, and read as `file` is: with its classes, columns and
    words. Inputs are standardised by the train part alone.
    """

    source: Literal["file"] = "file"
    file: FileId
    validation_file: FileId | None = Field(
        None,
        description="An uploaded file whose examples choose the best epoch; `split.validation` is "
        "then not used.",
    )
    test_file: FileId | None = Field(
        None,
        description="An uploaded file whose examples only the evaluation sees; `split.test` is "
        "then not used.",
    )
    format: AnyFormat
    split: Split = Split()

    @property
    def task(self) -> Task:
        return self.format.task

    @property
    def has_validation(self) -> bool:
        return self.validation_file is not None or self.split.validation > 0

    @property
    def files(self) -> dict[str, str]:
        """The ids of all its files by the fields that name them, the one to learn from first."""
        named = {
            "file": self.file,
            "validation_file": self.validation_file,
            "test_file": self.test_file,
        }
        return {field: file_id for field, file_id in named.items() if file_id is not None}


AnyDataset = Annotated[Builtin | FileDataset, Field(discriminator="source")]
