"""Models read as repositories of the Hugging Face Hub: a projection, with no rows of its own."""

from contextlib import suppress

from sqlalchemy.orm import Session

from app.contracts.hub import Repository, Sibling, TreeFile
from app.contracts.job import FileEntry
from app.contracts.registry import Model
from app.db.models import Model as ModelRow
from app.db.session import Database
from app.errors import HubNotFound, NotFound
from app.services.models import views
from app.services.naming import find_model
from app.services.ownership import owned

MAIN = "main"


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
    with database.read() as session:
        try:
            newest = find_model(session, project, model_id)
        except NotFound:
            raise missing from None
        found = newest if revision == MAIN else _at(session, newest, model_id, revision)
        assert found.commit_id is not None  # noqa: S101 (its job has succeeded)
        return views(session, [found])[0], found.commit_id


def _at(session: Session, newest: ModelRow, model_id: str, revision: str) -> ModelRow:
    """Return the model at a commit, a version or an alias of a name; of an id there is one commit.

    Raises:
        HubNotFound: There is none.
    """
    if revision == newest.commit_id:
        return newest
    others = repr(newest.commit_id)
    if model_id == newest.name:
        others = "a version, an alias or a commit"
        with suppress(NotFound):
            return find_model(session, newest.project_id, f"{model_id}@{revision}")
        versions = owned(ModelRow, newest.project_id).where(ModelRow.name == model_id)
        at_commit = versions.where(ModelRow.commit_id == revision)
        model = session.scalar(at_commit.order_by(ModelRow.version.desc()).limit(1))
        if model is not None:
            return model
    message = f"given the revision {revision[:80]!r}; expected {MAIN!r} or {others}"
    raise HubNotFound(message, "RevisionNotFound")
