"""Models have names with versions and aliases, and some were uploaded instead of made by a job."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0009"
branch_labels = None
depends_on = None

OPTIONAL = ("job_id", "folder", "test_quality")
ONCE = ("project_id", "name", "version")
RULES = {
    "version": "(name IS NULL) = (version IS NULL)",
    "source": "(job_id IS NULL) = (inputs IS NOT NULL)",
    "folder": "(job_id IS NULL) = (folder IS NULL)",
}
KEPT = "id, project_id, job_id, role, folder, architecture, num_parameters, test_quality, created_at"


def upgrade() -> None:
    op.create_table(
        "model_series",
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=96), nullable=False),
        sa.Column("newest_version", sa.Integer(), nullable=False),
        sa.Column("num_moves", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_model_series_project_id")
        ),
        sa.PrimaryKeyConstraint("project_id", "name", name=op.f("pk_model_series")),
    )
    _let_models_be_without_a_job()
    op.create_table(
        "model_aliases",
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=96), nullable=False),
        sa.Column("alias", sa.String(length=63), nullable=False),
        sa.Column("model_id", sa.String(length=64), nullable=False),
        sa.Column("move", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id", "name"],
            ["model_series.project_id", "model_series.name"],
            name=op.f("fk_model_aliases_project_id_name"),
        ),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name=op.f("fk_model_aliases_model_id")
        ),
        sa.PrimaryKeyConstraint("project_id", "name", "alias", name=op.f("pk_model_aliases")),
    )
    op.create_index(op.f("ix_model_aliases_model_id"), "model_aliases", ["model_id"])
    op.create_table(
        "model_files",
        sa.Column("model_id", sa.String(length=64), nullable=False),
        sa.Column("path", sa.String(length=255), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("media_type", sa.String(length=128), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_model_files_model_id")),
        sa.PrimaryKeyConstraint("model_id", "path", name=op.f("pk_model_files")),
    )
    op.create_index(op.f("ix_model_files_sha256"), "model_files", ["sha256"])


def downgrade() -> None:
    op.drop_table("model_files")
    op.drop_table("model_aliases")
    # The version before knows no model without a job.
    op.execute("DELETE FROM models WHERE job_id IS NULL")
    if op.get_bind().dialect.name == "sqlite":
        _rebuild([], may_be_null=False)
    else:
        for name in RULES:
            op.drop_constraint(op.f(f"ck_models_{name}"), "models")
        for column in _added():
            # With it goes the rule that no version of a name is there twice.
            op.drop_column("models", column.name)
        for name in OPTIONAL:
            op.alter_column("models", name, nullable=False)
    op.drop_table("model_series")


def _let_models_be_without_a_job() -> None:
    if op.get_bind().dialect.name == "sqlite":
        _rebuild(
            [
                *_added(),
                *(
                    sa.CheckConstraint(rule, name=op.f(f"ck_models_{name}"))
                    for name, rule in RULES.items()
                ),
                sa.UniqueConstraint(*ONCE, name=op.f("uq_models_project_id_name_version")),
            ],
            may_be_null=True,
        )
        return
    for column in _added():
        op.add_column("models", column)
    for name in OPTIONAL:
        op.alter_column("models", name, nullable=True)
    for name, rule in RULES.items():
        op.create_check_constraint(op.f(f"ck_models_{name}"), "models", rule)
    op.create_unique_constraint(op.f("uq_models_project_id_name_version"), "models", ONCE)


def _rebuild(more: list[sa.schema.SchemaItem], *, may_be_null: bool) -> None:
    """Make the table anew with other columns, as SQLite asks; no other table refers to it yet."""
    op.drop_index(op.f("ix_models_project_id_id"), "models")
    op.execute("ALTER TABLE models RENAME TO models_before")
    op.create_table(
        "models",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("job_id", sa.String(length=64), nullable=may_be_null),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("folder", sa.String(length=64), nullable=may_be_null),
        sa.Column("architecture", sa.JSON(), nullable=False),
        sa.Column("num_parameters", sa.BigInteger(), nullable=False),
        sa.Column("test_quality", sa.Double(), nullable=may_be_null),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("role IN ('teacher', 'student')", name=op.f("ck_models_role")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_models_job_id")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_models_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_models")),
        sa.UniqueConstraint("job_id", "role", name=op.f("uq_models_job_id_role")),
        *more,
    )
    op.execute(f"INSERT INTO models ({KEPT}) SELECT {KEPT} FROM models_before")  # noqa: S608 (ours)
    op.drop_table("models_before")
    op.create_index(op.f("ix_models_project_id_id"), "models", ["project_id", "id"])


def _added() -> list[sa.Column[Any]]:
    return [
        sa.Column("name", sa.String(length=96), nullable=True),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("metadata", sa.JSON(), nullable=False, server_default="{}"),
        sa.Column("inputs", sa.JSON(), nullable=True),
    ]
