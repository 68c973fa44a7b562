"""What is wrong or surprising in a spec beyond its form, told without the engine."""

from sqlalchemy.orm import Session

from app.contracts.job import JobSpec


def check(session: Session, project_id: str, spec: JobSpec) -> list[str]:
    return []
