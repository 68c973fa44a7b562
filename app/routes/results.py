"""What a job has delivered: its files, and its report."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.access import JobsReader, Service
from app.contracts.job import FileEntry
from app.contracts.registry import Page
from app.contracts.report import FullReport
from app.downloads import RESPONSES, serve_entry
from app.services import results

PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'; sandbox"
)
"""The report is shown from this service's origin, so it may load and run nothing."""

router = APIRouter(prefix="/v1/distillation/jobs/{job_id}", tags=["Jobs"])


@router.get("/files", summary="List a job's files")
def list_job_files(job_id: str, caller: JobsReader, service: Service) -> Page[FileEntry]:
    """List all files of a job, by path; of a failed job its last good model."""
    return results.list_job_files(service.database, caller.project_id, job_id)


@router.get(
    "/files/{path:path}",
    summary="Download a job's file",
    responses=RESPONSES,
    response_class=Response,
)
@router.head(
    "/files/{path:path}",
    summary="Ask about a job's file",
    name="head_job_file",
    responses=RESPONSES,
    response_class=Response,
)
def read_job_file(
    job_id: str, path: str, caller: JobsReader, service: Service, request: Request
) -> Response:
    """Give a file's bytes; its entity tag is their sha256."""
    file = results.read_job_file(service.database, caller.project_id, job_id, path)
    return serve_entry(request, service.storage, file)


@router.get("/report", summary="Read a job's report", response_model=FullReport)
def read_report(job_id: str, caller: JobsReader, service: Service) -> Response:
    """Give the whole report, of which the job's `result` is the short form."""
    content = results.read_report(
        service.database, service.storage, caller.project_id, job_id, "report.json"
    )
    return Response(content, media_type="application/json")


@router.get(
    "/report.html",
    summary="See a job's report",
    response_class=Response,
    responses={200: {"content": {"text/html": {}}, "description": "A page that is whole."}},
)
def read_report_page(job_id: str, caller: JobsReader, service: Service) -> Response:
    """Give the report as a page that needs nothing else, for a browser to show."""
    content = results.read_report(
        service.database, service.storage, caller.project_id, job_id, "report.html"
    )
    headers = {"Content-Security-Policy": PAGE_POLICY}
    return Response(content, media_type="text/html", headers=headers)
