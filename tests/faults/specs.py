"""The jobs of fault runs: rehearsals that take as long as one wants, and a small real one."""

from typing import Any

from tests.faults.history import Expected
from worker.rehearsal import student_digest

CHECKPOINT_EVERY_SECONDS = 1.0
STEP_SECONDS = 0.02


def rehearsal(
    name: str, seed: int, steps: int = 150, *, ignoring: bool = False
) -> tuple[dict[str, Any], Expected]:
    """Return the spec of a rehearsal, and what should become of it.

    One that is ``ignoring`` does not stop when it is asked to.
    """
    spec = {
        "name": name,
        "dataset": {"source": "builtin", "name": "digits"},
        "teacher": {"source": "train", "architecture": {"name": "mlp"}},
        "student": {"architecture": {"name": "mlp"}},
        "training": {"seed": seed},
        "resources": {"checkpoint_every_seconds": CHECKPOINT_EVERY_SECONDS},
        "metadata": {
            "rehearsal.steps": str(steps),
            "rehearsal.step_seconds": str(STEP_SECONDS),
            "rehearsal.ignore_stop": str(ignoring),
        },
    }
    return spec, Expected(student=student_digest(seed, steps))


def digits(name: str, epochs: int = 150) -> dict[str, Any]:
    """Return the spec of a real job of some ten seconds; its student is the same each time."""
    training = {"epochs": epochs, "optimizer": {"name": "adamw", "lr": 0.01}}
    return {
        "name": name,
        "dataset": {"source": "builtin", "name": "digits"},
        "teacher": {
            "source": "train",
            "architecture": {"name": "mlp", "hidden_sizes": [64], "dropout": 0.1},
            "training": {**training, "epochs": epochs // 5},
        },
        "student": {"architecture": {"name": "mlp", "hidden_sizes": [16]}},
        "objective": [{"loss": "soft_targets", "temperature": 4}],
        "training": training,
        "baseline": False,
        "export": ["safetensors"],
        "resources": {"checkpoint_every_seconds": CHECKPOINT_EVERY_SECONDS},
    }
