"""One sentence for people on what each stage left."""

from app.contracts.job import Phase
from app.contracts.message import Manifest
from app.contracts.report import Report
from worker.distillation.dataset import PARTS, Dataset
from worker.distillation.history import History
from worker.distillation.knowledge import KnowledgeRecord
from worker.distillation.workspace import Workspace

TRAININGS = {
    Phase.TRAINING_TEACHER: "teacher",
    Phase.TRAINING_BASELINE: "baseline",
    Phase.TRAINING_STUDENT: "student",
}


def summary(phase: Phase, workspace: Workspace) -> str:
    """Read a finished stage's output and say what came out."""
    if phase in TRAININGS:
        role = TRAININGS[phase]
        return _of_training(role, History.load(workspace.stage(role)))
    return {
        Phase.PREPARING: _of_data,
        Phase.COLLECTING_KNOWLEDGE: _of_knowledge,
        Phase.EVALUATING: _of_report,
        Phase.EXPORTING: _of_outputs,
    }[phase](workspace)


def read_report(workspace: Workspace) -> Report:
    return Report.model_validate_json((workspace.stage("evaluation") / "report.json").read_text())


def _of_training(role: str, history: History) -> str:
    kept = history.kept
    if kept is None:
        return f"{role}: a registered model"
    epochs = f"{len(history.epochs)} epochs" if len(history.epochs) > 1 else "1 epoch"
    if kept.validation_accuracy is None:
        return f"{role}: training loss {kept.loss:.4g} after {epochs}"
    return f"{role}: {kept.validation_accuracy:.1%} on validation after {epochs}".replace("%", " %")


def _of_data(workspace: Workspace) -> str:
    dataset = Dataset.load(workspace.stage("prepared"))
    parts = ", ".join(f"{len(dataset.ids[part])} {part}" for part in PARTS)
    return f"data: {parts} examples of {dataset.num_outputs} classes"


def _of_knowledge(workspace: Workspace) -> str:
    path = workspace.stage("knowledge") / "knowledge.json"
    record = KnowledgeRecord.model_validate_json(path.read_text())
    views = f"{record.views} views" if record.views > 1 else "1 view"
    return f"knowledge: {views} of {record.num_examples} examples, {record.bytes:,} bytes"


def _of_report(workspace: Workspace) -> str:
    report = read_report(workspace)
    models = {"teacher": report.teacher, "baseline": report.baseline, "student": report.student}
    accuracies = ", ".join(
        f"{role} {model.test.accuracy * 100:.1f} %" for role, model in models.items() if model
    )
    return f"accuracy on test: {accuracies}"


def _of_outputs(workspace: Workspace) -> str:
    path = workspace.stage("outputs") / "manifest.json"
    files = Manifest.model_validate_json(path.read_text()).files
    return f"export: {len(files)} files, {sum(file.bytes for file in files):,} bytes"
