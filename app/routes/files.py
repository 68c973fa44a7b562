"""Uploaded files: send, list, read."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, BinaryIO

from fastapi import APIRouter, Depends, Query, Request
from starlette.datastructures import UploadFile
from starlette.responses import Response
from starlette.types import Message, Receive

from app.access import FilesWriter, Service
from app.contracts.registry import File, Page
from app.downloads import RESPONSES, Blob, serve
from app.errors import InvalidPayload, Problem, TooLarge
from app.services import files

MOST_UPLOAD_BYTES = 10 * 1024**3

FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "purpose": {"type": "string", "default": "dataset"},
                    },
                }
            }
        },
    }
}

router = APIRouter(prefix="/v1/files", tags=["Files"])


@dataclass(frozen=True)
class Upload:
    content: BinaryIO
    filename: str
    purpose: str


async def receive_upload(request: Request, _caller: FilesWriter) -> AsyncIterator[Upload]:
    """Read the form into a temporary file, once the caller is known: a stranger fills no disk."""
    limited = Request(request.scope, _limited(request))
    async with limited.form(max_files=1, max_fields=8, max_part_size=1024) as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            message = "expected a form (multipart/form-data) with a file in its field 'file'"
            raise InvalidPayload([Problem("/file", "missing", message)])
        yield Upload(file.file, file.filename or "", str(form.get("purpose", "dataset")))


@router.post("", summary="Upload a file", status_code=201, openapi_extra=FORM)
def create_file(
    caller: FilesWriter, service: Service, upload: Annotated[Upload, Depends(receive_upload)]
) -> File:
    """Keep a file; what kind it is, its own bytes say."""
    return files.store_file(
        service.database,
        service.storage,
        caller.project_id,
        upload.content,
        upload.filename,
        upload.purpose,
    )


@router.get("", summary="List files, newest first")
def list_files(
    caller: FilesWriter,
    service: Service,
    after: Annotated[str | None, Query(description="The last id of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Page[File]:
    """List the project's files."""
    return files.list_files(service.database, caller.project_id, after, limit)


@router.get("/{file_id}", summary="Read what is known of a file")
def read_file(file_id: str, caller: FilesWriter, service: Service) -> File:
    """Read a file's name, size, digest and kind."""
    return files.read_file(service.database, caller.project_id, file_id)


@router.get(
    "/{file_id}/content", summary="Download a file", responses=RESPONSES, response_class=Response
)
@router.head(
    "/{file_id}/content",
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


def _limited(request: Request) -> Receive:
    """Receive a request's body up to the most that is taken."""
    received = 0

    async def receive() -> Message:
        nonlocal received
        message = await request.receive()
        received += len(message.get("body", b""))
        if received > MOST_UPLOAD_BYTES:
            raise TooLarge(f"the upload has more than {MOST_UPLOAD_BYTES} bytes")
        return message

    return receive
