"""One sentence a stage, whatever it had to do."""

from pathlib import Path

import pytest

from app.contracts.job import Phase
from worker.distillation.history import EpochRecord, History
from worker.distillation.summaries import summary
from worker.distillation.workspace import Workspace


def epoch(number: int, accuracy: float | None) -> EpochRecord:
    return EpochRecord(
        epoch=number,
        lr=0.1,
        loss=0.12345,
        losses={},
        validation_accuracy=accuracy,
        validation_log_loss=accuracy,
    )


@pytest.mark.parametrize(
    ("history", "sentence"),
    [
        (
            History(epoch=1, epochs=[epoch(1, 0.9823), epoch(2, 0.5)]),
            "student: 98.2 % on validation after 2 epochs",
        ),
        (History(epoch=1, epochs=[epoch(1, None)]), "student: training loss 0.1235 after 1 epoch"),
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
