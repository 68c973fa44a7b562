"""Models where those race who register, delete, name and post, on both databases."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from app.contracts.job import JobSpec
from app.contracts.registration import NewModel
from app.contracts.registry import Model
from app.db.session import Database
from app.errors import Conflict, InvalidPayload, NotFound
from app.queue import Queue
from app.services import aliases, deletion, files, looks, models, posting, registration
from app.services.idempotency import Repeatable
from app.services.looks import look
from app.storage import Storage
from tests.integration.test_alias_races import publish
from tests.jobs import PROJECT_ID
from tests.unit.app.conftest import spec
from tests.unit.app.teachers import DIGITS, weights_of

NUM_THREADS = 12
LONGEST_SECONDS = 30


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "blobs"))


@pytest.fixture
def new(database: Database, storage: Storage, tmp_path: Path) -> NewModel:
    """Upload weights, and say what they are."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(weights_of())
    with path.open("rb") as content:
        file = files.store_file(database, storage, PROJECT_ID, content, path.name, "weights")
    return NewModel(**DIGITS, name="mine", weights=file.id)


def race(each: Callable[[int], str], num_threads: int = NUM_THREADS) -> Counter[str]:
    together = threading.Barrier(num_threads, timeout=LONGEST_SECONDS)

    def run(number: int) -> str:
        together.wait()
        return each(number)

    with ThreadPoolExecutor(num_threads) as executor:
        return Counter(executor.map(run, range(num_threads)))


def versions_of(database: Database) -> list[Model]:
    """Read the models of the name, the newest first."""
    wanted = models.Wanted(name="mine")
    return models.list_models(database, PROJECT_ID, wanted, None, 100).data


def test_registrations_that_race_with_one_key_make_one_model(
    database: Database, storage: Storage, new: NewModel
) -> None:
    key = Repeatable("/v1/models", "one", "0" * 64)

    def register(number: int) -> str:
        again = key if number % 2 else None
        answer = registration.register(database, storage, PROJECT_ID, new, again)
        return "replayed" if answer.is_replayed else "made"

    assert race(register, looks.MOST_AT_ONCE) == {"made": 3, "replayed": 1}
    assert {model.version for model in versions_of(database)} == {1, 2, 3}


def test_weights_that_are_deleted_while_they_are_looked_at_make_no_model(
    database: Database, storage: Storage, new: NewModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look_and_delete(*asked: Any) -> dict[str, Any]:  # noqa: ANN401 (a look's own)
        deletion.delete_file(database, PROJECT_ID, new.weights)
        return look(*asked)

    monkeypatch.setattr(registration, "look", look_and_delete)
    with pytest.raises(InvalidPayload, match="this project has"):
        registration.register(database, storage, PROJECT_ID, new)
    assert versions_of(database) == []


@pytest.mark.parametrize("origin", ["client", "job"])
def test_a_model_is_deleted_or_named_but_never_both(
    database: Database, storage: Storage, new: NewModel, queue: Queue, origin: str
) -> None:
    for _ in range(3):
        if origin == "client":
            registration.register(database, storage, PROJECT_ID, new)
        else:
            publish(database, "mine")
        model = models.read_model(database, PROJECT_ID, "mine")
        assert model.version is not None
        version = model.version

        def act(number: int, version: int = version, job_id: str | None = model.job_id) -> str:
            try:
                match number % 4:
                    case 0 if job_id is not None:
                        deletion.delete_job(database, PROJECT_ID, job_id)
                    case 0 | 1:
                        deletion.delete_model(database, PROJECT_ID, f"mine@{version}")
                    case 2:
                        aliases.move(database, PROJECT_ID, f"mine@word{number}", version)
                        return "named"
                    case _:
                        posting.create(database, queue, PROJECT_ID, naming(f"mine@{version}"))
                        return "named"
            except (Conflict, NotFound, InvalidPayload):
                return "refused"
            return "deleted"

        told = race(act)
        assert bool(told["deleted"]) != bool(told["named"]), told


def naming(model: str) -> JobSpec:
    return JobSpec.model_validate(spec(teacher={"source": "model", "model": model}))
