"""Train the teacher on labels, or take registered ones; into `teacher`.

Several teachers lie in `teacher/member-0`, `member-1`, ... beside `ensemble.json`; each is finished
on its own before, as `teacher_1`, `teacher_2`, ..., so that a run can go on after any of them.
"""

import shutil
from functools import partial

from app.contracts.job import JobSpec, Phase
from app.contracts.model import Ensemble, RegisteredTeacher, TrainedTeacher
from app.contracts.response_losses import Labels
from worker.distillation.build import (
    build,
    load_model,
    read_config,
    save_model,
    write_config,
)
from worker.distillation.checkpoint import Checkpoints
from worker.distillation.dataset import Dataset
from worker.distillation.device import choose_device
from worker.distillation.history import History
from worker.distillation.last_good import keeping_last_good
from worker.distillation.registered import registered_folder
from worker.distillation.reporting import Reporter
from worker.distillation.teachers import ENSEMBLE_FILE, EnsembleConfig
from worker.distillation.trainer import Plan
from worker.distillation.training import train
from worker.distillation.workspace import Workspace


def run(spec: JobSpec, workspace: Workspace, reporter: Reporter) -> None:
    """Leave the teacher's config.json, model.safetensors and history.json, if it is a model.

    Nothing where a peer teaches, or knowledge that was collected before.

    Raises:
        BadInput: a registered model does not fit the data, or a training went astray.
    """
    teacher = spec.teacher
    if isinstance(teacher, TrainedTeacher | RegisteredTeacher):
        _leave(teacher, "teacher", (spec, workspace, reporter))
    elif isinstance(teacher, Ensemble):
        config = EnsembleConfig(
            weights=[each.weight for each in teacher.members], mean=teacher.mean
        )
        for number, member in enumerate(teacher.members, start=1):
            if not workspace.is_finished(f"teacher_{number}"):
                _leave(member.teacher, f"teacher_{number}", (spec, workspace, reporter))
        with workspace.writing("teacher") as folder:
            for number in range(len(teacher.members)):
                member_folder = workspace.stage(f"teacher_{number + 1}")
                shutil.copytree(member_folder, folder / f"member-{number}")
            (folder / ENSEMBLE_FILE).write_text(config.model_dump_json(indent=2))


def _leave(
    teacher: TrainedTeacher | RegisteredTeacher,
    role: str,
    run: tuple[JobSpec, Workspace, Reporter],
) -> None:
    """Leave a model's folder, called like its role."""
    spec, workspace, reporter = run
    dataset = Dataset.load(workspace.stage("prepared"))
    if isinstance(teacher, RegisteredTeacher):
        source = registered_folder(teacher.model, workspace, dataset.description)
        config = read_config(source)
        with workspace.writing(role) as folder:
            save_model(load_model(source), folder, config.architecture, config.description)
            History().save(folder)
        return
    description = dataset.description
    model = build(teacher.architecture, description, teacher.training.seed)
    device = choose_device(spec.resources)
    plan = Plan(
        role,
        Phase.TRAINING_TEACHER,
        teacher.training,
        [Labels()],
        device,
        describe=partial(write_config, architecture=teacher.architecture, description=description),
    )
    checkpoints = Checkpoints(spec, workspace, reporter)
    with keeping_last_good(workspace, model, teacher.architecture, description):
        history = train(model, dataset, plan, reporter, checkpoints=checkpoints)
    with workspace.writing(role) as folder:
        save_model(model, folder, teacher.architecture, description)
        history.save(folder)
