"""The trainer as a process: exit codes, messages on a pipe, signals, and a parent that dies."""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import pytest

from app.contracts.job import Phase, Resources
from app.contracts.message import (
    MESSAGE,
    AnyMessage,
    CheckpointWritten,
    Failed,
    Finished,
    PhaseStarted,
    ProgressMade,
    WentOn,
)
from tests.unit.worker.distillation.specs import spec_of
from tests.unit.worker.distillation.toys import briefly
from worker.distillation.__main__ import is_disk_full
from worker.distillation.manifest import is_whole

ROOT = Path(__file__).parents[4]
LONG = spec_of(training={"epochs": 100_000})
QUICK = spec_of(
    teacher={"source": "train", "architecture": {"name": "mlp"}, "training": {"epochs": 1}},
    training=briefly(epochs=1, batch_size=256).model_dump(),
    export=["safetensors"],
)

STEPS = QUICK.model_copy(update={"training": briefly(epochs=300, batch_size=256)})

PARENT = """
import os, subprocess, sys, time
command = [*sys.argv[1:], "--parent-pid", str(os.getpid())]
print(subprocess.Popen(command, stdout=subprocess.DEVNULL).pid, flush=True)
time.sleep(60)
"""


class Trainer:
    """A started trainer, with a pipe for its messages."""

    def __init__(
        self, spec: str, folder: Path, *more: str, also_passed: tuple[int, ...] = ()
    ) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "spec.json").write_text(spec)
        read_end, write_end = os.pipe()
        command = [sys.executable, "-m", "worker.distillation", str(folder / "spec.json")]
        command += [str(folder), "--messages-fd", str(write_end), *more]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            pass_fds=[write_end, *also_passed],
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(write_end)
        self.lines = os.fdopen(read_end)

    def messages(self) -> list[AnyMessage]:
        return [MESSAGE.validate_json(line) for line in self.lines]

    def wait_for(self, kind: type[AnyMessage]) -> None:
        for line in self.lines:
            if isinstance(MESSAGE.validate_json(line), kind):
                return

    def end(self) -> int:
        _, errors = self.process.communicate(timeout=60)
        self.lines.close()
        assert "Traceback" not in errors
        return self.process.returncode


class Controlled(Trainer):
    """A started trainer that is told when to stop."""

    def __init__(self, spec: str, folder: Path) -> None:
        read_end, self._control = os.pipe()
        super().__init__(spec, folder, "--control-fd", str(read_end), also_passed=(read_end,))
        os.close(read_end)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._control)

    def say(self, word: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # it may have ended
            os.write(self._control, f"{word}\n".encode())


def test_a_run_by_the_supervisor_speaks_on_its_pipe(tmp_path: Path) -> None:
    trainer = Trainer(QUICK.model_dump_json(), tmp_path, "--parent-pid", str(os.getpid()))
    messages = trainer.messages()

    assert trainer.end() == 0
    assert isinstance(messages[0], PhaseStarted)
    assert isinstance(messages[-1], Finished)
    assert (tmp_path / "outputs" / "manifest.json").is_file()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_at_a_step_with_a_checkpoint(
    tmp_path: Path, number: signal.Signals
) -> None:
    trainer = Trainer(LONG.model_dump_json(), tmp_path)
    trainer.wait_for(ProgressMade)
    trainer.process.send_signal(number)
    messages = trainer.messages()

    assert trainer.end() == 75
    assert isinstance(messages[-1], CheckpointWritten)
    assert messages[-1].folder is not None
    assert is_whole(tmp_path / messages[-1].folder)


@pytest.mark.parametrize(("word", "code"), [("drain", 75), ("pause", 76), ("cancel", 77)])
def test_a_word_from_the_supervisor_ends_the_run_at_a_step(
    tmp_path: Path, word: str, code: int
) -> None:
    with Controlled(LONG.model_dump_json(), tmp_path) as trainer:
        trainer.wait_for(ProgressMade)
        trainer.say(word)
        messages = trainer.messages()

        assert trainer.end() == code
    kept = any(isinstance(message, CheckpointWritten) for message in messages)
    assert kept == (word != "cancel")


def test_a_run_that_was_drained_again_and_again_delivers_the_same_bytes(tmp_path: Path) -> None:
    whole = Trainer(STEPS.model_dump_json(), tmp_path / "whole")
    whole.messages()
    assert whole.end() == 0

    codes, went_on = [], []
    for _ in range(4):
        with Controlled(STEPS.model_dump_json(), tmp_path / "pieces") as trainer:
            trainer.wait_for(PhaseStarted)
            time.sleep(2.5)
            trainer.say("drain")
            went_on += [m for m in trainer.messages() if isinstance(m, WentOn)]
            codes.append(trainer.end())
    last = Trainer(STEPS.model_dump_json(), tmp_path / "pieces")
    last.messages()

    assert last.end() == 0
    assert 75 in codes
    assert went_on
    for role in ("baseline", "student"):
        steps = [message.step for message in went_on if message.role == role]
        assert steps == sorted(steps)
    for name in ("teacher", "student"):
        path = Path("outputs", name, "model.safetensors")
        pieces, undisturbed = tmp_path / "pieces" / path, tmp_path / "whole" / path
        assert pieces.read_bytes() == undisturbed.read_bytes()


def test_a_trainer_says_where_it_is_when_it_is_asked(tmp_path: Path) -> None:
    trainer = Trainer(LONG.model_dump_json(), tmp_path)
    # Now and then it is between two epochs.
    for _ in range(5):
        trainer.wait_for(ProgressMade)
        trainer.process.send_signal(signal.SIGUSR1)
    trainer.wait_for(ProgressMade)
    trainer.process.send_signal(signal.SIGTERM)
    trainer.messages()
    _, errors = trainer.process.communicate(timeout=60)
    trainer.lines.close()

    assert "Current thread" in errors
    assert "make_step" in errors


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (RuntimeError("I/O error: No space left on device (os error 28)"), True),
        (RuntimeError("I/O error: Disk quota exceeded (os error 122)"), True),
        (OSError(errno.EACCES, "Permission denied"), False),
    ],
)
def test_a_full_disk_is_told_from_other_errors(error: Exception, full: bool) -> None:  # noqa: FBT001 (a case)
    assert is_disk_full(error) == full


def test_bad_input_is_told_and_exits_65(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    spec = QUICK.model_copy(update={"resources": Resources(gpus=1)})
    trainer = Trainer(spec.model_dump_json(), tmp_path)
    last = trainer.messages()[-1]

    assert trainer.end() == 65
    assert isinstance(last, Failed)
    assert (last.error.code, last.error.phase) == ("no_gpu", Phase.TRAINING_TEACHER)


def test_an_invalid_spec_is_told_by_its_paths(tmp_path: Path) -> None:
    trainer = Trainer(
        '{"dataset": {"source": "builtin", "name": "digit"}, "student": {"architecture": '
        '{"name": "mlp", "hidden_sizes": [0]}}}',
        tmp_path,
    )
    (message,) = trainer.messages()

    assert trainer.end() == 65
    assert isinstance(message, Failed)
    assert message.error.code == "invalid_spec"
    for part in ("/teacher: Field required", "/dataset/builtin/name: ", "/hidden_sizes/0: "):
        assert part in message.error.message


def test_by_hand_it_speaks_to_a_person(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text(QUICK.model_dump_json())
    command = [sys.executable, "-m", "worker.distillation", str(tmp_path / "spec.json")]
    done = subprocess.run(
        [*command, str(tmp_path / "run")], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert done.stdout.startswith("preparing ...\n  data: 1257 train")
    heads = [line.split() for line in done.stdout.splitlines()]
    assert ["teacher", "baseline", "student"] in heads
    assert done.stdout.splitlines()[-1].startswith("latency (ms)")


def test_it_does_not_begin_without_its_parent(tmp_path: Path) -> None:
    trainer = Trainer(QUICK.model_dump_json(), tmp_path, "--parent-pid", str(os.getppid()))

    assert trainer.messages() == []
    assert trainer.end() == 1


def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text(LONG.model_dump_json())
    trainer = [sys.executable, "-m", "worker.distillation"]
    trainer += [str(tmp_path / "spec.json"), str(tmp_path)]
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, *trainer], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    trainer_pid = int(parent.stdout.readline())
    while not (tmp_path / "prepared").exists():
        time.sleep(0.05)
    assert runs(trainer_pid)
    parent.kill()
    parent.communicate()

    deadline = time.monotonic() + 60
    while runs(trainer_pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not runs(trainer_pid)


def runs(pid: int) -> bool:
    """Say whether a process exists and is more than a zombie that nobody has waited for."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
