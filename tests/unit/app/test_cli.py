"""The command line against a served API, as a user types it."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx2
import pytest
from typer.testing import CliRunner
from uuid_utils import uuid7

from app.cli import app
from app.cli.client import Service
from app.cli.upload import send_part
from app.contracts.job import Phase
from app.db import verbs
from app.db.checkpoints import Checkpoint
from app.db.lifecycle import Event
from app.db.models import JobLog
from app.db.session import database_now
from tests.jobs import SPEC
from tests.unit.app.refused import put_knowledge
from tests.unit.app.served import Served, report, serve


@dataclass
class Answer:
    exit_code: int
    stdout: str
    stderr: str


class Run(Protocol):
    def __call__(self, *arguments: str, stdin: str | None = None) -> Answer: ...


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("served")) as running:
        yield running


@pytest.fixture
def run(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in an empty folder, with the service's address and key in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STILLHOUSE_URL", served.url)
    monkeypatch.setenv("STILLHOUSE_API_KEY", served.key_file.read_text())
    monkeypatch.setattr("app.cli.client.WATCH_SECONDS", 0.05)

    def run(*arguments: str, stdin: str | None = None) -> Answer:
        done = CliRunner().invoke(app, list(arguments), input=stdin, catch_exceptions=False)
        return Answer(done.exit_code, done.stdout, done.stderr)

    return run


def create(run: Run, **changes: Any) -> str:  # noqa: ANN401 (any field of a spec)
    spec = SPEC.model_copy(update=changes)
    answer = run("jobs", "create", "-", stdin=spec.model_dump_json())
    assert answer.exit_code == 0, answer.stderr
    return answer.stdout.strip()


def outputs(folder: Path) -> Path:
    for name, content in {
        "student/config.json": b"{}",
        "student/model.safetensors": bytes(range(256)) * 5000,
        "report.json": b'{"gain": 1}',
    }.items():
        path = folder / "outputs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder / "outputs"


def finished_job(served: Served, run: Run, folder: Path) -> str:
    job_id = create(run, priority=50)
    served.succeed(served.claim(), outputs(folder), report())
    return job_id


def test_a_posted_job_is_listed_and_shown(run: Run) -> None:
    job_id = create(run, name="first")

    assert job_id in run("jobs", "list").stdout
    shown = run("jobs", "get", job_id)
    assert f"{job_id} queued" in shown.stdout
    assert "no_worker" in shown.stdout
    assert json.loads(run("jobs", "get", job_id, "--json").stdout)["name"] == "first"


def test_only_a_job_that_has_not_ended_shows_how_far_it_is(
    served: Served, run: Run, tmp_path: Path
) -> None:
    create(run, name="listed", priority=50)
    held = served.claim()
    with served.database.write() as session:
        event = Event("job.phase", "The student is exported.")
        verbs.record(session, verbs.hold(session, *held), event, phase=Phase.EXPORTING)
    assert "exporting" in run("jobs", "list", "--name", "listed").stdout
    served.succeed(held, outputs(tmp_path), report())
    assert "exporting" not in run("jobs", "list", "--name", "listed").stdout


def test_the_list_is_narrowed_by_status(run: Run) -> None:
    job_id = create(run)

    assert job_id in run("jobs", "list", "--status", "queued").stdout
    assert job_id not in run("jobs", "list", "--status", "failed").stdout
    either = run("jobs", "list", "--status", "queued", "--status", "failed")
    assert job_id in either.stdout


def test_the_list_is_narrowed_by_name_and_metadata(run: Run) -> None:
    job_id = create(run, name="odd one", metadata={"a.b": "c=d"})
    assert job_id in run("jobs", "list", "--name", "odd one", "--metadata", "a.b=c=d").stdout
    assert job_id not in run("jobs", "list", "--metadata", "a.b=c").stdout
    answer = run("jobs", "list", "--metadata", "a.b")
    assert (answer.exit_code, "KEY=VALUE" in answer.stderr) == (2, True)


def test_what_a_spec_may_name_is_listed(run: Run) -> None:
    assert "hidden_sizes: [128]" in run("architectures").stdout
    assert "soft_targets" in run("losses").stdout
    assert json.loads(run("losses", "--json").stdout)["object"] == "list"


def test_validating_queues_nothing(run: Run) -> None:
    before = run("jobs", "list", "--json", "--limit", "100").stdout

    answer = run("jobs", "create", "-", "--validate-only", stdin=SPEC.model_dump_json())

    assert json.loads(answer.stdout)["resolved_spec"]["student"]
    assert run("jobs", "list", "--json", "--limit", "100").stdout == before


def test_a_refused_spec_shows_pointers_and_messages(run: Run) -> None:
    spec = SPEC.model_dump(mode="json")
    spec["student"]["architecture"] = {"name": "mlq"}

    answer = run("jobs", "create", "-", stdin=json.dumps(spec))

    assert answer.exit_code == 1
    assert answer.stdout == ""
    assert "/student/architecture" in answer.stderr
    assert "mlp" in answer.stderr


def test_what_is_not_json_is_refused_by_the_service(run: Run) -> None:
    answer = run("jobs", "create", "-", stdin="{oh")

    assert answer.exit_code == 1
    assert "JSON" in answer.stderr


def test_a_spec_that_is_not_there_is_a_usage_error(run: Run) -> None:
    answer = run("jobs", "create", "absent.json")

    assert answer.exit_code == 2
    assert "absent.json" in answer.stderr


def test_an_unknown_job_is_said_to_be_unknown(run: Run) -> None:
    answer = run("jobs", "get", "distjob-0")

    assert answer.exit_code == 1
    assert "HTTP 404" in answer.stderr


def test_a_wrong_key_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLHOUSE_API_KEY", "shk_wrong")

    answer = run("jobs", "list")

    assert answer.exit_code == 1
    assert "HTTP 401" in answer.stderr


def test_a_key_may_come_from_a_file(
    run: Run, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STILLHOUSE_API_KEY")

    assert run("jobs", "list").exit_code == 2
    assert run("jobs", "list", "--api-key-file", str(served.key_file)).exit_code == 0


def test_a_service_that_is_not_there_is_named(run: Run) -> None:
    answer = run("jobs", "list", "--url", "http://127.0.0.1:1")

    assert answer.exit_code == 1
    assert "http://127.0.0.1:1 does not answer" in answer.stderr


def test_a_cancelled_job_is_cancelled(run: Run) -> None:
    job_id = create(run)

    assert run("jobs", "cancel", job_id).stdout == f"{job_id} is cancelled\n"
    assert json.loads(run("jobs", "get", job_id, "--json").stdout)["status"] == "cancelled"


def test_a_job_is_paused_and_resumed_whether_it_waits_or_runs(run: Run, served: Served) -> None:
    job_id = create(run, priority=90)

    assert run("jobs", "pause", job_id).stdout == f"{job_id} is paused\n"
    assert run("jobs", "resume", job_id).stdout == f"{job_id} waits for a worker\n"
    served.claim()
    assert run("jobs", "pause", job_id).stdout == f"{job_id} is being paused\n"
    assert run("jobs", "resume", job_id).stdout == f"{job_id} runs on\n"
    assert run("jobs", "cancel", job_id, "--kill").stdout == f"{job_id} is being cancelled\n"
    assert "being cancelled" in run("jobs", "resume", job_id).stderr
    asked = json.loads(run("jobs", "cancel", job_id, "--json").stdout)
    assert (asked["status"], asked["desired_status"]) == ("running", "cancelled")


def test_a_job_that_has_ended_is_retried_and_cloned_into_new_ones(run: Run) -> None:
    job_id = create(run, name="first")
    assert "cancelled one can be retried" in run("jobs", "retry", job_id).stderr
    run("jobs", "cancel", job_id)

    made = (
        run("jobs", "retry", job_id),
        run("jobs", "clone", job_id, "--name", "second", "--priority", "-7"),
    )

    retried, cloned = (
        json.loads(run("jobs", "get", one.stdout.strip(), "--json").stdout) for one in made
    )
    assert retried["parent_id"] == cloned["parent_id"] == job_id
    assert (retried["name"], retried["resolved_spec"]["priority"]) == ("first", 0)
    assert (cloned["name"], cloned["resolved_spec"]["priority"]) == ("second", -7)
    assert json.loads(run("jobs", "clone", job_id, "--json").stdout)["name"] == "first"


def test_a_key_given_again_makes_no_second_job_and_one_is_made_up_where_none_is_given(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "spec.json").write_text(SPEC.model_dump_json())
    first = run("jobs", "create", "spec.json", "--idempotency-key", "key-1").stdout

    assert run("jobs", "create", "spec.json", "--idempotency-key", "key-1").stdout == first
    assert run("jobs", "create", "spec.json").stdout != run("jobs", "create", "spec.json").stdout

    job_id = first.strip()
    retry = ("jobs", "clone", job_id, "--idempotency-key", "key-1")
    assert run(*retry).stdout == run(*retry).stdout != first
    assert "key-1" in run(*retry, "--name", "other").stderr


def test_the_checkpoints_of_a_job_are_listed(run: Run, served: Served) -> None:
    job_id = create(run, priority=90)
    held = served.claim()
    with served.database.write() as session:
        checkpoint = Checkpoint(
            id=f"checkpoint-{uuid7()}",
            phase="training_student",
            role="student",
            step=120,
            metrics={},
            created_at=database_now(session),
        )
        verbs.commit_checkpoint(session, verbs.hold(session, *held), checkpoint, [])

    shown = run("jobs", "checkpoints", job_id).stdout

    for word in (checkpoint.id, "training_student", "120"):
        assert word in shown
    listed = json.loads(run("jobs", "checkpoints", job_id, "--json").stdout)
    assert [one["id"] for one in listed["data"]] == [checkpoint.id]


def test_the_log_of_an_earlier_attempt_is_printed(run: Run, served: Served) -> None:
    job_id = create(run, priority=90)
    held = served.claim()
    with served.database.write() as session:
        now = database_now(session)
        session.add(JobLog(job_id=job_id, fence=held[1], number=1, text="a\nb\n", created_at=now))
        verbs.give_back(session, verbs.hold(session, *held))
    served.claim()

    assert run("jobs", "logs", job_id).stdout == ""
    assert run("jobs", "logs", job_id, "--attempt", "1", "--tail", "1").stdout == "b\n"
    assert "has had 2" in run("jobs", "logs", job_id, "--attempt", "3").stderr


def test_watching_follows_a_job_to_its_result(run: Run, served: Served, tmp_path: Path) -> None:
    create(run, priority=90)
    held = served.claim()

    def end() -> None:
        time.sleep(0.3)
        served.succeed(held, outputs(tmp_path), report())

    worker = threading.Thread(target=end)
    worker.start()
    answer = run("jobs", "watch", held[0])
    worker.join()

    assert answer.exit_code == 0, answer.stderr
    assert f"{held[0]} succeeded" in answer.stdout
    assert "20 of 100" in answer.stdout
    assert "Distilling helped" in answer.stdout


def test_watching_a_job_that_fails_says_why_and_exits_with_1(run: Run, served: Served) -> None:
    create(run, priority=90)
    held = served.claim()
    served.fail(held)

    answer = run("jobs", "watch", held[0])

    assert answer.exit_code == 1
    assert 'bad_data while preparing: line 7, column "age"' in answer.stdout
    assert "Mend the line." in answer.stdout


def test_an_uploaded_file_has_an_id_that_a_spec_can_name(run: Run, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("age,label\n1,no\n2,yes\n")

    file_id = run("files", "upload", "table.csv").stdout.strip()

    assert file_id.startswith("file-")
    spec = SPEC.model_dump(mode="json")
    spec["dataset"] = {"source": "file", "file": file_id, "format": {"name": "csv"}}
    assert run("jobs", "create", "-", "--validate-only", stdin=json.dumps(spec)).exit_code == 0


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a file that is large enough to come in three parts, and one more that is one of them."""
    monkeypatch.setattr("app.cli.upload.ONE_FORM_BYTES", 3000)
    monkeypatch.setattr("app.cli.upload.PART_BYTES", 1000)
    path = tmp_path / "large table.csv"
    path.write_bytes(b"".join(letter * 1000 for letter in (b"a", b"b", b"a", b"c")))
    return path


def parts_sent(served: Served, upload_id: str, at_least: int) -> int:
    return len(served.requests(f"/v1/uploads/{upload_id}/parts", at_least))


def content_of(served: Served, file_id: str) -> bytes:
    headers = {"Authorization": f"Bearer {served.key_file.read_text()}"}
    return httpx2.get(f"{served.url}/v1/files/{file_id}/content", headers=headers).content


def test_a_large_file_is_sent_in_parts(run: Run, served: Served, large: Path) -> None:
    answer = run("files", "upload", large.name)

    assert answer.exit_code == 0, answer.stderr
    assert content_of(served, answer.stdout.strip()) == large.read_bytes()
    upload_id = answer.stderr.split()[-1]
    assert f"stillhouse files upload '{large.name}' --go-on {upload_id}" in answer.stderr
    assert parts_sent(served, upload_id, at_least=3) == 3


def test_an_upload_that_broke_off_goes_on_with_what_has_not_arrived(
    run: Run, served: Served, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = large.read_bytes()
    with monkeypatch.context() as patch:
        # The line is cut where the last part is sent.
        sent = iter([None, None])

        def send_or_break(service: Service, upload_id: str, piece: bytes) -> str:
            if next(sent, "cut") == "cut":
                raise httpx2.WriteError("cut")
            return send_part(service, upload_id, piece)

        patch.setattr("app.cli.upload.send_part", send_or_break)
        broken = run("files", "upload", large.name)
    assert (broken.exit_code, "does not answer: cut" in broken.stderr) == (1, True)
    upload_id = broken.stderr.split("--go-on ")[1].split()[0]
    assert parts_sent(served, upload_id, at_least=2) == 2

    answer = run("files", "upload", large.name, "--go-on", upload_id, "--json")

    assert answer.exit_code == 0, answer.stderr
    assert parts_sent(served, upload_id, at_least=3) == 3
    file = json.loads(answer.stdout)
    assert (file["filename"], file["bytes"]) == (large.name, len(whole))
    assert content_of(served, file["id"]) == whole
    # Its answer may have been what was lost.
    again = run("files", "upload", large.name, "--go-on", upload_id)
    assert again.stdout.strip() == file["id"]
    for content, reason in (
        (b"d" * len(whole), "is of another file"),
        (b"d" * 3999, f"is of a file of {len(whole)} bytes"),
    ):
        large.write_bytes(content)
        other = run("files", "upload", large.name, "--go-on", upload_id)
        assert (other.exit_code, reason in " ".join(other.stderr.split())) == (1, True)


def test_a_job_is_downloaded_whole(run: Run, served: Served, tmp_path: Path) -> None:
    job_id = finished_job(served, run, tmp_path)

    answer = run("download", job_id, "got")

    assert answer.exit_code == 0, answer.stderr
    for path in ("student/config.json", "student/model.safetensors", "report.json"):
        assert (tmp_path / "got" / path).read_bytes() == (tmp_path / "outputs" / path).read_bytes()
    assert not list((tmp_path / "got").rglob("*.partial"))


def test_a_job_that_has_ended_is_deleted_and_one_that_has_not_is_kept(run: Run) -> None:
    job_id = create(run)
    refused = run("jobs", "delete", job_id)
    assert (refused.exit_code, "HTTP 409" in refused.stderr) == (1, True)

    run("jobs", "cancel", job_id)

    assert run("jobs", "delete", job_id).stdout == f"{job_id} is deleted\n"
    assert "HTTP 404" in run("jobs", "get", job_id).stderr


def test_knowledge_is_listed_shown_and_deleted(run: Run, served: Served) -> None:
    knowledge = put_knowledge(served.database, job_id=None)

    assert knowledge in run("knowledge", "list").stdout
    assert json.loads(run("knowledge", "list", "--json").stdout)["data"][0]["id"] == knowledge
    shown = run("knowledge", "show", knowledge).stdout
    assert "a job that is deleted" in shown
    assert "plain" in shown
    assert json.loads(run("knowledge", "show", knowledge, "--json").stdout)["bytes"] == 240
    assert run("knowledge", "delete", knowledge).stdout == f"{knowledge} is deleted\n"
    assert "HTTP 404" in run("knowledge", "delete", knowledge).stderr


def test_a_model_is_listed_and_downloaded_without_its_folders_name(
    run: Run, served: Served, tmp_path: Path
) -> None:
    job_id = finished_job(served, run, tmp_path)
    models = json.loads(run("models", "list", "--json").stdout)["data"]
    model_id = next(m["id"] for m in models if (m["job_id"], m["role"]) == (job_id, "student"))
    assert model_id in run("models", "list").stdout

    assert run("download", model_id, "got").exit_code == 0

    weights = (tmp_path / "got" / "model.safetensors").read_bytes()
    assert weights == (tmp_path / "outputs/student/model.safetensors").read_bytes()


def test_a_second_download_fetches_nothing_again(run: Run, served: Served, tmp_path: Path) -> None:
    job_id = finished_job(served, run, tmp_path)
    run("download", job_id, "got")

    answer = run("download", job_id, "got")

    assert "whole already  student/model.safetensors" in answer.stdout
    assert "verified" not in answer.stdout


def test_a_broken_off_download_is_resumed(run: Run, served: Served, tmp_path: Path) -> None:
    job_id = finished_job(served, run, tmp_path)
    whole = (tmp_path / "outputs/student/model.safetensors").read_bytes()
    partial = tmp_path / "got/student/model.safetensors.partial"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(whole[:1_000_000])

    assert run("download", job_id, "got").exit_code == 0

    assert (tmp_path / "got/student/model.safetensors").read_bytes() == whole
    asked = served.requests(f"{job_id}/files/student/model", at_least=1)
    assert [request["status"] for request in asked] == [206]


def test_what_was_left_of_another_file_is_thrown_away(
    run: Run, served: Served, tmp_path: Path
) -> None:
    job_id = finished_job(served, run, tmp_path)
    got = tmp_path / "got/student"
    got.mkdir(parents=True)
    (got / "model.safetensors.partial").write_bytes(b"of another file")
    (got / "config.json.partial").write_bytes(b"longer than the whole file is")
    (got / "config.json").write_bytes(b"damaged")

    answer = run("download", job_id, "got")

    assert answer.exit_code == 0, answer.stderr
    for name in ("config.json", "model.safetensors"):
        assert (got / name).read_bytes() == (tmp_path / "outputs/student" / name).read_bytes()


def test_damaged_bytes_are_never_kept(run: Run, served: Served, tmp_path: Path) -> None:
    job_id = finished_job(served, run, tmp_path)
    job = json.loads(run("jobs", "get", job_id, "--json").stdout)
    digest = next(f["sha256"] for f in job["files"] if f["path"] == "report.json")
    (blob,) = (served.key_file.parent / "blobs").rglob(digest)
    content = blob.read_bytes()
    try:
        blob.write_bytes(content[::-1])
        answer = run("download", job_id, "got")
    finally:
        blob.write_bytes(content)

    assert answer.exit_code == 1
    assert "report.json is damaged" in answer.stderr
    assert not (tmp_path / "got/report.json").exists()
