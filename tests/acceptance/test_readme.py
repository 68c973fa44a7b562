"""The README's session works as it is printed."""

import re
import signal
import subprocess
from pathlib import Path

from tests.house import COMMAND, wait_for_line

ROOT = Path(__file__).parents[2]


def test_the_readme_s_curl_session_ends_with_a_verified_student(tmp_path: Path) -> None:
    (session,) = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    output = tmp_path / "up.log"
    with output.open("wb") as log:
        service = subprocess.Popen(
            [COMMAND, "up", "--port", "0"], cwd=tmp_path, stdout=log, stderr=log
        )
    try:
        wait_for_line(output, "is ready at")
        done = subprocess.run(
            ["/bin/bash", "-euo", "pipefail", "-c", session],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        service.send_signal(signal.SIGINT)
        service.wait()

    assert done.returncode == 0, done.stdout + done.stderr
    assert " succeeded\n" in done.stdout
    assert done.stdout.endswith("student.onnx: OK\n")
