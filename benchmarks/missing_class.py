"""Does a student know a digit that it has never seen? Digits without threes, ten fresh seeds.

The teacher sees all of scikit-learn's digits; the student only its answers to those that are no
three. Its bias for threes is then raised, without labels, until it expects threes as often as the
teacher does on the validation part (Hinton et al., 2015, section 3). Prints a Markdown table and
exits with 1 if fewer than 88 % of the test part's threes are right in the mean.
`python -m benchmarks.missing_class`.

The recipe was chosen on seeds 100 to 109, not on these.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import torch

from app.contracts.dataset import Builtin, Split
from app.contracts.job import JobSpec, Resources, TransferSet
from app.contracts.model import Mlp, Student, TrainedTeacher
from app.contracts.report import Repair
from app.contracts.response_losses import SoftTargets
from app.contracts.training import Adamw, OneCycle, ShiftCrop, Training
from worker.distillation import pipeline
from worker.distillation.build import load_model
from worker.distillation.comparison import REPAIR_FILE
from worker.distillation.dataset import Dataset
from worker.distillation.reporting import Reporter
from worker.distillation.workspace import Workspace

NUM_SEEDS = 10
MISSING = "3"
LEAST_SHARE_RIGHT = 0.88


class Outcome(NamedTuple):
    """One student on the test part."""

    right_before: float
    """Of the threes, before the repair, in percent."""
    right_after: float
    bias: float
    errors_before: int
    """Of all classes."""
    errors_after: int


def recipe(seed: int) -> JobSpec:
    return JobSpec(
        dataset=Builtin(name="digits", split=Split(validation=0.1, test=0.5, seed=seed)),
        teacher=TrainedTeacher(
            architecture=Mlp(hidden_sizes=[256], dropout=0.1),
            training=Training(
                epochs=300,
                optimizer=Adamw(lr=1e-2),
                schedule=OneCycle(),
                augmentation=[ShiftCrop(pixels=1)],
                seed=seed,
            ),
        ),
        student=Student(architecture=Mlp(hidden_sizes=[64])),
        objective=[SoftTargets(temperature=8.0)],
        training=Training(
            epochs=250,
            optimizer=Adamw(lr=1e-2, weight_decay=0.0),
            schedule=OneCycle(),
            seed=seed,
        ),
        transfer=TransferSet(omit_classes=[MISSING], repair=True),
        baseline=False,
        export=["safetensors"],
        resources=Resources(gpus=0),
    )


def run(seed: int) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        pipeline.run(recipe(seed), workspace, Reporter(lambda _: None))
        return measured(workspace)


@torch.no_grad()
def measured(workspace: Workspace) -> Outcome:
    """Compare the student delivered with the one it was before its bias was raised."""
    data = Dataset.load(workspace.stage("prepared"))
    ids = data.ids["test"]
    labels = torch.from_numpy(data.labels[ids])
    missing = data.description.output_names.index(MISSING)
    repair = Repair.model_validate_json((workspace.stage("student") / REPAIR_FILE).read_bytes())
    bias = repair.classes[0].bias
    after = load_model(workspace.stage("student"))(torch.from_numpy(data.inputs[ids]).float())
    before = after.clone()
    before[:, missing] -= bias
    right = [answers.argmax(dim=1) == labels for answers in (before, after)]
    threes = [100 * float(each[labels == missing].float().mean()) for each in right]
    errors = [int((~each).sum()) for each in right]
    return Outcome(threes[0], threes[1], bias, errors[0], errors[1])


def main() -> int:
    torch.set_num_threads(1)
    started = time.monotonic()
    print("| seed | % of threes right | after the repair | bias | errors of 899 | after |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    outcomes = []
    for seed in range(NUM_SEEDS):
        outcome = run(seed)
        outcomes.append(outcome)
        before, after, bias, errors_before, errors_after = outcome
        print(
            f"| {seed} | {before:.0f} | {after:.0f} | {bias:+.1f} | {errors_before} | "
            f"{errors_after} |",
            flush=True,
        )
    columns = zip(*outcomes, strict=True)
    print("| mean | " + " | ".join(f"{statistics.mean(column):.1f}" for column in columns) + " |")
    mean = statistics.mean(outcome.right_after for outcome in outcomes)
    print(f"\nThe students have seen no three. {time.monotonic() - started:.0f} s.")
    return 0 if mean >= 100 * LEAST_SHARE_RIGHT else 1


if __name__ == "__main__":
    sys.exit(main())
