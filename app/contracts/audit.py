"""The audit log as a client sees it."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

Outcome = Literal["done", "refused"]


class AuditEntry(BaseModel):
    """One change; or refused requests of one caller, a minute's at a time."""

    object: Literal["audit_entry"] = "audit_entry"
    id: str
    project_id: str | None = Field(description="`null` where no known key was shown.")
    key_id: str | None = Field(
        description="Whose request it was; `null` for an operator on the service's own machine, "
        "or where no known key was shown."
    )
    action: str = Field(
        description="As `job.cancel`; of a refusal, the `error.code` that was answered."
    )
    target_id: str | None = Field(description="What was changed.")
    request_id: str | None = Field(description="The `X-Request-Id` of the request.")
    address: str | None = Field(description="Where the request came from.")
    outcome: Outcome
    count: int = Field(description="How many requests; 1 for a change.")
    created_at: datetime
