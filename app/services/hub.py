"""Models read as repositories of the Hugging Face Hub: a projection, with no rows of its own."""

from contextlib import suppress

from app.contracts.hub import Repository, Sibling, TreeFile
from app.contracts.job import FileEntry
from app.contracts.registry import Model
from app.db.session import Database
from app.errors import HubNotFound, NotFound
from app.services import archives
from app.services.models import read_model, read_versions

MAIN = "main"
COMMIT_DIGITS = 40


def read_repository(
    database: Database, caller_project: str, project: str, model_id: str, revision: str
) -> Repository:
    """Describe a model's folder.

    Raises:
        HubNotFound: The caller's project has no such model, or the model no such revision.
    """
    model, commit = _find(database, caller_project, project, model_id, revision)
    name = f"{project}/{model_id}"
    siblings = [Sibling(rfilename=file.path, size=file.bytes) for file in model.files]
    return Repository(id=name, modelId=name, sha=commit, tags=[model.role], siblings=siblings)


def list_tree(
    database: Database, caller_project: str, project: str, model_id: str, revision: str
) -> list[TreeFile]:
    """List all files of a model, by path.

    Raises:
        HubNotFound: As ``read_repository``.
    """
    model, _ = _find(database, caller_project, project, model_id, revision)
    return [TreeFile(path=file.path, size=file.bytes, oid=file.sha256) for file in model.files]


def read_entry(
    database: Database, caller_project: str, project: str, model_id: str, revision: str, path: str
) -> tuple[FileEntry, str]:
    """Read one file of a model, and the commit that it belongs to.

    Raises:
        HubNotFound: As ``read_repository``; also where the model has no file of that path.
    """
    model, commit = _find(database, caller_project, project, model_id, revision)
    for file in model.files:
        if file.path == path:
            return file, commit
    raise HubNotFound(
        "the model has no file of that path; its tree lists them all", "EntryNotFound"
    )


def _find(
    database: Database, caller_project: str, project: str, model_id: str, revision: str
) -> tuple[Model, str]:
    missing = HubNotFound("this project has no model with that id or name", "RepoNotFound")
    if project != caller_project:
        raise missing
    try:
        newest = read_model(database, project, model_id)
    except NotFound:
        raise missing from None
    is_name = model_id == newest.name
    if is_name and revision != MAIN:
        with suppress(NotFound):
            model = read_model(database, project, f"{model_id}@{revision}")
            return model, _commit(model)
    for model in read_versions(database, project, model_id) if is_name else [newest]:
        if revision in {MAIN, _commit(model)}:
            return model, _commit(model)
    others = "a version, an alias or a commit" if is_name else repr(_commit(newest))
    message = f"given the revision {revision[:80]!r}; expected {MAIN!r} or {others}"
    raise HubNotFound(message, "RevisionNotFound")


def _commit(model: Model) -> str:
    return archives.digest(model.files)[:COMMIT_DIGITS]
