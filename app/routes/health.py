"""Whether the service is there, whether it is ready, and what it offers."""

from typing import Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel

from app.access import open_to_all
from app.errors import Unavailable
from app.services.readiness import Readiness

router = APIRouter(tags=["Health"], dependencies=[Depends(open_to_all)])


class Health(BaseModel):
    status: Literal["ok"] = "ok"


@router.get("/healthz", summary="Tell whether the process lives")
async def read_health() -> Health:
    """Answer at once, whatever else is down, and though every thread is busy."""
    return Health()


@router.get("/readyz", summary="Tell whether requests can be served")
async def read_readiness(request: Request) -> Health:
    """Ask the database, the queue and the storage; 503 names those that are not ready."""
    readiness: Readiness = request.app.state.readiness
    failures = await readiness.failures()
    if failures:
        raise Unavailable("; ".join(failures.values()), param=", ".join(failures))
    return Health()


@router.get("/openapi.json", summary="Describe the API", include_in_schema=False)
def read_openapi(request: Request) -> dict[str, Any]:
    """Give the OpenAPI document."""
    schema: dict[str, Any] = request.app.openapi()
    return schema
