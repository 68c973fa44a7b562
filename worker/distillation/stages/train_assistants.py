"""Train what stands between teacher and student, each on the one before; into `assistants`.

Each is finished on its own before, as `assistant_1` or `generation_1`, ..., so that a run can go on
after any of them.
"""

import shutil
from functools import partial
from pathlib import Path

from app.contracts.job import JobSpec, Phase
from worker.distillation.build import build, save_model, write_config
from worker.distillation.checkpoint import Checkpoints
from worker.distillation.dataset import Dataset
from worker.distillation.device import choose_device
from worker.distillation.last_good import keeping_last_good
from worker.distillation.reporting import Reporter
from worker.distillation.schemes import Lesson, Link, links, taught
from worker.distillation.trainer import Plan
from worker.distillation.training import train
from worker.distillation.workspace import Workspace


def run(spec: JobSpec, workspace: Workspace, reporter: Reporter) -> None:
    """Leave a model's folder each, `assistants/0`, `1`, ...; nothing where there are none.

    Raises:
        BadInput: an objective does not fit its models, or a training went astray.
    """
    chain = links(spec)
    if not chain:
        return
    teacher = workspace.stage("teacher")
    for link in chain:
        if not workspace.is_finished(link.role):
            _train(link, teacher, (spec, workspace, reporter))
        teacher = workspace.stage(link.role)
    with workspace.writing("assistants") as folder:
        for number, link in enumerate(chain):
            shutil.copytree(workspace.stage(link.role), folder / str(number))


def _train(link: Link, teacher: Path, run: tuple[JobSpec, Workspace, Reporter]) -> None:
    """Leave a model's folder, called like its role, of what learned from the teacher's."""
    spec, workspace, reporter = run
    dataset = Dataset.load(workspace.stage("prepared"))
    description = dataset.description
    model = build(link.architecture, description, link.training.seed)
    lesson = Lesson(link.role, link.objective, link.training, teacher, link.architecture)
    with (
        taught(lesson, spec, dataset, workspace, reporter) as (objective, teaching),
        keeping_last_good(workspace, model, link.architecture, description),
    ):
        plan = Plan(
            link.role,
            Phase.TRAINING_ASSISTANTS,
            link.training,
            objective,
            choose_device(spec.resources),
            describe=partial(write_config, architecture=link.architecture, description=description),
        )
        checkpoints = Checkpoints(spec, workspace, reporter)
        history = train(model, dataset, plan, reporter, teaching, checkpoints)
    with workspace.writing(link.role) as folder:
        save_model(model, folder, link.architecture, description)
        history.save(folder)
