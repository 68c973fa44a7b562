"""The program of docs/openai.md runs as it is printed: its job is trained and succeeds."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.house import House

PAGE = Path(__file__).parents[2] / "docs" / "openai.md"


def test_a_table_with_labels_is_distilled_by_the_program_of_the_page(
    small_house: House, tmp_path: Path
) -> None:
    program = "".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL))
    client = small_house.client
    environment = {
        "OPENAI_BASE_URL": str(client.base_url.join("/v1")),
        "OPENAI_API_KEY": client.headers["Authorization"].removeprefix("Bearer "),
    }
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (status, accuracy) = re.findall(r"^(\w+) (0\.\d+|1\.0)$", done.stdout, re.MULTILINE)[0]
    assert status == "succeeded"
    assert float(accuracy) > 0.6
    counts = "{'train': 60, 'validation': 59, 'test': 59}"
    assert re.search(rf"^succeeded {counts} (0\.\d+|1\.0)$", done.stdout, re.MULTILINE)
    assert re.search("^invalid_payload model .*perhaps 'mlp'", done.stdout, re.MULTILINE)
    job, cancelled, judged = client.get("/v1/distillation/jobs").json()["data"][::-1]
    assert job["spec"]["dataset"]["format"] == {"name": "csv"}
    assert job["student_model"] in done.stdout
    assert not any("the same inputs" in warning for warning in judged["warnings"])
    assert cancelled["id"] in done.stdout
    assert cancelled["desired_status"] == "cancelled"
