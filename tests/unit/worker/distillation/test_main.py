"""The trainer as a process: exit codes, messages on a pipe, signals, and a parent that dies."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.contracts.job import Phase, Resources
from app.contracts.message import MESSAGE, AnyMessage, Failed, Finished, PhaseStarted, ProgressMade
from tests.unit.worker.distillation.specs import spec_of
from tests.unit.worker.distillation.toys import briefly

ROOT = Path(__file__).parents[4]
LONG = spec_of(training={"epochs": 100_000})
QUICK = spec_of(
    teacher={"source": "train", "architecture": {"name": "mlp"}, "training": {"epochs": 1}},
    training=briefly(epochs=1, batch_size=256).model_dump(),
    export=["safetensors"],
)

PARENT = """
import os, subprocess, sys, time
command = [*sys.argv[1:], "--parent-pid", str(os.getpid())]
print(subprocess.Popen(command, stdout=subprocess.DEVNULL).pid, flush=True)
time.sleep(60)
"""


class Trainer:
    """A started trainer, with a pipe for its messages."""

    def __init__(self, spec: str, folder: Path, *more: str) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "spec.json").write_text(spec)
        read_end, write_end = os.pipe()
        command = [sys.executable, "-m", "worker.distillation", str(folder / "spec.json")]
        command += [str(folder), "--messages-fd", str(write_end), *more]
        self.process = subprocess.Popen(
            command, cwd=ROOT, pass_fds=[write_end], stderr=subprocess.PIPE, text=True
        )
        os.close(write_end)
        self.lines = os.fdopen(read_end)

    def messages(self) -> list[AnyMessage]:
        return [MESSAGE.validate_json(line) for line in self.lines]

    def wait_for(self, kind: type[AnyMessage]) -> None:
        while not isinstance(MESSAGE.validate_json(self.lines.readline()), kind):
            pass

    def end(self) -> int:
        _, errors = self.process.communicate(timeout=60)
        self.lines.close()
        assert "Traceback" not in errors
        return self.process.returncode


def test_a_run_by_the_supervisor_speaks_on_its_pipe(tmp_path: Path) -> None:
    trainer = Trainer(QUICK.model_dump_json(), tmp_path, "--parent-pid", str(os.getpid()))
    messages = trainer.messages()

    assert trainer.end() == 0
    assert isinstance(messages[0], PhaseStarted)
    assert isinstance(messages[-1], Finished)
    assert (tmp_path / "outputs" / "manifest.json").is_file()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_at_a_step(tmp_path: Path, number: signal.Signals) -> None:
    trainer = Trainer(LONG.model_dump_json(), tmp_path)
    trainer.wait_for(ProgressMade)
    trainer.process.send_signal(number)
    trainer.messages()

    assert trainer.end() == 77


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

    deadline = time.monotonic() + 5
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
