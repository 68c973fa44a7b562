"""What a look at an uploaded file shows before a job reads it."""

from typing import Literal

from pydantic import BaseModel, Field

Kind = Literal["table", "images", "idx", "parquet", "tensors", "unknown"]


class PreviewColumn(BaseModel):
    """A column of a table, or a tensor."""

    name: str
    kind: str = Field(description="numbers, words or empty; of Parquet and tensors their type.")


class PreviewClass(BaseModel):
    """A class and how many examples it has among those that were looked at."""

    name: str
    count: int


class PreviewProblem(BaseModel):
    """Something for which a job would refuse the file."""

    code: str
    message: str
    line: int | None = Field(None, description="Of a table, from 1.")
    member: str | None = Field(None, description="Of an archive.")


class Preview(BaseModel):
    """The beginning of a file, and what is wrong with it; bounded, whatever the file is."""

    object: Literal["file.preview"] = "file.preview"
    file_id: str
    kind: Kind
    is_whole: bool = Field(description="Whether all of the file was looked at.")
    num_rows: int | None = Field(
        None, description="Of a table, of Parquet, or images: those that were looked at."
    )
    num_columns: int | None = None
    columns: list[PreviewColumn] = Field(description="The first 50.")
    rows: list[list[str]] = Field(description="The first 10 of a table, cells cut at 80.")
    num_classes: int | None = None
    classes: list[PreviewClass] = Field(description="The first 100, the most frequent first.")
    num_problems: int
    problems: list[PreviewProblem] = Field(description="The first 20.")
