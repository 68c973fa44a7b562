"""What should be known where a loss softens answers of which the most probable classes are kept."""

from collections.abc import Sequence

from app.contracts.knowledge import KnowledgeManifest
from app.contracts.objective import AnyLoss
from worker.distillation.reporting import Reporter


def tell_of_few(
    record: KnowledgeManifest,
    objective: Sequence[AnyLoss],
    reporter: Reporter,
    *,
    brought: bool = False,
) -> None:
    """Warn, once in a run, where what is kept says little to a loss: it is the rest that weighs.

    A record that is ``brought`` can no longer be kept in another way.
    """
    soft = [loss.loss for loss in objective if loss.prefers_dense_logits]
    if record.top_k is None or record.top_k >= len(record.output_names) or not soft:
        return
    other = "knowledge that is kept in float16" if brought else "set knowledge.storage to auto"
    caution = (
        f"of {len(record.output_names):,} classes the {record.top_k:,} most probable are kept and "
        f"the others share the rest evenly, which at the temperature of {soft[0]!r} is not nearly "
        f"what the teacher says of them: use temperature 1, or {other}"
    )
    if caution not in reporter.warnings:
        reporter.warn(caution)
