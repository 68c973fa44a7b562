"""Aliases: words such as `production` that stand for one version of a model's name."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.contracts.registry import ModelAlias, Page
from app.db.models import Model
from app.db.registry import ModelAlias as AliasRow
from app.db.registry import ModelSeries, hold_series
from app.db.session import Database, database_now
from app.errors import NotFound, PreconditionFailed
from app.services.ownership import ends, find_to_name, owned


def list_aliases(database: Database, project_id: str, name: str) -> Page[ModelAlias]:
    """List the aliases of a name, by alphabet."""
    with database.read() as session:
        _require_series(session, project_id, name)
        rows = session.scalars(
            select(AliasRow)
            .where(AliasRow.project_id == project_id, AliasRow.name == name)
            .order_by(AliasRow.alias)
        ).all()
        data = [_view(row, session.get_one(Model, row.model_id)) for row in rows]
    return Page[ModelAlias](data=data, has_more=False, **ends([one.alias for one in data]))


def read_alias(database: Database, project_id: str, name: str, alias: str) -> ModelAlias:
    with database.read() as session:
        row = _existing(session, project_id, name, alias)
        return _view(row, session.get_one(Model, row.model_id))


def move_alias(
    database: Database,
    project_id: str,
    name: str,
    alias: str,
    version: int,
    *,
    if_match: str | None = None,
) -> ModelAlias:
    """Let an alias stand for a version, whether it is new or stood for another.

    ``if_match`` is the entity tag that the mover has seen; an empty one that there was no alias.

    Raises:
        NotFound: The name has no such version.
        PreconditionFailed: The alias has moved since.
    """
    with database.write() as session:
        _require_series(session, project_id, name)
        series = hold_series(session, project_id, name)
        row = session.get(AliasRow, (project_id, name, alias))
        _check_unmoved(row, if_match)
        model = _version(session, project_id, name, version)
        series.num_moves += 1
        if row is None:
            row = AliasRow(project_id=project_id, name=name, alias=alias)
            session.add(row)
        row.model_id, row.move, row.updated_at = model.id, series.num_moves, database_now(session)
        session.flush()
        return _view(row, model)


def remove_alias(
    database: Database, project_id: str, name: str, alias: str, *, if_match: str | None = None
) -> None:
    """Remove an alias; the model that it stood for stays.

    Raises:
        PreconditionFailed: The alias has moved since its entity tag was ``if_match``.
    """
    with database.write() as session:
        _require_series(session, project_id, name)
        hold_series(session, project_id, name)
        row = _existing(session, project_id, name, alias)
        _check_unmoved(row, if_match)
        session.delete(row)


def entity_tag(alias: ModelAlias) -> str:
    return f'"{alias.move}"'


def _existing(session: Session, project_id: str, name: str, alias: str) -> AliasRow:
    row = session.get(AliasRow, (project_id, name, alias))
    if row is None:
        raise NotFound("this project has no model of that name with that alias")
    return row


def _require_series(session: Session, project_id: str, name: str) -> None:
    if session.get(ModelSeries, (project_id, name)) is None:
        raise NotFound("this project has no model of that name")


def _version(session: Session, project_id: str, name: str, version: int) -> Model:
    """Read a version of a name, and keep it from being deleted until the transaction ends."""
    found = session.scalar(
        owned(Model, project_id).where(Model.name == name, Model.version == version)
    )
    if found is None:
        raise NotFound(f"{name!r} has no version {version}; GET /v1/models?name= lists them")
    return find_to_name(session, Model, project_id, found.id)


def _check_unmoved(row: AliasRow | None, if_match: str | None) -> None:
    if if_match is None:
        return
    tag = "" if row is None else f'"{row.move}"'
    if if_match not in {tag, "*"} or (if_match == "*" and row is None):
        seen = "that there was none" if not if_match else if_match
        now = "there is none" if row is None else f"it is {tag}"
        raise PreconditionFailed(f"the alias was seen as {seen}; now {now}: read it again")


def _view(row: AliasRow, model: Model) -> ModelAlias:
    assert model.version is not None  # noqa: S101 (an alias is of a name, and its models have one)
    return ModelAlias(
        name=row.name,
        alias=row.alias,
        version=model.version,
        model_id=row.model_id,
        updated_at=row.updated_at,
        move=row.move,
    )
