"""What jobs have delivered, among the files: where OpenAI's clients look for `result_files`."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.access import JobsReader, Service
from app.contracts.fine_tuning import ResultFile
from app.downloads import RESPONSES, serve_entry
from app.services import fine_tuning, results

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
    file = results.read_job_file(service.database, caller.project_id, job_id, path)
    return serve_entry(request, service.storage, file)


@router.get("", summary="Read what is known of a result file")
def read_result_file(job_id: str, path: str, caller: JobsReader, service: Service) -> ResultFile:
    """Read a result file's name, size, digest and kind."""
    return fine_tuning.read_result_file(service.database, caller.project_id, job_id, path)
