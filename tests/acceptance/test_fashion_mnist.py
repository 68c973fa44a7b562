"""Fashion-MNIST's own IDX files, uploaded over HTTP and distilled with networks of images."""

import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from tests.acceptance.downloads import download
from tests.house import House

FOLDER = Path(__file__).parents[2] / ".venv" / "fashion-mnist"

SPEC: dict[str, Any] = {
    "name": "fashion",
    "teacher": {
        "source": "train",
        "architecture": {"name": "convnet", "channels": [16, 32, 64]},
        "training": {"epochs": 1, "batch_size": 256, "optimizer": {"name": "adamw", "lr": 0.01}},
    },
    "student": {"architecture": {"name": "convnet", "channels": [8, 16, 32]}},
    "objective": [
        {"loss": "soft_targets", "weight": 0.9},
        {"loss": "labels", "weight": 0.1},
    ],
    "training": {
        "epochs": 2,
        "batch_size": 256,
        "optimizer": {"name": "adamw", "lr": 0.01},
        "augmentation": [{"name": "flip"}],
    },
    "baseline": False,
}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Pack the four files as a user would: `tar cf fashion.tar *-ubyte.gz`."""
    assert FOLDER.is_dir(), "run tests/acceptance/fashion_mnist.sh .venv/fashion-mnist first"
    path = tmp_path / "fashion.tar"
    with tarfile.open(path, "w") as tar:
        for file in sorted(FOLDER.glob("*-ubyte.gz")):
            tar.add(file, arcname=file.name)
    return path


def test_uploaded_idx_files_become_a_student_that_knows_clothes(
    small_house: House, archive: Path
) -> None:
    house = small_house
    dataset = {
        "source": "file",
        "file": house.upload(archive),
        "format": {"name": "image_archive"},
        "split": {"validation": 0.05},
    }
    job_id = house.create({**SPEC, "dataset": dataset})
    job = house.wait_for_end(job_id, seconds=280)

    assert job["status"] == "succeeded", job["error"]
    result = job["result"]
    assert result["num_examples"] == {"train": 57_000, "validation": 3_000, "test": 10_000}
    assert result["student"]["test"]["accuracy"] > 0.75
    assert result["baseline"] is None
    assert result["gain"] is None

    student = download(house, f"/v1/models/{job['student_model']}/files/onnx/model.onnx")
    session = onnxruntime.InferenceSession(student)
    (logits,) = session.run(["logits"], {"inputs": np.zeros((3, 1, 28, 28), np.float32)})
    assert np.asarray(logits).shape == (3, 10)
