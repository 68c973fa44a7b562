"""`stillhouse demo`: a job on real digits over HTTP, from an empty folder to answers."""

import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from app.cli.client import JOBS, connect
from app.cli.files import fetch_all
from app.cli.jobs import follow
from app.contracts.job import JobSpec

console = Console(soft_wrap=True)

SEED = 7
"""One on which the gain is near the mean of `make bench-digits`; on some there is none."""
AUGMENTED = [{"name": "shift_crop", "pixels": 1}]
STEEP = {"name": "adamw", "lr": 0.01}
SPEC = JobSpec.model_validate(
    {
        "name": "demo",
        "dataset": {
            "source": "builtin",
            "name": "digits",
            "split": {"validation": 0, "test": 0.5, "seed": SEED},
        },
        "teacher": {
            "source": "train",
            "architecture": {"name": "mlp", "hidden_sizes": [256], "dropout": 0.1},
            "training": {
                "epochs": 313,
                "augmentation": AUGMENTED,
                "optimizer": STEEP,
                "seed": SEED,
            },
        },
        "student": {"architecture": {"name": "mlp", "hidden_sizes": [32]}},
        "objective": [{"loss": "soft_targets"}],
        "training": {"epochs": 188, "optimizer": {**STEEP, "weight_decay": 0}, "seed": SEED},
    }
)
ANSWERED_DIGITS = 4


def demo(
    out: Annotated[Path, typer.Option(file_okay=False, help="Where the student goes.")] = Path(
        "demo-student"
    ),
    data: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="The service's folder; else one that goes afterwards."),
    ] = None,
) -> None:
    """Distil a small network on real digits, from start to answer, and stop everything."""
    from app.local.embedded import CannotStart, Embedded

    # A plain SIGTERM would end this process without stopping the others in order.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        with _folder(data) as folder:
            service = Embedded(folder, port=0)
            console.print("Starting the service: Valkey, API, reconciler, deliverer and worker ...")
            with service.running():
                console.print(f"Ready at {service.url}; it stops when the demo ends.")
                _distil(service.url, service.key_file, out)
    except CannotStart as reason:
        Console(stderr=True).print(f"Cannot start: {reason}", style="red", markup=False)
        raise typer.Exit(1) from None
    console.print("Everything is stopped. `stillhouse up` starts a service that stays.")


def _distil(url: str, key_file: Path, out: Path) -> None:
    with connect(url, key_file) as service:
        console.print("\nPosting a job: teach a network of 32 hidden units what one of 256 knows.")
        response = service.post(JOBS, SPEC.model_dump_json().encode())
        job = follow(service, response.json()["id"], as_json=False)
        console.print("This is one seed; `make bench-digits` shows ten.")
        console.print("\nDownloading the student; each file's sha256 is verified.")
        fetch_all(service, job.id, out)
    console.print("\nAsking the downloaded ONNX file about digits it has never seen:", style="bold")
    model = out / "student" / "onnx" / "model.onnx"
    subprocess.run(  # noqa: S603 (the command is ours)
        [sys.executable, "-P", "-m", "worker.answer_digits", str(model), str(ANSWERED_DIGITS)],
        input=SPEC.model_dump_json().encode(),
        check=True,
    )
    console.print(f"The student is in {model.parents[1].absolute()}", markup=False)


@contextmanager
def _folder(chosen: Path | None) -> Iterator[Path]:
    if chosen is not None:
        yield chosen
        return
    with tempfile.TemporaryDirectory(prefix="stillhouse-demo-") as temporary:
        yield Path(temporary)
