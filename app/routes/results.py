"""The files that a job has delivered."""

from pathlib import PurePosixPath

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.access import JobsReader, Service
from app.contracts.job import FileEntry
from app.contracts.registry import Page
from app.downloads import RESPONSES, Blob, serve
from app.services import results

router = APIRouter(prefix="/v1/distillation/jobs/{job_id}/files", tags=["Jobs"])


@router.get("", summary="List a job's files")
def list_job_files(job_id: str, caller: JobsReader, service: Service) -> Page[FileEntry]:
    """List all files of a job, by path; there are none before it has succeeded."""
    return results.list_job_files(service.database, caller.project_id, job_id)


@router.get("/{path:path}", summary="Download a job's file", responses=RESPONSES)
@router.head(
    "/{path:path}", summary="Ask about a job's file", name="head_job_file", responses=RESPONSES
)
def read_job_file(
    job_id: str, path: str, caller: JobsReader, service: Service, request: Request
) -> Response:
    """Give a file's bytes; its entity tag is their sha256."""
    file = results.read_job_file(service.database, caller.project_id, job_id, path)
    name = PurePosixPath(file.path).name
    return serve(request, service.storage, Blob(file.sha256, file.bytes, file.media_type, name))
