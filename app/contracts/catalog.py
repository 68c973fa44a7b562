"""What a spec may name, with the schema of its settings, as a client sees it."""

from typing import Literal

from pydantic import BaseModel, Field, JsonValue

from app.contracts.dataset import Task


class Described(BaseModel):
    """What each entry of a catalogue says."""

    name: str = Field(description="As a spec names it.")
    description: str
    paper: str | None = Field(description="Where it is from, where that is one paper.")
    settings_schema: dict[str, JsonValue] = Field(description="JSON Schema of its place in a spec.")
    defaults: dict[str, JsonValue] = Field(description="Of the settings that need not be given.")


class Architecture(Described):
    """An architecture that a teacher or student may have."""

    object: Literal["architecture"] = "architecture"


class Loss(Described):
    """A loss that an objective may sum."""

    object: Literal["loss"] = "loss"
    tasks: list[Task] = Field(description="What it can be used for.")
    reads_teacher: bool
    reads_layers: bool = Field(description="Whether it compares hidden layers, which it names.")


class Dataset(Described):
    """Built-in data, or a format of an uploaded file."""

    object: Literal["dataset"] = "dataset"
    source: Literal["builtin", "file"]
    tasks: list[Task]
    input_shape: list[int] | None = Field(
        description="(C, H, W) of an image, (F) of a table; null where only the file tells it."
    )
    output_names: list[str] | None = Field(
        description="Of classes or targets; null where only the file tells them."
    )
