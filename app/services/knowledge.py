"""Collected knowledge as a client sees it: listed and read."""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.contracts.job import FINAL
from app.contracts.knowledge import Knowledge
from app.contracts.registry import Page
from app.db.models import Job
from app.db.models import Knowledge as KnowledgeRow
from app.db.session import Database
from app.services.ownership import ends, find, newest, owned


def list_knowledge(
    database: Database, project_id: str, after: str | None, limit: int
) -> Page[Knowledge]:
    with database.read() as session:
        query = owned(KnowledgeRow, project_id)
        rows, has_more = newest(session, query, KnowledgeRow, after, limit)
        data = _views(session, rows)
    return Page[Knowledge](data=data, has_more=has_more, **ends([one.id for one in data]))


def read_knowledge(database: Database, project_id: str, knowledge_id: str) -> Knowledge:
    with database.read() as session:
        return _views(session, [find(session, KnowledgeRow, project_id, knowledge_id)])[0]


def _views(session: Session, rows: Sequence[KnowledgeRow]) -> list[Knowledge]:
    counted = (
        select(Job.knowledge_id, func.count())
        .where(Job.knowledge_id.in_([row.id for row in rows]), Job.status.not_in(FINAL))
        .group_by(Job.knowledge_id)
    )
    used_by = dict(session.execute(counted).all())
    names = Knowledge.model_fields.keys() & set(KnowledgeRow.__table__.columns.keys())
    return [
        Knowledge.model_validate(
            {name: getattr(row, name) for name in names} | {"used_by": used_by.get(row.id, 0)}
        )
        for row in rows
    ]
