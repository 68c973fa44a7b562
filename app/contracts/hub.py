"""A model as clients of the Hugging Face Hub see a repository."""

from typing import Literal

from pydantic import BaseModel, Field


class Sibling(BaseModel):
    """A file of a repository."""

    rfilename: str
    size: int = Field(description="In bytes.")


class Repository(BaseModel):
    """A model's folder at its one revision."""

    id: str = Field(description="`PROJECT/MODEL`.")
    modelId: str  # noqa: N815 (the Hub's name)
    sha: str = Field(description="The first 40 hex digits of a digest of all names and bytes.")
    private: Literal[True] = True
    tags: list[str]
    siblings: list[Sibling]


class TreeFile(BaseModel):
    """A file in a repository's tree."""

    type: Literal["file"] = "file"
    path: str
    size: int = Field(description="In bytes.")
    oid: str = Field(description="The sha256 of its bytes.")
