"""A model that a client brings: what it is, where its weights are, what it takes and answers."""

from collections import Counter
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from app.contracts.data_limits import MAX_CATEGORIES, MAX_COLUMNS, MAX_WORD_LENGTH
from app.contracts.dataset import Task
from app.contracts.job import Metadata
from app.contracts.model import AnyArchitecture, Mlp
from app.contracts.naming import LONGEST_NAME, published_name
from app.contracts.strict import FileId, Strict

TABLE, IMAGE = 1, 3
"""How many sizes the shape of an input has."""
LONGEST_SIDE = 1024
LONGEST_CARD = 100_000

Description = Annotated[str, Field(max_length=4000, description="For people.")]
Word = Annotated[str, Field(min_length=1, max_length=MAX_WORD_LENGTH)]
Category = Annotated[str, Field(max_length=MAX_WORD_LENGTH)]
"""Of an empty cell, too."""
Side = Annotated[int, Field(ge=1, le=65_536)]


def _usable(name: str) -> str:
    nearest = published_name(name, "student")
    if nearest != name:
        perhaps = f", perhaps {nearest!r}" if nearest else ""
        raise ValueError(
            f"given {name[:80]!r}; expected letters, digits, '.', '_' or '-', one of the first two "
            f"at both ends, no '--' or '..', no '.git' behind and no 'model-' in front{perhaps}"
        )
    return name


ModelName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=LONGEST_NAME,
        pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?$",
    ),
    AfterValidator(_usable),
]


class SignatureColumn(Strict):
    """One column of a table, as inputs of the model."""

    name: Annotated[str, Field(max_length=1000)]
    categories: list[Category] | None = Field(
        None,
        min_length=1,
        max_length=MAX_CATEGORIES,
        description="One input each, 1 where the row has it; none for a column of numbers.",
    )


class Signature(Strict):
    """What a model takes and answers; the same as `description` in a model's config.json.

    How inputs are standardised, and predictions brought to their units, is in the weights.
    """

    shape: list[Side] = Field(
        min_length=TABLE,
        max_length=IMAGE,
        description="[channels, height, width] of an image, whose pixels are from 0 to 255; "
        "[inputs] of a table.",
    )
    task: Task = "classification"
    output_names: list[Word] = Field(
        min_length=1,
        max_length=10_000,
        description="The classes, labels or targets, in the order of the model's outputs.",
    )
    columns: list[SignatureColumn] | None = Field(
        None,
        min_length=1,
        max_length=MAX_COLUMNS,
        description="Of a table, in the order of its inputs; a job's data must have the same.",
    )

    @property
    def is_table(self) -> bool:
        return len(self.shape) == TABLE

    @model_validator(mode="after")
    def _is_of_an_image_or_a_table(self) -> Self:
        if self.is_table:
            if self.columns is None:
                raise ValueError("`columns` is missing; a table has them, an image has none")
            width = sum(len(column.categories or [None]) for column in self.columns)
            if width != self.shape[0]:
                raise ValueError(f"the columns give {width} inputs, and `shape` has {self.shape}")
        elif self.columns is not None or len(self.shape) != IMAGE:
            raise ValueError(
                f"given the shape {self.shape}{' and columns' if self.columns else ''}; expected "
                "[channels, height, width] of images, or [inputs] of a table and its columns"
            )
        elif max(self.shape) > LONGEST_SIDE:
            raise ValueError(f"given the shape {self.shape}; expected at most {LONGEST_SIDE} each")
        return self

    @model_validator(mode="after")
    def _names_each_thing_once(self) -> Self:
        columns = [column.name for column in self.columns or []]
        categories = [
            (f"columns/{n}/categories", c.categories or [])
            for n, c in enumerate(self.columns or [])
        ]
        for what, names in (("output_names", self.output_names), ("columns", columns), *categories):
            twice = [name for name, count in Counter(names).items() if count > 1]
            if twice:
                raise ValueError(f"`{what}` has {twice[0]!r} twice; expected each name once")
        if self.task == "classification" and len(self.output_names) == 1:
            raise ValueError("`output_names` has one class; expected two at least")
        return self


class NewModel(Strict):
    """A teacher that was trained elsewhere."""

    name: ModelName | None = Field(
        None, description="It becomes the newest version of this name; by its id alone without."
    )
    architecture: AnyArchitecture
    weights: FileId = Field(
        description="An uploaded safetensors file with exactly the architecture's tensors."
    )
    signature: Signature
    description: Description | None = None
    card: str | None = Field(
        None, min_length=1, max_length=LONGEST_CARD, description="Becomes its README.md."
    )
    metadata: Metadata = Field(default={})

    @model_validator(mode="after")
    def _takes_what_its_architecture_takes(self) -> Self:
        if self.signature.is_table and not isinstance(self.architecture, Mlp):
            raise ValueError(
                f"given a {self.architecture.name!r}, which takes images, with the signature of a "
                "table; expected 'mlp', or a shape of [channels, height, width]"
            )
        return self
