"""Reproducible blocks fix what they must and put everything back."""

import os
from typing import Any

import pytest
import torch

from app.contracts.job import Resources
from worker.distillation import determinism
from worker.distillation.determinism import reproducible
from worker.distillation.device import choose_device
from worker.distillation.errors import BadInput

CPU = torch.device("cpu")
WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


def settings() -> tuple[object, ...]:
    cudnn = torch.backends.cudnn
    memory: Any = torch.utils.deterministic
    return (
        torch.are_deterministic_algorithms_enabled(),
        cudnn.deterministic,
        cudnn.benchmark,
        memory.fill_uninitialized_memory,
        torch.get_num_threads(),
        torch.get_rng_state().tolist(),
    )


@pytest.mark.parametrize("deterministic", [True, False])
def test_all_is_afterwards_as_it_was(*, deterministic: bool) -> None:
    before = settings()
    with reproducible(CPU, deterministic=deterministic):
        torch.manual_seed(1)
        assert torch.are_deterministic_algorithms_enabled() == deterministic
        assert torch.backends.cudnn.deterministic == deterministic

    assert settings() == before


def test_all_is_put_back_after_an_error_too() -> None:
    before = settings()
    with pytest.raises(RuntimeError, match="in the middle"), reproducible(CPU, deterministic=True):
        raise RuntimeError("in the middle")

    assert settings() == before


def test_threads_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(3)
    monkeypatch.setattr(determinism, "MOST_THREADS", 2)
    with reproducible(CPU, deterministic=True):
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == 3


def test_a_job_may_keep_to_the_cpu() -> None:
    assert choose_device(Resources(gpus=0)) == CPU


def test_a_gpu_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    assert choose_device(Resources()) == CPU
    with pytest.raises(BadInput, match="torch finds none") as caught:
        choose_device(Resources(gpus=1))
    assert caught.value.code == "no_gpu"


@pytest.fixture
def shown_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torch say that there is a GPU; no variable that is set for it stays."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setenv(WORKSPACE, "")
    monkeypatch.delenv(WORKSPACE)


@pytest.mark.usefixtures("shown_gpu")
def test_a_gpu_is_used_unless_the_spec_forbids_it() -> None:
    assert choose_device(Resources()) == torch.device("cuda", 0)
    assert choose_device(Resources(gpus=0)) == CPU


@pytest.mark.usefixtures("shown_gpu")
def test_cublas_is_told_to_be_deterministic_before_anything_runs_on_the_gpu() -> None:
    choose_device(Resources())

    assert os.environ[WORKSPACE] == ":4096:8"


@pytest.mark.usefixtures("shown_gpu")
def test_a_workspace_that_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WORKSPACE, ":16:8")
    choose_device(Resources())

    assert os.environ[WORKSPACE] == ":16:8"
