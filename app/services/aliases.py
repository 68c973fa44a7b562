"""Aliases: words such as `production` that stand for one version of a model's name."""

from sqlalchemy import Row, Select, select, tuple_
from sqlalchemy.orm import Session

from app.contracts.naming import LONGEST_ALIAS, NEVER_ALIASES, parse
from app.contracts.registry import ModelAlias, Page
from app.db.models import Model
from app.db.registry import ModelAlias as AliasRow
from app.db.registry import ModelSeries, hold_series
from app.db.session import Database, database_now
from app.entity_tags import ANY, named
from app.errors import BadRequest, NotFound, PreconditionFailed
from app.services import audit
from app.services.ownership import ends, find_to_name, owned


def list_aliases(
    database: Database, project_id: str, name: str | None, after: str | None, limit: int
) -> Page[ModelAlias]:
    """List the aliases of one name or of all, by alphabet."""
    query = _aliases(project_id)
    if name is not None:
        query = query.where(AliasRow.name == name)
    if after is not None:
        last_name, _, last_alias = after.partition("@")
        query = query.where(tuple_(AliasRow.name, AliasRow.alias) > (last_name, last_alias))
    with database.read() as session:
        rows = session.execute(query.order_by(AliasRow.name, AliasRow.alias).limit(limit + 1)).all()
    data = [_view(*row) for row in rows[:limit]]
    return Page[ModelAlias](
        data=data, has_more=len(rows) > limit, **ends([alias.id for alias in data])
    )


def read(database: Database, project_id: str, alias_id: str) -> ModelAlias:
    with database.read() as session:
        return _view(*_require(session, project_id, alias_id))


def move(
    database: Database,
    project_id: str,
    alias_id: str,
    version: int,
    *,
    if_match: str | None = None,
    only_new: bool = False,
) -> ModelAlias:
    """Let an alias stand for a version, whether it is new or stood for another.

    ``if_match`` is an entity tag that the alias must still have; ``only_new`` asks for a new one.

    Raises:
        BadRequest: The word cannot be an alias.
        NotFound: The project has no models of that name, or the name no such version.
        PreconditionFailed: The alias has moved since, or is there already.
    """
    name = alias_id.partition("@")[0]
    with database.write() as session:
        if parse(name) is None or session.get(ModelSeries, (project_id, name)) is None:
            raise NotFound("this project has no models of the name before the @")
        alias = _word(alias_id)
        series = hold_series(session, project_id, name)
        row = session.get(AliasRow, (project_id, name, alias))
        _check_unmoved(row, if_match, only_new=only_new)
        model = _hold_version(session, project_id, name, version)
        series.num_moves += 1
        now = database_now(session)
        row = row or AliasRow(project_id=project_id, name=name, alias=alias)
        row.model_id, row.move, row.updated_at = model.id, series.num_moves, now
        session.add(row)
        audit.note(session, project_id, "model_alias.move", alias_id)
        return _view(row, model)


def remove(
    database: Database, project_id: str, alias_id: str, *, if_match: str | None = None
) -> None:
    """Remove an alias; the model that it stood for stays.

    Raises:
        NotFound: There is no such alias.
        PreconditionFailed: It has moved since its entity tag was ``if_match``.
    """
    with database.write() as session:
        seen, _ = _require(session, project_id, alias_id)
        hold_series(session, project_id, seen.name)
        row, _ = _require(session, project_id, alias_id)
        _check_unmoved(row, if_match, only_new=False)
        session.delete(row)
        audit.note(session, project_id, "model_alias.remove", alias_id)


def entity_tag(alias: ModelAlias) -> str:
    return f'"{alias.move}"'


def _aliases(project_id: str) -> Select[AliasRow, Model]:
    return (
        select(AliasRow, Model)
        .join(Model, Model.id == AliasRow.model_id)
        .where(AliasRow.project_id == project_id)
    )


def _require(session: Session, project_id: str, alias_id: str) -> Row[AliasRow, Model]:
    reference = parse(alias_id)
    row = None
    if reference is not None and reference.alias is not None:
        query = _aliases(project_id).where(
            AliasRow.name == reference.name, AliasRow.alias == reference.alias
        )
        row = session.execute(query.execution_options(populate_existing=True)).one_or_none()
    if row is None:
        raise NotFound("this project has no such alias; expected NAME@ALIAS as GET lists them")
    return row


def _word(alias_id: str) -> str:
    reference = parse(alias_id)
    if reference is None or reference.alias is None:
        raise BadRequest(
            f"given {alias_id!r}; expected NAME@ALIAS, an alias being 1 to {LONGEST_ALIAS} "
            f"letters, digits, '-' or '_', a letter first, and none of "
            f"{', '.join(sorted(NEVER_ALIASES))}, which always are the newest version"
        )
    return reference.alias


def _check_unmoved(row: AliasRow | None, if_match: str | None, *, only_new: bool) -> None:
    now = "there is none" if row is None else f'its entity tag is "{row.move}"'
    if only_new and row is not None:
        raise PreconditionFailed(f"given If-None-Match: *; the alias is there already: {now}")
    if if_match is None:
        return
    if row is None or named(if_match).isdisjoint({ANY, f'"{row.move}"'}):
        raise PreconditionFailed(
            f"given If-Match: {if_match}; by now {now}; read the alias again and see whether it is "
            "still to move"
        )


def _hold_version(session: Session, project_id: str, name: str, version: int) -> Model:
    """Read a version of a name, and keep it from being deleted until the transaction ends."""
    query = owned(Model, project_id).where(Model.name == name, Model.version == version)
    found = session.scalar(query)
    if found is None:
        raise NotFound(f"{name!r} has no version {version}; GET /v1/models?name={name} lists them")
    return find_to_name(session, Model, project_id, found.id)


def _view(alias: AliasRow, model: Model) -> ModelAlias:
    return ModelAlias.model_validate(
        {
            "id": f"{alias.name}@{alias.alias}",
            "name": alias.name,
            "alias": alias.alias,
            "version": model.version,
            "model_id": model.id,
            "move": alias.move,
            "updated_at": alias.updated_at,
        }
    )
