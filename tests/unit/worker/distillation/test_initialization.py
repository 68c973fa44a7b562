"""A student that starts from its teacher has the layers it asked for, and no silent misses."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from app.contracts.model import AnyArchitecture, CifarResnet, Convnet, Mlp
from tests.unit.worker.distillation.toys import equal, images_of, toy_model, weights_of
from worker.distillation.errors import BadInput
from worker.distillation.initialization import Layers, initialize_from_teacher
from worker.distillation.predictor import Predictor

MLP = Mlp(hidden_sizes=[25] * 5)
CONVNET = Convnet(channels=[1] * 5)
RESNET = CifarResnet(variant="20")
IMAGES = torch.rand(6, 1, 5, 5, generator=torch.Generator().manual_seed(0)) * 255


def mlp(layers: int) -> Mlp:
    return Mlp(hidden_sizes=[25] * layers)


def convnet(layers: int) -> Convnet:
    return Convnet(channels=[1] * layers)


def trained(architecture: AnyArchitecture, seed: int = 1) -> Predictor:
    """Return a model whose statistics are no longer those of a new one."""
    model = toy_model(architecture, seed=seed).train()
    for _ in range(3):
        model(IMAGES)
    return model.eval()


def taken(model: Predictor, stack: str, others: Predictor) -> list[int]:
    """Return which of the other's layers each layer of a stack is, bit for bit."""
    blocks = list(others.network.get_submodule(stack).children())
    return [
        next(
            place
            for place, block in enumerate(blocks)
            if equal(own.state_dict(), block.state_dict())
        )
        for own in model.network.get_submodule(stack).children()
    ]


def taken_whole(model: Predictor, layer: str, other: Predictor) -> bool:
    return equal(
        model.network.get_submodule(layer).state_dict(),
        other.network.get_submodule(layer).state_dict(),
    )


@pytest.mark.parametrize("layers", ["uniform", "first"])
@pytest.mark.parametrize("architecture", [MLP, CONVNET, RESNET, Mlp(hidden_sizes=[])])
def test_a_student_with_all_of_the_teachers_layers_answers_as_the_teacher(
    architecture: AnyArchitecture, layers: Layers
) -> None:
    teacher, student = trained(architecture), toy_model(architecture, seed=2)

    done = initialize_from_teacher(student, teacher, layers)

    assert torch.equal(student.eval()(IMAGES), teacher(IMAGES))
    assert equal(weights_of(student), weights_of(teacher))
    assert [each.student for each in done.copied] == list(teacher.state_dict())
    assert done.kept == []


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("uniform", [0, 2, 4]),
        ("first", [0, 1, 2]),
        ([1, 2, 4], [1, 2, 4]),
    ],
)
@pytest.mark.parametrize(("family", "stack"), [(mlp, "hidden"), (convnet, "stages")])
def test_layers_are_the_chosen_ones(
    family: Callable[[int], Mlp | Convnet], stack: str, layers: Layers, expected: list[int]
) -> None:
    teacher, student = trained(family(5)), toy_model(family(3), seed=2)

    initialize_from_teacher(student, teacher, layers)

    assert taken(student, stack, teacher) == expected
    assert taken_whole(student, "classifier", teacher)


@pytest.mark.parametrize(
    ("size", "available", "expected"),
    [
        (1, 5, [0]),
        (2, 5, [0, 4]),
        (3, 6, [0, 2, 5]),  # 2.5, by Python's rounding to even
        (4, 6, [0, 2, 3, 5]),  # 1.67 and 3.33
        (5, 5, [0, 1, 2, 3, 4]),
    ],
)
def test_a_uniform_choice_by_hand(size: int, available: int, expected: list[int]) -> None:
    teacher, student = trained(mlp(available)), toy_model(mlp(size), seed=2)

    initialize_from_teacher(student, teacher, "uniform")

    assert taken(student, "hidden", teacher) == expected


@pytest.mark.parametrize(
    ("layers", "expected"), [("uniform", [0, 2]), ("first", [0, 1]), ([0, 2], [0, 2])]
)
def test_each_stage_of_a_residual_network_is_a_stack(layers: Layers, expected: list[int]) -> None:
    teacher, student = trained(RESNET), toy_model(RESNET, seed=2)
    for stage in student.network.get_submodule("stages").children():
        assert isinstance(stage, nn.Sequential)
        del stage[-1]

    done = initialize_from_teacher(student, teacher, layers)

    for stage_number in range(3):
        assert taken(student, f"stages.{stage_number}", teacher) == expected
    assert taken_whole(student, "stem", teacher)
    assert done.kept == []


@torch.no_grad()
def test_the_student_then_runs_the_chosen_layers_alone() -> None:
    teacher, student = trained(MLP), toy_model(mlp(2), seed=2)

    initialize_from_teacher(student, teacher, [1, 3])

    hidden: Tensor = teacher.standardize(IMAGES).flatten(1)
    for place in (1, 3):
        hidden = teacher.network.get_submodule(f"hidden.{place}")(hidden)
    assert torch.equal(student(IMAGES), teacher.network.get_submodule("classifier")(hidden))


def test_the_report_names_every_tensor_with_its_source_and_shape() -> None:
    teacher, student = trained(MLP), toy_model(mlp(2), seed=2)

    done = initialize_from_teacher(student, teacher, "uniform")

    rows = {each.student: (each.teacher, each.shape) for each in done.copied}
    assert rows["network.hidden.1.0.weight"] == ("network.hidden.4.0.weight", [25, 25])
    assert rows["standardize.mean"] == ("standardize.mean", [1, 1, 1])
    assert rows.keys() == student.state_dict().keys()


def test_what_stands_outside_of_stacks_and_does_not_fit_is_kept_and_said() -> None:
    teacher = trained(Convnet(channels=[4, 6]))
    student = toy_model(Convnet(channels=[4]), seed=2)
    before = weights_of(student)

    done = initialize_from_teacher(student, teacher, "first")

    classifier = ["network.classifier.weight", "network.classifier.bias"]
    assert [each.student for each in done.kept] == classifier
    for each in done.kept:
        assert "[3, 4], the teacher's 'network.classifier.weight' [3, 6]" in each.reason
    after = weights_of(student)
    assert all(torch.equal(after[name], before[name]) for name in classifier)
    assert {each.student for each in done.copied} == after.keys() - set(classifier)


def test_the_student_standardises_and_restores_as_the_teacher() -> None:
    numbers = images_of([1, 5, 5]).model_copy(
        update={"task": "regression", "output_mean": [0.0] * 3, "output_std": [1.0] * 3}
    )
    others = numbers.model_copy(
        update={"mean": [7.0], "std": [3.0], "output_mean": [1.0, 2, 3], "output_std": [4.0, 5, 6]}
    )
    network = toy_model().network
    student, teacher = Predictor(numbers, toy_model().network), Predictor(others, network)

    initialize_from_teacher(student, teacher, "first")

    assert torch.equal(student(IMAGES), teacher(IMAGES))


def test_the_teacher_is_not_changed_and_shares_no_memory_with_the_student() -> None:
    teacher, student = trained(CONVNET), toy_model(convnet(2), seed=2)
    before = weights_of(teacher)

    initialize_from_teacher(student, teacher, "uniform")
    with torch.no_grad():
        for value in student.state_dict().values():
            value.zero_()

    assert equal(weights_of(teacher), before)


@pytest.mark.parametrize(
    ("student", "teacher", "layers", "message"),
    [
        (mlp(1), convnet(1), "first", "MultiLayerPerceptron and the teacher a PlainNetwork"),
        (mlp(3), mlp(2), "uniform", "the student has 3 layers in 'hidden', the teacher 2"),
        (mlp(2), mlp(4), [0], r"names \[0\] for 'hidden', of which the student has 2"),
        (mlp(2), mlp(4), [0, 4], r"names \[0, 4\] for 'hidden', .* and the teacher 4"),
        (
            Mlp(hidden_sizes=[9]), mlp(1), "first",
            r"'network.hidden.0.0.weight' has the shape \[9, 25\], the teacher's .* \[25, 25\]",
        ),
        (
            CifarResnet(variant="20"), CifarResnet(variant="32"), [1, 2, 3],
            "'network.stages.1.0.convolution1.weight' has the shape",
        ),
        (
            CifarResnet(variant="8x4"), CifarResnet(variant="32"), "first",
            "'network.stages.0.0.convolution1.weight' has the shape",
        ),
        (
            Mlp(hidden_sizes=[]), Mlp(hidden_sizes=[9]), "first",
            r"no tensor of the network has a counterpart",
        ),
    ],
)  # fmt: skip
def test_layers_that_do_not_fit_are_refused_and_nothing_is_copied(
    student: AnyArchitecture, teacher: AnyArchitecture, layers: Layers, message: str
) -> None:
    one, other = toy_model(student, seed=2), trained(teacher)
    before = weights_of(one)

    with pytest.raises(BadInput, match=message) as refused:
        initialize_from_teacher(one, other, layers)

    assert refused.value.code == "layers_do_not_fit"
    assert refused.value.hint
    assert equal(weights_of(one), before)
