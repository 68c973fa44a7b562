"""The audit log: who changed what."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.access import Admin, Service, require_scope
from app.contracts.audit import AuditEntry, Outcome
from app.contracts.registry import Page
from app.listing import After, Bound, Limit
from app.services import audit

router = APIRouter(prefix="/v1/audit", tags=["Audit log"])


@router.get("", summary="List audit entries, newest first")
def list_audit_entries(  # noqa: PLR0913 (query parameters)
    caller: Admin,
    service: Service,
    *,
    after: After = None,
    limit: Limit = 20,
    action: Annotated[str | None, Query(description="As `job.cancel`.")] = None,
    key_id: Annotated[str | None, Query(description="Whose requests.")] = None,
    target_id: Annotated[str | None, Query(description="Of what was changed.")] = None,
    outcome: Outcome | None = None,
    since: Bound | None = None,
    until: Bound | None = None,
    everywhere: Annotated[
        bool,
        Query(description="All projects', and requests without a key; needs `projects:admin`."),
    ] = False,
) -> Page[AuditEntry]:
    """List who changed what in this project, and whose requests were refused."""
    wanted = audit.Wanted(action, key_id, target_id, outcome, since, until)
    if everywhere:
        require_scope(caller, "projects:admin")
        return audit.list_all(service.database, wanted, after, limit)
    return audit.list_entries(service.database, caller.project_id, wanted, after, limit)
