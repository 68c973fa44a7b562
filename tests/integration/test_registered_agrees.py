"""What the API takes for weights, the engine loads; and what the engine saves, the API takes."""

import io
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from app.contracts.model import AnyArchitecture, CifarResnet, Convnet, Mlp
from app.contracts.registration import NewModel
from app.db.session import Database
from app.preview.weights import look
from app.services import files, models, registration
from app.services.weights import STATISTICS, check_weights, expected_tensors
from app.storage import Storage
from tests.jobs import PROJECT_ID
from tests.unit.app.teachers import DIGITS, weights_of
from worker.distillation.build import build, load_model, read_config, save_model
from worker.distillation.dataset import Column, InputDescription

COLUMNS = [Column(name="age"), Column(name="colour", categories=["", "green"])]
TABLE = InputDescription(
    kind="table",
    shape=[3],
    mean=[0.1, 1e-7, 3e8],
    std=[1.0, 0.3, 1e-3],
    output_names=["a", "b"],
    columns=COLUMNS,
)
REGRESSION = TABLE.model_copy(
    update={"task": "regression", "output_mean": [0.1, -2.0], "output_std": [3.3, 1e-3]}
)
IMAGES = InputDescription(
    kind="image", shape=[3, 8, 9], mean=[1.1] * 3, std=[0.7] * 3, output_names=["x", "y", "z"]
)
CASES: list[tuple[AnyArchitecture, InputDescription]] = [
    (Mlp(hidden_sizes=[5], dropout=0.1), TABLE.model_copy(update={"task": "multi_label"})),
    (Mlp(hidden_sizes=[]), REGRESSION),
    (Convnet(channels=[4, 6]), IMAGES),
    (CifarResnet(variant="8"), IMAGES),
]
SCALARS = {**DIGITS, "architecture": {"name": "convnet", "channels": [2]}}
"""Has tensors of no dimension."""
NUM_DAMAGED = 10_000


@pytest.mark.parametrize(
    ("architecture", "description"), CASES, ids=["labels", "numbers", "convnet", "cifar_resnet"]
)
def test_a_model_that_the_engine_saved_is_registered_and_loads_as_it_was(
    sqlite_database: Database,
    tmp_path: Path,
    architecture: AnyArchitecture,
    description: InputDescription,
) -> None:
    storage = Storage(str(tmp_path / "blobs"))
    before = build(architecture, description, seed=3)
    save_model(before, tmp_path, architecture, description)
    with (tmp_path / "model.safetensors").open("rb") as content:
        stored = files.store_file(sqlite_database, storage, PROJECT_ID, content, "a", "weights")
    told = description.model_dump(include={"shape", "task", "output_names", "columns"})
    new = NewModel.model_validate(
        {
            "name": "a",
            "architecture": architecture.model_dump(),
            "signature": told,
            "weights": stored.id,
        }
    )

    registration.register(sqlite_database, storage, PROJECT_ID, new)

    model = models.read_model(sqlite_database, PROJECT_ID, "a")
    for file in model.files:
        storage.fetch(file.sha256, file.bytes, tmp_path / file.path)
    after = load_model(tmp_path)
    weights = after.state_dict()
    assert weights.keys() == before.state_dict().keys()
    assert all(torch.equal(value, weights[name]) for name, value in before.state_dict().items())
    # As numbers of 32 bits, which is how the engine uses them.
    rebuilt = build(architecture, read_config(tmp_path).description, seed=3).state_dict()
    assert all(torch.equal(rebuilt[name], weights[name]) for name in STATISTICS if name in weights)
    assert model.num_parameters == sum(value.numel() for value in before.parameters())


@pytest.mark.parametrize("about", [DIGITS, SCALARS], ids=["mlp", "convnet"])
def test_of_damaged_weights_none_is_taken_that_the_engines_reader_refuses(
    about: dict[str, Any],
) -> None:
    whole = weights_of(about)
    new = NewModel(**about, weights="file-1")
    expected = expected_tensors(new)
    length = 8 + int.from_bytes(whole[:8], "little")
    random = Random(0)  # noqa: S311 (nothing is kept secret with it)
    taken = 0
    for _ in range(NUM_DAMAGED):
        damaged = _damaged(whole, length, random)
        found = look(io.BytesIO(damaged), len(damaged), [*STATISTICS])
        if "problem" in found or check_weights(expected, found):
            continue
        taken += 1
        try:
            loaded = load(damaged)
        except SafetensorError as error:
            pytest.fail(f"{error}: {damaged[8:length]!r}")
        assert {name: tuple(value.shape) for name, value in loaded.items()} == {
            name: form.shape for name, form in expected.items()
        }
    assert 0 < taken < NUM_DAMAGED / 2
    assert look(io.BytesIO(whole), len(whole), [])["tensors"].keys() == load(whole).keys()
    assert "problem" not in look(io.BytesIO(resaved := save(load(whole))), len(resaved), [])


def _damaged(whole: bytes, length: int, random: Random) -> bytes:
    """Change, insert or leave out a byte or two of the header; its length is told rightly."""
    header = bytearray(whole[8:length])
    for _ in range(random.randint(1, 2)):
        place = random.randrange(len(header))
        match random.randrange(3):
            case 0:
                header[place] = random.choice(b'0123456789[]{}",:. F-"ftn\\e\x00\xff')
            case 1:
                header.insert(place, random.choice(b'0123456789[]{}",:. e-'))
            case _:
                del header[place]
    return len(header).to_bytes(8, "little") + bytes(header) + whole[length:]
