"""Models: those that jobs have made, and a client's own."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from app.access import JobsWriter, ModelsReader, Service
from app.contracts.registration import NewModel
from app.contracts.registry import DeletedModel, Model, Page
from app.contracts.requests import ModelEdit
from app.downloads import RESPONSES, serve_entry, serve_made
from app.entity_tags import digest_of
from app.listing import After, IfMatch, Limit
from app.repeats import CREATED, Again, created
from app.services import archives, deletion, models, registration

ARCHIVE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The zip.", "content": {"application/zip": {}}},
    304: {"description": "The client's copy is the same."},
}

PATH = "/v1/models"

router = APIRouter(prefix=PATH, tags=["Models"])


@router.post(
    "",
    summary="Register a model",
    status_code=201,
    response_model=Model,
    responses=CREATED,
)
def register_model(new: NewModel, caller: JobsWriter, service: Service, again: Again) -> Response:
    """Make a teacher of uploaded weights, once a look has found in them what is said of them."""
    answer = registration.register(service.database, service.storage, caller.project_id, new, again)
    return created(answer, PATH)


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
    wanted = models.Wanted(name, role)
    return models.list_models(service.database, caller.project_id, wanted, after, limit)


@router.get("/{model_id}", summary="Read a model")
def read_model(model_id: str, caller: ModelsReader, service: Service, response: Response) -> Model:
    """Read a model, by its id, `NAME`, `NAME@VERSION` or `NAME@ALIAS`, with its list of files."""
    model = models.read_model(service.database, caller.project_id, model_id)
    response.headers["ETag"] = models.entity_tag(model)
    return model


@router.patch("/{model_id}", summary="Edit a model")
def edit_model(
    model_id: str,
    body: ModelEdit,
    caller: JobsWriter,
    service: Service,
    response: Response,
    if_match: IfMatch = None,
) -> Model:
    """Change a model's description or metadata."""
    model = models.edit_model(service.database, caller.project_id, model_id, body, if_match)
    response.headers["ETag"] = models.entity_tag(model)
    return model


@router.delete("/{model_id}", summary="Delete a model")
def delete_model(model_id: str, caller: JobsWriter, service: Service) -> DeletedModel:
    """Delete a model and its files; 409 while a job that has not ended or an alias names it."""
    return deletion.delete_model(service.database, caller.project_id, model_id)


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
    file = models.read_model_file(service.database, caller.project_id, model_id, path)
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
    model = models.read_model(service.database, caller.project_id, model_id)
    content = archives.stream(service.storage, model.files)
    digest = digest_of((file.path, file.sha256) for file in model.files)
    return serve_made(request, content, digest, "application/zip", f"{model.id}.zip")
