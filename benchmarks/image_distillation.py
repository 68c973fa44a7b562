"""What does it save not to run the teacher at every step? Residual networks on Fashion-MNIST.

Distils cifar_resnet 56 -> 20 and 32x4 -> 8x4 at batch 64 on 6,400 images padded to 32x32x3: once as
a job of the engine, in a process of its own as under the service; once in a plain loop that runs
the teacher at every step. While its student trains the engine is halted again and again, and the
plain loop makes a step, so that whatever else the machine does hits both. Prints Markdown tables
and exits with 1 if a bar is missed. `python -m benchmarks.image_distillation`; it needs
`.venv/fashion-mnist`, takes some 12 minutes on two cores, and uses the GPU where there is one.

The teacher is not trained: its weights do not change what a step costs.
"""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from app.contracts.dataset import FileDataset, ImageArchive, Split
from app.contracts.job import JobSpec, Phase
from app.contracts.message import (
    MESSAGE,
    AnyMessage,
    MetricsMeasured,
    PhaseFinished,
    PhaseStarted,
    ProgressMade,
)
from app.contracts.model import CifarResnet, RegisteredTeacher, Student
from app.contracts.response_losses import Labels, SoftTargets
from app.contracts.training import Constant, Sgd, Training
from benchmarks.fashion_images import MEAN, NUM_CLASSES, STD, write_archive
from benchmarks.plain_loop import PlainLoop, Recipe, Variant
from worker.distillation.build import build, save_model
from worker.distillation.dataset import InputDescription

RECIPE = Recipe()
STEPS_PER_EPOCH = RECIPE.num_train // RECIPE.batch_size
NUM_TEST = 640
WARM_UP_STEPS = 3
MOST_OF_A_JOB = 1.1
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Pair(NamedTuple):
    """A teacher and a student, and how much of them is run."""

    teacher: Variant
    student: Variant
    least_ratio: float
    epochs: int
    halt_every: int
    """Messages of progress, of which there are two a second."""


PAIRS = (Pair("56", "20", 2.7, 9, 1), Pair("32x4", "8x4", 3.4, 5, 3))


class Times(NamedTuple):
    """In seconds; all of the engine's are without the time it was halted."""

    plain_step: float
    plain_steps: int
    """How many were made."""
    teacher_step: float
    """A batch through the teacher alone, as the plain loop does it."""
    epoch: float
    """Of the engine's student, from its second on."""
    job: float
    """All of it, from starting its process to its end, but for training the baseline."""
    alone: float
    """Training the baseline: the same student without a teacher."""


class Engine:
    """A job in a process of its own, halted now and then; its clock stands still meanwhile."""

    def __init__(self, spec: JobSpec, folder: Path) -> None:
        (folder / "spec.json").write_text(spec.model_dump_json())
        read_end, write_end = os.pipe()
        command = [sys.executable, "-m", "worker.distillation", str(folder / "spec.json")]
        command += [str(folder), "--messages-fd", str(write_end)]
        self.halted = 0.0
        self.started = time.perf_counter()
        self.process = subprocess.Popen(command, pass_fds=[write_end], stdout=subprocess.DEVNULL)
        os.close(write_end)
        self._messages = os.fdopen(read_end, encoding="utf-8")

    def messages(self) -> Iterator[AnyMessage]:
        """Yield what it says until it ends."""
        with self._messages:
            for line in self._messages:
                yield MESSAGE.validate_json(line)
        if self.process.wait() != 0:
            raise RuntimeError(f"the engine has ended with exit code {self.process.returncode}")

    def now(self) -> float:
        return time.perf_counter() - self.started - self.halted

    def halt_for(self, do: Callable[[], None]) -> None:
        before = time.perf_counter()
        self.process.send_signal(signal.SIGSTOP)
        do()
        self.process.send_signal(signal.SIGCONT)
        self.halted += time.perf_counter() - before


class Clock:
    """Reads the engine's messages and remembers when each phase and each epoch began and ended."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.phases: dict[Phase, float] = {}
        self.epochs: list[float] = []
        self._began = 0.0

    def read(self, message: AnyMessage) -> None:
        now = self.engine.now()
        if isinstance(message, PhaseStarted):
            self.phases[message.phase] = self._began = now
        elif isinstance(message, PhaseFinished):
            self.phases[message.phase] = now - self.phases[message.phase]
        elif isinstance(message, MetricsMeasured) and "student/loss" in message.values:
            self.epochs.append(now - self._began)
            self._began = now


def measure(pair: Pair, folder: Path) -> Times:
    """Run a pair both ways."""
    write_inputs(pair, folder / "inputs")
    plain = PlainLoop(pair.teacher, pair.student, RECIPE, DEVICE)
    seconds: dict[str, list[float]] = defaultdict(list)

    def run_plain_loop() -> None:
        seconds["plain"].append(_timed(plain.step))
        seconds["teacher"].append(_timed(plain.teacher_step))

    for _ in range(WARM_UP_STEPS):
        run_plain_loop()
    seconds.clear()
    engine = Engine(recipe(pair), folder)
    clock, heard = Clock(engine), 0
    for message in engine.messages():
        clock.read(message)
        if isinstance(message, ProgressMade) and _is_in_student(message):
            heard += 1
            if heard % pair.halt_every == 0:
                engine.halt_for(run_plain_loop)
    alone = clock.phases[Phase.TRAINING_BASELINE]
    return Times(
        plain_step=statistics.mean(seconds["plain"]),
        plain_steps=len(seconds["plain"]),
        teacher_step=statistics.mean(seconds["teacher"]),
        epoch=statistics.mean(clock.epochs[1:]),
        job=engine.now() - alone,
        alone=alone,
    )


def recipe(pair: Pair) -> JobSpec:
    return JobSpec(
        dataset=FileDataset(
            file="file-fashion",
            format=ImageArchive(size=32, channels=3),
            split=Split(validation=0.0),
        ),
        teacher=RegisteredTeacher(model="model-teacher"),
        student=Student(architecture=CifarResnet(variant=pair.student)),
        objective=[
            Labels(weight=RECIPE.labels_weight),
            SoftTargets(weight=RECIPE.soft_weight, temperature=RECIPE.temperature),
        ],
        training=Training(
            epochs=pair.epochs,
            batch_size=RECIPE.batch_size,
            optimizer=Sgd(lr=RECIPE.lr, momentum=RECIPE.momentum, weight_decay=RECIPE.weight_decay),
            schedule=Constant(),
        ),
    )


def write_inputs(pair: Pair, folder: Path) -> None:
    """Write the images and the teacher, as the service would."""
    teacher_folder = folder / "model-teacher"
    teacher_folder.mkdir(parents=True)
    description = InputDescription(
        kind="image",
        shape=[3, 32, 32],
        mean=[MEAN] * 3,
        std=[STD] * 3,
        output_names=[str(label) for label in range(NUM_CLASSES)],
    )
    architecture = CifarResnet(variant=pair.teacher)
    teacher = build(architecture, description, seed=0)
    save_model(teacher, teacher_folder, architecture, description)
    write_archive(folder / "file-fashion", RECIPE.num_train, NUM_TEST)


def _is_in_student(message: ProgressMade) -> bool:
    """Say whether it is of the student's second epoch or a later one."""
    progress = message.progress
    return progress.phase == Phase.TRAINING_STUDENT and (progress.epoch or 0) > 1


def _timed(do: Callable[[], None]) -> float:
    before = time.perf_counter()
    do()
    return time.perf_counter() - before


def main() -> int:
    started = time.monotonic()
    measured = []
    for pair in PAIRS:
        with tempfile.TemporaryDirectory() as folder:
            measured.append((pair, measure(pair, Path(folder))))
    missed = False
    print("| pair | plain loop, s/epoch | Stillhouse, s/epoch | ratio | at least |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for pair, times in measured:
        plain = times.plain_step * STEPS_PER_EPOCH
        ratio = plain / times.epoch
        missed |= ratio < pair.least_ratio
        print(
            f"| {pair.teacher} -> {pair.student} | {plain:.2f} | {times.epoch:.2f} | {ratio:.2f} | "
            f"{pair.least_ratio} |"
        )
    print("\n| pair | whole job, s | student alone, s | a teacher pass, s | ratio | at most |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for pair, times in measured:
        one_pass = times.teacher_step * STEPS_PER_EPOCH
        ratio = times.job / (times.alone + one_pass)
        missed |= ratio > MOST_OF_A_JOB
        print(
            f"| {pair.teacher} -> {pair.student}, {pair.epochs} epochs | {times.job:.1f} | "
            f"{times.alone:.1f} | {one_pass:.1f} | {ratio:.2f} | {MOST_OF_A_JOB} |"
        )
    device = torch.cuda.get_device_name() if DEVICE.type == "cuda" else "the CPU"
    steps = " and ".join(str(times.plain_steps) for _, times in measured)
    print(
        f"\nOn {device}, {torch.get_num_threads()} threads, torch {torch.__version__}. An epoch is "
        f"{STEPS_PER_EPOCH} steps of {RECIPE.batch_size}. The engine's are whole epochs, from the "
        f"second on. The plain loop made {steps} steps, spread over them; an epoch of it is its "
        f"mean step times {STEPS_PER_EPOCH}, and so is a teacher pass. The job is the engine's "
        f"whole process, with evaluation on {NUM_TEST} images and export, less the training of the "
        f"baseline, which is the student alone. {time.monotonic() - started:.0f} s."
    )
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
