"""Does distillation help? scikit-learn's digits, ten seeds, through the real pipeline.

Prints a Markdown table and exits with 1 if the distilled student does not beat its baseline by at
least 5 test errors in the mean and on at least 8 of 10 seeds. `python -m benchmarks.digits`.

The teacher's dropout and the student's weight decay were chosen on seeds 100 to 107, not on these.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

from app.contracts.dataset import Builtin, Split
from app.contracts.job import JobSpec, Resources
from app.contracts.model import Mlp, Student, TrainedTeacher
from app.contracts.report import Report
from app.contracts.response_losses import SoftTargets
from app.contracts.training import Adamw, OneCycle, ShiftCrop, Training
from worker.distillation import pipeline
from worker.distillation.reporting import Reporter
from worker.distillation.workspace import Workspace

NUM_SEEDS = 10
LEAST_MEAN_GAIN = 5.0
LEAST_WINS = 8
STEPS_PER_EPOCH = 8
"""Of 898 examples in batches of up to 128."""


def recipe(seed: int) -> JobSpec:
    return JobSpec(
        dataset=Builtin(name="digits", split=Split(validation=0.0, test=0.5, seed=seed)),
        teacher=TrainedTeacher(
            architecture=Mlp(hidden_sizes=[256], dropout=0.1),
            training=Training(
                epochs=-(-2500 // STEPS_PER_EPOCH),
                optimizer=Adamw(lr=1e-2),
                schedule=OneCycle(),
                augmentation=[ShiftCrop(pixels=1)],
                seed=seed,
            ),
        ),
        student=Student(architecture=Mlp(hidden_sizes=[32])),
        objective=[SoftTargets(temperature=4.0)],
        training=Training(
            epochs=-(-1500 // STEPS_PER_EPOCH),
            optimizer=Adamw(lr=1e-2, weight_decay=0.0),
            schedule=OneCycle(),
            seed=seed,
        ),
        export=["safetensors"],
        resources=Resources(gpus=0),
    )


def run(seed: int) -> Report:
    with tempfile.TemporaryDirectory() as folder:
        return pipeline.run(recipe(seed), Workspace(Path(folder)), Reporter(lambda _: None))


def errors(report: Report) -> tuple[int, int, int]:
    """Return the test errors of teacher, baseline and student."""
    models = {"teacher": report.teacher, "baseline": report.baseline, "student": report.student}
    found = {role: model.test.errors for role, model in models.items() if model is not None}
    match [found.get(role) for role in models]:
        case [int(teacher), int(baseline), int(student)]:
            return teacher, baseline, student
    raise ValueError(f"the report has errors of {list(found)} alone; the recipe asks for all three")


def main() -> int:
    torch.set_num_threads(1)
    started = time.monotonic()
    print("| seed | teacher | baseline | student | gain |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    rows = []
    for seed in range(NUM_SEEDS):
        teacher, baseline, student = errors(run(seed))
        rows.append((teacher, baseline, student, baseline - student))
        print(f"| {seed} | {teacher} | {baseline} | {student} | {baseline - student} |", flush=True)
    columns = list(zip(*rows, strict=True))
    for name, statistic in (("mean", statistics.mean), ("sd", statistics.stdev)):
        print(f"| {name} | " + " | ".join(f"{statistic(column):.1f}" for column in columns) + " |")
    gain, wins = statistics.mean(columns[3]), sum(won > 0 for won in columns[3])
    print(
        f"\nTest errors; the student is better on {wins} of {NUM_SEEDS} seeds. "
        f"{time.monotonic() - started:.0f} s."
    )
    return 0 if gain >= LEAST_MEAN_GAIN and wins >= LEAST_WINS else 1


if __name__ == "__main__":
    sys.exit(main())
