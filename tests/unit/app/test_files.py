"""Uploaded files over HTTP, and the files of jobs and models."""

import asyncio
import gzip
import hashlib
from typing import Any

import pytest
from httpx2 import Response

from tests.unit.app.conftest import JOBS, Api


def test_an_uploaded_file_is_kept_byte_for_byte(api: Api) -> None:
    content = bytes(range(256)) * 10_000
    file = api.upload(content, "data.bin")
    assert file["id"].startswith("file-")
    assert (file["object"], file["filename"], file["purpose"]) == ("file", "data.bin", "dataset")
    assert file["bytes"] == len(content)
    assert file["sha256"] == hashlib.sha256(content).hexdigest()
    assert api.client.get(f"/v1/files/{file['id']}").json() == file
    assert api.client.get(f"/v1/files/{file['id']}/content").content == content


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (b"a,b\n1,2\n", "text/plain"),
        (("x" * (2**20 - 1) + "\u00e9").encode(), "text/plain"),
        (b"x" * 2**20 + b"\xc3", "application/octet-stream"),
        (b"x" * 2**20 + b"\0", "application/octet-stream"),
        ("\u00e9".encode("latin-1"), "application/octet-stream"),
        (b"PK\x03\x04" + b"\0" * 20, "application/zip"),
        (gzip.compress(b"x", mtime=0), "application/gzip"),
        (b"a".ljust(257, b"\0") + b"ustar\0", "application/x-tar"),
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"PAR1....PAR1", "application/vnd.apache.parquet"),
    ],
)
def test_what_kind_a_file_is_its_bytes_say_and_not_the_client(
    api: Api, content: bytes, media_type: str
) -> None:
    upload = {"file": ("a.html", content, "text/html")}
    assert api.client.post("/v1/files", files=upload).json()["media_type"] == media_type


def test_a_purpose_is_kept(api: Api) -> None:
    upload = {"file": ("a.csv", b"x")}
    answer = api.client.post("/v1/files", files=upload, data={"purpose": "fine-tune"})
    assert answer.json()["purpose"] == "fine-tune"


@pytest.mark.parametrize(
    ("name", "content", "purpose", "pointer"),
    [
        ("a.csv", b"", "dataset", "/file"),
        ("x" * 256, b"x", "dataset", "/file"),
        ("..", b"x", "dataset", "/file"),
        ("../../etc/passwd", b"x", "dataset", "/file"),
        ("..\\windows", b"x", "dataset", "/file"),
        ("a\u202eb", b"x", "dataset", "/file"),
        ("a.csv", b"x", "", "/purpose"),
        ("a.csv", b"x", "p" * 65, "/purpose"),
        ("a.csv", b"x", "a b", "/purpose"),
    ],
)
def test_an_odd_file_is_refused_and_leaves_nothing(
    api: Api, name: str, content: bytes, purpose: str, pointer: str
) -> None:
    upload = {"file": (name, content)}
    answer = api.client.post("/v1/files", files=upload, data={"purpose": purpose})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert api.client.get("/v1/files").json()["data"] == []
    assert not [path for path in (api.folder / "blobs").rglob("*") if path.is_file()]


def test_a_name_with_control_characters_is_refused(api: Api) -> None:
    # By hand: an HTTP client would escape the name.
    form = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a\x01b"\r\n\r\n1\r\n--x--'
    )
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = api.client.post("/v1/files", content=form, headers=headers)
    assert answer.status_code in {400, 422}
    assert api.client.get("/v1/files").json()["data"] == []
    fine = api.client.post("/v1/files", content=form.replace(b"\x01", b"-"), headers=headers)
    assert fine.json()["filename"] == "a-b"


@pytest.mark.parametrize(
    "request_parts",
    [
        {},
        {"json": {"file": "x"}},
        {"data": {"file": "x"}},
        {"files": {"other": ("a.csv", b"x")}},
        {"files": [("file", ("a.csv", b"x")), ("file", ("b.csv", b"y"))]},
        {"files": {"file": ("a.csv", b"x"), "purpose": ("b", b"dataset")}},
        {"files": {"file": ("a.csv", b"x")}, "data": {"purpose": "x" * 2000}},
        {"content": b"--x\r\n", "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
        {"content": b"x", "headers": {"Content-Type": "multipart/form-data"}},
    ],
)
def test_a_form_without_exactly_one_file_is_refused(
    api: Api, request_parts: dict[str, Any]
) -> None:
    answer = api.client.post("/v1/files", **request_parts)
    assert answer.status_code in {400, 422}
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_a_form_is_in_utf_8_and_may_say_so(api: Api) -> None:
    for charset in ("undefined", "utf-7", "unicode_escape", "latin-1", "nonsense"):
        for parameter in (f"charset={charset}", f'CHARSET="{charset}"'):
            answer = _send_form(api, "\\ud800", parameter)
            assert answer.status_code == 422, parameter
            (error,) = answer.json()["errors"]
            assert (error["pointer"], error["code"]) == ("", "content_type")
            assert charset in error["message"]
    assert api.client.get("/v1/files").json()["data"] == []
    for parameter in ("charset=UTF-8", "charset=utf8", 'charset="utf-8"', "other=utf-7"):
        assert _send_form(api, "purpose", parameter).json()["filename"] == "ü"


def _send_form(api: Api, field: str, parameter: str) -> Response:
    form = (
        '--x\r\nContent-Disposition: form-data; name="file"; filename="ü"\r\n\r\n1\r\n'
        f'--x\r\nContent-Disposition: form-data; name="{field}"\r\n\r\ntests\r\n--x--'
    )
    headers = {"Content-Type": f"multipart/form-data; boundary=x; {parameter}"}
    return api.client.post("/v1/files", content=form.encode(), headers=headers)


def test_an_upload_beyond_the_limit_is_413(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.routes.files.MOST_UPLOAD_BYTES", 1000)
    assert api.client.post("/v1/files", files={"file": ("a", b"x" * 1000)}).is_success
    assert api.client.post("/v1/files", files={"file": ("a", b"x" * 1001)}).status_code == 413
    monkeypatch.setattr("app.forms.FORM_BYTES", 0)
    assert api.client.post("/v1/files", files={"file": ("a", b"x" * 1000)}).status_code == 413


def test_a_client_that_goes_away_in_an_upload_is_no_failure_of_ours(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    messages = [
        {"type": "http.request", "body": b"--x\r\n", "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Any] = []

    async def receive() -> Any:  # noqa: ANN401 (an ASGI message)
        return messages.pop(0)

    async def send(message: Any) -> None:  # noqa: ANN401 (an ASGI message)
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/files",
        "query_string": b"",
        "headers": [
            (b"authorization", str(api.client.headers["Authorization"]).encode()),
            (b"content-type", b"multipart/form-data; boundary=x"),
        ],
    }
    asyncio.run(api.app(scope, receive, send))
    assert sent[0]["status"] == 400
    assert "unexpected_error" not in capsys.readouterr().err


def test_files_are_listed_newest_first_page_by_page(api: Api) -> None:
    ids = [api.upload(bytes([number + 65]))["id"] for number in range(3)][::-1]
    first = api.client.get("/v1/files?limit=2").json()
    assert [file["id"] for file in first["data"]] == ids[:2]
    rest = api.client.get(f"/v1/files?after={first['last_id']}").json()
    assert ([file["id"] for file in rest["data"]], rest["has_more"]) == (ids[2:], False)


RESULTS = {"student/model.onnx": b"onnx", "student/config.json": b"{}", "report.json": b"[]"}


def test_a_jobs_files_are_listed_by_path_and_read(api: Api) -> None:
    path = f"{JOBS}/{api.post_job()['id']}/files"
    assert api.client.get(path).json()["data"] == []
    api.succeed(api.claim(), RESULTS)
    listed = api.client.get(path).json()["data"]
    assert [file["path"] for file in listed] == sorted(RESULTS)
    for file in listed:
        answer = api.client.get(f"{path}/{file['path']}")
        assert answer.content == RESULTS[file["path"]]
        assert hashlib.sha256(answer.content).hexdigest() == file["sha256"]


def test_a_model_shows_its_own_files_without_their_folder(api: Api) -> None:
    job = api.post_job(name="small")
    model_id = api.succeed(api.claim(), RESULTS)
    model = api.client.get(f"/v1/models/{model_id}").json()
    assert (model["name"], model["role"], model["job_id"]) == ("small", "student", job["id"])
    assert [file["path"] for file in model["files"]] == ["config.json", "model.onnx"]
    assert api.client.get("/v1/models").json()["data"] == [model]
    path = f"/v1/models/{model_id}/files"
    assert api.client.get(f"{path}/model.onnx").content == b"onnx"
    assert api.client.get(f"{path}/report.json").status_code == 404
    assert api.client.get(f"{path}/%2e%2e/report.json").status_code == 404


def test_models_are_listed_newest_first_page_by_page(api: Api) -> None:
    made: list[str] = []
    for _ in range(3):
        api.post_job()
        made.insert(0, api.succeed(api.claim(), {}))
    first = api.client.get("/v1/models?limit=2").json()
    assert ([model["id"] for model in first["data"]], first["has_more"]) == (made[:2], True)
    rest = api.client.get(f"/v1/models?after={first['last_id']}").json()
    assert [model["id"] for model in rest["data"]] == made[2:]


@pytest.mark.parametrize(
    "path",
    ["../../pepper", "..%2f..%2fpepper", "%2e%2e/%2e%2e/pepper", "%252e%252e%252fpepper",
     "/etc/passwd", "student/%2e%2e/report.json", "student//model.onnx", "STUDENT/model.onnx", ""],
)  # fmt: skip
def test_a_path_is_only_ever_a_name_in_the_list(api: Api, path: str) -> None:
    job_id = api.post_job()["id"]
    api.succeed(api.claim(), RESULTS)
    assert api.client.get(f"{JOBS}/{job_id}/files/{path}").status_code == 404


def test_files_are_listed_by_purpose_and_in_either_order(api: Api) -> None:
    def upload(purpose: str) -> str:
        form = {"file": ("a.csv", purpose.encode())}
        return str(api.client.post("/v1/files", files=form, data={"purpose": purpose}).json()["id"])

    ids = [upload(purpose) for purpose in ("fine-tune", "dataset", "fine-tune", "fine-tune")]

    def listed(query: str) -> list[str]:
        return [file["id"] for file in api.client.get(f"/v1/files?{query}").json()["data"]]

    assert listed("purpose=fine-tune") == [ids[3], ids[2], ids[0]]
    assert listed("order=asc") == ids
    assert listed(f"order=asc&limit=2&after={ids[0]}") == ids[1:3]
    assert api.client.get("/v1/files?order=up").status_code == 400


def test_a_deleted_file_is_gone(api: Api) -> None:
    file = api.upload()
    answer = api.client.delete(f"/v1/files/{file['id']}")
    assert answer.json() == {"object": "file", "id": file["id"], "deleted": True}
    assert api.client.get(f"/v1/files/{file['id']}").status_code == 404
    assert api.client.delete(f"/v1/files/{file['id']}").status_code == 404


@pytest.mark.parametrize("place", ["dataset", "validation", "signals"])
def test_a_file_that_a_job_is_to_read_is_kept_until_that_has_ended(api: Api, place: str) -> None:
    if place == "dataset":
        file = api.upload()
        dataset = {"source": "file", "file": file["id"], "format": {"name": "csv"}}
        job = api.post_job(dataset=dataset)
    elif place == "validation":
        file, other = api.upload(), api.upload()
        dataset = {"source": "file", "file": other["id"], "format": {"name": "csv"}}
        job = api.post_job(dataset={**dataset, "validation_file": file["id"]})
    else:
        file = api.upload(b"PAR1....PAR1", "signals.parquet")
        signals = {"source": "signals", "file": file["id"], "values": "logits"}
        job = api.post_job(teacher=signals)

    refused = api.client.delete(f"/v1/files/{file['id']}")
    assert refused.status_code == 409
    assert job["id"] in refused.json()["detail"]

    api.client.post(f"{JOBS}/{job['id']}/cancel")
    assert api.client.delete(f"/v1/files/{file['id']}").status_code == 200


def test_a_form_that_says_that_it_is_too_large_is_not_waited_for(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.forms.Request.form", None)
    headers = {"Content-Length": str(20 * 2**30), "Content-Type": "multipart/form-data; boundary=a"}
    answer = api.client.post("/v1/files", content=iter([b"--a"]), headers=headers)
    assert answer.status_code == 413


def test_only_so_many_forms_arrive_at_once(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.forms.MOST_AT_ONCE", 0)
    answer = api.client.post("/v1/files", files={"file": ("a.csv", b"a,b\n")})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    monkeypatch.undo()
    assert api.upload(b"a,b\n")
