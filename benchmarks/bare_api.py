"""The least that FastAPI and SQLAlchemy do for a row that is made and read: no keys, no events.

`uvicorn benchmarks.bare_api:create_app --factory`, with the database's URL in `BARE_DATABASE_URL`.
"""

import os
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from sqlalchemy import JSON, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from uuid_utils import uuid7

DATABASE_URL = "BARE_DATABASE_URL"
ROWS = "/rows"


class Table(DeclarativeBase):
    pass


class Row(Table):
    __tablename__ = "rows"

    id: Mapped[str] = mapped_column(primary_key=True)
    spec: Mapped[dict[str, Any]] = mapped_column(JSON)


class Shown(BaseModel):
    id: str
    spec: dict[str, Any]


def create_app() -> FastAPI:
    """Make the table and the application."""
    engine = create_engine(os.environ[DATABASE_URL], pool_size=10)
    Table.metadata.create_all(engine)
    app = FastAPI()

    @app.get("/healthz")
    async def health() -> None:
        """Answer."""

    @app.post(ROWS, status_code=201)
    def create(spec: dict[str, Any]) -> Shown:
        row = Row(id=uuid7().hex, spec=spec)
        with Session(engine, expire_on_commit=False) as session, session.begin():
            session.add(row)
        return Shown(id=row.id, spec=row.spec)

    @app.get(f"{ROWS}/{{row_id}}")
    def read(row_id: str) -> Shown:
        with Session(engine) as session:
            row = session.get_one(Row, row_id)
            return Shown(id=row.id, spec=row.spec)

    return app
