"""Knowledge between jobs, with the real trainer: collected once, offered, named, published."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import delete, select, update

from app.config import Settings
from app.contracts.job import JobSpec, Status
from app.db import schema
from app.db.models import File, Job, JobFile, Knowledge, KnowledgeFile, Model, Project
from app.db.session import Database, database_now
from app.services.deletion import delete_job, delete_knowledge
from app.storage import Storage
from tests.jobs import PROJECT_ID, queued
from worker.supervisor import Supervisor

MLP = {"name": "mlp", "hidden_sizes": [8]}
ONCE = {"epochs": 1}
FLIP = {"epochs": 2, "augmentation": [{"name": "flip"}]}


class House:
    """A worker over a database and a folder, and what its jobs leave."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        url = database.engine.url.render_as_string(hide_password=False)
        settings = Settings(
            database_url=url,
            storage_url=str(folder / "blobs"),
            work_folder=folder / "work",
            renew_seconds=0.1,
            backoff_seconds=0,
        )
        self.folder = folder
        self.storage = Storage(settings.storage_url)
        self.supervisor = Supervisor(settings, "worker-1", 0, lambda: False)

    def run(self, **changes: Any) -> Job:  # noqa: ANN401 (a spec's fields)
        """Run a job to its good end."""
        job = self.try_to_run(**changes)
        assert job.status == Status.SUCCEEDED, job.error
        return job

    def first(self) -> Job:
        with self.database.read() as session:
            return session.scalars(select(Job).order_by(Job.id).limit(1)).one()

    def try_to_run(self, **changes: Any) -> Job:  # noqa: ANN401 (a spec's fields)
        fields: dict[str, Any] = {
            "dataset": {"source": "builtin", "name": "wine"},
            "teacher": trained(),
            "student": {"architecture": MLP},
            "training": ONCE,
            "baseline": False,
            "export": ["safetensors"],
        }
        job_id = queued(self.database, spec=JobSpec.model_validate(fields | changes))
        assert self.supervisor.run_next()
        with self.database.read() as session:
            return session.get_one(Job, job_id)

    def teacher_of(self, job: Job) -> dict[str, Any]:
        with self.database.read() as session:
            which = (Model.job_id == job.id, Model.role == "teacher")
            return {
                "source": "model",
                "model": session.scalars(select(Model.id).where(*which)).one(),
            }

    def knowledge(self) -> list[Knowledge]:
        with self.database.read() as session:
            return list(session.scalars(select(Knowledge).order_by(Knowledge.id)))

    def files(self, knowledge_id: str | None) -> list[KnowledgeFile]:
        with self.database.read() as session:
            which = KnowledgeFile.knowledge_id == knowledge_id
            return list(session.scalars(select(KnowledgeFile).where(which)))

    def upload(self, path: Path) -> str:
        with self.database.write() as session:
            file = File(
                id=f"file-{path.stem}",
                project_id=PROJECT_ID,
                filename=path.name,
                purpose="dataset",
                bytes=path.stat().st_size,
                sha256=self.storage.put(path),
                media_type="application/vnd.apache.parquet",
                created_at=database_now(session),
            )
            session.add(file)
            return file.id


def trained(**training: Any) -> dict[str, Any]:  # noqa: ANN401 (a training's fields)
    return {"source": "train", "architecture": MLP, "training": ONCE | training}


def collecting(job: Job) -> str:
    """Return how a job's phase of collecting knowledge ended."""
    return str(next(p["status"] for p in job.phases if p["name"] == "collecting_knowledge"))


@pytest.fixture
def house(database: Database, tmp_path: Path) -> Iterator[House]:
    house = House(database, tmp_path)
    yield house
    house.supervisor.close()


@pytest.fixture(scope="module")
def after_one_job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run one job, on SQLite, for all tests that go on from there; give the folder of it all."""
    folder = tmp_path_factory.mktemp("house")
    database = Database(f"sqlite:///{folder}/stillhouse.db")
    schema.upgrade(database)
    with database.write() as session:
        now = database_now(session)
        session.add(Project(id=PROJECT_ID, name="default", created_at=now))
    house = House(database, folder)
    house.run()
    house.supervisor.close()
    database.close()
    return folder


@pytest.fixture
def later(after_one_job: Path, tmp_path: Path) -> Iterator[House]:
    """Give a copy of the house in which one job has run."""
    folder = tmp_path / "house"
    shutil.copytree(after_one_job, folder)
    database = Database(f"sqlite:///{folder}/stillhouse.db")
    house = House(database, folder)
    yield house
    house.supervisor.close()
    database.close()


def test_what_a_job_has_collected_of_its_teacher_spares_the_next_one_the_teacher(
    house: House,
) -> None:
    first = house.run(training=FLIP, dataset={"source": "builtin", "name": "digits"})
    (knowledge,) = house.knowledge()
    assert first.knowledge_id == knowledge.id
    assert (knowledge.job_id, knowledge.views, knowledge.task) == (first.id, 2, "classification")
    assert knowledge.fingerprint["views"] == '[{"name": "flip"}] with seed 0'
    assert {file.path for file in house.files(knowledge.id)} >= {"knowledge.json"}

    second = house.run(
        training=FLIP,
        dataset={"source": "builtin", "name": "digits"},
        teacher=house.teacher_of(first),
        student={"architecture": {"name": "mlp", "hidden_sizes": [5]}},
    )

    assert (collecting(first), collecting(second)) == ("succeeded", "skipped")
    assert second.knowledge_id == knowledge.id
    assert [one.id for one in house.knowledge()] == [knowledge.id]


def test_a_job_that_would_collect_something_else_collects_it(later: House) -> None:
    first = later.first()
    teacher = later.teacher_of(first)

    job = later.run(
        teacher=teacher, dataset={"source": "builtin", "name": "wine", "split": {"seed": 5}}
    )

    assert collecting(job) == "succeeded"
    assert job.knowledge_id == later.knowledge()[-1].id != first.knowledge_id


def test_knowledge_is_of_all_files_of_the_data(later: House) -> None:
    files = {}
    for name, rows in (("train", 40), ("validation", 12), ("other", 11)):
        path = later.folder / f"{name}.csv"
        path.write_text("x,label\n" + "".join(f"{n},{'ab'[n % 2]}\n" for n in range(rows)))
        files[name] = later.upload(path)
    csv = {"source": "file", "file": files["train"], "format": {"name": "csv"}}
    judged = {**csv, "validation_file": files["validation"]}
    first = later.run(dataset=judged)
    teacher = later.teacher_of(first)

    again = later.run(dataset=judged, teacher=teacher)
    other = later.run(dataset={**csv, "validation_file": files["other"]}, teacher=teacher)

    assert [collecting(job) for job in (first, again, other)] == [
        "succeeded",
        "skipped",
        "succeeded",
    ]
    assert again.knowledge_id == first.knowledge_id != other.knowledge_id
    assert first.result is not None
    assert first.result["num_examples"] == {"train": 32, "validation": 12, "test": 8}


def test_named_knowledge_stands_in_its_teachers_place(later: House) -> None:
    first = later.first()
    named = {"source": "knowledge", "knowledge": first.knowledge_id}

    second = later.run(teacher=named)

    assert second.knowledge_id == first.knowledge_id
    assert len(later.knowledge()) == 1
    with later.database.read() as session:
        roles = session.scalars(select(Model.role).where(Model.job_id == second.id)).all()
    assert roles == ["student"]


def test_knowledge_works_on_when_the_job_that_collected_it_is_deleted(later: House) -> None:
    first = later.first()
    delete_job(later.database, PROJECT_ID, first.id)

    named = {"source": "knowledge", "knowledge": first.knowledge_id}
    assert later.run(teacher=named).knowledge_id == first.knowledge_id

    assert first.knowledge_id is not None
    delete_knowledge(later.database, PROJECT_ID, first.knowledge_id)
    gone = later.try_to_run(teacher=named)
    assert gone.status == Status.FAILED
    assert gone.error is not None
    assert (gone.error["code"], gone.attempt) == ("input_missing", 1)


def test_bytes_that_are_gone_only_cost_the_teachers_time(later: House) -> None:
    first = later.first()
    for file in later.files(first.knowledge_id):
        later.storage.delete(file.sha256)

    second = later.run(teacher=later.teacher_of(first))

    assert collecting(second) == "succeeded"
    assert second.knowledge_id == first.knowledge_id
    assert all(later.storage.find(f.sha256) for f in later.files(first.knowledge_id))


def test_knowledge_of_another_fingerprint_under_the_same_request_is_not_claimed(
    later: House,
) -> None:
    first = later.first()
    with later.database.write() as session:
        row = session.scalars(select(Knowledge)).one()
        other = {**row.fingerprint, "dataset": "0" * 64}
        session.execute(update(Knowledge).values(fingerprint=other))
        session.execute(delete(KnowledgeFile))

    second = later.run(teacher=later.teacher_of(first))

    assert second.knowledge_id is None
    assert len(later.knowledge()) == 1


def test_registered_members_of_an_ensemble_are_asked_once(later: House) -> None:
    members = [{"teacher": later.teacher_of(later.first()), "weight": n} for n in (1, 2)]
    ensemble = {"source": "ensemble", "mean": "probabilities", "members": members}

    jobs = [later.run(teacher=ensemble) for _ in range(2)]

    assert [collecting(job) for job in jobs] == ["succeeded", "skipped"]
    assert jobs[0].knowledge_id == jobs[1].knowledge_id
    assert jobs[0].knowledge_id is not None
    with later.database.read() as session:
        which = Model.job_id.in_([job.id for job in jobs])
        assert set(session.scalars(select(Model.role).where(which))) == {"student"}


def test_an_ensemble_with_a_member_of_its_own_is_published(later: House) -> None:
    members = [{"teacher": later.teacher_of(later.first())}, {"teacher": trained(seed=2)}]
    job = later.run(teacher={"source": "ensemble", "mean": "logits", "members": members})

    assert job.knowledge_id == later.knowledge()[-1].id


def test_knowledge_of_a_chain_is_not_published_as_its_teachers(later: House) -> None:
    before = [one.id for one in later.knowledge()]
    teacher = later.teacher_of(later.first())
    assistants = [{"architecture": MLP, "training": ONCE}]

    job = later.run(teacher=teacher, assistants=assistants)

    assert job.knowledge_id is None
    assert [one.id for one in later.knowledge()] == before


def test_uploaded_signals_are_published_once(later: House, tmp_path: Path) -> None:
    columns = {f"class_{number}": np.linspace(-1, number, 178) for number in range(3)}
    pq.write_table(pa.table({"example_id": np.arange(178)} | columns), tmp_path / "other.parquet")
    signals = {
        "source": "signals",
        "file": later.upload(tmp_path / "other.parquet"),
        "values": "logits",
    }

    jobs = [later.run(teacher=signals) for _ in range(2)]

    _, knowledge = later.knowledge()
    assert {job.knowledge_id for job in jobs} == {knowledge.id}
    assert knowledge.job_id == jobs[0].id


def test_a_student_of_labels_alone_leaves_no_knowledge(later: House) -> None:
    job = later.run(teacher=later.teacher_of(later.first()), objective=[{"loss": "labels"}])

    assert job.knowledge_id is None
    assert len(later.knowledge()) == 1


def test_a_job_that_goes_astray_leaves_its_last_good_model(later: House) -> None:
    wild = {
        "epochs": 50,
        "optimizer": {"name": "sgd", "lr": 100.0, "weight_decay": 1.0},
        "schedule": {"name": "constant", "warmup_epochs": 50},
    }
    job = later.try_to_run(dataset={"source": "builtin", "name": "digits"}, teacher=trained(**wild))

    assert job.status == Status.FAILED
    assert job.error is not None
    assert job.error["code"] == "non_finite_loss"
    with later.database.read() as session:
        files = session.scalars(select(JobFile).where(JobFile.job_id == job.id)).all()
    assert {file.path for file in files} == {
        "last_good/config.json",
        "last_good/history.json",
        "last_good/model.safetensors",
    }
    for file in files:
        later.storage.fetch(file.sha256, file.bytes, later.folder / "fetched")
