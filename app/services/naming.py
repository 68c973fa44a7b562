"""Finds models by their ids and by their names."""

from collections.abc import Sequence
from contextlib import suppress

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app.contracts.job import JobSpec
from app.contracts.naming import parse
from app.contracts.references import named_models, with_models
from app.db.models import Model
from app.db.registry import ModelAlias
from app.errors import NotFound
from app.services.ownership import owned

MOST_NAMES = 1000


def find_model(session: Session, project_id: str, named: str) -> Model:
    """Read the one model of that id, `NAME`, `NAME@VERSION` or `NAME@ALIAS`; the newest of a name.

    Raises:
        NotFound: The project has no such model, version or alias.
    """
    model = session.scalar(_query(project_id, named).order_by(Model.version.desc()).limit(1))
    if model is None:
        raise NotFound(
            "this project has no such model; expected its id, or NAME, NAME@VERSION or NAME@ALIAS"
        )
    return model


def resolve(session: Session, project_id: str, spec: JobSpec) -> JobSpec:
    """Return a spec that names by their ids the models that it names by names and aliases.

    A name that there is not stays: checking the spec tells it with all else that is wrong.
    """
    ids = {}
    for pointer, named in named_models(spec).items():
        if parse(named) is not None:
            with suppress(NotFound):
                ids[pointer] = find_model(session, project_id, named).id
    return with_models(spec, ids)


def names_of_models(session: Session, project_id: str) -> list[str]:
    """Return names that models of a project have, of very many some, to find the nearest of."""
    names = owned(Model, project_id).with_only_columns(Model.name).where(Model.name.is_not(None))
    return [name for name in session.scalars(names.distinct().limit(MOST_NAMES)) if name]


def aliases_of(session: Session, model_ids: Sequence[str]) -> dict[str, list[str]]:
    """Read the aliases that stand for models, each model's by alphabet."""
    aliases: dict[str, list[str]] = {}
    rows = session.scalars(
        select(ModelAlias).where(ModelAlias.model_id.in_(model_ids)).order_by(ModelAlias.alias)
    )
    for row in rows:
        aliases.setdefault(row.model_id, []).append(row.alias)
    return aliases


def _query(project_id: str, named: str) -> Select[Model]:
    reference = parse(named)
    models = owned(Model, project_id)
    if reference is None:
        return models.where(Model.id == named)
    models = models.where(Model.name == reference.name)
    if reference.version is not None:
        return models.where(Model.version == reference.version)
    if reference.alias is not None:
        models = models.join(ModelAlias, ModelAlias.model_id == Model.id)
        return models.where(ModelAlias.alias == reference.alias)
    return models
