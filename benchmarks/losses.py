"""Which losses help? Every loss on scikit-learn's digits, ten seeds, through the real pipeline.

A convnet of 32 and 64 channels (shifts of a pixel) teaches one of 4 and 8 channels. Each loss is
summed with the labels, at the weight that its field gives it; the baseline is the same student on
labels alone, from the same start. Prints a Markdown table and whatever it shows: nothing was tuned
for it, and a loss that does not help is in it like any other. FSP (`flow`) has a teacher of its
own, of the student's channels and a stage more. `python -m benchmarks.losses`.
"""

import math
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from app.contracts.dataset import Builtin, Split
from app.contracts.feature_losses import (
    ActivationBoundary,
    Attention,
    Contrastive,
    Correlation,
    Embedding,
    Factor,
    Flow,
    FlowPair,
    Hints,
    LayerSpan,
    Nst,
    Pkt,
    Relational,
    Review,
    Similarity,
    Vid,
)
from app.contracts.job import JobSpec, Resources
from app.contracts.loss import LayerPair
from app.contracts.model import Convnet, RegisteredTeacher, Student, TrainedTeacher
from app.contracts.objective import AnyLoss
from app.contracts.report import Report
from app.contracts.response_losses import (
    Decoupled,
    Dist,
    JensenShannon,
    Labels,
    LogitMse,
    LogitStandardized,
    MultiLevel,
    ReverseKl,
    SoftTargets,
)
from app.contracts.training import Adamw, OneCycle, ShiftCrop, Training
from worker.distillation import pipeline
from worker.distillation.reporting import Reporter
from worker.distillation.workspace import Workspace

NUM_SEEDS = 10
TEACHER_ID = "model-teacher"
TEACHER = Convnet(channels=[32, 64])
TEACHER_OF_FLOW = Convnet(channels=[4, 8, 64])
"""FSP matrices of student and teacher must be of one size, so the channels are the student's."""
STUDENT = Convnet(channels=[4, 8])


class Outcome(NamedTuple):
    """Test errors of ten students, one a seed."""

    name: str
    errors: list[int]


def on(*layers: str) -> list[LayerPair]:
    return [LayerPair(student=layer, teacher=layer) for layer in layers]


MAPS = on("stages.0", "stages.1")
FROM_TO = LayerSpan(first="stages.0", last="stages.1")
OBJECTIVES: dict[str, list[AnyLoss]] = {
    "soft_targets alone": [SoftTargets()],
    "soft_targets": [Labels(), SoftTargets()],
    "logit_mse": [Labels(), LogitMse(weight=0.1)],
    "reverse_kl": [Labels(), ReverseKl()],
    "jensen_shannon": [Labels(), JensenShannon()],
    "decoupled": [Labels(), Decoupled()],
    "logit_standardized": [Labels(), LogitStandardized(weight=9)],
    "dist": [Labels(), Dist()],
    "multi_level": [Labels(), MultiLevel()],
    "hints": [Labels(), Hints(layers=on("stages.1"), weight=100)],
    "attention": [Labels(), Attention(layers=MAPS, weight=1000)],
    "similarity": [Labels(), Similarity(layers=on("stages.1"), weight=3000)],
    "correlation": [Labels(), Correlation(layers=on("pool"), weight=0.02)],
    "vid": [Labels(), Vid(layers=MAPS)],
    "pkt": [Labels(), Pkt(layers=on("pool"), weight=30_000)],
    "nst": [Labels(), Nst(layers=on("stages.1"), weight=50)],
    "factor": [Labels(), Factor(layers=on("stages.1"), weight=200)],
    "activation_boundary": [
        Labels(), ActivationBoundary(layers=on("stages.0.norm", "stages.1.norm"))
    ],
    "flow": [Labels(), Flow(spans=[FlowPair(student=FROM_TO, teacher=FROM_TO)], weight=50)],
    "review": [Labels(), Review(layers=MAPS)],
    "embedding": [Labels(), Embedding(layers=on("pool"))],
    "relational": [Labels(), Relational(layers=on("pool"))],
    "contrastive": [Labels(), Contrastive(layers=on("pool"), weight=0.8, negatives=512)],
}  # fmt: skip


def recipe(
    seed: int, objective: Sequence[AnyLoss], teacher: Convnet | None, *, baseline: bool
) -> JobSpec:
    """Return a job that trains a teacher, or without one takes the seed's own."""
    training = Training(epochs=125, optimizer=Adamw(lr=1e-2), schedule=OneCycle(), seed=seed)
    shifted = training.model_copy(update={"augmentation": [ShiftCrop(pixels=1)]})
    return JobSpec(
        dataset=Builtin(name="digits", split=Split(validation=0.0, test=0.5, seed=seed)),
        teacher=TrainedTeacher(architecture=teacher, training=shifted)
        if teacher
        else RegisteredTeacher(model=TEACHER_ID),
        student=Student(architecture=STUDENT),
        objective=list(objective),
        training=training,
        baseline=baseline,
        export=["safetensors"],
        resources=Resources(gpus=0),
    )


def errors_of(report: Report, role: str) -> int:
    """Return a model's errors on test."""
    return int(getattr(report, role).test.errors)


def run_seed(seed: int, folder: Path, outcomes: dict[str, list[int]]) -> None:
    """Train teacher and baseline once, then a student on each objective."""
    quiet = Reporter(lambda _: None)
    first = Workspace(folder / "first")
    report = pipeline.run(recipe(seed, [Labels()], TEACHER, baseline=True), first, quiet)
    for role in ("teacher", "baseline"):
        outcomes.setdefault(role, []).append(errors_of(report, role))
    for number, (name, objective) in enumerate(OBJECTIVES.items()):
        workspace = Workspace(folder / str(number))
        workspace.input(TEACHER_ID).parent.mkdir(parents=True)
        workspace.input(TEACHER_ID).symlink_to(first.stage("teacher"))
        teacher = TEACHER_OF_FLOW if name == "flow" else None
        spec = recipe(seed, objective, teacher, baseline=False)
        report = pipeline.run(spec, workspace, quiet)
        outcomes.setdefault(name, []).append(errors_of(report, "student"))


def interval(gains: Sequence[int]) -> float:
    """Return the half-width of the mean's 95 % interval by Student's t with nine degrees."""
    return 2.262 * statistics.stdev(gains) / math.sqrt(len(gains))


def main() -> int:
    torch.set_num_threads(1)
    started = time.monotonic()
    outcomes: dict[str, list[int]] = {}
    for seed in range(NUM_SEEDS):
        with tempfile.TemporaryDirectory() as folder:
            run_seed(seed, Path(folder), outcomes)
        print(f"seed {seed}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    baseline = outcomes.pop("baseline")
    print("| student's objective | errors | gain | 95 % | better on | helps? |")
    print("| --- | ---: | ---: | ---: | ---: | --- |")
    print(f"| (teacher) | {statistics.mean(outcomes.pop('teacher')):.1f} | | | | |")
    print(f"| (baseline) labels | {statistics.mean(baseline):.1f} | | | | |")
    for name, errors in outcomes.items():
        gains = [before - after for before, after in zip(baseline, errors, strict=True)]
        gain, half = statistics.mean(gains), interval(gains)
        wins = sum(each > 0 for each in gains)
        verdict = "yes" if gain > half else "no, it hurts" if gain < -half else "not told apart"
        print(
            f"| {name} | {statistics.mean(errors):.1f} | {gain:+.1f} | +-{half:.1f} | "
            f"{wins} of {NUM_SEEDS} | {verdict} |"
        )
    print(f"\nTest errors of 899, mean of {NUM_SEEDS} seeds; {time.monotonic() - started:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
