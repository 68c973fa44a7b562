"""Train what stands between teacher and student, each on the one before; into `assistants`."""

from app.contracts.job import JobSpec, Phase
from worker.distillation.build import build, save_model
from worker.distillation.dataset import Dataset
from worker.distillation.device import choose_device
from worker.distillation.last_good import keeping_last_good
from worker.distillation.reporting import Reporter
from worker.distillation.schemes import Lesson, links, taught
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
    dataset = Dataset.load(workspace.stage("prepared"))
    device = choose_device(spec.resources)
    teacher = workspace.stage("teacher")
    with workspace.writing("assistants") as folder:
        for number, link in enumerate(chain):
            model = build(link.architecture, dataset.description, link.training.seed)
            lesson = Lesson(link.objective, link.training, teacher, link.architecture)
            with (
                taught(lesson, spec, dataset, workspace, reporter) as (objective, teaching),
                keeping_last_good(workspace, model, link.architecture, dataset.description),
            ):
                plan = Plan(link.role, Phase.TRAINING_ASSISTANTS, link.training, objective, device)
                history = train(model, dataset, plan, reporter, teaching)
            teacher = folder / str(number)
            teacher.mkdir()
            save_model(model, teacher, link.architecture, dataset.description)
            history.save(teacher)
