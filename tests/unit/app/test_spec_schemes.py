"""Teachers, chains and starts that do not go together are refused, each fault once."""

from typing import Any

import pytest

from app.contracts.knowledge import views_of
from app.contracts.training import Flip, Training
from tests.unit.app.conftest import Api
from tests.unit.app.refused import knowledge_of, model_of, refusals, told, warnings

MLP = {"name": "mlp", "hidden_sizes": [8]}
DIABETES = {"source": "builtin", "name": "diabetes"}
WINE = {"source": "builtin", "name": "wine"}
FLIP = {"augmentation": [{"name": "flip"}]}
WEIGHTS = "student/model.safetensors"


def ensemble(*members: dict[str, Any], mean: str = "logits") -> dict[str, Any]:
    return {
        "source": "ensemble",
        "mean": mean,
        "members": [{"teacher": member} for member in members],
    }


def trained(architecture: dict[str, Any], **training: Any) -> dict[str, Any]:  # noqa: ANN401 (a training's fields)
    return {"source": "train", "architecture": architecture, "training": training}


def registered(model: str) -> dict[str, Any]:
    return {"source": "model", "model": model}


def known(knowledge: str) -> dict[str, Any]:
    return {"source": "knowledge", "knowledge": knowledge}


def signals(api: Api, content: bytes = b"PAR1 and so on", values: str = "logits") -> dict[str, Any]:
    return {"source": "signals", "file": api.upload(content)["id"], "values": values}


def from_teacher(architecture: dict[str, Any], layers: object = "uniform") -> dict[str, Any]:
    return {"architecture": architecture, "initialize": {"from": "teacher", "layers": layers}}


def test_every_member_of_an_ensemble_is_checked(api: Api) -> None:
    model = model_of(api, MLP, WEIGHTS)
    assert warnings(api, teacher=ensemble(registered(model), trained(MLP))) == []

    step = {"name": "step", "milestones": [5, 5]}
    faulty = ensemble(registered("model-unknown"), trained(MLP, schedule=step, epochs=9))
    assert refusals(api, teacher=faulty) == [
        ("/teacher/members/0/teacher/model", "unknown_model"),
        ("/teacher/members/1/teacher/training/schedule/milestones", "not_ascending"),
    ]
    images = ensemble(trained({"name": "convnet"}), trained(MLP, **FLIP))
    assert refusals(api, teacher=images, dataset=WINE) == [
        ("/teacher/members/0/teacher/architecture/name", "needs_images"),
        ("/teacher/members/1/teacher/training/augmentation", "needs_images"),
    ]


def test_a_mean_of_probabilities_is_refused_for_numbers(api: Api) -> None:
    teacher = ensemble(trained(MLP), trained(MLP), mean="probabilities")

    assert warnings(api, teacher=teacher) == []
    assert refusals(api, teacher=teacher, dataset=DIABETES) == [
        ("/teacher/mean", "mean_does_not_fit_task")
    ]


def test_a_registered_model_of_other_data_is_refused_with_what_differs(api: Api) -> None:
    digits = model_of(api, MLP, WEIGHTS)
    letters = model_of(api, MLP, WEIGHTS, outputs=list("abcdefghij"))

    (shape,) = told(api, dataset=WINE, teacher=registered(digits))
    (names,) = told(api, teacher=registered(letters))
    (task,) = told(api, dataset=DIABETES, teacher=registered(digits))

    assert {each["code"] for each in (shape, names, task)} == {"model_does_not_fit"}
    assert "input shape differs: the model has (1, 8, 8), the data (13,)" in shape["message"]
    assert "output names differs: the model has ['a', 'b'" in names["message"]
    assert "task differs" in task["message"]


def test_signals_must_be_there_and_parquet(api: Api) -> None:
    assert warnings(api, teacher=signals(api)) == []
    assert refusals(api, teacher=signals(api, b"id,0\n1,2\n")) == [
        ("/teacher/file", "wrong_kind_of_file")
    ]
    unknown = {"source": "signals", "file": "file-unknown", "values": "logits"}
    assert refusals(api, teacher=unknown) == [("/teacher/file", "unknown_file")]


@pytest.mark.parametrize(
    ("dataset", "fitting"),
    [
        ({"source": "builtin", "name": "digits"}, {"logits", "probabilities"}),
        (DIABETES, {"predictions"}),
    ],
    ids=["classes", "numbers"],
)
def test_the_values_of_signals_are_those_of_the_task(
    api: Api, dataset: dict[str, Any], fitting: set[str]
) -> None:
    for values in ("logits", "probabilities", "predictions"):
        teacher = signals(api, values=values)
        if values in fitting:
            assert warnings(api, teacher=teacher, dataset=dataset) == []
        else:
            assert refusals(api, teacher=teacher, dataset=dataset) == [
                ("/teacher/values", "values_do_not_fit_task")
            ]


def test_recorded_answers_do_not_go_with_other_views(api: Api) -> None:
    assert refusals(api, teacher=signals(api), training=FLIP) == [
        ("/training/augmentation", "answers_of_other_views")
    ]
    (problem,) = told(api, teacher=known(knowledge_of(api)), training=FLIP)
    assert problem["pointer"] == "/teacher/knowledge"
    assert "views: given plain, expected" in problem["message"]
    assert "the very view" in problem["message"]


def test_knowledge_is_told_apart_by_what_is_known_without_the_data(api: Api) -> None:
    flipped = views_of(Training(augmentation=[Flip()], seed=7))
    knowledge = known(knowledge_of(api, seen=flipped, views=10))
    fits = {**FLIP, "seed": 7, "epochs": 10}

    assert warnings(api, teacher=knowledge, training=fits) == []
    assert warnings(api, teacher=knowledge, training={**fits, "epochs": 3}) == []
    for change, words in (
        ({"seed": 8}, "with seed 7, expected"),
        ({"epochs": 11}, "views: given 10, expected one an epoch, 11"),
    ):
        (problem,) = told(api, teacher=knowledge, training=fits | change)
        assert problem["code"] == "knowledge_does_not_match"
        assert words in problem["message"]

    (problem,) = told(api, teacher=known(knowledge_of(api)), dataset=WINE)
    assert "output names: given ['0', '1'" in problem["message"]
    assert "expected ['class_0', 'class_1', 'class_2']" in problem["message"]
    (problem,) = told(api, teacher=known(knowledge_of(api)), dataset=DIABETES)
    assert "task: given classification, expected regression" in problem["message"]


def test_another_projects_knowledge_looks_like_none(api: Api) -> None:
    api.key(project="other")
    for knowledge in ("knowledge-unknown", knowledge_of(api, project="other")):
        assert refusals(api, teacher=known(knowledge)) == [
            ("/teacher/knowledge", "unknown_knowledge")
        ]


def test_assistants_and_generations_go_together_and_learn_from_models_alone(api: Api) -> None:
    chain: dict[str, Any] = {"assistants": [{"architecture": MLP}], "generations": 2}
    assert warnings(api, **chain) == []
    assert warnings(api, teacher=ensemble(trained(MLP), trained(MLP)), **chain) == []
    for teacher in (
        known(knowledge_of(api)),
        signals(api),
        {"source": "mutual", "architecture": MLP},
    ):
        assert refusals(api, teacher=teacher, **chain) == [
            ("/assistants", "no_model_to_learn_from"),
            ("/generations", "no_model_to_learn_from"),
        ]


def test_an_assistant_is_checked_like_a_student(api: Api) -> None:
    assistants = [
        {"architecture": {"name": "convnet"}, "training": FLIP},
        {"architecture": MLP, "training": {"schedule": {"name": "constant", "warmup_epochs": 40}}},
    ]
    assert refusals(api, dataset=WINE, assistants=assistants) == [
        ("/assistants/1/training/schedule/warmup_epochs", "longer_than_training"),
        ("/assistants/0/architecture/name", "needs_images"),
        ("/assistants/0/training/augmentation", "needs_images"),
    ]


def test_a_peer_goes_with_answers_alone(api: Api) -> None:
    peer = {"source": "mutual", "architecture": MLP}
    assert warnings(api, teacher=peer) == []

    omitted = {"omit_classes": ["3"], "repair": True}
    found = refusals(api, teacher=peer, knowledge={"storage": "float32"}, transfer=omitted)
    assert found == [
        ("/knowledge", "peer_keeps_no_knowledge"),
        ("/transfer/repair", "nothing_to_repair"),
    ]
    at_once = {"micro_batch_size": 8}
    (problem,) = told(api, teacher=peer, training=at_once)
    assert (problem["pointer"], problem["code"]) == (
        "/training/micro_batch_size", "micro_batches_with_peer",
    )  # fmt: skip
    assert "both answer to the whole batch" in problem["message"]
    convnet = {"source": "mutual", "architecture": {"name": "convnet"}}
    assert refusals(api, teacher=convnet, training=at_once) == [
        ("/training/micro_batch_size", "micro_batches_with_peer"),
        ("/training/micro_batch_size", "micro_batches_with_batch_norm"),
    ]


@pytest.mark.parametrize(
    ("student", "teacher", "layers"),
    [
        ({"hidden_sizes": [8, 8]}, {"hidden_sizes": [8, 8, 8]}, "uniform"),
        ({"hidden_sizes": [8]}, {"hidden_sizes": [8, 5]}, "first"),
        ({"hidden_sizes": [8, 6]}, {"hidden_sizes": [8, 8, 6]}, [0, 2]),
    ],
)
def test_a_student_starts_from_layers_of_its_teachers_widths(
    api: Api, student: dict[str, Any], teacher: dict[str, Any], layers: object
) -> None:
    start = from_teacher({"name": "mlp", **student}, layers)

    assert warnings(api, student=start, teacher=trained({"name": "mlp", **teacher})) == []


MISFITS: list[tuple[dict[str, Any], dict[str, Any], object, str]] = [
    (
        {"name": "mlp", "hidden_sizes": [8, 8]},
        {"name": "mlp", "hidden_sizes": [8, 9, 8]},
        "first",
        "'hidden.1' has the sizes 8 to 8 and teacher layer 'hidden.1' 8 to 9",
    ),
    (
        {"name": "mlp", "hidden_sizes": [8, 8]},
        {"name": "mlp", "hidden_sizes": [8]},
        "uniform",
        "the student has 2 layers and the teacher 1",
    ),
    (
        {"name": "mlp", "hidden_sizes": [8]},
        {"name": "mlp", "hidden_sizes": [8, 8]},
        [2],
        "numbers from 0 to 1",
    ),
    (
        {"name": "mlp", "hidden_sizes": [8]},
        {"name": "mlp", "hidden_sizes": [8, 8]},
        [1],
        "'hidden.0' has the sizes 64 to 8 and teacher layer 'hidden.1' 8 to 8",
    ),
    (
        {"name": "convnet", "channels": [4, 8]},
        {"name": "convnet", "channels": [4, 6, 8]},
        "uniform",
        "'stages.1' has the sizes 4 to 8 and teacher layer 'stages.2' 6 to 8",
    ),
    (
        {"name": "cifar_resnet", "variant": "8"},
        {"name": "cifar_resnet", "variant": "8x4"},
        "uniform",
        "'stages.0.0' has the sizes 16 to 16 and teacher layer 'stages.0.0' 32 to 64",
    ),
    (
        {"name": "cifar_resnet", "variant": "20"},
        {"name": "cifar_resnet", "variant": "56"},
        [1, 2, 3],
        "'stages.1.0' has the sizes 16 to 32 and teacher layer 'stages.1.1' 32 to 32",
    ),
]


@pytest.mark.parametrize(("student", "teacher", "layers", "words"), MISFITS)
def test_layers_to_start_from_that_do_not_fit_are_named(
    api: Api, student: dict[str, Any], teacher: dict[str, Any], layers: object, words: str
) -> None:
    (problem,) = told(api, student=from_teacher(student, layers), teacher=trained(teacher))

    assert problem["pointer"] == "/student/initialize/layers"
    assert problem["code"] == "layers_do_not_fit"
    assert words in problem["message"]


def test_a_start_from_the_teacher_needs_one_of_the_same_family(api: Api) -> None:
    start = from_teacher(MLP)
    for teacher, code in (
        (trained({"name": "convnet"}), "layers_do_not_fit"),
        (ensemble(trained(MLP), trained(MLP)), "teacher_has_no_layers"),
        (known(knowledge_of(api)), "teacher_has_no_layers"),
        (signals(api), "teacher_has_no_layers"),
        ({"source": "mutual", "architecture": MLP}, "teacher_has_no_layers"),
    ):
        assert refusals(api, student=start, teacher=teacher) == [("/student/initialize/from", code)]
    wide = model_of(api, {"name": "mlp", "hidden_sizes": [9]}, WEIGHTS)
    assert refusals(api, student=start, teacher=registered(wide)) == [
        ("/student/initialize/layers", "layers_do_not_fit")
    ]


def test_a_student_with_assistants_starts_from_the_last_of_them(api: Api) -> None:
    teacher = trained({"name": "convnet"})
    start, fitting = from_teacher(MLP), [{"architecture": {**MLP, "hidden_sizes": [8, 9]}}]

    assert (
        warnings(api, student=from_teacher(MLP, "first"), teacher=teacher, assistants=fitting) == []
    )
    assert refusals(
        api, student=start, teacher=teacher, assistants=[{"architecture": {"name": "convnet"}}]
    ) == [("/student/initialize/from", "layers_do_not_fit")]


def test_a_shift_beyond_the_image_is_refused_where_its_size_is_known(api: Api) -> None:
    def shifted(pixels: int) -> dict[str, Any]:
        return {"augmentation": [{"name": "flip"}, {"name": "shift_crop", "pixels": pixels}]}

    assert warnings(api, training=shifted(7)) == []
    assert refusals(api, training=shifted(8)) == [
        ("/training/augmentation/1/pixels", "shift_too_large")
    ]
