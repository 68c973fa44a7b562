"""Uploaded files: send, list, read, preview, delete."""

from collections.abc import AsyncIterator
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request
from starlette.convertors import Convertor, register_url_convertor
from starlette.responses import Response

from app.access import FilesWriter, Service
from app.contracts.preview import Preview
from app.contracts.registry import DeletedFile, File, Page
from app.contracts.uploads import MOST_UPLOAD_BYTES
from app.downloads import RESPONSES, Blob, serve
from app.forms import Form, form_schema, limits_of, receive_form
from app.listing import After
from app.services import deletion, files, previews

FIELDS = {
    "purpose": {"type": "string", "pattern": f"^{files.PURPOSE.pattern}$", "default": "dataset"}
}
FORM = form_schema("file", FIELDS)

router = APIRouter(prefix="/v1/files", tags=["Files"])


class Id(Convertor[str]):
    """A file's id, which has no colon: what has one is a job's own (``result_files.py``)."""

    regex = "[^/:]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


# Named by the paths of the routes below.
register_url_convertor("id", Id())


async def receive_upload(
    request: Request, caller: FilesWriter, service: Service
) -> AsyncIterator[Form]:
    """Read the form into a temporary file, once the caller is known: a stranger fills no disk."""
    limits = await limits_of(service.database, caller.project_id, MOST_UPLOAD_BYTES)
    async with receive_form(request, limits, "file", FIELDS) as form:
        yield form


@router.post("", summary="Upload a file", status_code=201, openapi_extra=FORM)
def create_file(
    caller: FilesWriter, service: Service, form: Annotated[Form, Depends(receive_upload)]
) -> File:
    """Keep a file; what kind it is, its own bytes say."""
    return files.store_file(
        service.database,
        service.storage,
        caller.project_id,
        form.content,
        form.filename,
        form.fields.get("purpose", "dataset"),
    )


@router.get("", summary="List files, newest first")
def list_files(
    caller: FilesWriter,
    service: Service,
    purpose: Annotated[str | None, Query(description="Only files of this purpose.")] = None,
    order: Annotated[files.Order, Query(description="`asc` for the oldest first.")] = "desc",
    after: After = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 20,
) -> Page[File]:
    """List the project's files."""
    return files.list_files(service.database, caller.project_id, purpose, order, after, limit)


@router.get("/{file_id:id}", summary="Read what is known of a file")
def read_file(file_id: str, caller: FilesWriter, service: Service) -> File:
    """Read a file's name, size, digest and kind."""
    return files.read_file(service.database, caller.project_id, file_id)


@router.get("/{file_id:id}/preview", summary="Look at what a file holds")
def preview_file(
    file_id: str,
    caller: FilesWriter,
    service: Service,
    label: Annotated[
        str,
        Query(min_length=1, max_length=200, description="The column whose classes are counted."),
    ] = "label",
    delimiter: Annotated[
        Literal[",", ";", "\t", "|"] | None, Query(description="Guessed where not given.")
    ] = None,
) -> Preview:
    """Show first rows, columns, class counts, and why a job would refuse the file, line by line."""
    file = files.read_file(service.database, caller.project_id, file_id)
    return previews.preview(service.storage, file, label, delimiter or "")


@router.delete("/{file_id:id}", summary="Delete a file")
def delete_file(file_id: str, caller: FilesWriter, service: Service) -> DeletedFile:
    """Delete a file; 409 while a job that has not ended names it."""
    return deletion.delete_file(service.database, caller.project_id, file_id)


@router.get(
    "/{file_id:id}/content", summary="Download a file", responses=RESPONSES, response_class=Response
)
@router.head(
    "/{file_id:id}/content",
    summary="Ask about a file",
    name="head_file_content",
    responses=RESPONSES,
    response_class=Response,
)
def read_file_content(
    file_id: str, caller: FilesWriter, service: Service, request: Request
) -> Response:
    """Give a file's bytes; its entity tag is their sha256."""
    file = files.read_file(service.database, caller.project_id, file_id)
    blob = Blob(file.sha256, file.bytes, file.media_type, file.filename)
    return serve(request, service.storage, blob)
