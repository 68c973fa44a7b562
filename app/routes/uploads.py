"""Files that come in parts: announce, send, look what has arrived, complete, cancel."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Request

from app.access import FilesWriter, Service
from app.contracts.uploads import MOST_PART_BYTES, Completion, NewUpload, Upload, UploadPart
from app.forms import Form, form_schema, limits_of, receive_form
from app.services import completion, uploads

router = APIRouter(prefix="/v1/uploads", tags=["Files"])


async def receive_part(
    request: Request, caller: FilesWriter, service: Service
) -> AsyncIterator[Form]:
    """Read the form into a temporary file, once the caller is known."""
    limits = await limits_of(service.database, caller.project_id, MOST_PART_BYTES)
    async with receive_form(request, limits, "data") as form:
        yield form


@router.post("", summary="Begin an upload in parts")
def create_upload(new: NewUpload, caller: FilesWriter, service: Service) -> Upload:
    """Announce a file of up to 10 GiB; its parts may come within 24 hours."""
    return uploads.create_upload(service.database, caller.project_id, new)


@router.get("/{upload_id}", summary="Read which parts have arrived")
def read_upload(upload_id: str, caller: FilesWriter, service: Service) -> Upload:
    """Read an upload, to go on with it after a break."""
    return uploads.read_upload(service.database, caller.project_id, upload_id)


@router.post("/{upload_id}/parts", summary="Send a part", openapi_extra=form_schema("data", {}))
def create_upload_part(
    upload_id: str,
    caller: FilesWriter,
    service: Service,
    form: Annotated[Form, Depends(receive_part)],
) -> UploadPart:
    """Keep a part of up to 64 MiB; parts may come in any order, several at once, and again."""
    return uploads.add_part(
        service.database, service.storage, caller.project_id, upload_id, form.content
    )


@router.post("/{upload_id}/complete", summary="Make a file of the parts")
def complete_upload(
    upload_id: str, wanted: Completion, caller: FilesWriter, service: Service
) -> Upload:
    """Make a file of some parts in order, once their size and digests are as they should be."""
    return completion.complete_upload(
        service.database, service.storage, caller.project_id, upload_id, wanted
    )


@router.post("/{upload_id}/cancel", summary="Cancel an upload")
def cancel_upload(upload_id: str, caller: FilesWriter, service: Service) -> Upload:
    """Remove the parts and take no more."""
    return uploads.cancel_upload(service.database, service.storage, caller.project_id, upload_id)
