"""Train the student on the job's objective, with what the teacher knows; into `student`.

With a peer for a teacher both are trained here, and the peer lies in `student/peer`.
"""

from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from app.contracts.job import JobSpec, Phase
from app.contracts.model import MutualTeacher, TeacherInitialization
from app.contracts.objective import AnyLoss
from worker.distillation.build import (
    build,
    load_model,
    read_config,
    save_model,
    write_config,
)
from worker.distillation.capture import Observable, layer_names, observe, resolved
from worker.distillation.checkpoint import Checkpoints
from worker.distillation.comparison import INITIALIZATION_FILE, REPAIR_FILE
from worker.distillation.dataset import Dataset, InputDescription
from worker.distillation.device import choose_device
from worker.distillation.errors import BadInput
from worker.distillation.feed import Feed
from worker.distillation.initialization import initialize_from_teacher
from worker.distillation.knowledge import recorded_teacher_answers
from worker.distillation.last_good import keeping_last_good
from worker.distillation.objective import needs
from worker.distillation.predictor import Predictor
from worker.distillation.registered import answer_as, initial_student
from worker.distillation.repair import repair
from worker.distillation.reporting import Reporter
from worker.distillation.teachers import last_teacher_folder, load_teacher_folder
from worker.distillation.teaching import LiveTeaching, RecordedTeaching, Teaching
from worker.distillation.trainer import Plan
from worker.distillation.training import train, train_mutually
from worker.distillation.validation import EVALUATION_BATCH_SIZE
from worker.distillation.workspace import Workspace


def run(spec: JobSpec, workspace: Workspace, reporter: Reporter) -> None:
    """Leave the student's config.json, model.safetensors and history.json.

    Beside them `initialization.json` where it started from the teacher, and `repair.json` where
    classes that it has not seen were repaired.

    Raises:
        BadInput: as ``train`` and ``initial_student``; or a loss names a layer that is not there.
    """
    dataset = Dataset.load(workspace.stage("prepared"))
    with workspace.writing("student") as folder:
        if isinstance(spec.teacher, MutualTeacher):
            model, description = _train_with_peer(spec, workspace, dataset, folder, reporter)
        else:
            model, description = _train(spec, workspace, dataset, folder, reporter)
        save_model(model, folder, spec.student.architecture, description)


def _train(
    spec: JobSpec, workspace: Workspace, dataset: Dataset, folder: Path, reporter: Reporter
) -> tuple[Predictor, InputDescription]:
    model, description = _start(spec, workspace, dataset, folder)
    device = choose_device(spec.resources)
    objective, teaching = _taught(spec, workspace, dataset, device, model)
    plan = Plan(
        "student",
        Phase.TRAINING_STUDENT,
        spec.training,
        objective,
        device,
        partial(write_config, architecture=spec.student.architecture, description=description),
    )
    checkpoints = Checkpoints(spec, workspace, reporter)
    seen = dataset.transfer_set(spec.transfer.omit_classes)
    with keeping_last_good(workspace, model, spec.student.architecture, description):
        history = train(model, seen, plan, reporter, teaching, checkpoints)
    history.save(folder)
    if spec.transfer.repair:
        _repair(spec, workspace, dataset, model, folder)
    return model, description


def _train_with_peer(
    spec: JobSpec, workspace: Workspace, dataset: Dataset, folder: Path, reporter: Reporter
) -> tuple[Predictor, InputDescription]:
    assert isinstance(spec.teacher, MutualTeacher)  # noqa: S101 (for the type checker)
    model, description = _start(spec, workspace, dataset, folder)
    # Of another seed than the student: equals would have nothing to tell each other.
    peer = build(spec.teacher.architecture, dataset.description, spec.training.seed + 1)
    device = choose_device(spec.resources)
    seen = dataset.transfer_set(spec.transfer.omit_classes)
    checkpoints = Checkpoints(spec, workspace, reporter)
    plans = tuple(
        Plan(
            role,
            Phase.TRAINING_STUDENT,
            spec.training,
            spec.objective,
            device,
            partial(write_config, architecture=architecture, description=inputs),
        )
        for role, architecture, inputs in (
            ("student", spec.student.architecture, description),
            ("peer", spec.teacher.architecture, dataset.description),
        )
    )
    with keeping_last_good(workspace, model, spec.student.architecture, description):
        histories = train_mutually((model, peer), seen, (plans[0], plans[1]), reporter, checkpoints)
    histories[0].save(folder)
    (folder / "peer").mkdir()
    save_model(peer, folder / "peer", spec.teacher.architecture, dataset.description)
    histories[1].save(folder / "peer")
    return model, description


def _start(
    spec: JobSpec, workspace: Workspace, dataset: Dataset, folder: Path
) -> tuple[Predictor, InputDescription]:
    """Return the student before training, and the inputs it takes."""
    model, description = initial_student(
        spec.student, workspace, dataset.description, spec.training.seed
    )
    if isinstance(spec.student.initialize, TeacherInitialization):
        source = last_teacher_folder(spec, workspace)
        assert source is not None  # noqa: S101 (refused by check_scheme)
        layers = spec.student.initialize.layers
        done = initialize_from_teacher(model, load_model(source), layers)
        (folder / INITIALIZATION_FILE).write_text(done.model_dump_json(indent=2))
        # Its weights are fitted to inputs standardised as the teacher does.
        description = answer_as(dataset.description, model, read_config(source).description)
    return model, description


def _taught(
    spec: JobSpec,
    workspace: Workspace,
    dataset: Dataset,
    device: torch.device,
    model: Predictor,
) -> tuple[list[AnyLoss], Teaching | None]:
    """Return the objective without globs, and the recorded signals or else the teacher itself."""
    if not needs(spec.objective).teacher:
        return list(spec.objective), None
    folder = last_teacher_folder(spec, workspace)
    teacher = load_teacher_folder(folder, dataset.description, device) if folder else None
    recorded = None
    if workspace.is_finished("knowledge"):
        recorded = RecordedTeaching(workspace.stage("knowledge"), dataset, device)
    names = layer_names(teacher.network) if teacher else recorded.layers if recorded else []
    objective = resolved(spec.objective, layer_names(model.network), names)
    if recorded is not None:
        return objective, recorded
    assert teacher is not None  # noqa: S101 (without a model there is a record)
    layers = needs(objective).teacher_layers
    return objective, LiveTeaching(teacher, spec.training.precision, layers)


def _repair(
    spec: JobSpec, workspace: Workspace, dataset: Dataset, model: Predictor, folder: Path
) -> None:
    """Raise the biases of the omitted classes to what the teacher expects of the validation part.

    Hinton et al., 2015, section 3; the labels of that part are not looked at.
    """
    recorded = recorded_teacher_answers(workspace)
    if recorded is not None:
        teacher_NC = recorded["validation"]
    else:
        source = last_teacher_folder(spec, workspace)
        if source is None:
            raise BadInput(
                "repair_impossible",
                "`transfer.repair` needs the teacher's answers on the validation part, and the "
                "signals have none",
                hint="upload the answers on every example of the data",
            )
        teacher = load_teacher_folder(source, dataset.description, torch.device("cpu"))
        teacher_NC = _answers(teacher, dataset)
    names = dataset.description.output_names
    missing = [names.index(name) for name in spec.transfer.omit_classes]
    expected_C = teacher_NC.double().softmax(dim=1).mean(dim=0)
    done = repair(model, _answers(model, dataset), expected_C, missing, names)
    (folder / REPAIR_FILE).write_text(done.model_dump_json(indent=2))


@torch.no_grad()
def _answers(model: Observable, dataset: Dataset) -> Tensor:
    """Return logits (N, C) on the validation part."""
    feed = Feed(dataset, torch.device("cpu"))
    batches = feed.batches(dataset.ids["validation"], EVALUATION_BATCH_SIZE)
    return torch.cat([observe(model, inputs, "float32", {}).logits_BC for _, inputs in batches])
