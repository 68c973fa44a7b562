"""The service refuses a start from the teacher's layers just where the engine would."""

import itertools
from typing import get_args

import pytest

from app.contracts.known_data import Shape
from app.contracts.model import AnyArchitecture, CifarResnet, Convnet, Mlp, TeacherInitialization
from app.services.initialization import misfit
from worker.distillation.build import build
from worker.distillation.dataset import InputDescription
from worker.distillation.errors import BadInput
from worker.distillation.initialization import Layers, initialize_from_teacher
from worker.distillation.predictor import Predictor

IMAGE: Shape = (4, 4, 4)
DESCRIPTION = InputDescription(
    kind="image", shape=[4, 4, 4], mean=[0] * 4, std=[1] * 4, output_names=["a", "b"]
)
# Of as many channels, or units, as the input has, so that any layer may be taken for the first.
SIZES = [[4], [64], [4, 4], [64, 64], [64, 64, 64], [4, 5, 4], [4, 4, 4, 4], [64, 8, 64]]
VARIANTS = get_args(CifarResnet.model_fields["variant"].annotation)
FAMILIES: list[list[AnyArchitecture]] = [
    [Mlp(hidden_sizes=sizes) for sizes in SIZES],
    [Convnet(channels=sizes) for sizes in SIZES],
    [CifarResnet(variant=variant) for variant in VARIANTS if variant != "110"],
]
STARTS = [
    TeacherInitialization.model_validate({"from": "teacher", "layers": layers})
    for layers in ("uniform", "first", [0], [1], [0, 2], [1, 2], [0, 1, 2])
]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family[0].name)
def test_what_is_told_without_the_data_is_what_the_engine_does(
    family: list[AnyArchitecture],
) -> None:
    models = [build(architecture, DESCRIPTION, seed=0) for architecture in family]
    outcomes = []
    for (ours, student), (theirs, teacher) in itertools.product(
        zip(family, models, strict=True), repeat=2
    ):
        for start in STARTS:
            told = misfit(ours, theirs, IMAGE, start)
            does = _starts(student, teacher, start.layers)
            assert (told is None) == does, (ours, theirs, start.layers, told)
            outcomes.append(does)

    assert {True, False} == set(outcomes)


def _starts(student: Predictor, teacher: Predictor, layers: Layers) -> bool:
    try:
        initialize_from_teacher(student, teacher, layers)
    except BadInput:
        return False
    return True
