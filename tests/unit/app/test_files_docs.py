"""Every example of docs/files.md runs as it is printed."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.unit.app.served import serve

PAGE = (Path(__file__).parents[3] / "docs" / "files.md").read_text()


def test_the_examples_run_and_do_what_the_page_says(tmp_path: Path) -> None:
    (tmp_path / "measurements.csv").write_text("a,kind\n1,x\n2,y\n3\n")
    (tmp_path / "large.csv").write_text("a,label\n" + "1,x\n2,y\n" * 300_000)
    examples = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    with serve(tmp_path) as served:
        environment = {
            "STILLHOUSE_URL": served.url,
            "STILLHOUSE_API_KEY": served.key_file.read_text(),
        }
        session = "\necho; echo ======\n".join(examples)
        told = _run(["/bin/bash", "-euo", "pipefail", "-c", session], environment, tmp_path)
        printed = _run([sys.executable, "-c", program], environment, tmp_path)
    _, read, listed, content, look, completed, arrived, deleted = (
        part.strip() for part in told.split("======")
    )
    file = json.loads(read)
    assert json.loads(listed)["data"] == [file]
    assert content == ""
    (problem,) = json.loads(look)["problems"]
    assert (problem["line"], problem["code"]) == (4, "ragged_row")
    assert json.loads(look)["num_classes"] == 2
    assert json.loads(completed)["file"]["bytes"] == 2_400_008
    assert json.loads(arrived)["status"] == "completed"
    assert json.loads(deleted)["deleted"] is True
    assert printed.startswith("completed file-")
    assert "large.csv 2400008 True" in printed


def _run(command: list[str], environment: dict[str, str], folder: Path) -> str:
    done = subprocess.run(
        command,
        env=os.environ | environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
