"""The disk fills up, or the trainer dies, at each write, fsync and rename of the protocol."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from app.contracts.job import JobSpec
from app.contracts.message import MESSAGE, CheckpointWritten, ExitCode, Manifest
from tests.faults.disk_trials import ERRORS, MESSAGES
from tests.faults.houses import ROOT, sabotaged
from tests.faults.oracle import STUDENT_FILE
from tests.faults.outcome import Outcome, Plan
from worker.rehearsal import student_digest

STEPS = 150
AT_ONCE = 2
MODES = {"full": int(ExitCode.DISK_FULL), "killed": -9}
"""How a trainer ends in each."""


@dataclass(frozen=True)
class Run:
    """One process on a folder, seen to its end."""

    exit_code: int
    operations: int
    checkpoint: CheckpointWritten | None
    """The last that it told of."""
    errors: str


def run(plan: Plan) -> Outcome:
    """Let each operation fail once in each mode, ``plan.faults`` times over."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faults-disk-") as temporary:
        spec = Path(temporary) / "spec.json"
        spec.write_text(_spec(plan.seed).model_dump_json())
        trials = [Trial(spec, plan) for _ in range(AT_ONCE)]
        undisturbed = trials[0].run(trials[0].folder("undisturbed"), "full", 0)
        assert undisturbed.exit_code == 0, undisturbed.errors
        points = [
            (mode, at, turn)
            for turn in range(plan.faults)
            for mode in MODES
            for at in range(1, undisturbed.operations + 1)
        ]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            shares = [(trial, points[n::AT_ONCE]) for n, trial in enumerate(trials)]
            judged = pool.map(lambda share: [share[0].judge(point) for point in share[1]], shares)
            wrong = [sentence for share in judged for found in share for sentence in found]
        for trial in trials:
            trial.close()
    return Outcome(
        "disk full, death at each write, fsync, rename",
        "sqlite",
        plan.seed,
        len(points),
        len(points),
        time.monotonic() - began,
        wrong,
        counts={"operations": undisturbed.operations, "torn files accepted": len(wrong)},
    )


class Trial:
    """Runs a spec in a fresh folder for each point of failure."""

    def __init__(self, spec: Path, plan: Plan) -> None:
        self._folder = spec.parent
        self._student = student_digest(plan.seed, STEPS)
        environment = dict(os.environ)
        if plan.sabotage is not None:
            environment["PYTHONPATH"] = sabotaged(plan.sabotage)
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.disk_trials", str(spec)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        self._server.communicate()

    def folder(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir()
        return folder

    def judge(self, point: tuple[str, int, int]) -> list[str]:
        """Disturb a run at a point, go on here and elsewhere, and return what is wrong."""
        mode, at, turn = point
        folder = self.folder(f"{mode}-{at}-{turn}")
        wrong = list(self._complaints(folder, mode, at))
        shutil.rmtree(folder)
        return [f"{mode} at operation {at}: {sentence}" for sentence in wrong]

    def _complaints(self, folder: Path, mode: str, at: int) -> Iterator[str]:
        here, elsewhere = folder / "here", folder / "elsewhere"
        here.mkdir()
        elsewhere.mkdir()
        disturbed = self.run(here, mode, at)
        if disturbed.exit_code != MODES[mode]:
            yield f"it ended with {disturbed.exit_code}: {disturbed.errors}"
        if disturbed.checkpoint is not None:
            # As the supervisor does it for another attempt.
            for file in disturbed.checkpoint.files:
                content = (here / file.path).read_bytes()
                if hashlib.sha256(content).hexdigest() != file.sha256:
                    yield f"{file.path} is torn, and a checkpoint names it"
                (elsewhere / file.path).parent.mkdir(parents=True, exist_ok=True)
                (elsewhere / file.path).write_bytes(content)
        for place in (here, elsewhere):
            again = self.run(place, "full", 0)
            if again.exit_code != 0:
                yield f"going on {place.name} it ended with {again.exit_code}: {again.errors}"
            else:
                yield from self._outputs(place)

    def _outputs(self, folder: Path) -> Iterator[str]:
        outputs = folder / "outputs"
        manifest = Manifest.model_validate_json((outputs / "manifest.json").read_bytes())
        for file in manifest.files:
            if hashlib.sha256((outputs / file.path).read_bytes()).hexdigest() != file.sha256:
                yield f"the output {file.path} is torn"
        students = [file.sha256 for file in manifest.files if file.path == STUDENT_FILE]
        if students != [self._student]:
            yield f"going on {folder.name}, the student is another"

    def run(self, folder: Path, mode: str, at: int) -> Run:
        """See a rehearsal that fails at an operation to its end, and read its messages."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(f"{mode} {at} {folder}\n")
        self._server.stdin.flush()
        exit_code, operations = map(int, self._server.stdout.readline().split())
        lines = (folder / MESSAGES).read_bytes().splitlines()
        told = [MESSAGE.validate_json(line) for line in lines]
        kept = [message for message in told if isinstance(message, CheckpointWritten)]
        errors = (folder / ERRORS).read_text()[-300:]
        return Run(exit_code, operations, kept[-1] if kept else None, errors)


def _spec(seed: int) -> JobSpec:
    return JobSpec.model_validate(
        {
            "dataset": {"source": "builtin", "name": "digits"},
            "teacher": {"source": "train", "architecture": {"name": "mlp"}},
            "student": {"architecture": {"name": "mlp"}},
            "training": {"seed": seed},
            "resources": {"checkpoint_every_seconds": 1},
            "metadata": {"rehearsal.steps": str(STEPS), "rehearsal.step_seconds": "0"},
        }
    )
