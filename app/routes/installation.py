"""The workers, and what waits for them."""

from fastapi import APIRouter

from app.access import Admin, JobsReader, Service
from app.contracts.installation import QueueState, Worker
from app.contracts.registry import Page
from app.services import installation

router = APIRouter(prefix="/v1", tags=["Workers"])


@router.get("/workers", summary="List the workers")
def list_workers(caller: Admin, service: Service) -> Page[Worker]:
    """List the workers of the whole installation, by host; always whole."""
    return installation.list_workers(service.database, caller.project_id)


@router.get("/queue", summary="Read the state of the queue")
def read_queue(caller: JobsReader, service: Service) -> QueueState:
    """Count the project's jobs by status, and those that wait by the reason why."""
    return installation.read_queue(service.database, caller.project_id)
