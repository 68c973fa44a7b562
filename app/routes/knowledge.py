"""Collected knowledge: list, read, delete."""

from fastapi import APIRouter

from app.access import JobsWriter, ModelsReader, Service
from app.contracts.knowledge import Knowledge
from app.contracts.registry import Page
from app.listing import After, Limit
from app.services import deletion, knowledge

router = APIRouter(prefix="/v1/knowledge", tags=["Knowledge"])


@router.get("", summary="List knowledge, newest first")
def list_knowledge(
    caller: ModelsReader,
    service: Service,
    after: After = None,
    limit: Limit = 20,
) -> Page[Knowledge]:
    """List what the project's teachers were found to know of its data."""
    return knowledge.list_knowledge(service.database, caller.project_id, after, limit)


@router.get("/{knowledge_id}", summary="Read what is known of knowledge")
def read_knowledge(knowledge_id: str, caller: ModelsReader, service: Service) -> Knowledge:
    """Read what knowledge is of, how it is kept, and how many jobs rely on it."""
    return knowledge.read_knowledge(service.database, caller.project_id, knowledge_id)


@router.delete("/{knowledge_id}", summary="Delete knowledge", status_code=204)
def delete_knowledge(knowledge_id: str, caller: JobsWriter, service: Service) -> None:
    """Delete knowledge that no job relies on; 409 while one that has not ended does."""
    deletion.delete_knowledge(service.database, caller.project_id, knowledge_id)
