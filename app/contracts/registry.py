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
    status: Literal["processed"] = Field(
        "processed", description="OpenAI's clients expect it; a file is there once it is answered."
    )
    created_at: int = Field(description="In Unix seconds, as OpenAI's clients expect.")


class DeletedFile(BaseModel):
    """What is left of a file that was deleted."""

    object: Literal["file"] = "file"
    id: str
    deleted: Literal[True] = True


class DeletedModel(BaseModel):
    """What is left of a model that was deleted."""

    object: Literal["model"] = "model"
    id: str
    deleted: Literal[True] = True


class Model(BaseModel):
    """A teacher or student: a job has made it, or a client has brought it."""

    object: Literal["model"] = "model"
    id: str
    name: str | None = Field(
        description="Its job's, in the letters of a name; a teacher's ends in `-teacher`. Or as "
        "it was registered. With a version or an alias it stands for the id: `NAME@3`, "
        "`NAME@production`."
    )
    version: int | None = Field(description="Of the name, from 1; no number comes twice.")
    aliases: list[str]
    role: Literal["teacher", "student"]
    description: str | None
    metadata: dict[str, str]
    job_id: str | None = Field(description="The job that made it; null where a client brought it.")
    architecture: dict[str, JsonValue]
    num_parameters: int
    test_quality: float | None = Field(
        description="On test, in the figure `compared_by`; higher is better. Null where a client "
        "brought it: nobody has measured it."
    )
    compared_by: Quality
    files: list[FileEntry]
    created_at: datetime
    created: int = Field(description="`created_at` as OpenAI's clients read it: Unix seconds.")
    owned_by: str = Field(description="The project.")


class ModelAlias(BaseModel):
    """A word that stands for one version of a model's name."""

    object: Literal["model_alias"] = "model_alias"
    id: str = Field(description="`NAME@ALIAS`.")
    name: str
    alias: str
    version: int
    model_id: str
    move: int = Field(description="Of all moves of the name's aliases its last; its entity tag.")
    updated_at: datetime


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
