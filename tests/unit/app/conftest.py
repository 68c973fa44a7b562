"""The API in this process, on SQLite and a folder, with nobody at the queue's other end."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.config import Settings
from app.contracts.report import Fidelity, ModelReport, Report, Scores
from app.contracts.requests import SCOPES, Scope
from app.db import verbs
from app.db.models import JobFile, Model
from app.db.session import Database, database_now
from app.db.table import Table
from app.main import create_app
from app.services.keys import create_key
from app.services.parts import Parts

JOBS = "/v1/distillation/jobs"
NOBODY = "redis://127.0.0.1:1/0"


@dataclass
class Api:
    """A client with a key of the default project, and the parts behind it."""

    app: FastAPI
    client: TestClient
    folder: Path

    @property
    def parts(self) -> Parts:
        parts: Parts = self.app.state.parts
        return parts

    @property
    def database(self) -> Database:
        return self.parts.database

    def key(self, *scopes: Scope, project: str = "default") -> dict[str, str]:
        """Make a key and give the header that shows it."""
        _, secret = create_key(
            self.database, self.parts.pepper, project=project, name="test", scopes=scopes or SCOPES
        )
        return {"Authorization": f"Bearer {secret}"}

    def post_job(self, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 (a spec's fields)
        answer = self.client.post(JOBS, json=spec(**changes))
        assert answer.status_code == 201, answer.text
        job: dict[str, Any] = answer.json()
        return job

    def upload(self, content: bytes = b"a,label\n1,x\n", name: str = "data.csv") -> dict[str, Any]:
        answer = self.client.post("/v1/files", files={"file": (name, content)})
        assert answer.status_code == 201, answer.text
        file: dict[str, Any] = answer.json()
        return file

    def claim(self, gpus: int = 0) -> tuple[str, int]:
        """Let a worker take the next job; return its id and fence."""
        with self.database.write() as session:
            job = verbs.claim(session, "worker-1", gpus, 60)
            assert job is not None
            return job.id, job.fence

    def succeed(
        self,
        held: tuple[str, int],
        files: Mapping[str, bytes],
        outputs: list[str] | None = None,
    ) -> str:
        """End a claimed job with files and a student; return the student's id."""
        job_id, fence = held
        path = self.folder / "content"
        with self.database.write() as session:
            job = verbs.hold(session, job_id, fence)
            for name, content in files.items():
                path.write_bytes(content)
                digest = self.parts.storage.put(path)
                session.add(
                    JobFile(
                        job_id=job_id,
                        path=name,
                        bytes=len(content),
                        sha256=digest,
                        media_type="application/octet-stream",
                    )
                )
            model = Model(
                id=f"model-{job_id.removeprefix('distjob-')}",
                project_id=job.project_id,
                job_id=job_id,
                role="student",
                folder="student",
                architecture=job.resolved_spec["student"]["architecture"],
                num_parameters=10,
                test_quality=0.5,
                created_at=database_now(session),
            )
            session.add(model)
            verbs.succeed(session, job, report(outputs))
            return model.id


def spec(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 (a spec's fields)
    """Give a whole job in as few words as it takes, with changes at its top level."""
    return {
        "dataset": {"source": "builtin", "name": "digits"},
        "teacher": {"source": "train", "architecture": {"name": "mlp"}},
        "student": {"architecture": {"name": "mlp", "hidden_sizes": [8]}},
        **changes,
    }


def report(outputs: list[str] | None = None) -> Report:
    scores = Scores(num_examples=2, quality=0.5, errors=1, accuracy=0.5)
    model = ModelReport(
        architecture="mlp", num_parameters=10, bytes=40, latency_seconds=0.001, test=scores
    )
    return Report(
        teacher=model,
        baseline=None,
        student=model,
        fidelity=Fidelity(agreement=1, mean_divergence=0),
        gain=None,
        gap_recovered=None,
        compression=1,
        speedup=1,
        num_examples={"train": 2, "validation": 0, "test": 2},
        output_names=outputs or list("0123456789"),
    )


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    app = create_app(settings(tmp_path))
    Table.metadata.create_all(app.state.parts.database.engine)
    with TestClient(app, raise_server_exceptions=False) as client:
        made = Api(app, client, tmp_path)
        client.headers.update(made.key())
        yield made


def settings(folder: Path, **changes: Any) -> Settings:  # noqa: ANN401 (a spec's fields)
    places = {
        "database_url": f"sqlite:///{folder}/test.db",
        "storage_url": str(folder / "blobs"),
        "pepper_file": folder / "pepper",
        "broker_url": NOBODY,
        # With nobody to count them.
        "key_requests_per_minute": 0,
        "address_requests_per_minute": 0,
    }
    return Settings(**{**places, **changes})
