"""What is kept of a training that went astray: the model as its best epoch left it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from app.contracts.model import AnyArchitecture
from worker.distillation.build import save_model
from worker.distillation.dataset import InputDescription
from worker.distillation.errors import NonFinite
from worker.distillation.manifest import write_manifest
from worker.distillation.predictor import Predictor
from worker.distillation.workspace import Workspace

FOLDER = "last_good"


@contextmanager
def keeping_last_good(
    workspace: Workspace,
    model: Predictor,
    architecture: AnyArchitecture,
    description: InputDescription,
) -> Iterator[None]:
    """Leave a folder `last_good` when ``model``'s training in the block ends with NonFinite.

    It holds config.json, model.safetensors, history.json and a manifest; nothing is left where the
    first epoch has not ended.
    """
    try:
        yield
    except NonFinite as error:
        if error.history is not None and error.history.epoch is not None:
            shutil.rmtree(workspace.stage(FOLDER), ignore_errors=True)
            with workspace.writing(FOLDER) as folder:
                save_model(model, folder, architecture, description)
                error.history.save(folder)
                write_manifest(folder)
        raise
