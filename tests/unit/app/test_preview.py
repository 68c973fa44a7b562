"""What a look at an uploaded file shows."""

import io
import json
import struct
import subprocess
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.preview.__main__ import look
from app.preview.findings import Findings
from app.preview.limits import MOST_MEMORY_BYTES, MOST_SECONDS
from app.room import Room
from app.services import looks
from app.services.content import inspect
from app.storage import Storage
from tests.integration.hostile_archives import GOOD, PACKERS, tables_of_idx
from tests.proc import limit_of
from tests.unit.app.conftest import Api

TABLE = b"size;colour;label\n1.5;red;yes\n2;blue;no\n;green;yes\n3;red\n4;red;yes\n"


def seen(content: bytes, label: str = "label", delimiter: str | None = None) -> dict[str, Any]:
    """Look at some bytes in this process."""
    media_type = inspect([content]).media_type
    return look(io.BytesIO(content), media_type, len(content), label, delimiter).as_json()


def test_a_table_shows_its_columns_rows_classes_and_what_is_wrong_on_which_line(api: Api) -> None:
    file = api.upload(TABLE)

    found = api.client.get(f"/v1/files/{file['id']}/preview").json()

    assert found == {
        "object": "file.preview",
        "file_id": file["id"],
        "kind": "table",
        "is_whole": True,
        "num_rows": 4,
        "num_columns": 3,
        "columns": [
            {"name": "size", "kind": "numbers"},
            {"name": "colour", "kind": "words"},
            {"name": "label", "kind": "words"},
        ],
        "rows": [
            ["1.5", "red", "yes"],
            ["2", "blue", "no"],
            ["", "green", "yes"],
            ["4", "red", "yes"],
        ],
        "num_classes": 2,
        "classes": [{"name": "yes", "count": 3}, {"name": "no", "count": 1}],
        "num_problems": 2,
        "problems": [
            {
                "code": "ragged_row",
                "message": "2 values, where the header names 3 columns",
                "line": 5,
                "member": None,
            },
            {
                "code": "empty_cell",
                "message": "column 'size': '' stands where a number is expected",
                "line": 4,
                "member": None,
            },
        ],
    }


def test_another_column_may_be_the_label_and_another_sign_the_delimiter(api: Api) -> None:
    file = api.upload(TABLE)
    address = f"/v1/files/{file['id']}/preview"
    found = api.client.get(address, params={"label": "colour"}).json()
    assert found["classes"][0] == {"name": "red", "count": 2}
    found = api.client.get(address, params={"delimiter": ","}).json()
    assert (found["num_columns"], found["num_classes"]) == (1, None)
    assert api.client.get(address, params={"delimiter": "x"}).status_code == 400


def test_a_good_table_has_no_problems() -> None:
    content = "\n".join(["\ufeffa,label", *(f'{row},"y,{row % 3}"' for row in range(30)), ""])
    found = seen(content.encode())
    assert (found["num_problems"], found["num_rows"], found["num_classes"]) == (0, 30, 3)
    assert [column["name"] for column in found["columns"]] == ["a", "label"]


def test_a_file_without_end_is_looked_at_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.preview.findings.LOOKING_SECONDS", 0)
    found = seen(b"a,label\n" + b"1,x\n2,y\n" * 10_000)
    assert (found["is_whole"], found["num_problems"]) == (False, 0)


@pytest.mark.parametrize("kind", PACKERS)
def test_an_archive_shows_its_classes(kind: str) -> None:
    found = seen(PACKERS[kind]({**GOOD, "dog/3.png": GOOD["dog/1.png"], "readme.txt": b"x"}))
    assert (found["kind"], found["num_rows"], found["num_problems"]) == ("images", 5, 0)
    assert found["classes"] == [{"name": "dog", "count": 3}, {"name": "cat", "count": 2}]


def test_classes_of_train_and_test_folders_are_counted_together() -> None:
    split = {f"data/{part}/{name}": png for part in ("train", "test") for name, png in GOOD.items()}
    found = seen(PACKERS["zip"](split))
    assert found["classes"] == [{"name": "cat", "count": 4}, {"name": "dog", "count": 4}]
    assert found["num_problems"] == 0


def test_odd_members_are_named_and_the_others_counted() -> None:
    found = seen(PACKERS["zip"]({**GOOD, "cat/3.png": b"<html>", "cat/4.exe": b"MZ"}))
    assert [(one["code"], one["member"]) for one in found["problems"]] == [
        ("not_an_image", "cat/3.png"),
        ("unknown_file", "cat/4.exe"),
    ]
    assert found["num_classes"] == 2


@pytest.mark.parametrize("packed", [False, True])
def test_idx_files_show_how_many_of_each_class(*, packed: bool) -> None:
    found = seen(PACKERS["tar"](tables_of_idx(packed=packed)))
    assert (found["kind"], found["num_rows"], found["num_problems"]) == ("idx", 6, 0)
    assert {one["name"]: one["count"] for one in found["classes"]} == {"0": 2, "1": 2, "2": 2}


def test_parquet_shows_its_columns_and_how_many_rows() -> None:
    file = io.BytesIO()
    columns = {"example_id": np.arange(1000), "no": np.zeros(1000, np.float32)}
    pq.write_table(pa.table(columns), file, row_group_size=300)
    found = seen(file.getvalue())
    assert (found["kind"], found["num_rows"], found["num_problems"]) == ("parquet", 1000, 0)
    assert found["columns"] == [
        {"name": "example_id", "kind": "INT64"},
        {"name": "no", "kind": "FLOAT"},
    ]


def test_safetensors_show_their_tensors() -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}).encode()
    found = seen(struct.pack("<Q", len(header)) + header + bytes(24))
    assert (found["kind"], found["num_problems"]) == ("tensors", 0)
    assert found["columns"] == [{"name": "w", "kind": "F32 [2, 3]"}]


def test_what_is_shown_is_bounded() -> None:
    names = ",".join(f"{number}{'n' * 200}" for number in range(500))
    rows = "\n".join(",".join(["x" * 300] * 500) for _ in range(30))
    found = seen(f"{names}\n{rows}\n".encode())
    assert len(json.dumps(found)) < 100_000
    assert (found["num_columns"], len(found["columns"]), len(found["rows"])) == (500, 50, 10)
    assert (found["num_problems"], len(found["problems"])) == (15_000, 20)


def test_what_cannot_be_written_is_shown_as_its_number() -> None:
    findings = Findings()
    findings.problem("odd", "x", member="\udcff")
    assert findings.as_json()["problems"][0]["member"] == "\\udcff"


def test_a_file_in_s3_is_looked_at_as_well(api: Api, s3_url: str) -> None:
    file = api.upload(TABLE)
    storage = Storage(s3_url)
    content = inspect([TABLE])
    storage.put_chunks(content.sha256, content.size, [TABLE])
    object.__setattr__(api.parts, "storage", storage)
    found = api.client.get(f"/v1/files/{file['id']}/preview").json()
    assert (found["num_rows"], found["num_problems"]) == (4, 2)
    api.database.engine.dispose()


def test_a_look_that_takes_too_long_is_ended(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "WALL_SECONDS", 0.001)
    file = api.upload(TABLE)
    found = api.client.get(f"/v1/files/{file['id']}/preview").json()
    assert (found["is_whole"], found["problems"][0]["code"]) == (False, "too_large")


def test_others_wait_while_many_files_are_looked_at(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = api.upload(TABLE)
    room = Room("files are looked at", places=1, waiting=0, patience_seconds=0.01)
    monkeypatch.setattr(looks, "_ROOM", room)
    with room.entered():
        assert api.client.get(f"/v1/files/{file['id']}/preview").status_code == 503
    assert api.client.get(f"/v1/files/{file['id']}/preview").status_code == 200


def test_a_look_that_breaks_is_told_apart_from_one_that_takes_too_much(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    file = api.upload(TABLE)
    found = api.client.get(f"/v1/files/{file['id']}/preview").json()
    assert [problem["code"] for problem in found["problems"]] == ["not_looked_at"]


@pytest.mark.parametrize("content", [b'"label,b\n1,2\n', b'a,"b"c\n1,2\n'])
def test_a_header_that_is_no_csv_is_told(content: bytes) -> None:
    (problem,) = seen(content)["problems"]
    assert (problem["code"], problem["line"]) == (
        "broken_csv",
        content.count(b"\n") if content[:1] == b'"' else 1,
    )


def test_the_process_that_looks_has_no_secrets_and_little_memory(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}
    run = subprocess.run

    def spy(command: list[str], **options: Any) -> Any:  # noqa: ANN401 (subprocess's own)
        asked.update(options, command=command)
        return run(command, **options)

    monkeypatch.setattr(subprocess, "run", spy)
    monkeypatch.setenv("STILLHOUSE_SECRET", "secret")
    file = api.upload(TABLE)
    assert api.client.get(f"/v1/files/{file['id']}/preview").json()["num_rows"] == 4
    assert set(asked["env"]) == {"PYTHONPATH", "PYTHONUTF8"}
    # The very process, before it is given anything to look at.
    with subprocess.Popen(asked["command"], env=asked["env"], stdin=subprocess.PIPE) as process:
        for what, most in (
            ("Max address space", MOST_MEMORY_BYTES),
            ("Max file size", 0),
            ("Max core file size", 0),
            ("Max cpu time", MOST_SECONDS),
        ):
            assert limit_of(process.pid, what) == most
        process.kill()


def test_a_look_loads_nothing_but_the_standard_library() -> None:
    code = (
        "import sys; from app.preview import __main__; "
        "print(*{'pydantic', 'sqlalchemy', 'fastapi', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "\n"
