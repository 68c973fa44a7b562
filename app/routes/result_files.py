"""What jobs have delivered, among the files: where OpenAI's clients look for `result_files`."""

from pathlib import PurePosixPath

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.access import JobsReader, Service
from app.contracts.fine_tuning import ResultFile
from app.downloads import RESPONSES, Blob, serve
from app.services import fine_tuning

router = APIRouter(prefix="/v1/files/{job_id}:{path:path}", tags=["For OpenAI's clients"])
"""Before the router of `/v1/files/{file_id}`, which would take these, too."""


@router.get(
    "/content", summary="Download a result file", responses=RESPONSES, response_class=Response
)
@router.head(
    "/content",
    summary="Ask about a result file",
    name="head_result_file",
    responses=RESPONSES,
    response_class=Response,
)
def read_result_file_content(
    job_id: str, path: str, caller: JobsReader, service: Service, request: Request
) -> Response:
    """Give a file's bytes; its entity tag is their sha256."""
    file = fine_tuning.read_result_file(service.database, caller.project_id, job_id, path)
    name = PurePosixPath(file.filename).name
    return serve(request, service.storage, Blob(file.sha256, file.bytes, file.media_type, name))


@router.get("", summary="Read what is known of a result file")
def read_result_file(job_id: str, path: str, caller: JobsReader, service: Service) -> ResultFile:
    """Read a result file's name, size, digest and kind."""
    return fine_tuning.read_result_file(service.database, caller.project_id, job_id, path)
