"""A client's own teacher: registered from weights that are its architecture's, and no others."""

import copy
import io
import json
import math
import struct
from collections.abc import Callable
from typing import Any
from zipfile import ZipFile

import pytest

from app.contracts.projects import Quotas
from app.db.registry import ModelFile
from app.services import looks
from app.services.quotas import set_quotas
from tests.unit.app.conftest import JOBS, Api, spec
from tests.unit.app.teachers import (
    DIGITS,
    Header,
    content_of,
    header_of,
    packed,
    register,
    registered,
    weights_of,
)

TABLE: dict[str, Any] = {
    "architecture": {"name": "mlp", "hidden_sizes": []},
    "signature": {
        "shape": [4],
        "task": "regression",
        "output_names": ["height", "weight"],
        "columns": [{"name": "age"}, {"name": "colour", "categories": ["red", "green", "blue"]}],
    },
}
WEIGHT = "network.hidden.0.0.weight"


def told(answer: Any) -> list[tuple[str, str]]:  # noqa: ANN401 (an answer)
    assert answer.status_code == 422, answer.text
    return [(one["code"], one["message"]) for one in answer.json()["errors"]]


def test_a_registered_teacher_is_a_model_as_others_are(api: Api) -> None:
    answer = register(
        api, name="mine", description="From elsewhere.", card="# Mine\n", metadata={"team": "a"}
    )

    model = answer.json()
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/v1/models/{model['id']}"
    told = {name: model[name] for name in ("name", "version", "role", "job_id", "test_quality")}
    assert told == {
        "name": "mine",
        "version": 1,
        "role": "teacher",
        "job_id": None,
        "test_quality": None,
    }
    assert (model["description"], model["metadata"]) == ("From elsewhere.", {"team": "a"})
    # 64 * 4 + 4 of the hidden layer, 4 * 10 + 10 of the last; how inputs are scaled is not learnt.
    assert (model["num_parameters"], model["compared_by"]) == (310, "accuracy")
    assert [file["path"] for file in model["files"]] == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    assert api.client.get("/v1/models?role=teacher").json()["data"] == [model]
    files = "/v1/models/mine@1/files"
    assert api.client.get(f"{files}/model.safetensors").content == weights_of()
    assert api.client.get(f"{files}/README.md").text == "# Mine\n"
    assert api.client.get(f"{files}/none").status_code == 404
    with ZipFile(io.BytesIO(api.client.get("/v1/models/mine/download").content)) as archive:
        assert archive.namelist() == [file["path"] for file in model["files"]]
    hub = api.client.get(f"/api/models/{model['owned_by']}/mine").json()
    assert len(hub["siblings"]) == 3
    assert api.client.put("/v1/model_aliases/mine@best", json={"version": 1}).status_code == 200


def test_a_name_that_comes_again_is_its_next_version(api: Api) -> None:
    versions = [registered(api, name="mine")["version"] for _ in range(2)]
    nameless = registered(api)

    assert versions == [1, 2]
    assert (nameless["name"], nameless["version"]) == (None, None)


def test_what_the_weights_say_of_scales_is_in_config_json(api: Api) -> None:
    header = header_of(TABLE)
    numbers = iter(range(1, 1000))
    content = b"".join(
        struct.pack("<f", next(numbers))
        for one in header.values()
        for _ in range(math.prod(one["shape"]))
    )

    answer = register(api, packed(header, content), **TABLE)

    model = answer.json()
    config = api.client.get(f"/v1/models/{model['id']}/files/config.json").json()
    description = config["description"]
    assert config["architecture"] == {"name": "mlp", "hidden_sizes": [], "dropout": 0.0}
    assert (description["kind"], description["task"]) == ("table", "regression")
    assert (description["mean"], description["std"]) == ([1, 2, 3, 4], [5, 6, 7, 8])
    assert (description["output_mean"], description["output_std"]) == ([19, 20], [21, 22])
    assert description["columns"][1] == {"name": "colour", "categories": ["red", "green", "blue"]}
    assert model["compared_by"] == "r2"


def changed(change: Callable[[Header], Any]) -> bytes:
    header = header_of(DIGITS)
    change(header)
    end = 0
    for one in header.values():
        size = math.prod(one["shape"]) * {"F32": 4, "F64": 8, "I64": 8}.get(one["dtype"], 2)
        one["data_offsets"], end = [end, end + size], end + size
    return packed(header, bytes(end))


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (lambda header: header.pop(WEIGHT), "missing_tensor", "expected F32 [4, 64]"),
        (
            lambda header: header.update({"extra": {"dtype": "F32", "shape": [1]}}),
            "unknown_tensor",
            "no tensor 'extra'",
        ),
        (lambda header: header[WEIGHT].update(shape=[64, 4]), "wrong_shape", "F32 [64, 4]"),
        (lambda header: header[WEIGHT].update(shape=[1, 4, 64]), "wrong_shape", "F32 [1, 4, 64]"),
        *(
            (
                lambda header, dtype=dtype: header[WEIGHT].update(dtype=dtype),
                "wrong_dtype",
                f"is {dtype} [4, 64]; expected F32 [4, 64]",
            )
            for dtype in ("BF16", "F16", "F64")
        ),
    ],
)
def test_weights_that_are_not_the_architectures_are_refused(
    api: Api, change: Callable[[Header], Any], code: str, words: str
) -> None:
    (problem,) = told(register(api, changed(change)))

    assert problem[0] == code
    assert words in problem[1]


def test_a_tensor_of_another_name_is_told_with_the_nearest(api: Api) -> None:
    def rename(header: Header) -> None:
        header["hidden.0.0.weight"] = header.pop(WEIGHT)

    problems = told(register(api, changed(rename)))

    assert [code for code, _ in problems] == ["unknown_tensor", "missing_tensor"]
    assert problems[0][1].endswith(f"'hidden.0.0.weight', perhaps {WEIGHT!r}")


def test_of_thousands_of_strange_tensors_a_few_are_told(api: Api) -> None:
    header = {
        f"{number}{'x' * 70}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
        for number in range(7000)
    }
    assert len(told(register(api, packed(header, b"")))) == 20


@pytest.mark.parametrize(("value", "place"), [(math.nan, 0), (math.inf, -1), (-math.inf, 0)])
def test_weights_that_are_not_all_finite_are_refused(api: Api, value: float, place: int) -> None:
    header = header_of(DIGITS)
    numbers = [1.0] * (len(content_of(header)) // 4)
    numbers[place] = value

    (problem,) = told(register(api, packed(header, struct.pack(f"<{len(numbers)}f", *numbers))))

    first, last = next(iter(header)), next(reversed(header))
    assert problem == (
        "not_finite",
        f"the tensor {(first, last)[place]!r} has a value that is NaN or infinite",
    )


def test_the_largest_numbers_are_finite(api: Api) -> None:
    header = header_of(DIGITS)
    large = struct.pack("<f", 3.4e38)
    answer = register(api, packed(header, large * (len(content_of(header)) // 4)))
    assert answer.status_code == 201


def test_a_variance_below_zero_is_refused(api: Api) -> None:
    body = {"architecture": {"name": "convnet", "channels": [2]}}
    header = header_of({**DIGITS, **body})
    content = bytearray(content_of(header))
    name = next(name for name in header if name.endswith("running_var"))
    start, _ = header[name]["data_offsets"]
    content[start : start + 4] = struct.pack("<f", -1.0)

    ((code, message),) = told(register(api, packed(header, bytes(content)), **body))

    assert (code, name in message) == ("negative", True)


def test_a_look_that_breaks_is_not_the_fault_of_the_weights(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_asked: object) -> None:
        raise looks.NoLook("not_looked_at", "the look at the file failed")

    monkeypatch.setattr("app.services.registration.look", breaks)
    assert register(api).status_code == 503


def test_a_scale_of_zero_is_refused(api: Api) -> None:
    header = header_of(DIGITS)
    content = bytearray(content_of(header))
    start, end = header["standardize.std"]["data_offsets"]
    content[start:end] = bytes(end - start)
    assert [code for code, _ in told(register(api, packed(header, bytes(content))))] == [
        "not_positive"
    ]


def hostile() -> dict[str, bytes]:
    header = header_of(DIGITS)
    content = content_of(header)
    text = json.dumps(header)
    twice = text[:-1] + f", {json.dumps(WEIGHT)}: {json.dumps(header[WEIGHT])}}}"
    inside = text.replace('"dtype"', '"dtype": "F32", "dtype"', 1)
    noted = {"__metadata__": {"format": 1}, **header}
    more = {**header, WEIGHT: {**header[WEIGHT], "more": 1}}
    true = {**header, "standardize.std": {**header["standardize.std"], "shape": [True, 1, 1]}}
    half = {"__metadata__": {"format": "\ud800"}, **header}
    no_list = {**header, "standardize.std": {**header["standardize.std"], "shape": {}}}
    return {
        "a pickle": b"\x80\x04\x95cos\nsystem\n(S'id'\ntR.",
        "a zip, as PyTorch saves": b"PK\x03\x04" + bytes(60),
        "an array": b"\x93NUMPY\x01\0v\0{'descr': '<f4'}\n",
        "nothing but a length": struct.pack("<Q", 2),
        "text": b"a,label\n1,x\n",
        "a name twice": packed(twice.encode(), content),
        "a key twice": packed(inside.encode(), content),
        "a header in UTF-16": packed(b"{" + text.encode("utf-16"), content),
        "notes that are no text": packed(json.dumps(noted).encode(), content),
        "a key too many": packed(json.dumps(more).encode(), content),
        "a size that is true": packed(json.dumps(true).encode(), content),
        "half a letter": packed(json.dumps(half).encode(), content),
        "sizes that are no list": packed(json.dumps(no_list).encode(), content),
        "a header of more than 1 MiB": packed(text.encode() + b" " * 2**20, content),
        "a byte too many": packed(header, content + b"\0"),
        "a byte too few": packed(header, content[:-1]),
    }


def test_a_file_that_is_no_safetensors_is_refused(api: Api) -> None:
    found = {what: told(register(api, content)) for what, content in hostile().items()}

    expected = dict.fromkeys(found, "not_safetensors")
    expected |= {"a header of more than 1 MiB": "too_large"}
    expected |= dict.fromkeys(("a name twice", "a key twice"), "duplicate_name")
    assert {what: code for what, ((code, _),) in found.items()} == expected
    assert api.client.get("/v1/models").json()["data"] == []


def test_a_file_that_is_not_there_is_told(api: Api) -> None:
    answer = api.client.post("/v1/models", json={**DIGITS, "weights": "file-none"})
    assert [code for code, _ in told(answer)] == ["unknown_file"]


def test_a_file_of_another_project_is_not_there(api: Api) -> None:
    file = api.upload(weights_of())
    foreign = api.key(project="other")
    answer = api.client.post("/v1/models", json={**DIGITS, "weights": file["id"]}, headers=foreign)
    assert [code for code, _ in told(answer)] == ["unknown_file"]


SENSELESS: list[tuple[dict[str, Any], str, str]] = [
    ({"name": "a b"}, "/name", "match"),
    ({"name": "model-a"}, "/name", "perhaps 'a'"),
    ({"architecture": {"name": "mpl"}}, "/architecture/name", "perhaps 'mlp'"),
    ({"signature": {"shape": [64], "output_names": ["a", "b"]}}, "/signature", "`columns`"),
    ({"signature": {"shape": [8, 8], "output_names": ["a", "b"]}}, "/signature", "[8, 8]"),
    ({"signature": {"shape": [1, 8, 8], "output_names": ["a"]}}, "/signature", "two at least"),
    ({"signature": {"shape": [1, 8, 8], "output_names": ["a", "a"]}}, "/signature", "twice"),
    ({"signature": {"shape": [1, 8, 2000], "output_names": ["a", "b"]}}, "/signature", "1024"),
    (
        {"signature": {**TABLE["signature"], "shape": [3]}},
        "/signature",
        "the columns give 4 inputs",
    ),
    ({**TABLE, "architecture": {"name": "convnet"}}, "", "expected 'mlp'"),
]


def test_what_makes_no_sense_is_refused_before_any_look(api: Api) -> None:
    for change, pointer, words in SENSELESS:
        body = {**copy.deepcopy(DIGITS), "weights": "file-1", **change}
        answer = api.client.post("/v1/models", json=body)
        assert answer.status_code == 422
        (problem,) = answer.json()["errors"]
        assert problem["pointer"] == pointer, problem
        assert words in problem["message"], problem


def test_the_same_request_again_makes_no_second_model(api: Api) -> None:
    file = api.upload(weights_of())
    body, headers = {**DIGITS, "weights": file["id"]}, {"Idempotency-Key": "one"}
    first = api.client.post("/v1/models", json=body, headers=headers)
    api.client.delete(f"/v1/files/{file['id']}")

    again = api.client.post("/v1/models", json=body, headers=headers)

    assert first.status_code == again.status_code == 201
    assert again.content == first.content
    assert again.headers["Location"] == first.headers["Location"]
    assert again.headers["Idempotency-Replayed"] == "true"
    other = api.client.post("/v1/models", json={**body, "name": "b"}, headers=headers)
    assert other.json()["error"]["code"] == "idempotency_key_reused"
    assert len(api.client.get("/v1/models").json()["data"]) == 1


def test_a_model_outlives_the_file_that_it_was_made_of(api: Api) -> None:
    file = api.upload(weights_of())
    model = api.client.post("/v1/models", json={**DIGITS, "weights": file["id"]}).json()
    assert api.client.delete(f"/v1/files/{file['id']}").status_code == 200

    got = api.client.get(f"/v1/models/{model['id']}/files/model.safetensors")

    assert got.content == weights_of()
    usage = api.client.get("/v1/usage").json()["stored_bytes"]["used"]
    assert usage == sum(entry["bytes"] for entry in model["files"])


def test_a_model_for_which_there_is_no_room_is_not_made(api: Api) -> None:
    file = api.upload(weights_of())
    project_id = api.client.get("/v1/usage").json()["project_id"]
    with api.database.write() as session:
        set_quotas(session, project_id, Quotas(stored_bytes=file["bytes"] + 10))

    answer = api.client.post("/v1/models", json={**DIGITS, "weights": file["id"]})

    assert answer.status_code == 429
    assert api.client.get("/v1/models").json()["data"] == []
    with api.database.read() as session:
        assert session.query(ModelFile).count() == 0


def test_a_look_that_takes_too_long_makes_no_model(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "WALL_SECONDS", 0.001)
    assert [code for code, _ in told(register(api))] == ["too_large"]


def test_a_job_learns_from_it_where_it_fits_and_is_told_where_not(api: Api) -> None:
    fits, other = registered(api)["id"], registered(api, **TABLE)["id"]

    def post(model: str) -> Any:  # noqa: ANN401 (an answer)
        return api.client.post(JOBS, json=spec(teacher={"source": "model", "model": model}))

    job = post(fits).json()
    assert (job["status"], job["teacher_model"]) == ("queued", fits)
    problem = post(other).json()["errors"][0]
    assert (problem["pointer"], problem["code"]) == ("/teacher/model", "model_does_not_fit")
    assert "the task differs" in problem["message"]
    outputs = {"shape": [1, 8, 8], "output_names": list("abcdefghij")}
    renamed = registered(api, signature=outputs)["id"]
    assert "output names differ" in post(renamed).json()["errors"][0]["message"]


def test_asking_it_says_why_there_is_no_answer(api: Api) -> None:
    model = registered(api)["id"]

    answer = api.client.post(f"/v1/models/{model}/predict", json={"inputs": [[1, 2]]})

    assert answer.status_code == 409
    assert "a client brought" in answer.json()["detail"]
