"""What can be trained is let through, whatever teaches it; what cannot, see ``test_prepare``."""

from pathlib import Path

import numpy as np
import pytest
import torch

from app.contracts.job import TransferSet
from app.contracts.knowledge import MANIFEST_FILE, KnowledgeSettings
from app.contracts.message import StillAlive
from app.contracts.model import Mlp
from app.contracts.response_losses import SoftTargets
from app.contracts.training import Training
from tests.unit.worker.distillation.specs import Heard, spec_of
from tests.unit.worker.distillation.toys import images_of, toy_images, toy_model
from worker.distillation.build import save_model
from worker.distillation.errors import BadInput
from worker.distillation.feasibility import check_trainings
from worker.distillation.knowledge import TeacherIdentity, planned
from worker.distillation.knowledge_store import KnowledgeWriter
from worker.distillation.signals import Signals
from worker.distillation.workspace import Workspace

WIDE = Mlp(hidden_sizes=[5, 6])
TRAINED = {"source": "train", "architecture": {"name": "convnet", "channels": [4, 4]}}
MODEL = {"source": "model", "model": "model-1"}
KNOWN = {"source": "knowledge", "knowledge": "knowledge-1"}
BOTH = {
    "source": "ensemble",
    "mean": "logits",
    "members": [{"teacher": MODEL}, {"teacher": TRAINED}],
}


def hints(teacher: str) -> dict[str, object]:
    return {"loss": "hints", "layers": [{"student": "hidden.*", "teacher": teacher}]}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Return a workspace with a registered model, and knowledge of the layer `hidden.1`."""
    found, data = Workspace(tmp_path), toy_images()
    found.input("model-1").mkdir(parents=True)
    save_model(toy_model(WIDE), found.input("model-1"), WIDE, images_of([1, 5, 5]))
    found.input("knowledge-1").mkdir()
    manifest = planned(
        KnowledgeSettings(), Training(), [SoftTargets()], data,
        TeacherIdentity("", "", ""), {"hidden.1": (6,)},
    )  # fmt: skip
    num_rows = manifest.num_train + manifest.num_held_out
    signals = Signals(torch.zeros(num_rows, 3), {"hidden.1": torch.zeros(num_rows, 6)})
    writer = KnowledgeWriter(found.input("knowledge-1"), manifest)
    writer.write(np.arange(num_rows), signals)
    writer.finish()
    return found


@pytest.mark.parametrize(
    "changes",
    [
        {"teacher": TRAINED, "objective": [hints("stages.1")]},
        {"teacher": MODEL, "objective": [hints("hidden.1")]},
        {"teacher": KNOWN, "objective": [hints("hidden.1")]},
        {"teacher": KNOWN},
        {"teacher": {"source": "mutual", "architecture": {"name": "convnet"}}},
        {
            "teacher": BOTH,
            "assistants": [
                {"architecture": {"name": "convnet"}, "objective": [{"loss": "soft_targets"}]},
                {"architecture": {"name": "mlp"}, "objective": [hints("stages.2")]},
            ],
            "objective": [hints("hidden.0")],
        },
        {
            "teacher": MODEL,
            "student": {"architecture": {"name": "mlp", "hidden_sizes": [5]},
                        "initialize": {"from": "teacher", "layers": "first"}},
            "objective": [hints("hidden.1")],
        },
        {
            "teacher": TRAINED,
            "student": {"architecture": WIDE.model_dump(),
                        "initialize": {"from": "model", "model": "model-1"}},
            "objective": [{"loss": "pkt", "layers": [{"student": "hidden.1", "teacher": "pool"}]}],
        },
    ],
)  # fmt: skip
def test_what_can_be_trained_is_let_through(
    workspace: Workspace, changes: dict[str, object]
) -> None:
    check_trainings(spec_of(**changes), workspace, toy_images(), Heard().reporter)


@pytest.mark.parametrize("teacher", [MODEL, KNOWN])
def test_layers_are_those_of_what_was_brought(
    workspace: Workspace, teacher: dict[str, object]
) -> None:
    with pytest.raises(BadInput) as caught:
        check_trainings(
            spec_of(teacher=teacher, objective=[hints("hidden.2")]),
            workspace,
            toy_images(),
            Heard().reporter,
        )

    assert caught.value.code == "unknown_layer"
    assert "hidden.1" in (caught.value.hint or "")


def test_each_distinct_training_is_begun_once_with_a_sign_of_life(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.distillation.reporting.PROGRESS_EVERY_SECONDS", 0)
    spec = spec_of(teacher=TRAINED, objective=[{"loss": "soft_targets"}], generations=9)

    heard = Heard()
    check_trainings(spec, workspace, toy_images(), heard.reporter)
    omitting = spec.model_copy(update={"transfer": TransferSet(omit_classes=["0"])})
    other = Heard()
    check_trainings(omitting, workspace, toy_images(), other.reporter)

    # The teacher's, that of the generation it teaches, and those that generations teach.
    assert heard.messages == [StillAlive()] * 3
    assert other.messages == [StillAlive()] * 4


def test_layers_of_knowledge_are_told_before_all_of_it_is_read(workspace: Workspace) -> None:
    folder = workspace.input("knowledge-1")
    for shard in folder.glob("signals-*.bin"):
        shard.unlink()
    spec = spec_of(teacher=KNOWN, objective=[hints("hidden.1")])
    check_trainings(spec, workspace, toy_images(), Heard().reporter)

    (folder / MANIFEST_FILE).unlink()
    with pytest.raises(BadInput, match="is missing or cannot be read"):
        check_trainings(spec, workspace, toy_images(), Heard().reporter)
