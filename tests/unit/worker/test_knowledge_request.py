"""Two jobs have one digest if and only if they would collect the same knowledge."""

from typing import Any

import pytest

from app.contracts.job import JobSpec
from app.contracts.knowledge import MOST_DENSE_OUTPUTS
from app.contracts.knowledge_request import Sources, TeacherDigests, is_shared, knowledge_request
from app.contracts.model import Mlp

TEACHER = Mlp(hidden_sizes=[8, 8])
MLP = {"name": "mlp", "hidden_sizes": [4]}
SOURCES = Sources(
    data={"file": "a" * 64},
    teachers=[TeacherDigests("b" * 64, "c" * 64)],
    signals=None,
    architecture=TEACHER,
)
FLIP = {"augmentation": [{"name": "flip"}]}
FILE = {"source": "file", "file": "file-1", "format": {"name": "csv"}}
JUDGED = {**FILE, "validation_file": "file-2"}
OF_FEW = [{"loss": "soft_targets", "temperature": 1}]
"""An objective that loses little where only the most probable classes are kept."""


def spec(**changes: Any) -> JobSpec:  # noqa: ANN401 (a spec's fields)
    return JobSpec.model_validate(
        {
            "dataset": FILE,
            "teacher": {"source": "model", "model": "model-1"},
            "student": {"architecture": MLP},
            **changes,
        }
    )


def digest(sources: Sources = SOURCES, num_outputs: int = 10, **changes: Any) -> str:  # noqa: ANN401 (a spec's fields)
    return knowledge_request(spec(**changes), sources, num_outputs)


def judged(validation: str) -> Sources:
    files = {"file": "a" * 64, "validation_file": validation * 64}
    return Sources(files, SOURCES.teachers, None, TEACHER)


def hints(teacher: str) -> list[dict[str, Any]]:
    pairs = [{"student": "hidden.0", "teacher": teacher}]
    return [{"loss": "soft_targets"}, {"loss": "hints", "layers": pairs}]


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "another", "metadata": {"a": "b"}, "priority": 3, "baseline": False},
        {"student": {"architecture": {"name": "mlp", "hidden_sizes": [64]}}},
        {"student": {"architecture": MLP, "initialize": {"from": "teacher"}}},
        {"objective": [{"loss": "soft_targets", "temperature": 9}]},
        {"objective": [{"loss": "decoupled"}, {"loss": "labels"}]},
        {"teacher": {"source": "model", "model": "model-2"}},
        {"dataset": {**FILE, "file": "file-2"}},
        {"training": {"epochs": 7, "seed": 3, "batch_size": 9}},
        {"knowledge": {"storage": "float16", "top_k": 7, "max_bytes": 9}},
        {"transfer": {"omit_classes": ["x"]}},
    ],
    ids="+".join,
)
def test_what_the_teacher_does_not_see_makes_no_difference(changes: dict[str, Any]) -> None:
    assert digest(**changes) == digest()


def test_all_that_decides_the_signals_makes_one() -> None:
    other = {
        "plain": digest(),
        "split": digest(dataset={**FILE, "split": {"seed": 1}}),
        "format": digest(dataset={**FILE, "format": {"name": "csv", "label": "y"}}),
        "validation": digest(judged("d"), dataset=JUDGED),
        "other validation": digest(judged("e"), dataset=JUDGED),
        "data": digest(Sources({"file": "d" * 64}, SOURCES.teachers, None, TEACHER)),
        "weights": digest(
            Sources({"file": "a" * 64}, [TeacherDigests("b" * 64, "d" * 64)], None, TEACHER)
        ),
        "config": digest(
            Sources({"file": "a" * 64}, [TeacherDigests("d" * 64, "c" * 64)], None, TEACHER)
        ),
        "views": digest(training=FLIP),
        "seed": digest(training={**FLIP, "seed": 1}),
        "epochs": digest(training={**FLIP, "epochs": 2}),
        "precision": digest(training={"precision": "bfloat16"}),
        "layers": digest(objective=hints("hidden.0")),
        "other layers": digest(objective=hints("hidden.1")),
        "float32": digest(knowledge={"storage": "float32"}),
        "top_k": digest(knowledge={"storage": "top_k", "top_k": 3}),
        "less of top_k": digest(knowledge={"storage": "top_k", "top_k": 2}),
    }
    assert len(set(other.values())) == len(other)


def test_of_many_classes_few_are_kept_where_that_is_enough_for_every_loss() -> None:
    many = MOST_DENSE_OUTPUTS + 1
    each = [*OF_FEW, {"loss": "logit_mse"}]

    few = digest(num_outputs=many, knowledge={"storage": "top_k"})
    dense = digest(num_outputs=many, knowledge={"storage": "float16"})
    assert few != dense
    assert digest(num_outputs=many, objective=OF_FEW) == few
    assert digest(num_outputs=many, objective=each) == dense
    assert digest(num_outputs=many, objective=[{"loss": "soft_targets", "temperature": 2}]) == dense
    assert digest(num_outputs=MOST_DENSE_OUTPUTS) == dense


def test_a_file_for_validation_is_its_bytes_and_not_its_id() -> None:
    other_id = {**JUDGED, "validation_file": "file-3"}

    assert digest(judged("d"), dataset=other_id) == digest(judged("d"), dataset=JUDGED)


def test_what_was_published_before_is_still_found() -> None:
    wine = {"source": "builtin", "name": "wine"}
    builtin = Sources({}, SOURCES.teachers, None, TEACHER)

    assert digest() == "c40eb942673c83b0dc12deba082317acdb4d8c0e2473702f18ab798ec30c6210"
    assert digest(builtin, dataset=wine) == (
        "6af144dc81b7b859f4ab5eca08a74fc51848605996fca651d6510d301c7883ee"
    )


def test_layers_count_once_in_any_order_and_globs_as_what_they_mean() -> None:
    both = digest(objective=hints("hidden.?"))

    assert both == digest(objective=[*hints("hidden.1"), *hints("hidden.0")])
    assert both == digest(objective=[*hints("hidden.0"), *hints("hidden.1"), *hints("hidden.0")])
    assert both != digest(objective=hints("hidden.*.0"))


def test_storage_is_what_it_comes_to() -> None:
    top = {"storage": "top_k"}
    assert digest(num_outputs=5000, objective=OF_FEW) == digest(num_outputs=5000, knowledge=top)
    assert digest(num_outputs=8, knowledge=top) == digest(
        num_outputs=8, knowledge={**top, "top_k": 9}
    )


def test_an_ensemble_is_its_members_their_weights_and_its_mean() -> None:
    members = [TeacherDigests("b" * 64, "c" * 64), TeacherDigests("d" * 64, "e" * 64)]

    def of(mean: str, weights: tuple[float, float], models: list[TeacherDigests]) -> str:
        teacher = {
            "source": "ensemble",
            "mean": mean,
            "members": [
                {"teacher": {"source": "model", "model": f"model-{number}"}, "weight": weight}
                for number, weight in enumerate(weights)
            ],
        }
        return digest(Sources({"file": "a" * 64}, models, None, None), teacher=teacher)

    digests = {
        of("logits", (1, 1), members),
        of("probabilities", (1, 1), members),
        of("logits", (1, 2), members),
        of("logits", (1, 1), members[::-1]),
        digest(),
    }
    assert len(digests) == 5


def test_signals_are_their_file_and_what_its_values_mean() -> None:
    def of(file: str, values: str) -> str:
        teacher = {"source": "signals", "file": "file-9", "values": values}
        return digest(Sources({"file": "a" * 64}, [], file, None), teacher=teacher)

    assert of("b", "logits") == of("b", "logits")
    assert len({of("b", "logits"), of("c", "logits"), of("b", "probabilities"), digest()}) == 4


@pytest.mark.parametrize(
    ("changes", "shared"),
    [
        ({}, True),
        ({"teacher": {"source": "train", "architecture": MLP}}, True),
        ({"teacher": {"source": "signals", "file": "file-1", "values": "logits"}}, True),
        ({"teacher": {"source": "knowledge", "knowledge": "knowledge-1"}}, False),
        ({"teacher": {"source": "mutual", "architecture": MLP}}, False),
        ({"assistants": [{"architecture": MLP}]}, False),
        ({"generations": 2}, False),
    ],
)
def test_only_what_is_the_teachers_own_is_shared(changes: dict[str, Any], *, shared: bool) -> None:
    assert is_shared(spec(**changes)) is shared
