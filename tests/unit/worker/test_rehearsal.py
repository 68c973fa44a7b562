"""The rehearsal keeps to the trainer's protocol: the same messages, checkpoints and exit codes."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.contracts.job import JobSpec, Phase
from app.contracts.message import (
    MESSAGE,
    AnyMessage,
    CheckpointWritten,
    ExitCode,
    Failed,
    Finished,
    Manifest,
    PhaseStarted,
    ProgressMade,
)
from tests.jobs import SPEC
from worker.rehearsal import WARNING, student_digest

LONG = {"rehearsal.steps": "100000"}
EVERY_SECOND = SPEC.resources.model_copy(update={"checkpoint_every_seconds": 1.0})


class Rehearsal:
    """A trainer in a folder, with both its pipes."""

    def __init__(self, folder: Path, metadata: dict[str, str]) -> None:
        self.folder = folder
        spec = SPEC.model_copy(update={"metadata": metadata, "resources": EVERY_SECOND})
        (folder / "spec.json").write_text(JobSpec.model_dump_json(spec))
        self._messages, write_end = os.pipe()
        read_end, self._control = os.pipe()
        command = [sys.executable, "-m", "worker.rehearsal", str(folder / "spec.json"), str(folder)]
        command += ["--messages-fd", str(write_end), "--control-fd", str(read_end)]
        self.process = subprocess.Popen(
            [*command, "--parent-pid", str(os.getpid())], pass_fds=[write_end, read_end]
        )
        os.close(write_end)
        os.close(read_end)
        self._stream = os.fdopen(self._messages, "rb")

    def tell(self, word: str) -> None:
        os.write(self._control, f"{word}\n".encode())

    def messages(self) -> Iterator[AnyMessage]:
        return (MESSAGE.validate_json(line) for line in self._stream)

    def until(self, wanted: type[AnyMessage]) -> None:
        next(message for message in self.messages() if isinstance(message, wanted))

    def exit_code(self) -> int:
        return self.process.wait(timeout=60)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._stream.close()
        os.close(self._control)


Start = Callable[..., Rehearsal]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Rehearsal] = []

    def start(metadata: dict[str, str], folder: Path = tmp_path) -> Rehearsal:
        started.append(Rehearsal(folder, metadata))
        return started[-1]

    yield start
    for each in started:
        each.close()


def test_it_goes_through_every_phase_to_files_that_its_manifest_names(
    start: Start, tmp_path: Path
) -> None:
    rehearsal = start({"rehearsal.steps": "20"})
    messages = list(rehearsal.messages())

    assert rehearsal.exit_code() == ExitCode.SUCCEEDED
    assert [m.phase for m in messages if isinstance(m, PhaseStarted)] == list(Phase)
    assert isinstance(messages[-1], Finished)
    assert messages[-1].report.warnings == [WARNING]
    outputs = tmp_path / "outputs"
    manifest = Manifest.model_validate_json((outputs / "manifest.json").read_bytes())
    digests = {file.path: file.sha256 for file in manifest.files}
    assert set(digests) == {
        *("report.html", "report.json", "student/config.json", "student/model.safetensors")
    }
    for path, digest in digests.items():
        assert hashlib.sha256((outputs / path).read_bytes()).hexdigest() == digest
    assert digests["student/model.safetensors"] == student_digest(SPEC.training.seed, 20)


def test_each_step_and_the_seed_decide_the_student() -> None:
    digests = {student_digest(seed, steps) for seed in range(3) for steps in range(10)}

    assert len(digests) == 30


def test_it_starts_without_what_takes_seconds_to_load(start: Start) -> None:
    rehearsal = start(LONG)
    rehearsal.until(PhaseStarted)

    loaded = Path(f"/proc/{rehearsal.process.pid}/maps").read_text()
    assert "pydantic" in loaded
    assert not [name for name in ("torch", "numpy", "sklearn") if f"/{name}" in loaded]


@pytest.mark.parametrize(
    ("word", "code"), [("drain", ExitCode.DRAINED), ("pause", ExitCode.PAUSED)]
)
def test_asked_to_stop_it_leaves_a_checkpoint_and_goes_on_from_there(
    start: Start, tmp_path: Path, word: str, code: ExitCode
) -> None:
    steps = {"rehearsal.steps": "150"}
    first = start(steps)
    first.until(ProgressMade)
    first.tell(word)
    (checkpoint,) = [m for m in first.messages() if isinstance(m, CheckpointWritten)]
    assert first.exit_code() == code
    assert checkpoint.step is not None
    assert checkpoint.folder == f"checkpoints/{checkpoint.step:010}-student"

    # Another worker has the checkpoint's files and nothing else.
    elsewhere = tmp_path / "elsewhere"
    for file in checkpoint.files:
        target = elsewhere / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tmp_path / file.path, target)
        assert hashlib.sha256(target.read_bytes()).hexdigest() == file.sha256
    second = start(steps, elsewhere)
    first_step = next(m for m in second.messages() if isinstance(m, ProgressMade)).progress.step
    assert second.exit_code() == ExitCode.SUCCEEDED

    assert first_step == checkpoint.step > 0
    student = (elsewhere / "outputs/student/model.safetensors").read_bytes()
    assert hashlib.sha256(student).hexdigest() == student_digest(SPEC.training.seed, 150)


def test_cancelled_it_leaves_at_once(start: Start, tmp_path: Path) -> None:
    rehearsal = start(LONG)
    rehearsal.until(ProgressMade)
    rehearsal.tell("cancel")

    assert rehearsal.exit_code() == ExitCode.CANCELLED
    assert not (tmp_path / "checkpoints").exists()


def test_it_keeps_its_two_newest_checkpoints_and_passes_over_a_damaged_one(
    start: Start, tmp_path: Path
) -> None:
    killed = start({**LONG, "rehearsal.step_seconds": "0.1"})
    for _ in range(3):
        killed.until(CheckpointWritten)
    killed.process.kill()
    killed.process.wait()
    # One more may have been under way.
    older, newer = sorted((tmp_path / "checkpoints").glob("*-student"))
    (newer / "model.safetensors").write_bytes(b"torn")

    again = start(LONG)
    progress = next(m for m in again.messages() if isinstance(m, ProgressMade)).progress
    assert progress.step == int(older.name.split("-")[0])


def test_a_crash_that_is_asked_for_is_one(start: Start) -> None:
    assert start({"rehearsal.crash_at_step": "3"}).exit_code() == 1


@pytest.mark.parametrize(
    "misbehaviour", [{"rehearsal.ignore_stop": "true"}, {"rehearsal.hang_at_step": "0"}]
)
def test_it_can_be_deaf_to_every_wish(start: Start, misbehaviour: dict[str, str]) -> None:
    rehearsal = start({**LONG, **misbehaviour})
    rehearsal.until(ProgressMade)
    rehearsal.tell("cancel")
    rehearsal.process.terminate()
    time.sleep(0.5)

    assert rehearsal.process.poll() is None


def test_metadata_that_asks_for_nonsense_is_a_bad_spec(start: Start) -> None:
    rehearsal = start({"rehearsal.steps": "many"})
    (message,) = rehearsal.messages()

    assert rehearsal.exit_code() == ExitCode.BAD_INPUT
    assert isinstance(message, Failed)


def test_it_loads_nothing_of_torch() -> None:
    code = "import worker.rehearsal, sys; sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
