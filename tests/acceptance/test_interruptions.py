"""A job that is drained, paused and looked at half-way ends as one that nobody disturbed."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from tests.acceptance.downloads import download
from tests.house import House
from worker.distillation.build import load_model

SLOW: dict[str, Any] = {
    "dataset": {"source": "builtin", "name": "digits"},
    "teacher": {
        "source": "train",
        "architecture": {"name": "mlp", "hidden_sizes": [64]},
        "training": {"epochs": 4},
    },
    "student": {"architecture": {"name": "mlp", "hidden_sizes": [16], "dropout": 0.1}},
    "training": {"epochs": 800},
    "baseline": False,
    "export": ["safetensors"],
    "resources": {"checkpoint_every_seconds": 1},
}


def student_of(job: dict[str, Any]) -> str:
    assert job["status"] == "succeeded", job["error"]
    return next(str(f["sha256"]) for f in job["files"] if f["path"] == "student/model.safetensors")


def trains_its_student(job: dict[str, Any], attempt: int) -> bool:
    progress = job["progress"]
    return (
        job["attempt"] == attempt
        and progress is not None
        and progress["phase"] == "training_student"
        and (progress["step"] or 0) > 0
    )


def see_that_it_is_a_model(
    house: House, path: str, checkpoint: dict[str, Any], folder: Path
) -> None:
    folder.mkdir()
    for file in checkpoint["files"]:
        content = download(house, f"{path}/files/{file['path']}")
        (folder / file["path"]).write_bytes(content)
    model, state = load_model(folder), load_file(folder / "model.safetensors")
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert model(torch.zeros(1, 1, 8, 8)).shape == (1, 10)


def test_a_rolling_restart_and_a_pause_cost_no_step_and_charge_no_attempt(
    house: House, tmp_path: Path
) -> None:
    undisturbed = student_of(house.wait_for_end(house.create(SLOW)))
    job_id = house.create(SLOW)
    path = f"/v1/distillation/jobs/{job_id}"

    house.wait(job_id, lambda job: trains_its_student(job, 1))
    house.stop("worker")
    assert house.job(job_id)["status"] == "queued"
    house.start("worker")
    house.wait(job_id, lambda job: trains_its_student(job, 2))
    assert house.client.post(f"{path}/pause").json()["desired_status"] == "paused"
    paused = house.wait(job_id, lambda job: job["status"] == "paused")

    newest = house.client.get(f"{path}/checkpoints").json()["data"][0]
    assert newest["number"] == paused["num_checkpoints"]
    see_that_it_is_a_model(house, f"{path}/checkpoints/{newest['id']}", newest, tmp_path / "model")

    house.client.post(f"{path}/resume")
    job = house.wait_for_end(job_id)

    assert student_of(job) == undisturbed
    assert job["attempt"] == 3
    events = house.events(job_id)
    restored = [event for event in events if event["type"] == "job.restored"]
    assert [event["data"]["phase"] for event in restored] == ["training_student"] * 2
    assert restored[1]["data"]["step"] == newest["step"]
    went_on = [event["data"]["step"] for event in events if event["type"] == "job.went_on"]
    assert went_on == [event["data"]["step"] for event in restored]
    assert not [event for event in events if "charged" in event["message"]]
    steps = house.client.get(f"{path}/metrics", params={"names": "student/loss"}).json()["data"]
    assert len(steps) == len({point["step"] for point in steps}) == SLOW["training"]["epochs"]
