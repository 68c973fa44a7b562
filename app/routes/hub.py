"""The routes that clients of the Hugging Face Hub ask for, over the same models."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.access import HubClient, Service
from app.contracts.hub import Repository, TreeFile
from app.downloads import RESPONSES, serve_entry
from app.services import hub

router = APIRouter(tags=["Hugging Face Hub"])

REPOSITORY = "/api/models/{project}/{model_id}"
FILE = "/{project}/{model_id}/resolve/{revision}/{path:path}"


@router.get(REPOSITORY, summary="Describe a model as a repository")
def read_repository(project: str, model_id: str, caller: HubClient, service: Service) -> Repository:
    """Describe the newest revision, which is the only one."""
    return hub.read_repository(service.database, caller.project_id, project, model_id, hub.MAIN)


@router.get(f"{REPOSITORY}/revision/{{revision}}", summary="Describe a revision of a model")
def read_revision(
    project: str, model_id: str, revision: str, caller: HubClient, service: Service
) -> Repository:
    """Describe a model's folder; the revision is `main` or its commit."""
    return hub.read_repository(service.database, caller.project_id, project, model_id, revision)


@router.get(f"{REPOSITORY}/tree/{{revision}}", summary="List a model's files as a tree")
def list_tree(
    project: str, model_id: str, revision: str, caller: HubClient, service: Service
) -> list[TreeFile]:
    """List all files, those in folders too."""
    return hub.list_tree(service.database, caller.project_id, project, model_id, revision)


@router.get(
    FILE, summary="Download a file of a repository", responses=RESPONSES, response_class=Response
)
@router.head(
    FILE,
    summary="Ask about a file of a repository",
    name="head_entry",
    responses=RESPONSES,
    response_class=Response,
)
def read_entry(  # noqa: PLR0913, PLR0917 (the path's parts)
    project: str,
    model_id: str,
    revision: str,
    path: str,
    caller: HubClient,
    service: Service,
    request: Request,
) -> Response:
    """Give a file's bytes; its entity tag is their sha256."""
    file, commit = hub.read_entry(
        service.database, caller.project_id, project, model_id, revision, path
    )
    answer = serve_entry(request, service.storage, file)
    answer.headers["X-Repo-Commit"] = commit
    return answer
