"""Uploaded files, registered models and lists of things, as a client sees them."""

from datetime import datetime
from typing import Generic, Literal, TypeVar

from pydantic import BaseModel, Field, JsonValue

from app.contracts.job import FileEntry
from app.contracts.report import Quality

Item = TypeVar("Item", bound=BaseModel)


class Page(BaseModel, Generic[Item]):
    """One page of a list, newest first unless its route says otherwise."""

    object: Literal["list"] = "list"
    data: list[Item]
    first_id: str | None
    last_id: str | None
    has_more: bool


class File(BaseModel):
    """An uploaded file."""

    object: Literal["file"] = "file"
    id: str
    filename: str
    purpose: str
    bytes: int
    sha256: str
    media_type: str
    created_at: datetime


class Model(BaseModel):
    """A teacher or student: made by a job, or uploaded."""

    object: Literal["model"] = "model"
    id: str
    name: str | None = Field(description="With it and a version or an alias a model is named too.")
    version: int | None = Field(description="From 1 for each name; no number comes twice.")
    aliases: list[str]
    description: str | None
    metadata: dict[str, str]
    role: Literal["teacher", "student"]
    job_id: str | None = Field(description="The job that made it; `null` where it was uploaded.")
    architecture: dict[str, JsonValue]
    num_parameters: int
    test_quality: float | None = Field(
        description="On test, in the figure `compared_by`; higher is better. `null` where it was "
        "uploaded, and nobody has measured it."
    )
    compared_by: Quality
    files: list[FileEntry]
    created_at: datetime


class ModelAlias(BaseModel):
    """A word that stands for one version of a name."""

    object: Literal["model.alias"] = "model.alias"
    name: str
    alias: str
    version: int
    model_id: str
    updated_at: datetime
    move: int = Field(
        description="Which of all changes to aliases of this name this was; its entity tag."
    )


class Deleted(BaseModel):
    """What is gone."""

    object: str
    id: str
    deleted: Literal[True] = True


class ApiKey(BaseModel):
    """A key, without its secret."""

    object: Literal["api_key"] = "api_key"
    id: str
    name: str
    project_id: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
