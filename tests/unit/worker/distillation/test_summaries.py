"""One sentence a stage, whatever it had to do."""

from pathlib import Path

import pytest
import torch

from app.contracts.job import Phase
from app.contracts.report import ExportedFile
from tests.unit.worker.distillation.reports import logits_with_errors, report_of
from worker.distillation.history import EpochRecord, History
from worker.distillation.summaries import read_report, summary
from worker.distillation.workspace import Workspace


def epoch(number: int, **validation: float) -> EpochRecord:
    return EpochRecord(epoch=number, lr=0.1, loss=0.12345, losses={}, validation=validation)


@pytest.mark.parametrize(
    ("history", "sentence"),
    [
        (
            History(epoch=1, epochs=[epoch(1, accuracy=0.9823), epoch(2, accuracy=0.5)]),
            "student: 98.2 % on validation after 2 epochs",
        ),
        (
            History(epoch=1, epochs=[epoch(1, accuracy=0.98, macro_f1=0.25)]),
            "student: macro F1 0.250 on validation after 1 epoch",
        ),
        (History(epoch=1, epochs=[epoch(1)]), "student: training loss 0.1235 after 1 epoch"),
        (
            History(epoch=1, epochs=[epoch(1, rmse=0.5, r2=0.75)]),
            "student: error 0.500 sd on validation after 1 epoch",
        ),
        (History(), "student: a registered model"),
    ],
)
def test_a_training_is_told_by_the_epoch_kept(
    tmp_path: Path, history: History, sentence: str
) -> None:
    workspace = Workspace(tmp_path)
    with workspace.writing("student") as folder:
        history.save(folder)

    assert summary(Phase.TRAINING_STUDENT, workspace) == sentence


def test_assistants_are_told_as_the_report_counts_them(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with workspace.writing("assistants") as folder:
        for number in range(11):
            (folder / str(number)).mkdir()
            History(epoch=1, epochs=[epoch(1, accuracy=number / 20)]).save(folder / str(number))

    said = summary(Phase.TRAINING_ASSISTANTS, workspace).split("; ")

    assert said[0] == "assistant 1: 0.0 % on validation after 1 epoch"
    assert said[10] == "assistant 11: 50.0 % on validation after 1 epoch"


def test_the_members_of_an_ensemble_are_told_one_by_one(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with workspace.writing("teacher") as folder:
        for number in range(2):
            (folder / f"member-{number}").mkdir()
            History().save(folder / f"member-{number}")

    assert summary(Phase.TRAINING_TEACHER, workspace) == (
        "teacher member-0: a registered model; teacher member-1: a registered model"
    )


def test_the_report_is_the_exported_one_once_there_is_one(tmp_path: Path) -> None:
    labels = torch.arange(6) % 3
    answers = {role: logits_with_errors(labels, 1, 3) for role in ("baseline", "student")}
    evaluated = report_of(answers, labels, ["a", "b", "c"])
    file = ExportedFile(path="student/model.safetensors", bytes=1)
    workspace = Workspace(tmp_path)
    with workspace.writing("evaluation") as folder:
        (folder / "report.json").write_text(evaluated.model_dump_json())
    before = read_report(workspace)
    with workspace.writing("outputs") as folder:
        exported = evaluated.model_copy(update={"exports": [file]})
        (folder / "report.json").write_text(exported.model_dump_json())

    assert (before.exports, read_report(workspace).exports) == ([], [file])
    # The short form, which travels in messages and rows.
    assert not hasattr(before, "details")
    assert summary(Phase.EVALUATING, workspace) == (
        "accuracy on test: baseline 83.33%, student 83.33%"
    )
