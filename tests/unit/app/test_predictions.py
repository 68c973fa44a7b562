"""Models asked over HTTP, answered by a process of their own."""

import contextlib
import hashlib
import json
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from app import predictor
from app.db.models import Job, JobFile, Model
from app.db.session import database_now
from app.errors import Unavailable
from app.room import Room
from app.services import predictions
from app.storage import Storage
from tests.onnx_files import endless_onnx, peeping_onnx, tiny_onnx
from tests.proc import environment_of, limit_of
from tests.unit.app.conftest import Api
from worker.predictor import MOST_MEMORY_BYTES, MOST_SESSIONS, Sessions

INPUTS = [[0.1, 7.25], [3.0, -1e-7]]


@pytest.fixture
def student(api: Api) -> str:
    return publish(api, tiny_onnx())


def publish(api: Api, content: bytes, **teacher: bytes) -> str:
    """Let a job deliver a student, and a teacher where one is given."""
    api.post_job()
    files = {"student/onnx/model.onnx": content}
    files |= {f"{name}/onnx/model.onnx": its for name, its in teacher.items()}
    held = api.claim()
    student = api.succeed(held, files)
    if teacher:
        with api.database.write() as session:
            job = session.get_one(Job, held[0])
            session.add(
                Model(
                    id=f"model-teacher-{held[0]}",
                    project_id=job.project_id,
                    job_id=job.id,
                    role="teacher",
                    folder="teacher",
                    architecture=job.resolved_spec["teacher"]["architecture"],
                    num_parameters=10,
                    test_quality=0.5,
                    created_at=database_now(session),
                )
            )
    return student


def ask(api: Api, model: str, inputs: Any = INPUTS, **more: Any) -> Any:  # noqa: ANN401 (JSON)
    answer = api.client.post(f"/v1/models/{model}/predict", json={"inputs": inputs, **more})
    return {"status": answer.status_code, **answer.json()}


def test_the_numbers_are_those_of_the_downloaded_file(api: Api, student: str) -> None:
    content = api.client.get(f"/v1/models/{student}/files/onnx/model.onnx").content
    session = onnxruntime.InferenceSession(content)
    (own,) = session.run(["logits"], {"inputs": np.array(INPUTS, np.float32)})

    given = ask(api, student)

    assert given["answers"]["values"] == np.asarray(own).tolist()
    assert given["answers"]["labels"] == ["b", "a"]
    assert (given["task"], given["output_names"]) == ("classification", ["a", "b"])
    assert (given["answers"]["model"], given["teacher"]) == (student, None)


def test_a_teacher_is_asked_beside_its_student_unless_it_is_not_wanted(api: Api) -> None:
    student = publish(api, tiny_onnx(), teacher=tiny_onnx(bias=100))
    both = ask(api, student)
    assert [one[0] for one in both["teacher"]["values"]] == pytest.approx([100.1, 103])
    assert both["teacher"]["labels"] == ["a", "a"]
    teacher = both["teacher"]["model"]
    assert ask(api, student, with_teacher=False)["teacher"] is None
    alone = ask(api, teacher)
    assert (alone["answers"]["values"], alone["teacher"]) == (both["teacher"]["values"], None)


def test_a_regression_has_numbers_and_no_labels(api: Api) -> None:
    given = ask(api, publish(api, tiny_onnx(task="regression")))
    assert (given["answers"]["output"], given["answers"]["labels"]) == ("predictions", None)


def test_of_several_labels_those_more_probable_than_not_are_named(api: Api) -> None:
    given = ask(api, publish(api, tiny_onnx(task="multi_label")))
    assert given["answers"]["labels"] == [["a", "b"], ["a"]]


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ([[1, 2, 3]], "given inputs of shape (1, 3); expected (N, 2): raw values"),
        ([1, 2], "given inputs of shape (2,)"),
        ([[1, 2], [3]], "not all the same shape"),
        ([["1", "2"]], "not all numbers"),
        ([[None, 2]], "not all numbers"),
        ([[1e300, 2]], "too large for float32"),
        ([[2**62, {}]], "not all numbers"),
    ],
    ids=str,
)
def test_inputs_that_do_not_fit_are_told(
    api: Api, student: str, inputs: list[Any], words: str
) -> None:
    given = ask(api, student, inputs)
    assert given["status"] == 422
    assert given["errors"][0]["pointer"] == "/inputs"
    assert words in given["detail"]
    assert ask(api, student)["status"] == 200


@pytest.mark.parametrize("inputs", [[], [[1, 2]] * 65, "x", None])
def test_so_many_inputs_are_taken_and_no_more(api: Api, student: str, inputs: Any) -> None:  # noqa: ANN401 (JSON)
    assert ask(api, student, inputs)["status"] == 422
    assert ask(api, student, [[1, 2]] * 64)["status"] == 200


def test_a_model_without_an_onnx_file_says_how_to_have_one(api: Api) -> None:
    api.post_job()
    model = api.succeed(api.claim(), {"student/config.json": b"{}"})
    given = ask(api, model)
    assert (given["status"], given["error"]["code"]) == (409, "wrong_state")
    assert "`export`" in given["detail"]


def test_a_file_that_is_no_model_is_told_and_the_next_is_answered(api: Api, student: str) -> None:
    broken = publish(api, b"no ONNX")
    given = ask(api, broken)
    assert given["status"] == 409
    assert "cannot run" in given["detail"]
    assert ask(api, student)["status"] == 200


def test_a_process_that_was_killed_is_there_again(api: Api, student: str) -> None:
    assert ask(api, student)["status"] == 200
    process = api.parts.predictor._process  # noqa: SLF001 (to kill it)
    assert process is not None
    process.kill()
    process.wait()
    gone = api.client.post(f"/v1/models/{student}/predict", json={"inputs": INPUTS})
    assert (gone.status_code, gone.headers["Retry-After"]) == (503, "5")
    assert ask(api, student)["status"] == 200


def test_a_process_that_hangs_is_ended(
    api: Api, student: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ask(api, student)["status"] == 200
    process = api.parts.predictor._process  # noqa: SLF001 (to halt it)
    assert process is not None
    process.send_signal(19)
    monkeypatch.setattr(predictor, "ANSWER_SECONDS", 0.5)
    assert ask(api, student)["status"] == 503
    assert process.poll() is not None
    monkeypatch.undo()
    assert ask(api, student)["status"] == 200


def test_a_damaged_file_is_not_answered_from(api: Api, student: str) -> None:
    with api.database.read() as session:
        (row,) = session.query(JobFile).filter(JobFile.path == "student/onnx/model.onnx")
    (blob,) = api.folder.rglob(row.sha256)
    blob.write_bytes(tiny_onnx(bias=1))
    assert ask(api, student)["status"] == 503
    blob.unlink()
    assert ask(api, student)["status"] == 503


def test_a_model_cannot_read_the_files_of_the_service(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(api.folder)
    (api.folder / "secret").write_bytes(b"8 bytes!")
    for location in ("secret", str(api.folder / "secret"), f"../../{api.folder}/secret"):
        given = ask(api, publish(api, peeping_onnx(location)))
        assert given["status"] == 409, location
        assert "cannot run" in given["detail"]


def test_the_process_has_no_secrets_and_its_limits(
    api: Api, student: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STILLHOUSE_SECRET", "secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert ask(api, student)["status"] == 200
    process = api.parts.predictor._process  # noqa: SLF001 (to look at it)
    assert process is not None
    told = environment_of(process.pid)
    assert "PATH" in told
    assert [name for name in told if name.startswith(("STILLHOUSE", "AWS"))] == []
    assert limit_of(process.pid, "Max address space") == MOST_MEMORY_BYTES
    assert limit_of(process.pid, "Max file size") == 0
    assert limit_of(process.pid, "Max core file size") == 0


def test_it_ends_with_the_service_though_it_is_in_the_middle_of_an_answer(tmp_path: Path) -> None:
    content = endless_onnx()
    (tmp_path / "model").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    question = {"models": [digest], "paths": {digest: str(tmp_path / "model")}, "inputs": [[1, 2]]}
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", predictor.MODULE, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
        )
    with ours:
        ours.sendall(json.dumps(question).encode() + b"\n")
        ours.settimeout(3)
        with pytest.raises(TimeoutError):
            ours.recv(1)
        assert process.poll() is None
    process.wait(timeout=120)


def test_a_model_that_is_too_large_is_not_asked(
    api: Api, student: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "LARGEST_BYTES", 10)
    given = ask(api, student)
    assert given["status"] == 409
    assert "10 at most" in given["detail"]


def test_an_answer_that_is_too_long_ends_the_process(
    api: Api, student: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor, "LONGEST_ANSWER_BYTES", 10)
    monkeypatch.setattr(predictor, "READ_BYTES", 8)
    assert ask(api, student)["status"] == 503
    monkeypatch.undo()
    assert ask(api, student)["status"] == 200


def test_who_answers_by_drops_is_given_no_more_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor, "ANSWER_SECONDS", 1.0)
    ours, theirs = socket.socketpair()
    asked = predictor.Predictor()
    asked._line = ours  # noqa: SLF001 (instead of a process)
    over = threading.Event()

    def drip() -> None:
        with theirs, contextlib.suppress(OSError):
            while not over.wait(0.2):
                theirs.sendall(b" ")

    dripping = threading.Thread(target=drip)
    dripping.start()
    with pytest.raises(Unavailable):
        asked.ask(Storage(str(tmp_path)), {}, [])
    over.set()
    dripping.join()


def test_few_wait_for_their_turn_and_the_process_of_the_one_who_has_it_is_left_alone(
    api: Api, student: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ask(api, student)["status"] == 200
    one = api.parts.predictor
    process = one._process  # noqa: SLF001 (it is to live on)
    room = Room("models are asked", places=1, waiting=1, patience_seconds=0.05)
    monkeypatch.setattr(one, "_room", room)
    with room.entered():
        assert ask(api, student)["status"] == 503
    assert ask(api, student)["status"] == 200
    assert one._process is process  # noqa: SLF001 (as above)


def test_only_the_last_models_are_kept_ready(tmp_path: Path) -> None:
    sessions = Sessions()
    for number in range(MOST_SESSIONS + 2):
        content = tiny_onnx(bias=number)
        (tmp_path / "model").write_bytes(content)
        sessions.get(hashlib.sha256(content).hexdigest(), str(tmp_path / "model"))
    assert len(sessions._held) == MOST_SESSIONS  # noqa: SLF001 (what it is about)


def test_from_s3_a_model_is_brought_once(api: Api, student: str, s3_url: str) -> None:
    content = tiny_onnx()
    digest = hashlib.sha256(content).hexdigest()
    storage = Storage(s3_url)
    storage.put_chunks(digest, len(content), [content])
    object.__setattr__(api.parts, "storage", storage)
    assert ask(api, student)["status"] == 200
    storage.delete(digest)
    assert ask(api, student)["status"] == 200
    api.database.engine.dispose()
