"""What a trainer says arrives whole and in order, whatever else it writes on its pipe."""

import os
import select
import subprocess
import sys
import time

import pytest

from app.contracts.job import Phase, Resources
from app.contracts.message import PhaseStarted, Warned
from tests.jobs import SPEC
from worker.launcher import Trainer, with_gpus_of

START_SECONDS = 60


def test_messages_are_whole_lines_and_nonsense_between_them_is_passed_over() -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    process = subprocess.Popen([sys.executable, "-c", ""], start_new_session=True)
    trainer = Trainer(process, read_end, os.open(os.devnull, os.O_WRONLY))

    started = PhaseStarted(phase=Phase.PREPARING)
    line = started.model_dump_json().encode() + b"\n"
    os.write(write_end, b"not a message\n" + line + b'{"type": "unknown"}\n' + line[:10])
    assert list(trainer.messages(0)) == [started]

    os.write(write_end, line[10:])
    assert list(trainer.messages(0)) == [started]
    assert list(trainer.messages(0)) == []

    os.write(write_end, Warned(message="a\0b").model_dump_json().encode() + b"\n")
    assert list(trainer.messages(0)) == [Warned(message="a\N{REPLACEMENT CHARACTER}b")]

    os.close(write_end)
    trainer.end()
    assert trainer.exit_code() is not None


def test_a_trainer_that_closes_its_pipe_and_lives_does_not_keep_its_listener_busy() -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    process = subprocess.Popen(["/bin/sleep", "60"], start_new_session=True)
    os.close(write_end)
    trainer = Trainer(process, read_end, os.open(os.devnull, os.O_WRONLY))
    started = time.monotonic()

    assert list(trainer.messages(0.2)) == []

    assert time.monotonic() - started >= 0.2
    trainer.kill()
    process.wait()
    trainer.end()


def test_a_trainer_that_never_stops_talking_does_not_keep_its_listener() -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    program = (
        "import os\n"
        'line = b\'{"type": "alive"}\\n\' * 2000\n'
        f"while True: os.write({write_end}, line)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], start_new_session=True, pass_fds=[write_end]
    )
    os.close(write_end)
    trainer = Trainer(process, read_end, os.open(os.devnull, os.O_WRONLY))

    select.select([read_end], [], [], START_SECONDS)
    heard = [len(list(trainer.messages(0.2))) for _ in range(3)]

    assert min(heard) > 0
    select.select([read_end], [], [], START_SECONDS)
    trainer.kill()
    process.wait()
    assert len(list(trainer.messages(0.2))) > 0
    trainer.end()


@pytest.mark.parametrize(
    ("asked", "of_worker", "used"), [(None, 1, 1), (None, 0, 0), (0, 1, 0), (1, 1, 1)]
)
def test_a_trainer_uses_the_workers_gpu_unless_the_spec_says_otherwise(
    asked: int | None, of_worker: int, used: int
) -> None:
    resources = Resources(gpus=asked, max_runtime_seconds=7)
    settled = with_gpus_of(of_worker, SPEC.model_copy(update={"resources": resources}))

    assert settled.resources == Resources(gpus=used, max_runtime_seconds=7)
