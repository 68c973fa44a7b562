"""Projects as a client sees them: whose things are kept apart, and how much each may have."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from app.contracts.strict import Strict

LARGEST = 2**63 - 1

ProjectName = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$",
        description="At most 64 letters, digits, `.`, `_` and `-`; no two projects share one.",
    ),
]
Most = Annotated[int | None, Field(ge=0, le=LARGEST)]


class Quotas(Strict):
    """The most that a project may have; `null` is no limit."""

    queued_jobs: Most = Field(None, description="Jobs that wait; one more is refused.")
    running_jobs: Most = Field(None, description="Jobs that run; one more waits.")
    stored_bytes: Most = Field(
        None,
        description="Bytes of files, results and knowledge, the same bytes counted once, and of "
        "parts of uploads; what is deleted counts until it is collected. An upload over it is "
        "refused, and so are jobs once it is reached.",
    )


class Project(BaseModel):
    """Whose jobs, files, models and keys; nothing is seen across projects."""

    object: Literal["project"] = "project"
    id: str
    name: str
    quotas: Quotas
    created_at: datetime


class NewProject(Strict):
    """A project to be made."""

    name: ProjectName
    quotas: Quotas = Quotas()


class ProjectChanges(Strict):
    """What is to change of a project; what is not given stays, quotas one by one."""

    name: ProjectName | None = Field(None, description="Stays where it is `null`.")
    quotas: Quotas = Quotas()


class UsageOf(BaseModel):
    """How much there is of one thing, and the most that there may be."""

    used: int
    most: int | None = Field(description="`null` for no limit.")


class Usage(BaseModel):
    """What a project uses now."""

    object: Literal["usage"] = "usage"
    project_id: str
    queued_jobs: UsageOf
    running_jobs: UsageOf
    stored_bytes: UsageOf
