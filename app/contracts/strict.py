"""The rules every contract keeps: no unknown field, no change after the check, finite numbers."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

FileId = Annotated[
    str,
    Field(pattern=r"^file-[A-Za-z0-9-]{1,64}$", description="An uploaded file: POST /v1/files."),
]
ModelId = Annotated[
    str,
    Field(pattern=r"^model-[A-Za-z0-9-]{1,64}$", description="A registered model: GET /v1/models."),
]
KnowledgeId = Annotated[
    str,
    Field(
        pattern=r"^knowledge-[A-Za-z0-9-]{1,64}$",
        description="Collected knowledge: GET /v1/knowledge.",
    ),
]


class Strict(BaseModel):
    """A contract: refuses unknown fields and infinite numbers, and cannot be changed."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, serialize_by_alias=True
    )
