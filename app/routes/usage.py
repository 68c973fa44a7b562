"""What the caller's project uses of its quotas."""

from fastapi import APIRouter

from app.access import JobsReader, Service
from app.contracts.projects import Usage
from app.services import quotas

router = APIRouter(prefix="/v1/usage", tags=["Projects"])


@router.get("", summary="Read what this project uses")
def read_usage(caller: JobsReader, service: Service) -> Usage:
    """Read what is queued, running and stored, and how much may be."""
    return quotas.read_usage(service.database, caller.project_id)
