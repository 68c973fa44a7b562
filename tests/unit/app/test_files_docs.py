"""Every example of docs/files.md runs as it is printed."""

import json
from pathlib import Path

from tests.pages import examples, run_bash, run_python
from tests.unit.app.served import serve


def test_the_examples_run_and_do_what_the_page_says(tmp_path: Path) -> None:
    (tmp_path / "measurements.csv").write_text("a,kind\n1,x\n2,y\n3\n")
    (tmp_path / "large.csv").write_text("a,label\n" + "1,x\n2,y\n" * 300_000)
    (program,) = examples("docs/files.md", "python")
    session = "\necho; echo ======\n".join(examples("docs/files.md"))
    with serve(tmp_path) as served:
        told = run_bash(session, served.variables, tmp_path)
        printed = run_python(program, served.variables, tmp_path)
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
    assert printed.endswith("large.csv 2400008\nTrue\n")
