"""A teacher trained elsewhere teaches: the examples of docs/models.md, as they are printed."""

import json
import re
from pathlib import Path
from typing import Any

import openai
import pytest
from huggingface_hub import ModelCard, hf_hub_download
from safetensors.numpy import load_file

from tests.house import House
from tests.pages import examples, run_bash, run_python


def test_a_teacher_of_ones_own_is_brought_teaches_and_is_deleted(
    small_house: House, tmp_path: Path
) -> None:
    client = small_house.client
    url = str(client.base_url).rstrip("/")
    key = client.headers["Authorization"].removeprefix("Bearer ")
    variables = {"STILLHOUSE_URL": url, "STILLHOUSE_API_KEY": key}
    run_python(examples("docs/models.md", "python")[0], {}, tmp_path)
    brings, edits = (one for one in examples("docs/models.md") if "teacher" in one)
    told = run_bash(f"{brings}\necho teacher $teacher", variables, tmp_path)
    teacher = re.findall(r"^teacher (model-\S+)$", told, re.MULTILINE)[0]
    job = client.get("/v1/distillation/jobs").json()["data"][0]

    assert (job["status"], job["teacher_model"]) == ("succeeded", teacher)
    assert job["spec"]["teacher"]["model"] == "digits-elsewhere"
    assert job["result"]["teacher"]["test"]["accuracy"] > 0.95
    assert job["result"]["teacher"]["num_parameters"] == 64 * 64 + 64 + 64 * 10 + 10
    assert job["result"]["student"]["test"]["accuracy"] > 0.85
    fetched = downloaded(client.get(f"/v1/models/{teacher}").json()["owned_by"], url, key, tmp_path)
    assert fetched.keys() == load_file(tmp_path / "teacher.safetensors").keys()

    student = client.get(f"/v1/models/{job['student_model']}/files/README.md").text
    assert ModelCard(student).data["base_model"] == teacher
    sdk = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)
    again = small_house.create(json.loads((tmp_path / "spec.json").read_text()))
    with pytest.raises(openai.ConflictError, match=again):
        sdk.models.delete(teacher)
    client.post(f"/v1/distillation/jobs/{again}/cancel")
    small_house.wait_for_end(again)
    edited = run_bash(edits, variables | {"teacher": teacher})
    assert '"description":"From scikit-learn."' in edited
    assert edited.endswith(f'{{"object":"model","id":"{teacher}","deleted":true}}')
    gone = sdk.models.delete(job["student_model"])
    assert (gone.id, gone.object, gone.deleted) == (job["student_model"], "model", True)
    assert sdk.models.list().data == []


def downloaded(project: str, url: str, key: str, folder: Path) -> dict[str, Any]:
    path = hf_hub_download(
        f"{project}/digits-elsewhere",
        "model.safetensors",
        endpoint=url,
        token=key,
        local_dir=folder / "hub",
    )
    return load_file(path)
