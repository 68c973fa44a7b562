"""What teaches in a job, and what a spec names by id, each with its JSON pointer."""

from app.contracts.dataset import FileDataset
from app.contracts.job import JobSpec
from app.contracts.model import (
    Ensemble,
    ModelInitialization,
    RegisteredTeacher,
    SignalsTeacher,
    TrainedTeacher,
)


def teachers(spec: JobSpec) -> dict[str, TrainedTeacher | RegisteredTeacher]:
    """Return the models that teach: one, several, or none where only answers are known."""
    if isinstance(spec.teacher, Ensemble):
        return {
            f"/teacher/members/{number}/teacher": member.teacher
            for number, member in enumerate(spec.teacher.members)
        }
    if isinstance(spec.teacher, TrainedTeacher | RegisteredTeacher):
        return {"/teacher": spec.teacher}
    return {}


def registered_teachers(spec: JobSpec) -> dict[str, str]:
    """Return the ids of the registered models that teach."""
    return {
        f"{pointer}/model": teacher.model
        for pointer, teacher in teachers(spec).items()
        if isinstance(teacher, RegisteredTeacher)
    }


def named_models(spec: JobSpec) -> dict[str, str]:
    """Return the ids of all registered models that a job starts from."""
    named = registered_teachers(spec)
    if isinstance(spec.student.initialize, ModelInitialization):
        named["/student/initialize/model"] = spec.student.initialize.model
    return named


def named_files(spec: JobSpec) -> list[str]:
    """Return the ids of all uploaded files that a job reads."""
    files = [*spec.dataset.files.values()] if isinstance(spec.dataset, FileDataset) else []
    return [*files, spec.teacher.file] if isinstance(spec.teacher, SignalsTeacher) else files
