"""Train the teacher on labels, or take a registered one; into `teacher`."""

from app.contracts.job import JobSpec
from app.contracts.model import RegisteredTeacher
from app.contracts.response_losses import Labels
from worker.distillation.build import build, load_model, read_config, save_model
from worker.distillation.dataset import Dataset
from worker.distillation.device import choose_device
from worker.distillation.history import History
from worker.distillation.registered import registered_folder
from worker.distillation.reporting import Reporter
from worker.distillation.training import Plan, train
from worker.distillation.workspace import Workspace


def run(spec: JobSpec, workspace: Workspace, reporter: Reporter) -> None:
    """Leave the teacher's config.json, model.safetensors and history.json.

    Raises:
        BadInput: the registered model does not fit the data, or the training went astray.
    """
    dataset = Dataset.load(workspace.stage("prepared"))
    teacher = spec.teacher
    if isinstance(teacher, RegisteredTeacher):
        source = registered_folder(teacher.model, workspace, dataset.description)
        config = read_config(source)
        architecture, description = config.architecture, config.description
        model, history = load_model(source), History()
    else:
        architecture, description = teacher.architecture, dataset.description
        model = build(architecture, description, teacher.training.seed)
        plan = Plan("teacher", teacher.training, [Labels()], choose_device(spec.resources))
        history = train(model, dataset, plan, reporter)
    with workspace.writing("teacher") as folder:
        save_model(model, folder, architecture, description)
        history.save(folder)
