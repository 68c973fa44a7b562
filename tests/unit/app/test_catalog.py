"""What a spec may name, as the service tells it, works in a spec."""

from typing import Any, get_args

import pytest

from app.contracts.dataset import AnyFormat, Builtin
from app.contracts.model import AnyArchitecture
from app.contracts.objective import AnyLoss
from tests.unit.app.conftest import JOBS, Api, spec


def entries(api: Api, path: str) -> dict[str, dict[str, Any]]:
    answer = api.client.get(path)
    assert answer.status_code == 200, answer.text
    return {entry["name"]: entry for entry in answer.json()["data"]}


@pytest.mark.parametrize(
    ("path", "number"),
    [
        ("/v1/architectures", len(get_args(get_args(AnyArchitecture)[0]))),
        ("/v1/losses", len(get_args(get_args(AnyLoss)[0]))),
        (
            "/v1/datasets",
            len(get_args(get_args(AnyFormat)[0]))
            + len(get_args(Builtin.model_fields["name"].annotation)),
        ),
    ],
)
def test_a_catalogue_is_whole_and_every_entry_is_described(
    api: Api, path: str, number: int
) -> None:
    found = entries(api, path)
    assert len(found) == number
    for entry in found.values():
        assert entry["description"]
        assert entry["settings_schema"]["type"] == "object"
        required = set(entry["settings_schema"].get("required", []))
        assert not required & entry["defaults"].keys()


def test_a_paper_is_named_where_the_class_says_it(api: Api) -> None:
    assert entries(api, "/v1/architectures")["cifar_resnet"]["paper"].startswith("He et al., 2015")
    assert entries(api, "/v1/architectures")["mlp"]["paper"] is None


def test_the_defaults_of_every_architecture_make_a_job(api: Api) -> None:
    for name, entry in entries(api, "/v1/architectures").items():
        body = spec(student={"architecture": {"name": name, **entry["defaults"]}})
        answer = api.client.post(f"{JOBS}?validate_only=true", json=body)
        assert answer.status_code == 200, answer.text


def test_the_defaults_of_every_loss_of_answers_make_a_job(api: Api) -> None:
    tried = 0
    for name, entry in entries(api, "/v1/losses").items():
        if entry["settings_schema"].get("required") or "classification" not in entry["tasks"]:
            continue
        body = spec(objective=[{"loss": name, **entry["defaults"]}])
        answer = api.client.post(f"{JOBS}?validate_only=true", json=body)
        assert answer.status_code == 200, answer.text
        tried += 1
    assert tried > 5


def test_a_dataset_says_its_shape_and_what_is_to_be_learnt(api: Api) -> None:
    found = entries(api, "/v1/datasets")
    assert found["digits"]["input_shape"] == [1, 8, 8]
    assert found["digits"]["description"].startswith("1,797 images")
    assert found["diabetes"]["tasks"] == ["regression"]
    assert found["csv"]["tasks"] == ["classification", "multi_label", "regression"]
    assert (found["image_archive"]["source"], found["image_archive"]["tasks"]) == (
        "file",
        ["classification"],
    )
