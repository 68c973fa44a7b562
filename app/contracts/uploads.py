"""A file that comes in parts, in the shape that OpenAI's clients know."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from app.contracts.registry import File
from app.contracts.strict import Strict

MOST_UPLOAD_BYTES = 10 * 1024**3
MOST_PART_BYTES = 64 * 1024**2
MOST_PARTS = 5000

UploadStatus = Literal["pending", "completed", "cancelled", "expired"]


class NewUpload(Strict):
    """What is going to come."""

    filename: str
    purpose: str = "dataset"
    bytes: int = Field(ge=1, le=MOST_UPLOAD_BYTES, description="Of the whole file.")
    mime_type: str = Field(
        "application/octet-stream",
        max_length=255,
        description="Not used: what kind a file is, its own bytes say.",
    )


class Completion(Strict):
    """Which parts are the file, in order, and what is known of it as a whole."""

    part_ids: list[Annotated[str, Field(max_length=64)]] = Field(
        min_length=1, max_length=MOST_PARTS
    )
    sha256: str | None = Field(
        None, pattern="^[0-9a-f]{64}$", description="Of the whole file, in lower-case hex."
    )
    md5: str | None = Field(
        None, pattern="^[0-9a-f]{32}$", description="As `sha256`; OpenAI's clients know this one."
    )


class UploadPart(BaseModel):
    """A part that has arrived; the same bytes sent again are the same part."""

    object: Literal["upload.part"] = "upload.part"
    id: str
    upload_id: str
    bytes: int
    sha256: str
    created_at: int = Field(description="In Unix seconds.")


class Upload(BaseModel):
    """An upload in parts."""

    object: Literal["upload"] = "upload"
    id: str
    filename: str
    purpose: str
    bytes: int = Field(description="Of the whole file, as announced.")
    status: UploadStatus
    created_at: int = Field(description="In Unix seconds.")
    expires_at: int = Field(description="In Unix seconds; parts that came are then removed.")
    parts: list[UploadPart] = Field(
        description="That have arrived, in the order in which they did."
    )
    file: File | None = Field(None, description="What the parts have become.")
