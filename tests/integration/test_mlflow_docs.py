"""The program of docs/mlflow.md registers a student."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx2

from tests.jobs import SPEC
from tests.onnx_files import tiny_onnx
from tests.unit.app.conftest import JOBS
from tests.unit.app.served import report, serve

PAGE = Path(__file__).parents[2] / "docs" / "mlflow.md"
ASK = """
import json, sys, mlflow, numpy as np
student = mlflow.pyfunc.load_model("models:/digits-student/1")
answers = student.predict(np.array([[0.5, 2], [3, -1]], np.float32))["logits"].tolist()
(run,) = mlflow.search_runs(output_format="list", experiment_ids=["0"])
print(json.dumps({"answers": answers, "metrics": run.data.metrics, "params": run.data.params}))
"""


def test_a_student_comes_back_from_mlflow_and_answers_as_the_service_does(tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    with serve(tmp_path) as served:
        key = {"Authorization": f"Bearer {served.key_file.read_text()}"}
        body = SPEC.model_dump(mode="json")
        job = httpx2.post(f"{served.url}{JOBS}", json=body, headers=key).json()["id"]
        outputs = tmp_path / "outputs"
        (outputs / "student" / "onnx").mkdir(parents=True)
        (outputs / "student" / "onnx" / "model.onnx").write_bytes(tiny_onnx())
        served.succeed(served.claim(), outputs, report())
        model = httpx2.get(f"{served.url}{JOBS}/{job}", headers=key).json()["student_model"]
        environment = os.environ | {
            "STILLHOUSE_URL": served.url,
            "STILLHOUSE_API_KEY": served.key_file.read_text(),
            "JOB": job,
            "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        told = [
            subprocess.run(
                [sys.executable, "-c", text],
                env=environment,
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=False,
            )
            for text in (program, ASK)
        ]
        asked = httpx2.post(
            f"{served.url}/v1/models/{model}/predict",
            json={"inputs": [[0.5, 2], [3, -1]]},
            headers=key,
            timeout=30,
        ).json()
    assert [one.returncode for one in told] == [0, 0], told[0].stderr + told[1].stderr
    found = json.loads(told[1].stdout)
    assert found["answers"] == asked["answers"]["values"]
    assert found["params"] == {"job": job, "student_model": model}
    assert found["metrics"]["student_quality"] == 0.8
    assert found["metrics"]["gain"] > 0
