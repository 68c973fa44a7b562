"""Aliases of the caller's models."""

from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Response

from app.access import JobsWriter, ModelsReader, Service
from app.contracts.registry import ModelAlias, Page
from app.contracts.requests import AliasTarget
from app.listing import After, IfMatch, Limit
from app.services import aliases

router = APIRouter(prefix="/v1/model_aliases", tags=["Models"])


@router.get("", summary="List aliases")
def list_model_aliases(
    caller: ModelsReader,
    service: Service,
    name: Annotated[str | None, Query(description="Those of one name.")] = None,
    after: After = None,
    limit: Limit = 20,
) -> Page[ModelAlias]:
    """List what aliases stand for, by alphabet."""
    return aliases.list_aliases(service.database, caller.project_id, name, after, limit)


@router.get("/{alias_id}", summary="Read an alias")
def read_model_alias(
    alias_id: str, caller: ModelsReader, service: Service, response: Response
) -> ModelAlias:
    """Read what `NAME@ALIAS` stands for; the entity tag is of use to who moves it."""
    alias = aliases.read(service.database, caller.project_id, alias_id)
    response.headers["ETag"] = aliases.entity_tag(alias)
    return alias


@router.put("/{alias_id}", summary="Move an alias")
def move_model_alias(  # noqa: PLR0913, PLR0917 (two conditions)
    alias_id: str,
    body: AliasTarget,
    caller: JobsWriter,
    service: Service,
    response: Response,
    if_match: IfMatch = None,
    if_none_match: Annotated[
        Literal["*"] | None, Header(description="412 where the alias is there already.")
    ] = None,
) -> ModelAlias:
    """Let `NAME@ALIAS` stand for a version of the name, at once for all who read it."""
    alias = aliases.move(
        service.database,
        caller.project_id,
        alias_id,
        body.version,
        if_match=if_match,
        only_new=if_none_match is not None,
    )
    response.headers["ETag"] = aliases.entity_tag(alias)
    return alias


@router.delete("/{alias_id}", summary="Remove an alias", status_code=204)
def remove_model_alias(
    alias_id: str, caller: JobsWriter, service: Service, if_match: IfMatch = None
) -> None:
    """Remove `NAME@ALIAS`; the model stays, and its job can be deleted again."""
    aliases.remove(service.database, caller.project_id, alias_id, if_match=if_match)
