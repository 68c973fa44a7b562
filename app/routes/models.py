"""The models that jobs have made."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from app.access import ModelsReader, Service
from app.contracts.registry import Model, Page
from app.downloads import RESPONSES, serve_entry, serve_made
from app.entity_tags import digest_of
from app.listing import After, Limit
from app.services import archives, results

ARCHIVE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The zip.", "content": {"application/zip": {}}},
    304: {"description": "The client's copy is the same."},
}

router = APIRouter(prefix="/v1/models", tags=["Models"])


@router.get("", summary="List models, newest first")
def list_models(
    caller: ModelsReader,
    service: Service,
    after: After = None,
    limit: Limit = 20,
    name: Annotated[str | None, Query(description="All versions of one name.")] = None,
    role: Literal["teacher", "student"] | None = None,
) -> Page[Model]:
    """List the project's teachers and students."""
    wanted = results.Wanted(name, role)
    return results.list_models(service.database, caller.project_id, wanted, after, limit)


@router.get("/{model_id}", summary="Read a model")
def read_model(model_id: str, caller: ModelsReader, service: Service) -> Model:
    """Read a model, by its id, `NAME`, `NAME@VERSION` or `NAME@ALIAS`, with its list of files."""
    return results.read_model(service.database, caller.project_id, model_id)


@router.get(
    "/{model_id}/files/{path:path}",
    summary="Download a model's file",
    responses=RESPONSES,
    response_class=Response,
)
@router.head(
    "/{model_id}/files/{path:path}",
    summary="Ask about a model's file",
    name="head_model_file",
    responses=RESPONSES,
    response_class=Response,
)
def read_model_file(
    model_id: str, path: str, caller: ModelsReader, service: Service, request: Request
) -> Response:
    """Give a file's bytes; its entity tag is their sha256."""
    file = results.read_model_file(service.database, caller.project_id, model_id, path)
    return serve_entry(request, service.storage, file)


@router.get("/{model_id}/download", summary="Download a model as a zip", responses=ARCHIVE)
@router.head(
    "/{model_id}/download",
    summary="Ask about a model's zip",
    name="head_model_archive",
    responses=ARCHIVE,
)
def download_model(
    model_id: str, caller: ModelsReader, service: Service, request: Request
) -> Response:
    """Give all files of a model in one zip, whose bytes are the same each time."""
    model = results.read_model(service.database, caller.project_id, model_id)
    content = archives.stream(service.storage, model.files)
    digest = digest_of((file.path, file.sha256) for file in model.files)
    return serve_made(request, content, digest, "application/zip", f"{model.id}.zip")
