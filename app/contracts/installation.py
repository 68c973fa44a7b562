"""The workers and what waits for them, as a client sees it."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from app.contracts.job import Status, WaitingReason


class Worker(BaseModel):
    """A worker process that has been there in the last day."""

    object: Literal["worker"] = "worker"
    id: str
    hostname: str
    gpus: int
    started_at: datetime
    seen_at: datetime
    is_there: bool = Field(description="Whether it was seen in the last minute.")
    is_busy: bool = Field(description="Whether it runs a job, of whichever project.")
    job_id: str | None = Field(description="The job it runs, where that is of the key's project.")


class QueueState(BaseModel):
    """How many jobs of a project there are, and why some wait."""

    object: Literal["queue"] = "queue"
    jobs: dict[Status, int] = Field(description="By status, with zeros.")
    waiting: dict[WaitingReason, int] = Field(description="Queued ones by reason, with zeros.")
    oldest_queued_at: datetime | None = Field(description="Since when the first of them waits.")
