"""Models registered by earlier jobs, as a teacher or as a student's start: checked, then loaded."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import nn

from app.contracts.model import AnyArchitecture, ModelInitialization, Student
from worker.distillation.build import build, load_model, read_config
from worker.distillation.dataset import InputDescription
from worker.distillation.errors import BadInput
from worker.distillation.predictor import Predictor, Restore
from worker.distillation.workspace import Workspace


def registered_folder(identifier: str, workspace: Workspace, data: InputDescription) -> Path:
    """Return the folder of a registered model that takes and answers what the data holds.

    Raises:
        BadInput: it is not there, its inputs or classes differ from the data's, or its weights
            are not its architecture's, or not all finite.
    """
    folder = workspace.input(identifier)
    if not (folder / "config.json").is_file():
        raise BadInput(
            "model_not_found",
            f"model {identifier!r} is not among the run's inputs",
            hint="by hand, put its config.json and model.safetensors into inputs/<model id>",
        )
    description = read_config(folder).description
    for what, given, expected in (
        ("kind of input", description.kind, data.kind),
        ("input shape", description.shape, data.shape),
        ("columns", description.columns, data.columns),
        ("task", description.task, data.task),
        ("output names", description.output_names, data.output_names),
    ):
        if given != expected:
            raise BadInput(
                "model_does_not_fit",
                f"the {what} of model {identifier!r} and of the data differ: the model has "
                f"{_shown(given)}, the data has {_shown(expected)}",
                hint="use a model trained for the same inputs and classes",
            )
    _check_weights(identifier, folder)
    return folder


def initial_student(
    student: Student, workspace: Workspace, data: InputDescription, seed: int
) -> tuple[Predictor, InputDescription]:
    """Return the student before training, and the inputs it takes.

    A registered start keeps its own standardisation of inputs, to which its weights are fitted.

    Raises:
        BadInput: the registered model is of another architecture, or does not fit the data.
    """
    if not isinstance(student.initialize, ModelInitialization):
        return build(student.architecture, data, seed), data
    identifier = student.initialize.model
    folder = registered_folder(identifier, workspace, data)
    config = read_config(folder)
    _check_architecture(identifier, config.architecture, student.architecture)
    model = load_model(folder)
    return model, answer_as(data, model, config.description)


def answer_as(
    data: InputDescription, model: Predictor, description: InputDescription
) -> InputDescription:
    """Let a model's answers be standard deviations of the data's own targets; for regression.

    Its predictions stay what they were: the last layer takes over what its mean and deviation and
    the data's differ by. Returns the changed model's description.
    """
    if data.output_mean is None or data.output_std is None:
        return description
    before, after = model.restore, Restore(data.output_mean, data.output_std)
    assert isinstance(before, Restore)  # noqa: S101 (the tasks are the same)
    if (description.output_mean, description.output_std) != (data.output_mean, data.output_std):
        classifier = model.network.get_submodule("classifier")
        assert isinstance(classifier, nn.Linear)  # noqa: S101 (every architecture's last layer)
        with torch.no_grad():
            classifier.weight.mul_((before.std_C / after.std_C)[:, None])
            # In float64, for means may be large and nearly the same.
            shift_C = before.mean_C.double() - after.mean_C
            classifier.bias.copy_((classifier.bias * before.std_C + shift_C) / after.std_C)
        model.restore = after
    return description.model_copy(
        update={"output_mean": data.output_mean, "output_std": data.output_std}
    )


def _check_weights(identifier: str, folder: Path) -> None:
    """Look at the weights again: they may be a client's, and nobody here has trained them."""
    try:
        weights = load_model(folder).state_dict()
    except (RuntimeError, SafetensorError) as error:
        raise BadInput(
            "weights_do_not_fit",
            f"the weights of model {identifier!r} are not those of its architecture: "
            f"{_shown(error)}",
            hint="take the model.safetensors that belongs to its config.json",
        ) from None
    for name, value in weights.items():
        if not value.isfinite().all():
            raise BadInput(
                "weights_not_finite",
                f"the tensor {name!r} of model {identifier!r} has a value that is NaN or infinite",
                hint="use a model whose training did not go astray",
            )


def _check_architecture(identifier: str, given: AnyArchitecture, expected: AnyArchitecture) -> None:
    if given != expected:
        raise BadInput(
            "architecture_differs",
            f"the student is {expected.model_dump_json()}, but model {identifier!r} to start from "
            f"is {given.model_dump_json()}",
            hint="give the student the registered model's architecture, or start from random",
        )


def _shown(value: object) -> str:
    text = str(value)
    return text if len(text) <= 200 else f"{text[:200]}..."  # noqa: PLR2004 - a line to read
