"""A record gives back what it was given, whatever befell its writer, or refuses by name."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from app.contracts.knowledge import MANIFEST_FILE, Fingerprint, KnowledgeManifest, Storage
from worker.distillation import knowledge_store
from worker.distillation.errors import BadInput
from worker.distillation.knowledge_layout import Layout, Rows
from worker.distillation.knowledge_store import (
    JOURNAL_FILE,
    KnowledgeWriter,
    StoredKnowledge,
)
from worker.distillation.signals import Signals

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[4]
NUM_ROWS = 3 * 11 + 7
LAYERS = {"stages.0": (2, 3, 3), "pool": (5,)}
BATCH_SIZE = 8
Damage = Callable[[Path], None]


def planned(
    storage: Storage = "float32",
    num_outputs: int = 4,
    layers: dict[str, tuple[int, ...]] = LAYERS,
    teacher: str = "a teacher",
) -> KnowledgeManifest:
    top_k = 3 if storage == "top_k" else None
    return KnowledgeManifest(
        fingerprint=Fingerprint(
            teacher=teacher, architecture="", preprocessing="", dataset="", views="plain",
            collected="", storage=storage,
        ),
        task="classification",
        output_names=[f"class {number}" for number in range(num_outputs)],
        storage=storage,
        top_k=top_k,
        layers={name: list(shape) for name, shape in layers.items()},
        views=3,
        num_train=11,
        num_held_out=7,
        row_bytes=Layout(storage, num_outputs, top_k, layers).row_bytes,
        shards=[],
    )  # fmt: skip


def signals_of(manifest: KnowledgeManifest, seed: int = 5) -> Signals:
    """Return signals of every row, in the order of the rows."""
    generator = torch.Generator().manual_seed(seed)
    return Signals(
        torch.randn(NUM_ROWS, len(manifest.output_names), generator=generator),
        {
            name: torch.randn(NUM_ROWS, *shape, generator=generator)
            for name, shape in manifest.layers.items()
        },
    )


def some(signals: Signals, rows_B: Rows) -> Signals:
    rows = torch.from_numpy(rows_B)
    features = {name: value[rows] for name, value in signals.features.items()}
    return Signals(signals.logits_BC[rows], features)


def batches(seed: int | None = 1) -> list[Rows]:
    """Return all rows in batches, shuffled unless the seed is none."""
    order = np.arange(NUM_ROWS)
    if seed is not None:
        np.random.default_rng(seed).shuffle(order)
    return [order[start : start + BATCH_SIZE] for start in range(0, NUM_ROWS, BATCH_SIZE)]


def write(folder: Path, manifest: KnowledgeManifest, seed: int | None = 1) -> KnowledgeManifest:
    folder.mkdir(exist_ok=True)
    writer, signals = KnowledgeWriter(folder, manifest), signals_of(manifest)
    for rows_B in batches(seed)[writer.done :]:
        writer.write(rows_B, some(signals, rows_B))
    return writer.finish()


def write_half(folder: Path, manifest: KnowledgeManifest, num_kept: int = 2) -> None:
    """Write batches, the last two of them unnoted, as by a writer that is then killed."""
    folder.mkdir(exist_ok=True)
    writer, signals = KnowledgeWriter(folder, manifest), signals_of(manifest)
    for done, rows_B in enumerate(batches()[: num_kept + 2]):
        writer.write(rows_B, some(signals, rows_B))
        if done + 1 == num_kept:
            writer.flush(num_kept)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def assert_gives(folder: Path, manifest: KnowledgeManifest) -> None:
    stored, expected = StoredKnowledge.open(folder), signals_of(manifest)
    assert_equal(stored.signals(np.arange(NUM_ROWS), CPU), expected)


def assert_equal(given: Signals, expected: Signals) -> None:
    assert given.logits_BC.dtype == torch.float32
    assert torch.equal(given.logits_BC, expected.logits_BC)
    assert list(given.features) == list(expected.features)
    for name, value in expected.features.items():
        assert torch.equal(given.features[name], value)


@pytest.fixture(params=["one shard", "many shards", "a shard a row"])
def sharded(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Have shards of a few rows; return how many there are."""
    row_bytes = planned().row_bytes
    shard_bytes, num_shards = {
        "one shard": (knowledge_store.SHARD_BYTES, 1),
        "many shards": (7 * row_bytes + 5, 6),
        "a shard a row": (1, NUM_ROWS),
    }[request.param]
    monkeypatch.setattr(knowledge_store, "SHARD_BYTES", shard_bytes)
    return num_shards


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knowledge_store, "SHARD_BYTES", 7 * planned().row_bytes)


def test_float32_comes_back_bit_for_bit_in_any_order(tmp_path: Path, sharded: int) -> None:
    manifest = write(tmp_path, planned())

    assert len(manifest.shards) == sharded
    assert sum(shard.num_rows for shard in manifest.shards) == NUM_ROWS
    assert {path.name for path in tmp_path.iterdir()} == {
        MANIFEST_FILE,
        *(shard.path for shard in manifest.shards),
    }
    assert_gives(tmp_path, planned())
    stored, expected = StoredKnowledge.open(tmp_path), signals_of(planned())
    for rows_B in [*batches(seed=3), np.array([39]), np.array([0, 0, 39, 0]), np.arange(0)]:
        assert_equal(stored.signals(rows_B, CPU), some(expected, rows_B))


def test_a_row_is_its_examples_whatever_the_order_it_came_in(
    tmp_path: Path, small_shards: None
) -> None:
    """Pitfall: cached targets paired by position, by a shuffled loader."""
    for name, seed in (("in order", None), ("shuffled", 1), ("otherwise", 2)):
        write(tmp_path / name, planned(), seed)

    in_order = files_of(tmp_path / "in order")
    assert files_of(tmp_path / "shuffled") == in_order
    assert files_of(tmp_path / "otherwise") == in_order


def test_float16_comes_back_as_rounded_once(tmp_path: Path, small_shards: None) -> None:
    write(tmp_path, planned("float16"))

    given = StoredKnowledge.open(tmp_path).signals(np.arange(NUM_ROWS), CPU)

    exact = signals_of(planned())
    rounded = {name: value.half().float() for name, value in exact.features.items()}
    assert_equal(given, Signals(exact.logits_BC.half().float(), rounded))


@pytest.mark.parametrize("num_rows", [1, 2, NUM_ROWS])
def test_top_k_comes_back_as_a_distribution_beside_its_features(
    tmp_path: Path, num_rows: int
) -> None:
    """A row is of an odd number of bytes, so most features lie across the bounds of numbers."""
    manifest = planned("top_k", num_outputs=40)
    assert manifest.row_bytes % 2 == 1
    write(tmp_path, manifest)

    given = StoredKnowledge.open(tmp_path).signals(np.arange(num_rows), CPU)

    exact = some(signals_of(manifest), np.arange(num_rows))
    torch.testing.assert_close(given.logits_BC.exp().sum(dim=1), torch.ones(num_rows))
    kept = exact.logits_BC.topk(3).indices
    torch.testing.assert_close(
        given.logits_BC.gather(1, kept),
        F.log_softmax(exact.logits_BC, dim=1).gather(1, kept),
        rtol=0,
        atol=0.01,
    )
    for name, value in exact.features.items():
        assert torch.equal(given.features[name], value.half().float())


def test_the_files_are_as_documented(tmp_path: Path, small_shards: None) -> None:
    """Whoever reads the shards one after the other with NumPy alone has all rows in order."""
    manifest = write(tmp_path, planned())
    dtype = [("answers", "<f4", (4,)), ("stages.0", "<f4", (2, 3, 3)), ("pool", "<f4", (5,))]

    rows = np.concatenate([np.fromfile(tmp_path / each.path, dtype) for each in manifest.shards])

    exact = signals_of(planned())
    assert np.array_equal(rows["answers"], exact.logits_BC.numpy())
    assert np.array_equal(rows["stages.0"], exact.features["stages.0"].numpy())
    assert np.array_equal(rows["pool"], exact.features["pool"].numpy())
    assert manifest.bytes == sum((tmp_path / each.path).stat().st_size for each in manifest.shards)


@pytest.mark.parametrize("rows", [[-1], [0, NUM_ROWS], [3, -2, 5]])
def test_rows_outside_the_record_are_refused_both_ways(tmp_path: Path, rows: list[int]) -> None:
    """NumPy would take -1 for the last row."""
    write(tmp_path / "whole", planned())
    rows_B = np.array(rows)
    with pytest.raises(ValueError, match="expected 0 to 39"):
        StoredKnowledge.open(tmp_path / "whole").signals(rows_B, CPU)
    with pytest.raises(ValueError, match="expected 0 to 39"):
        KnowledgeWriter(tmp_path, planned()).write(rows_B, signals_of(planned()))


@pytest.mark.parametrize("storage", ["float32", "float16", "top_k"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_answers_that_are_no_numbers_are_refused(
    tmp_path: Path, storage: Storage, value: float
) -> None:
    signals = signals_of(planned(storage))
    signals.logits_BC[12, 2] = value
    with pytest.raises(BadInput, match=rf"answer .* is {value:g} \(at 2, in row 32\)") as caught:
        KnowledgeWriter(tmp_path, planned(storage)).write(
            np.arange(20, NUM_ROWS), some(signals, np.arange(20))
        )

    assert caught.value.code == "non_finite_knowledge"


def test_features_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    signals = signals_of(planned())
    signals.features["stages.0"][9, 1, 0, 2] = torch.nan
    with pytest.raises(BadInput, match=r"feature of stages\.0 .* \(at 1, 0, 2, in row 9\)"):
        KnowledgeWriter(tmp_path, planned()).write(np.arange(NUM_ROWS), signals)


@pytest.mark.parametrize("value", [65505.0, -1e30])
def test_what_half_precision_cannot_hold_is_refused_and_not_clipped(
    tmp_path: Path, value: float
) -> None:
    signals = signals_of(planned())
    signals.logits_BC[3, 1] = 65504.0
    writer = KnowledgeWriter(tmp_path, planned("float16"))
    writer.write(np.arange(NUM_ROWS), signals)

    signals.logits_BC[3, 1] = value
    with pytest.raises(BadInput, match=r"at 1, in row 3\), and float16 ends at 65504") as caught:
        writer.write(np.arange(NUM_ROWS), signals)
    assert caught.value.code == "knowledge_overflow"
    assert caught.value.hint == 'set knowledge.storage to "float32"'

    KnowledgeWriter(tmp_path, planned()).write(np.arange(NUM_ROWS), signals)
    KnowledgeWriter(tmp_path, planned("top_k", layers={})).write(np.arange(NUM_ROWS), signals)


def test_a_record_that_lacks_rows_is_not_finished(tmp_path: Path) -> None:
    writer = KnowledgeWriter(tmp_path, planned())
    writer.write(np.arange(39), some(signals_of(planned()), np.arange(39)))
    with pytest.raises(ValueError, match="39 rows were written, expected 40"):
        writer.finish()

    assert not (tmp_path / MANIFEST_FILE).exists()


def test_a_record_left_half_way_is_gone_on_with(tmp_path: Path, small_shards: None) -> None:
    write_half(tmp_path, planned())
    with pytest.raises(BadInput, match="missing"):
        StoredKnowledge.open(tmp_path)

    assert KnowledgeWriter(tmp_path, planned()).done == 2
    write(tmp_path, planned())

    assert_gives(tmp_path, planned())
    write(tmp_path / "at once", planned())
    assert (
        files_of(tmp_path / "at once").items()
        <= {path.name: path.read_bytes() for path in tmp_path.glob("*.*")}.items()
    )


def cut_journal(folder: Path) -> None:
    (folder / JOURNAL_FILE).write_bytes((folder / JOURNAL_FILE).read_bytes()[:-9])


def lose_journal(folder: Path) -> None:
    (folder / JOURNAL_FILE).unlink()


def lose_shard(folder: Path) -> None:
    (folder / "signals-00001.bin").unlink()


def shorten_shard(folder: Path) -> None:
    (folder / "signals-00001.bin").write_bytes(b"short")


def write_of_another_teacher(folder: Path) -> None:
    write_half(folder, planned(teacher="another"))


def write_of_another_layout(folder: Path) -> None:
    write_half(folder, planned("float16"))


@pytest.mark.parametrize(
    "damage",
    [cut_journal, lose_journal, lose_shard, shorten_shard, write_of_another_teacher,
     write_of_another_layout],
)  # fmt: skip
def test_what_cannot_be_gone_on_with_is_started_over(
    tmp_path: Path, small_shards: None, damage: Damage
) -> None:
    write_half(tmp_path, planned())
    damage(tmp_path)

    assert KnowledgeWriter(tmp_path, planned()).done == 0
    write(tmp_path, planned())
    assert_gives(tmp_path, planned())


def test_a_writer_killed_between_manifest_and_journal_is_gone_on_with(tmp_path: Path) -> None:
    write_half(tmp_path / "half", planned())
    write(tmp_path / "whole", planned())
    (tmp_path / "half" / MANIFEST_FILE).write_bytes(
        (tmp_path / "whole" / MANIFEST_FILE).read_bytes()
    )

    writer = KnowledgeWriter(tmp_path / "half", planned())

    assert writer.done == 2
    assert not (tmp_path / "half" / MANIFEST_FILE).exists()


def test_knowledge_whose_shards_are_shared_is_never_written_over(tmp_path: Path) -> None:
    """A run that was killed as it took over another's knowledge leaves links to its shards."""
    write(tmp_path / "source", planned())
    target = tmp_path / "target"
    target.mkdir()
    (target / "signals-00000.bin").hardlink_to(tmp_path / "source" / "signals-00000.bin")

    writer = KnowledgeWriter(target, planned())
    writer.write(np.arange(NUM_ROWS), signals_of(planned(), seed=6))

    assert_gives(tmp_path / "source", planned())


def test_a_writer_killed_as_it_starts_over_leaves_no_journal_of_shards_that_are_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_half(tmp_path, planned())
    (tmp_path / "signals-00000.bin").unlink()

    def killed(writer: KnowledgeWriter, done: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(KnowledgeWriter, "flush", killed)
        with pytest.raises(KeyboardInterrupt):
            KnowledgeWriter(tmp_path, planned())

    assert KnowledgeWriter(tmp_path, planned()).done == 0


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no call takes space at once")
def test_a_record_takes_its_space_before_a_row_is_written(tmp_path: Path) -> None:
    """So a full disk raises; met by a memory map later, it would kill the process (SIGBUS)."""
    manifest = planned(layers={"wide": (10_000,)})
    KnowledgeWriter(tmp_path, manifest)

    assert (tmp_path / "signals-00000.bin").stat().st_blocks * 512 >= manifest.bytes


KILLED = """
import sys
from pathlib import Path
from tests.unit.worker.distillation.test_knowledge_store import (
    batches, knowledge_store, planned, signals_of, some
)

knowledge_store.SHARD_BYTES = 7 * planned().row_bytes
writer = knowledge_store.KnowledgeWriter(Path(sys.argv[1]), planned())
signals = signals_of(planned())
for done, rows_B in enumerate(batches()[:-1], start=1):
    writer.write(rows_B, some(signals, rows_B))
    writer.flush(done)
    print(done, flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
@pytest.mark.parametrize("num_seen", [1, 4])
def test_a_writer_killed_at_any_moment_loses_what_it_did_not_note_and_nothing_else(
    tmp_path: Path, small_shards: None, num_seen: int
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        seen = [process.stdout.readline() for _ in range(num_seen)]
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert seen[-1] == b"%d\n" % num_seen

    assert not (tmp_path / MANIFEST_FILE).exists()
    assert KnowledgeWriter(tmp_path, planned()).done >= num_seen
    write(tmp_path, planned())
    assert_gives(tmp_path, planned())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(knowledge_store, "SHARD_BYTES", 7 * planned().row_bytes)
        write(folder, planned())
    return folder


@given(st.data())
@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_one_wrong_bit_in_any_shard_is_found(
    whole: Path, small_shards: None, data: st.DataObject
) -> None:
    path = data.draw(st.sampled_from(sorted(whole.glob("*.bin"))))
    content = path.read_bytes()
    wrong = bytearray(content)
    wrong[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(wrong)
    try:
        with pytest.raises(BadInput, match=f"the bytes of {path.name} are not") as caught:
            StoredKnowledge.open(whole)
    finally:
        path.write_bytes(content)

    assert caught.value.code == "damaged_knowledge"
    assert_gives(whole, planned())


@pytest.mark.parametrize("number", range(6))
def test_a_shard_cut_lengthened_lost_or_changed_for_another_is_found(
    whole: Path, small_shards: None, number: int
) -> None:
    path = whole / f"signals-{number:05}.bin"
    content, other = path.read_bytes(), (whole / f"signals-{(number + 1) % 5:05}.bin").read_bytes()
    try:
        for wrong, fault in (
            (content[:-1], "bytes, expected"),
            (b"", "0 bytes, expected"),
            (content + b"\0", "bytes, expected"),
            (other, "bytes"),
        ):
            path.write_bytes(wrong)
            with pytest.raises(BadInput, match=f"{path.name}.*{fault}|{fault} of {path.name}"):
                StoredKnowledge.open(whole)
        path.unlink()
        with pytest.raises(BadInput, match=f"{path.name} is missing"):
            StoredKnowledge.open(whole)
    finally:
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("written", "instead", "fault"),
    [
        ('"format": 1', '"format": 2', "its format is 2; this version reads 1"),
        ('"format": 1', '"form": 1', "cannot be read"),
        ("{", "", "cannot be read"),
        ('"num_train": 11', '"num_train": 12', "other shards"),
        ('"views": 3', '"views": 1000000000000000', "other shards"),
        ('"views": 3', '"views": -3', "other shards"),
        ('"pool": [', '"pool": [-1,', "cannot be read"),
        ('"pool": [', '"pool": [3,', "other shards"),
        ("signals-00002.bin", "../signals-00002.bin", "other shards"),
        ('"shards": [', '"shards": [], "were": [', "other shards"),
        ('"row_bytes": 108', '"row_bytes": 0', "other shards"),
    ],
)
def test_a_manifest_that_does_not_fit_its_shards_is_refused(
    whole: Path, small_shards: None, written: str, instead: str, fault: str
) -> None:
    path = whole / MANIFEST_FILE
    text = path.read_text()
    assert written in text
    path.write_text(text.replace(written, instead, 1))
    try:
        with pytest.raises(BadInput, match=fault) as caught:
            StoredKnowledge.open(whole)
    finally:
        path.write_text(text)
    assert caught.value.code == "damaged_knowledge"


def test_a_manifest_that_leaves_out_the_last_shard_is_refused(whole: Path) -> None:
    path = whole / MANIFEST_FILE
    text = path.read_text()
    manifest = json.loads(text)
    manifest["shards"].pop()
    path.write_text(json.dumps(manifest))
    try:
        with pytest.raises(BadInput, match="other shards"):
            StoredKnowledge.open(whole)
    finally:
        path.write_text(text)


def test_shards_of_another_size_than_this_version_writes_are_read(whole: Path) -> None:
    """The manifest alone says where a row lies."""
    assert_gives(whole, planned())
