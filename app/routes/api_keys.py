"""API keys of the caller's project."""

from fastapi import APIRouter

from app.access import Admin, Keys, Service
from app.contracts.registry import ApiKey, Page
from app.contracts.requests import NewApiKey, NewApiKeyWithSecret
from app.listing import After, Limit
from app.services import keys

router = APIRouter(prefix="/v1/api_keys", tags=["API keys"])


@router.post("", summary="Make an API key", status_code=201)
def create_api_key(body: NewApiKey, caller: Admin, service: Service) -> NewApiKeyWithSecret:
    """Make a key for the same project; its secret is in this answer and nowhere else."""
    key, secret = keys.create_key_in(
        service.database, service.pepper, caller.project_id, body, caller
    )
    return NewApiKeyWithSecret(**key.model_dump(), secret=secret)


@router.get("", summary="List API keys, newest first")
def list_api_keys(
    caller: Admin,
    service: Service,
    after: After = None,
    limit: Limit = 20,
) -> Page[ApiKey]:
    """List the project's keys, revoked ones too, without their secrets."""
    return keys.list_keys(service.database, caller.project_id, after, limit)


@router.delete("/{key_id}", summary="Revoke an API key")
def revoke_api_key(key_id: str, caller: Admin, service: Service, known: Keys) -> ApiKey:
    """Make a key useless from now on, other API processes within a second; it stays in the list."""
    revoked = keys.revoke_key(service.database, caller.project_id, key_id)
    known.forget_all()
    return revoked
