"""Uploads that come in parts: what was announced, and which parts have arrived."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    String,
    UniqueConstraint,
    true,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.db.table import Table, one_of


class Upload(Table):
    """A file that is to come in parts."""

    __tablename__ = "uploads"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    filename: Mapped[str] = mapped_column(String(255))
    purpose: Mapped[str] = mapped_column(String(64))
    bytes: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    part_ids: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    """Those that the file was made of, in order."""
    file_id: Mapped[str | None] = mapped_column(ForeignKey("files.id"), index=True)

    __table_args__ = (
        CheckConstraint(one_of("status", ["pending", "completed", "cancelled"]), "status"),
        Index(None, "project_id", "id"),
    )


class UploadPart(Table):
    """A part; the same bytes are one part of an upload, however often they come."""

    __tablename__ = "upload_parts"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    upload_id: Mapped[str] = mapped_column(ForeignKey("uploads.id"))
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]
    arrived: Mapped[bool] = mapped_column(server_default=true())
    """Not while its bytes are on their way to the storage; if they come too late for the upload,
    never: they go, but count until it is forgotten."""

    __table_args__ = (UniqueConstraint("upload_id", "sha256"),)
