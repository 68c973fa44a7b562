"""How fast is kept knowledge read, and how small is it? `python -m benchmarks.knowledge_rows`.

Rows of 100 classes in float16 are read in random order, in batches of 64, from a record of two
shards and from one file a sample, which is how torchdistill keeps its targets (there with
torch.save; here with numpy.save, whose files are smaller and run no code). Then the 32 most
probable of 32,000 classes: bytes a token, and KL(exact || stored) in nats over the kept classes
and the mass of the rest. Exits 1 below 1,000,000 rows/s, above 95 bytes or above 1.5e-5 nats.

No language model is at hand, so its logits are synthetic: power laws of the rank whose exponents
differ from token to token, with noise. What they are like is printed beside.

Shapes: B = batch, N = tokens, C = classes, K = classes kept.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from app.contracts.knowledge import Fingerprint, KnowledgeManifest
from worker.distillation import sparse_logits
from worker.distillation.knowledge_layout import Layout, Rows
from worker.distillation.knowledge_store import KnowledgeWriter, StoredKnowledge
from worker.distillation.signals import Signals

NUM_CLASSES = 100
NUM_ROWS = 1_500_000
ROWS_AT_ONCE = 10_000
NUM_FILES = 5000
NUM_READ = 200_000
BATCH_SIZE = 64
REPEATS = 5
VOCABULARY = 32_000
TOP_K = 32
NUM_TOKENS = 1024

LEAST_ROWS_PER_SECOND = 1_000_000
MOST_BYTES = 95
MOST_NATS = 1.5e-5
CPU = torch.device("cpu")


def main() -> int:
    """Print the figures and return the exit code."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        stored = _record(Path(name))
        ours = _rates(lambda rows_B: stored.signals(rows_B, CPU).logits_BC, NUM_ROWS)
        peer = _rates(_files(Path(name)), NUM_FILES)
    print(f"{NUM_CLASSES} classes in float16, random batches of {BATCH_SIZE}, one thread:\n")
    print("| kept as | rows | bytes a row | rows/s, median | best |")
    print("| --- | ---: | ---: | ---: | ---: |")
    row_bytes = stored.manifest.row_bytes
    for kept_as, num_rows, num_bytes, rates in (
        (f"{len(stored.manifest.shards)} mapped shards", NUM_ROWS, row_bytes, ours),
        ("a file a sample", NUM_FILES, row_bytes + 128, peer),
    ):
        print(
            f"| {kept_as} | {num_rows:,} | {num_bytes} | {statistics.median(rates):,.0f} "
            f"| {max(rates):,.0f} |"
        )
    num_bytes, nats = _measure_sparse()
    within = (
        statistics.median(ours) >= LEAST_ROWS_PER_SECOND
        and num_bytes <= MOST_BYTES
        and nats <= MOST_NATS
    )
    print(
        f"\nbars: {LEAST_ROWS_PER_SECOND:,} rows/s, {MOST_BYTES} bytes and {MOST_NATS:g} nats: "
        f"{'met' if within else 'MISSED'}"
    )
    return 0 if within else 1


def _record(folder: Path) -> StoredKnowledge:
    manifest = KnowledgeManifest(
        fingerprint=Fingerprint(
            teacher="", architecture="", preprocessing="", dataset="", views="plain",
            collected="answers", storage="float16",
        ),
        task="classification",
        output_names=[str(number) for number in range(NUM_CLASSES)],
        storage="float16",
        views=1,
        num_train=NUM_ROWS,
        num_held_out=0,
        row_bytes=Layout("float16", NUM_CLASSES, None, {}).row_bytes,
        shards=[],
    )  # fmt: skip
    writer, generator = KnowledgeWriter(folder, manifest), torch.Generator().manual_seed(0)
    for first in range(0, NUM_ROWS, ROWS_AT_ONCE):
        logits_BC = 4 * torch.randn(ROWS_AT_ONCE, NUM_CLASSES, generator=generator)
        writer.write(np.arange(first, first + ROWS_AT_ONCE), Signals(logits_BC))
    writer.finish()
    return StoredKnowledge.open(folder)


def _files(folder: Path) -> Callable[[Rows], Tensor]:
    """Keep one file a sample; return what reads some of them."""
    chance = np.random.default_rng(0)
    for row in range(NUM_FILES):
        np.save(folder / f"{row}.npy", chance.normal(size=NUM_CLASSES).astype(np.float16))

    def read(rows_B: Rows) -> Tensor:
        samples = [np.load(folder / f"{row}.npy", allow_pickle=False) for row in rows_B]
        return torch.from_numpy(np.stack(samples)).float()

    return read


def _rates(read: Callable[[Rows], Tensor], num_rows: int) -> list[float]:
    """Return how many rows a second are read in random order, time after time."""
    rates = []
    for seed in range(REPEATS):
        order = np.random.default_rng(seed).permutation(num_rows)[:NUM_READ]
        batches = [order[start : start + BATCH_SIZE] for start in range(0, len(order), BATCH_SIZE)]
        started = time.perf_counter()
        for rows_B in batches:
            read(rows_B)
        rates.append(len(order) / (time.perf_counter() - started))
    return rates


def _measure_sparse() -> tuple[int, float]:
    """Print what sparse rows cost; return their size in bytes and the mean divergence in nats."""
    logits_NC = _like_a_language_model()
    started = time.perf_counter()
    rows = np.concatenate(
        [sparse_logits.encode(logits_BC, TOP_K) for logits_BC in logits_NC.split(BATCH_SIZE)]
    )
    encoded = time.perf_counter()
    batches = [rows[start : start + BATCH_SIZE] for start in range(0, NUM_TOKENS, BATCH_SIZE)]
    for batch in batches:
        sparse_logits.decode(batch, VOCABULARY, TOP_K, CPU)
    decoded = time.perf_counter()

    log_probs_NC = F.log_softmax(logits_NC.double(), dim=1)
    kept, others = _divergence_N(rows, log_probs_NC)
    print(
        f"\n{NUM_TOKENS:,} synthetic tokens of {VOCABULARY:,} classes: entropy "
        f"{-(log_probs_NC.exp() * log_probs_NC).sum(dim=1).mean():.2f} nats, greatest probability "
        f"{log_probs_NC.amax(dim=1).exp().mean():.2f}, mass of the {TOP_K} kept "
        f"{1 - others.mean():.3f}, all in the mean.\n"
        f"{rows.shape[1]} bytes a token; KL(exact || stored) {kept.mean():.2e} nats in the mean, "
        f"{kept.max():.2e} at most; {NUM_TOKENS / (encoded - started):,.0f} tokens/s encoded, "
        f"{NUM_TOKENS / (decoded - encoded):,.0f} decoded to dense logits."
    )
    return rows.shape[1], float(kept.mean())


def _like_a_language_model() -> Tensor:
    """Return logits (N, C): the more certain a token, the steeper its power law."""
    generator = torch.Generator().manual_seed(0)
    exponents_N1 = 1.1 + 2.7 * torch.rand(NUM_TOKENS, 1, generator=generator)
    noise_NC = 0.7 * torch.randn(NUM_TOKENS, VOCABULARY, generator=generator)
    shuffled_C = torch.randperm(VOCABULARY, generator=generator)
    log_ranks_C = torch.arange(1, VOCABULARY + 1).log()[shuffled_C]
    return noise_NC - exponents_N1 * log_ranks_C


def _divergence_N(rows: sparse_logits.Bytes, log_probs_NC: Tensor) -> tuple[Tensor, Tensor]:
    """Return the divergence (N) of what is stored, and the mass (N) of the classes not kept."""
    ids_NK, stored_NK, others_N = map(
        torch.from_numpy, sparse_logits.unpacked(rows, VOCABULARY, TOP_K)
    )
    exact_NK = log_probs_NC.gather(1, ids_NK)
    rest_N = log_probs_NC.scatter(1, ids_NK, -torch.inf).logsumexp(dim=1)
    stored_rest_N = others_N + np.log(VOCABULARY - TOP_K)
    kept_N = (exact_NK.exp() * (exact_NK - stored_NK)).sum(dim=1)
    return kept_N + rest_N.exp() * (rest_N - stored_rest_N), rest_N.exp()


if __name__ == "__main__":
    sys.exit(main())
