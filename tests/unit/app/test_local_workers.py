"""One worker for each GPU that this machine shows, each seeing only its own."""

import json
import os
from pathlib import Path

import pytest

from app import logs
from app.config import Settings
from app.local import workers
from app.local.workers import find_gpus, worker_commands

TWO_GPUS = """\
GPU 0: NVIDIA H200 (UUID: GPU-aaaa)
GPU 1: NVIDIA H200 (UUID: GPU-bbbb)
"""
ONE_SLICED = """\
GPU 0: NVIDIA H200 (UUID: GPU-aaaa)
  MIG 3g.71gb     Device  0: (UUID: MIG-cccc)
  MIG 3g.71gb     Device  1: (UUID: MIG-dddd)
GPU 1: NVIDIA H200 (UUID: GPU-bbbb)
"""


@pytest.fixture(autouse=True)
def no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def show(listing: str, folder: Path, monkeypatch: pytest.MonkeyPatch, exit_code: int = 0) -> None:
    """Put a program named nvidia-smi first on the path."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{listing}END\nexit {exit_code}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def build_torch(folder: Path, monkeypatch: pytest.MonkeyPatch, *, for_cuda: bool) -> None:
    """Put a module named torch first where Python looks, as it is when built so."""
    version = "13.0" if for_cuda else None
    (folder / "torch.py").write_text(f"class version:\n    cuda, hip = {version!r}, None\n")
    monkeypatch.setenv("PYTHONPATH", str(folder))


def test_each_gpu_has_a_worker_that_sees_only_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    show(TWO_GPUS, tmp_path, monkeypatch)
    build_torch(tmp_path, monkeypatch, for_cuda=True)

    commands = worker_commands(Settings(worker_metrics_port=9100), tmp_path)

    assert [command.environment for command in commands] == [
        {
            "STILLHOUSE_WORKER_GPUS": "1",
            "CUDA_VISIBLE_DEVICES": device,
            "STILLHOUSE_WORKER_METRICS_PORT": port,
        }
        for device, port in [("GPU-aaaa", "9100"), ("GPU-bbbb", "9101")]
    ]
    assert len({command.log_file for command in commands}) == 2
    nodes = {command.arguments[command.arguments.index("-n") + 1] for command in commands}
    assert len(nodes) == 2


def test_a_sliced_gpu_is_used_by_its_slices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    show(ONE_SLICED, tmp_path, monkeypatch)

    assert find_gpus() == ["MIG-cccc", "MIG-dddd", "GPU-bbbb"]


@pytest.mark.parametrize(
    ("visible", "expected"),
    [("1", ["1"]), ("GPU-bbbb, 0", ["GPU-bbbb", "0"]), ("", []), ("-1", []), ("1,-1,0", ["1"])],
)
def test_the_users_choice_of_gpus_is_honoured(
    visible: str, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    show(TWO_GPUS, tmp_path, monkeypatch)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    assert find_gpus() == expected


def test_a_driver_that_does_not_answer_means_no_gpu_and_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure()
    show("Failed to initialize NVML\n", tmp_path, monkeypatch, exit_code=9)

    assert find_gpus() == []
    line = json.loads(capsys.readouterr().err)
    assert line["event"] == "gpus_not_seen"
    assert "exit status 9" in line["reason"]
    assert "NVML" in line["output"]


def test_gpus_that_torch_is_not_built_for_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure()
    show(TWO_GPUS, tmp_path, monkeypatch)
    build_torch(tmp_path, monkeypatch, for_cuda=False)

    (command,) = worker_commands(Settings(), tmp_path)

    assert command.environment == {"STILLHOUSE_WORKER_GPUS": "0"}
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["gpus"]) == ("gpus_not_used", ["GPU-aaaa", "GPU-bbbb"])


@pytest.mark.parametrize("torch", ["import time\ntime.sleep(60)\n", "raise ImportError\n"])
def test_a_torch_that_does_not_answer_finds_no_gpu_and_lends_no_worker_to_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torch: str
) -> None:
    monkeypatch.setattr(workers, "TORCH_SECONDS", 2)
    show(TWO_GPUS, tmp_path, monkeypatch)
    (tmp_path / "torch.py").write_text(torch)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    assert not workers.torch_finds_gpu()
    given = [one.environment["STILLHOUSE_WORKER_GPUS"] for one in worker_commands(Settings())]
    assert given == ["1", "1"]


def test_without_a_gpu_there_is_one_worker_on_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    (command,) = worker_commands(Settings(), tmp_path)

    assert command.environment == {"STILLHOUSE_WORKER_GPUS": "0"}
