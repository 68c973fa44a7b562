"""Projects and their keys, for whoever runs the installation."""

from fastapi import APIRouter

from app.access import Keys, ProjectsAdmin, Service
from app.contracts.projects import NewProject, Project, ProjectChanges, Usage
from app.contracts.registry import ApiKey, Page
from app.contracts.requests import NewApiKey, NewApiKeyWithSecret
from app.listing import After, Limit
from app.services import keys, projects, quotas

router = APIRouter(prefix="/v1/projects", tags=["Projects"])


@router.post("", summary="Make a project", status_code=201)
def create_project(body: NewProject, _caller: ProjectsAdmin, service: Service) -> Project:
    """Make a project; the first key is made by `POST /v1/projects/{id}/api_keys`."""
    return projects.create_project(service.database, body)


@router.get("", summary="List projects, newest first")
def list_projects(
    _caller: ProjectsAdmin, service: Service, after: After = None, limit: Limit = 20
) -> Page[Project]:
    """List all projects of the installation."""
    return projects.list_projects(service.database, after, limit)


@router.get("/{project_id}", summary="Read a project")
def read_project(project_id: str, _caller: ProjectsAdmin, service: Service) -> Project:
    """Read a project's name and quotas."""
    return projects.read_project(service.database, project_id)


@router.patch("/{project_id}", summary="Change a project")
def update_project(
    project_id: str, body: ProjectChanges, _caller: ProjectsAdmin, service: Service
) -> Project:
    """Change name and quotas; what is not given stays, and a quota of `null` is lifted."""
    return projects.update_project(service.database, project_id, body)


@router.get("/{project_id}/usage", summary="Read what a project uses")
def read_project_usage(project_id: str, _caller: ProjectsAdmin, service: Service) -> Usage:
    """Read what a project has queued, running and stored, and how much it may."""
    project = projects.read_project(service.database, project_id)
    return quotas.read_usage(service.database, project.id)


@router.post("/{project_id}/api_keys", summary="Make a project's key", status_code=201)
def create_project_key(
    project_id: str, body: NewApiKey, caller: ProjectsAdmin, service: Service
) -> NewApiKeyWithSecret:
    """Make a key for a project; its secret is in this answer and nowhere else."""
    project = projects.read_project(service.database, project_id)
    key, secret = keys.create_key_in(service.database, service.pepper, project.id, body, caller)
    return NewApiKeyWithSecret(**key.model_dump(), secret=secret)


@router.get("/{project_id}/api_keys", summary="List a project's keys, newest first")
def list_project_keys(
    project_id: str,
    _caller: ProjectsAdmin,
    service: Service,
    after: After = None,
    limit: Limit = 20,
) -> Page[ApiKey]:
    """List a project's keys, revoked ones too, without their secrets."""
    project = projects.read_project(service.database, project_id)
    return keys.list_keys(service.database, project.id, after, limit)


@router.delete("/{project_id}/api_keys/{key_id}", summary="Revoke a project's key")
def revoke_project_key(
    project_id: str, key_id: str, _caller: ProjectsAdmin, service: Service, known: Keys
) -> ApiKey:
    """Make a key useless from now on, other API processes within a second; it stays in the list."""
    revoked = keys.revoke_key(service.database, project_id, key_id)
    known.forget_all()
    return revoked
