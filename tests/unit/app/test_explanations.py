"""A bad spec gets a pointer, what was given, what is expected and the nearest valid name."""

from typing import Any

import pytest
from pydantic import ValidationError

from app.contracts.job import JobSpec
from app.contracts.requests import NewApiKey
from app.errors import Problem
from app.services.explanations import MOST_PROBLEMS, explain, pointer_to
from tests.unit.app.conftest import JOBS, Api, spec


def problems(**changes: Any) -> list[Problem]:  # noqa: ANN401 (a spec's fields)
    with pytest.raises(ValidationError) as caught:
        JobSpec.model_validate(spec(**changes))
    return explain(JobSpec, caught.value.errors())


SOFT = {"loss": "soft_targets"}
MLP = {"name": "mlp"}


@pytest.mark.parametrize(
    ("changes", "pointer", "words"),
    [
        ({"objectve": []}, "/objectve", ["unknown", '"objectve"', "perhaps 'objective'"]),
        (
            {"objective": [{"loss": "soft_target"}]},
            "/objective/0/loss",
            [
                'given "soft_target"',
                "'labels', 'soft_targets', 'logit_mse'",
                "'relational' or 'contrastive'",
                "perhaps 'soft_targets'",
            ],
        ),
        ({"objective": [{"weight": 1}]}, "/objective/0/loss", ["missing", "'soft_targets'"]),
        (
            {"objective": [SOFT, {**SOFT, "temprature": 4}]},
            "/objective/1/temprature",
            ["perhaps 'temperature'"],
        ),
        (
            {"objective": [{**SOFT, "temperature": -1}]},
            "/objective/0/temperature",
            ["given -1", "greater than 0"],
        ),
        (
            {"student": {"architecture": {**MLP, "hidden_sizes": [8, "x"]}}},
            "/student/architecture/hidden_sizes/1",
            ['given "x"', "integer"],
        ),
        (
            {"student": {"architecture": {"name": "mpl"}}},
            "/student/architecture/name",
            ["perhaps 'mlp'"],
        ),
        (
            {"student": {"architecture": MLP, "initialize": {"from": "radom"}}},
            "/student/initialize/from",
            ['given "radom"', "'random', 'model' or 'teacher'", "perhaps 'random'"],
        ),
        (
            {"student": {"architecture": MLP, "initialize": {"from": "model"}}},
            "/student/initialize/model",
            ["'model' is missing"],
        ),
        (
            {"dataset": {"source": "builtin", "name": "digit"}},
            "/dataset/name",
            [
                'given "digit"',
                "'digits', 'breast_cancer', 'wine' or 'diabetes'",
                "perhaps 'digits'",
            ],
        ),
        (
            {
                "dataset": {
                    "source": "builtin",
                    "name": "wine",
                    "split": {"validation": 0.9, "test": 0.9},
                }
            },
            "/dataset/split",
            ["validation + test is 1.8"],
        ),
        ({"export": ["onxx"]}, "/export/0", ['given "onxx"', "perhaps 'onnx'"]),
        ({"teacher": []}, "/teacher", ["given []", "object"]),
        ({"resources": {"gpus": 2}}, "/resources/gpus", ["given 2", "less than or equal to 1"]),
        ({"metadata": {"a/b~c": 3}}, "/metadata/a~1b~0c", ["given 3", "string"]),
        ({"metadata": {"": "x"}}, "/metadata/", ["at least 1 character"]),
        ({"name": "x" * 500}, "/name", ["at most 200"]),
    ],
)
def test_a_mistake_is_named_where_it_is(
    changes: dict[str, Any], pointer: str, words: list[str]
) -> None:
    (problem,) = problems(**changes)
    assert problem.pointer == pointer
    for word in words:
        assert word in problem.message
    assert len(problem.message) < 400


def test_several_mistakes_are_all_named() -> None:
    found = problems(extra=1, export=[], objective=[{"loss": "labels", "weight": -1}])
    assert [one.pointer for one in found] == ["/objective/0/weight", "/export", "/extra"]


def test_very_many_mistakes_are_cut_short() -> None:
    assert len(problems(export=["x"] * 8, **{f"f{n}": n for n in range(200)})) == MOST_PROBLEMS


def test_a_missing_field_is_named() -> None:
    with pytest.raises(ValidationError) as caught:
        NewApiKey.model_validate({"name": "x"})
    (problem,) = explain(NewApiKey, caught.value.errors())
    assert (problem.pointer, problem.message) == ("/scopes", "the field 'scopes' is missing")


def test_a_pointer_escapes_as_rfc_6901_says() -> None:
    assert pointer_to(["a/b", "m~n", 0, ""]) == "/a~1b/m~0n/0/"
    assert pointer_to([]) == ""


def test_the_api_answers_with_the_explanations(api: Api) -> None:
    answer = api.client.post(JOBS, json=spec(objective=[{"loss": "soft_target"}]))
    assert answer.status_code == 422
    body = answer.json()
    assert body["errors"][0]["pointer"] == "/objective/0/loss"
    assert body["error"]["param"] == "objective[0].loss"
    assert body["detail"] == body["errors"][0]["message"] == body["error"]["message"]


def test_no_body_and_a_body_that_is_not_declared_json_are_explained(api: Api) -> None:
    assert api.client.post(JOBS).json()["detail"] == "the body is missing"
    answer = api.client.post(JOBS, content=b"{}")
    assert answer.status_code == 422
    assert "Content-Type: application/json" in answer.json()["detail"]
    declared = {"Content-Type": "application/json"}
    assert "JSON object" in api.client.post(JOBS, content=b"[]", headers=declared).text


def test_an_item_of_a_list_of_objects_is_pointed_at() -> None:
    pairs = [{"student": "0"}]
    (problem,) = problems(objective=[SOFT, {"loss": "contrastive", "layers": pairs}])
    assert (problem.pointer, problem.code) == ("/objective/1/layers/0/teacher", "missing")


@pytest.mark.parametrize("given", ["3", True])
def test_a_number_is_neither_text_nor_a_truth_value(given: object) -> None:
    (problem,) = problems(training={"epochs": given})
    assert problem.pointer == "/training/epochs"
