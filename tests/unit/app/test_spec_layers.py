"""Layers that losses name are looked up and compared without the data."""

from typing import Any

import pytest

from app.contracts.training import Training
from tests.unit.app.conftest import Api
from tests.unit.app.refused import knowledge_of, model_of, refusals, told, warnings

MLP = {"name": "mlp", "hidden_sizes": [8]}
CONVNET = {"name": "convnet", "channels": [4, 8]}
RESNET = {"name": "cifar_resnet", "variant": "20"}
WIDE = {"name": "cifar_resnet", "variant": "8x4"}


def job(
    student: dict[str, Any], teacher: dict[str, Any], *losses: dict[str, Any]
) -> dict[str, Any]:
    return {
        "student": {"architecture": student},
        "teacher": {"source": "train", "architecture": teacher},
        "objective": list(losses),
    }


def loss_of(name: str, *pairs: tuple[str, str], **settings: Any) -> dict[str, Any]:  # noqa: ANN401 (a loss's fields)
    layers = [{"student": student, "teacher": teacher} for student, teacher in pairs]
    return {"loss": name, "layers": layers, **settings}


def flow_of(student: tuple[str, str], teacher: tuple[str, str]) -> dict[str, Any]:
    def span(ends: tuple[str, str]) -> dict[str, str]:
        return {"first": ends[0], "last": ends[1]}

    return {"loss": "flow", "spans": [{"student": span(student), "teacher": span(teacher)}]}


def test_a_layer_that_does_not_exist_is_refused_with_the_nearest_on_its_side(api: Api) -> None:
    hints = loss_of("hints", ("stages.0", "stages.1"), ("stage.1", "stages.3"))
    first, second = told(api, **job(CONVNET, RESNET, {"loss": "labels"}, hints))

    assert first["pointer"] == "/objective/1/layers/1/student"
    assert second["pointer"] == "/objective/1/layers/1/teacher"
    assert first["code"] == second["code"] == "unknown_layer"
    assert "stages.1" in first["message"]
    assert "no layer 'stages.3'" in second["message"]


def test_globs_pair_as_many_layers_on_both_sides(api: Api) -> None:
    fits = loss_of("hints", ("stages.*", "stages.?"))
    assert warnings(api, **job({"name": "convnet"}, RESNET, fits)) == []
    assert refusals(api, **job(CONVNET, RESNET, fits)) == [
        ("/objective/0/layers/0/student", "unequal_layers")
    ]


def test_a_layer_that_only_groups_others_is_refused_with_one_inside(api: Api) -> None:
    (problem,) = told(api, **job(CONVNET, RESNET, loss_of("hints", ("stages", "stages.0"))))

    assert problem["pointer"] == "/objective/0/layers/0/student"
    assert problem["code"] == "layer_gives_no_tensor"
    assert "stages.0" in problem["message"]


@pytest.mark.parametrize("loss", ["attention", "nst", "factor", "review", "activation_boundary"])
def test_a_loss_of_maps_is_refused_on_vectors(api: Api, loss: str) -> None:
    assert warnings(api, **job(CONVNET, RESNET, loss_of(loss, ("stages.1", "stages.1")))) == []
    (problem,) = told(api, **job(CONVNET, RESNET, loss_of(loss, ("pool", "stages.1"))))

    assert problem["pointer"] == "/objective/0/layers/0/student"
    assert problem["code"] == "layers_do_not_pair"
    assert "'pool' gives batch x 8 " in problem["message"]
    assert "'stages.1' gives batch x 32 x 4 x 4" in problem["message"]


@pytest.mark.parametrize(
    "loss", ["hints", "similarity", "vid", "pkt", "correlation", "relational", "contrastive"]
)
def test_the_other_losses_take_a_vector_beside_a_map(api: Api, loss: str) -> None:
    assert warnings(api, **job(MLP, RESNET, loss_of(loss, ("hidden.0", "stages.1")))) == []


def test_spans_need_layers_of_as_many_channels(api: Api) -> None:
    fits = flow_of(("stem", "stages.2"), ("stages.0.0", "stages.2.1"))
    assert warnings(api, **job(RESNET, RESNET, fits)) == []
    assert refusals(
        api, **job(RESNET, WIDE, flow_of(("stages.1", "stages.2"), ("stem", "stages.2")))
    ) == [("/objective/0/spans/0/student/last", "channels_differ")]
    assert refusals(
        api, **job(RESNET, RESNET, flow_of(("stem", "pool"), ("stem", "stages.*")))
    ) == [("/objective/0/spans/0/teacher/last", "unknown_layer")]
    assert refusals(
        api, **job(RESNET, RESNET, flow_of(("stem", "pool"), ("stem", "stages.2")))
    ) == [("/objective/0/spans/0/student/last", "layers_do_not_pair")]


def test_an_embedding_without_projection_needs_one_size(api: Api) -> None:
    def embedding(*, projection: bool) -> dict[str, Any]:
        return loss_of("embedding", ("hidden.0", "pool"), projection=projection)

    assert warnings(api, **job(MLP, RESNET, embedding(projection=True))) == []
    assert refusals(api, **job(MLP, RESNET, embedding(projection=False))) == [
        ("/objective/0/layers/0/student", "sizes_differ")
    ]
    wide = {"name": "mlp", "hidden_sizes": [64]}
    assert warnings(api, **job(wide, RESNET, embedding(projection=False))) == []


def test_the_layers_of_a_registered_teacher_are_known(api: Api) -> None:
    model = model_of(api, CONVNET, "student/model.safetensors")
    changes = job(CONVNET, MLP, loss_of("hints", ("stages.0", "hidden.0")))
    assert warnings(api, **changes) == []

    registered = {**changes, "teacher": {"source": "model", "model": model}}
    assert refusals(api, **registered) == [("/objective/0/layers/0/teacher", "unknown_layer")]


def test_sizes_that_only_the_data_tells_are_no_fault(api: Api) -> None:
    data = {"source": "file", "file": api.upload()["id"], "format": {"name": "csv"}}
    classifier = loss_of("embedding", ("classifier", "hidden.0"), projection=False)

    assert warnings(api, dataset=data, **job(MLP, MLP, classifier)) == []


@pytest.mark.parametrize(
    ("teacher", "reason"),
    [
        (
            {
                "source": "ensemble",
                "mean": "logits",
                "members": [{"teacher": {"source": "train", "architecture": MLP}}] * 2,
            },
            "an ensemble gives one mean answer",
        ),
        ({"source": "mutual", "architecture": MLP}, "a peer and the student compare answers"),
    ],
    ids=["ensemble", "mutual"],
)
def test_what_has_no_layers_of_its_own_is_refused_for_losses_of_layers(
    api: Api, teacher: dict[str, Any], reason: str
) -> None:
    objective = [{"loss": "soft_targets"}, loss_of("hints", ("hidden.0", "hidden.0"))]
    (problem,) = told(api, teacher=teacher, objective=objective)

    assert problem["pointer"] == "/objective/1/layers"
    assert problem["code"] == "teacher_has_no_layers"
    assert reason in problem["message"]
    flow = flow_of(("hidden.0", "hidden.0"), ("hidden.0", "hidden.0"))
    assert refusals(api, teacher=teacher, objective=[flow]) == [
        ("/objective/0/spans", "teacher_has_no_layers")
    ]


def test_uploaded_signals_have_no_layers(api: Api) -> None:
    teacher = {
        "source": "signals",
        "file": api.upload(b"PAR1" + b"\0" * 8)["id"],
        "values": "logits",
    }
    assert warnings(api, teacher=teacher) == []
    assert refusals(api, teacher=teacher, objective=[loss_of("hints", ("hidden.0", "x"))]) == [
        ("/objective/0/layers", "teacher_has_no_layers")
    ]


def test_knowledge_has_the_layers_that_were_collected_with_it(api: Api) -> None:
    student = {"architecture": CONVNET}
    teacher = {
        "source": "knowledge",
        "knowledge": knowledge_of(api, layers={"stages.1": [32, 4, 4], "pool": [64]}),
    }

    def refused(*pairs: tuple[str, str], name: str = "hints") -> list[tuple[str, str]]:
        return refusals(api, student=student, teacher=teacher, objective=[loss_of(name, *pairs)])

    fits = [loss_of("attention", ("stages.0", "stages.1")), loss_of("hints", ("pool", "pool"))]
    assert warnings(api, student=student, teacher=teacher, objective=fits) == []
    assert refused(("stages.0", "stages.0")) == [("/objective/0/layers/0/teacher", "unknown_layer")]
    assert refused(("stages.0", "pool"), name="attention") == [
        ("/objective/0/layers/0/student", "layers_do_not_pair")
    ]
    answers_alone = {"source": "knowledge", "knowledge": knowledge_of(api)}
    assert refusals(
        api, student=student, teacher=answers_alone, objective=[loss_of("hints", ("pool", "pool"))]
    ) == [("/objective/0/layers", "teacher_has_no_layers")]


def test_each_model_of_a_chain_is_a_student_and_then_a_teacher(api: Api) -> None:
    hints = loss_of("hints", ("hidden.1", "hidden.1"))
    deep = {"name": "mlp", "hidden_sizes": [8, 8]}
    assert warnings(api, **job(deep, deep, hints), assistants=[{"architecture": deep}]) == []

    shallow = [{"architecture": MLP}]
    assert refusals(api, **job(deep, deep, hints), assistants=shallow) == [
        ("/objective/0/layers/0/student", "unknown_layer"),
        ("/objective/0/layers/0/teacher", "unknown_layer"),
    ]
    own = [{"architecture": MLP, "objective": [loss_of("hints", ("hidden.0", "hidden.2"))]}]
    answers = {"loss": "soft_targets"}
    assert refusals(api, **job(deep, deep, answers), assistants=own) == [
        ("/assistants/0/objective/0/layers/0/teacher", "unknown_layer")
    ]


def test_later_generations_learn_from_the_students_own_layers(api: Api) -> None:
    hints = loss_of("hints", ("hidden.0", "stages.0"))
    assert warnings(api, **job(MLP, CONVNET, hints)) == []
    assert refusals(api, **job(MLP, CONVNET, hints), generations=2) == [
        ("/objective/0/layers/0/teacher", "unknown_layer")
    ]


def test_layers_of_what_cannot_run_on_a_table_are_not_complained_of(api: Api) -> None:
    wine = {"source": "builtin", "name": "wine"}
    attention = loss_of("attention", ("stages.0", "nowhere"))

    assert refusals(api, dataset=wine, **job(CONVNET, MLP, attention)) == [
        ("/student/architecture/name", "needs_images")
    ]


def test_micro_batches_are_refused_where_examples_of_a_batch_depend_on_each_other(
    api: Api,
) -> None:
    at_once = Training(micro_batch_size=32).model_dump(mode="json", exclude_unset=True)
    pointer = "/training/micro_batch_size"
    similarity = loss_of("similarity", ("hidden.0", "hidden.0"))

    assert warnings(api, **job(MLP, MLP, {"loss": "soft_targets"}), training=at_once) == []
    assert refusals(api, **job(MLP, MLP, similarity), training=at_once) == [
        (pointer, "micro_batches_with_relations")
    ]
    for architecture in (CONVNET, RESNET):
        changes = job(architecture, MLP, {"loss": "soft_targets"})
        assert refusals(api, **changes, training=at_once) == [
            (pointer, "micro_batches_with_batch_norm")
        ]
    larger = {"batch_size": 16, "micro_batch_size": 17}
    assert refusals(api, **job(MLP, MLP, {"loss": "labels"}), training=larger) == [
        (pointer, "larger_than_batch")
    ]
