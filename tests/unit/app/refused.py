"""Specs sent both ways, and what the API says of them; and what a spec may name."""

from typing import Any

from sqlalchemy import select
from uuid_utils import uuid7

from app.contracts.knowledge import Fingerprint, views_of
from app.contracts.training import Training
from app.db.models import Knowledge, KnowledgeFile, Project
from app.db.session import Database, database_now
from tests.unit.app.conftest import JOBS, Api, spec

Told = dict[str, Any]


def refusals(api: Api, **changes: Any) -> list[tuple[str, str]]:  # noqa: ANN401 (a spec's fields)
    """Post a spec both ways; return the pointers and codes of what is wrong with it."""
    return [(one["pointer"], one["code"]) for one in told(api, **changes)]


def told(api: Api, **changes: Any) -> list[Told]:  # noqa: ANN401 (a spec's fields)
    """Post a spec both ways; return what is wrong with it, in either way the same."""
    body = spec(**changes)
    checked = api.client.post(f"{JOBS}?validate_only=true", json=body)
    answer = api.client.post(JOBS, json=body)
    assert checked.status_code == answer.status_code == 422, answer.text
    assert checked.json()["errors"] == answer.json()["errors"]
    errors: list[Told] = answer.json()["errors"]
    return errors


def warnings(api: Api, **changes: Any) -> list[str]:  # noqa: ANN401 (a spec's fields)
    answer = api.client.post(f"{JOBS}?validate_only=true", json=spec(**changes))
    assert answer.status_code == 200, answer.text
    found: list[str] = answer.json()["warnings"]
    return found


def model_of(
    api: Api,
    architecture: dict[str, Any],
    *files: str,
    outputs: list[str] | None = None,
    **changes: Any,  # noqa: ANN401 (a spec's fields)
) -> str:
    """Let a job make a student, of the digits' classes unless others are given; return its id."""
    api.post_job(student={"architecture": architecture}, **changes)
    return api.succeed(api.claim(), dict.fromkeys(files, b"x"), outputs)


def knowledge_of(api: Api, project: str = "default", **changes: Any) -> str:  # noqa: ANN401 (columns)
    """Put knowledge of the digits into a project, and return its id."""
    return put_knowledge(api.database, project, **changes)


def put_knowledge(database: Database, project: str = "default", **changes: Any) -> str:  # noqa: ANN401 (columns)
    part = "0" * 64
    with database.write() as session:
        now = database_now(session)
        row = Knowledge(
            id=f"knowledge-{uuid7()}",
            project_id=session.scalars(select(Project.id).where(Project.name == project)).one(),
            request_digest=str(uuid7()),
            fingerprint=Fingerprint(
                teacher=part,
                architecture="{}",
                preprocessing=part,
                dataset=part,
                views=changes.pop("seen", views_of(Training())),
                collected="answers",
                storage="float16",
            ).model_dump(),
            created_at=now,
            **{
                "job_id": None,
                "task": "classification",
                "output_names": list("0123456789"),
                "storage": "float16",
                "layers": {},
                "views": 1,
                "num_train": 10,
                "num_held_out": 2,
                "bytes": 240,
                **changes,
            },
        )
        session.add(row)
        session.flush()
        session.add(KnowledgeFile(knowledge_id=row.id, path="knowledge.json", bytes=1, sha256=part))
    return row.id
