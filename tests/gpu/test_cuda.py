"""The engine on a GPU: deterministic bits, equal to what the CPU learns but for rounding.

Needs CUDA; without it there is nothing here to run (`pytest tests/gpu` on a GPU machine).
"""

import itertools
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from app.contracts.job import JobSpec
from app.contracts.message import StopReason
from worker.distillation import pipeline
from worker.distillation.errors import NonFinite, Stopped
from worker.distillation.finiteness import FinitenessWatch
from worker.distillation.reporting import Reporter
from worker.distillation.workspace import Workspace

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

LAYERS = [{"student": "stages.0", "teacher": "stages.0"}]
VECTORS = [{"student": "pool", "teacher": "pool"}]
OBJECTIVES: dict[str, list[dict[str, object]]] = {
    "answers": [
        {"loss": "soft_targets"}, {"loss": "decoupled"}, {"loss": "dist"}, {"loss": "multi_level"},
        {"loss": "logit_standardized"}, {"loss": "jensen_shannon"}, {"loss": "reverse_kl"},
        {"loss": "logit_mse"}, {"loss": "labels"},
    ],
    "maps": [
        {"loss": "hints", "layers": LAYERS}, {"loss": "attention", "layers": LAYERS},
        {"loss": "vid", "layers": LAYERS}, {"loss": "nst", "layers": LAYERS},
        {"loss": "factor", "layers": LAYERS}, {"loss": "activation_boundary", "layers": LAYERS},
        {"loss": "review", "layers": [*LAYERS, {"student": "stages.1", "teacher": "stages.1"}]},
        {"loss": "similarity", "layers": LAYERS}, {"loss": "labels"},
    ],
    "vectors": [
        {"loss": "correlation", "layers": VECTORS}, {"loss": "pkt", "layers": VECTORS},
        {"loss": "embedding", "layers": VECTORS}, {"loss": "relational", "layers": VECTORS},
        {"loss": "contrastive", "layers": VECTORS, "negatives": 64}, {"loss": "labels"},
    ],
}  # fmt: skip


def spec_of(objective: list[dict[str, object]], **training: object) -> JobSpec:
    augmented = {"augmentation": [{"name": "flip"}, {"name": "shift_crop", "pixels": 1}]}
    return JobSpec.model_validate(
        {
            "dataset": {"source": "builtin", "name": "digits"},
            "teacher": {
                "source": "train",
                "architecture": {"name": "convnet", "channels": [16, 32], "dropout": 0.1},
                "training": {"epochs": 2, **augmented},
            },
            "student": {"architecture": {"name": "convnet", "channels": [8, 8]}},
            "objective": objective,
            "training": {"epochs": 3, **augmented, **training},
            "export": ["safetensors"],
            "resources": {"gpus": 1},
        }
    )


def student_of(spec: JobSpec, folder: Path) -> dict[str, Tensor]:
    workspace = Workspace(folder)
    pipeline.run(spec, workspace, Reporter(lambda _: None))
    return load_file(workspace.stage("student") / "model.safetensors")


@pytest.mark.parametrize("family", list(OBJECTIVES))
def test_a_deterministic_run_gives_the_same_bits_twice(tmp_path: Path, family: str) -> None:
    spec = spec_of(OBJECTIVES[family])
    one, same = (student_of(spec, tmp_path / name) for name in ("one", "same"))

    assert all(torch.equal(one[name], same[name]) for name in one)


def test_cached_and_live_signals_are_equal_bit_for_bit(tmp_path: Path) -> None:
    cached = spec_of(OBJECTIVES["answers"]).model_dump(mode="json")
    live = {**cached, "knowledge": {"max_bytes": 0}}
    exact = {**cached, "knowledge": {"storage": "float32"}}
    one, other = (
        student_of(JobSpec.model_validate(spec), tmp_path / str(number))
        for number, spec in enumerate((live, exact))
    )

    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("family", list(OBJECTIVES))
def test_a_run_that_was_drained_goes_on_to_the_same_bits(tmp_path: Path, family: str) -> None:
    spec = spec_of(OBJECTIVES[family])
    whole = student_of(spec, tmp_path / "whole")
    workspace = Workspace(tmp_path / "pieces")
    for last_step in (9, 30, 45):
        steps = itertools.count()
        reporter = Reporter(
            lambda _: None,
            lambda steps=steps, last=last_step: (  # type: ignore[misc]
                StopReason.DRAIN if next(steps) >= last else None
            ),
        )
        with pytest.raises(Stopped):
            pipeline.run(spec, workspace, reporter)
    pieces = student_of(spec, workspace.root)

    assert all(torch.equal(whole[name], pieces[name]) for name in whole)


def test_a_free_run_learns_too(tmp_path: Path) -> None:
    student = student_of(
        spec_of(OBJECTIVES["answers"], deterministic=False, precision="bfloat16"), tmp_path
    )

    assert all(value.isfinite().all() for value in student.values())


def test_a_broken_loss_is_found_one_step_later_and_named() -> None:
    device = torch.device("cuda")
    watch = FinitenessWatch("student", ["labels"], device)
    ids = torch.arange(3, device=device)
    watch.see(torch.tensor([1.0], device=device), ids, step=0, epoch=0)
    watch.see(torch.tensor([torch.nan], device=device), ids, step=1, epoch=0)
    with pytest.raises(NonFinite, match="'labels' is nan at step 2"):
        watch.look()
