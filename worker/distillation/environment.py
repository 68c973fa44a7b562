"""The kind of machine that a run is on: on another kind the last bits of a model may be others."""

import json
import platform

import numpy as np
import torch

from app.contracts.job import JobSpec
from worker.distillation.checkpoint import ENVIRONMENT_FILE
from worker.distillation.determinism import MOST_THREADS
from worker.distillation.reporting import Reporter
from worker.distillation.workspace import Workspace


def note_environment(spec: JobSpec, workspace: Workspace, reporter: Reporter) -> None:
    """Note the machine's kind; warn where the run goes on with what another kind has made.

    The note lies in the workspace and goes with every checkpoint.
    """
    path, here = workspace.root / ENVIRONMENT_FILE, environment(spec)
    if path.is_file() and spec.training.deterministic:
        before = json.loads(path.read_bytes())
        changes = ", ".join(
            f"{name} was {before.get(name)} and is {here.get(name)}"
            for name in sorted(before.keys() | here.keys())
            if before.get(name) != here.get(name)
        )
        if changes:
            reporter.warn(
                "the job goes on on another kind of machine, so its models may differ from an "
                f"undisturbed run's in their last bits: {changes}"
            )
    workspace.root.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(here, indent=2))
    temporary.replace(path)


def environment(spec: JobSpec) -> dict[str, str]:
    """Return what a training's last bits hang on besides its spec and data."""
    found = {
        "torch": torch.__version__,
        "numpy": np.__version__,
        "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "threads": str(min(torch.get_num_threads(), MOST_THREADS)),
        "device": "cpu",
    }
    if spec.resources.gpus != 0 and torch.cuda.is_available():
        found["device"] = torch.cuda.get_device_name()
        found["cuda"] = str(torch.version.cuda)
        found["cudnn"] = str(torch.backends.cudnn.version())
    return found
