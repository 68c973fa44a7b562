"""Every loss in settings small enough for the laws, and which laws a loss is under."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from app.contracts.dataset import Task
from app.contracts.feature_losses import (
    ActivationBoundary,
    Attention,
    Contrastive,
    Correlation,
    Embedding,
    Factor,
    Flow,
    FlowPair,
    Hints,
    LayerSpan,
    Nst,
    Pkt,
    Relational,
    Review,
    Similarity,
    Vid,
)
from app.contracts.loss import LayerPair
from app.contracts.objective import AnyLoss
from app.contracts.response_losses import (
    Decoupled,
    Dist,
    Huber,
    JensenShannon,
    Labels,
    LogitMse,
    LogitStandardized,
    MultiLevel,
    Quantile,
    ReverseKl,
    SoftTargets,
)
from worker.distillation.loss import Setting
from worker.distillation.objective import Objective, build_objective
from worker.distillation.signals import Batch, Signals

NUM_EXAMPLES, NUM_OUTPUTS = 6, 4
SMALL_MAP = (2, 4, 4)
STUDENT_SHAPES = {
    "vector": (3,), "map": SMALL_MAP, "later_map": (3, 2, 2),
    "even_vector": (4,), "even_map": (3, 4, 4), "later_even_map": (2, 2, 2),
}  # fmt: skip
TEACHER_SHAPES = STUDENT_SHAPES | {"vector": (5,), "map": (3, 2, 2), "later_map": (4, 2, 2)}


@dataclass(frozen=True)
class Case:
    """A loss and the laws that it is under besides those that hold for every one."""

    spec: AnyLoss
    task: Task = "classification"
    zero_between_equals: bool = False
    ignores_shift: bool = False
    never_negative: bool = True
    gives_itself_constants: bool = False
    """Whether a term takes what its own parameters gave as a constant, by design."""

    @property
    def setting(self) -> Setting:
        return Setting(
            student_shapes=STUDENT_SHAPES,
            teacher_shapes=TEACHER_SHAPES,
            task=self.task,
            num_outputs=NUM_OUTPUTS,
            train_ids_M=torch.arange(NUM_EXAMPLES),
            labels=labels_of(self.task),
        )

    def objective(self) -> Objective:
        return build_objective([self.spec], self.setting).double()

    def __str__(self) -> str:
        changed = self.spec.model_dump(exclude_defaults=True, exclude={"layers", "spans"})
        layers = "-".join(pair.student for pair in self.spec.pairs()[:1])
        settings = "-".join(str(value) for value in changed.values())
        return "-".join(filter(None, [self.spec.loss, self.task, layers, settings]))


def _on(*layers: str) -> list[LayerPair]:
    return [LayerPair(student=layer, teacher=layer) for layer in layers]


_SPAN = LayerSpan(first="even_map", last="later_even_map")

CASES: list[Case] = [
    Case(Labels(), ignores_shift=True),
    Case(Labels(label_smoothing=0.3), ignores_shift=True),
    Case(Labels(), "multi_label"),
    Case(Labels(label_smoothing=0.3), "multi_label"),
    Case(Labels(), "regression"),
    Case(Labels(distance=Huber(delta=0.5)), "regression"),
    Case(Labels(distance=Quantile(quantile=0.9)), "regression"),
    Case(SoftTargets(), zero_between_equals=True, ignores_shift=True),
    Case(SoftTargets(), "multi_label", zero_between_equals=True),
    Case(LogitMse(), zero_between_equals=True),
    Case(LogitMse(), "multi_label", zero_between_equals=True),
    Case(LogitMse(), "regression", zero_between_equals=True),
    Case(ReverseKl(), zero_between_equals=True, ignores_shift=True),
    Case(ReverseKl(), "multi_label", zero_between_equals=True),
    Case(JensenShannon(), zero_between_equals=True, ignores_shift=True),
    Case(JensenShannon(beta=0.1), zero_between_equals=True, ignores_shift=True),
    Case(JensenShannon(), "multi_label", zero_between_equals=True),
    Case(Decoupled(), zero_between_equals=True, ignores_shift=True),
    Case(LogitStandardized(), zero_between_equals=True, ignores_shift=True),
    Case(Dist(), zero_between_equals=True, ignores_shift=True),
    Case(MultiLevel(), zero_between_equals=True, ignores_shift=True),
    Case(Hints(layers=_on("vector"))),
    Case(Hints(layers=_on("map"))),
    Case(Hints(layers=[LayerPair(student="map", teacher="vector")])),
    Case(Hints(layers=[LayerPair(student="vector", teacher="map")])),
    Case(Attention(layers=_on("map", "later_map"))),
    Case(Attention(layers=_on("even_map")), zero_between_equals=True),
    Case(Similarity(layers=_on("map"))),
    Case(Similarity(layers=_on("even_vector")), zero_between_equals=True),
    Case(Correlation(layers=_on("vector"))),
    Case(Correlation(layers=_on("even_vector")), zero_between_equals=True),
    Case(Vid(layers=_on("vector")), never_negative=False),
    Case(Vid(layers=_on("map")), never_negative=False),
    Case(Pkt(layers=_on("vector"))),
    Case(Pkt(layers=_on("even_vector")), zero_between_equals=True),
    Case(Nst(layers=_on("map"))),
    Case(Nst(layers=_on("even_map")), zero_between_equals=True),
    Case(Factor(layers=_on("map")), gives_itself_constants=True),
    Case(ActivationBoundary(layers=_on("map"))),
    Case(Flow(spans=[FlowPair(student=_SPAN, teacher=_SPAN)]), zero_between_equals=True),
    Case(Review(layers=_on("map", "later_map"), channels=4)),
    Case(Embedding(layers=_on("vector"))),
    Case(Embedding(layers=_on("vector"), distance="mse")),
    Case(Embedding(layers=_on("even_vector"), projection=False), zero_between_equals=True),
    Case(
        Embedding(layers=_on("even_vector"), projection=False, distance="mse"),
        zero_between_equals=True,
    ),
    Case(Relational(layers=_on("vector"))),
    Case(Relational(layers=_on("even_vector")), zero_between_equals=True),
    Case(Contrastive(layers=_on("vector"), features=4, negatives=3)),
]  # fmt: skip


def labels_of(task: Task) -> Tensor:
    """Return the labels of the six examples; one of the multi-label ones nobody knows."""
    classes = torch.arange(NUM_EXAMPLES) % NUM_OUTPUTS
    if task == "classification":
        return classes
    if task == "multi_label":
        labels = (classes[:, None] >= torch.arange(NUM_OUTPUTS)).double()
        labels[1, 2] = torch.nan
        return labels
    return torch.linspace(-1, 1, NUM_EXAMPLES * NUM_OUTPUTS).double().reshape(-1, NUM_OUTPUTS)


def drawn(
    seed: int, scale: float = 1.0, task: Task = "classification"
) -> tuple[Signals, Signals, Batch]:
    """Return a student's and a teacher's signals of six examples, in float64, and the batch."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return scale * torch.randn(NUM_EXAMPLES, *shape, dtype=torch.float64, generator=generator)

    def signals(shapes: Mapping[str, tuple[int, ...]]) -> Signals:
        return Signals(draw(NUM_OUTPUTS), {name: draw(*shape) for name, shape in shapes.items()})

    student, teacher = signals(STUDENT_SHAPES), signals(TEACHER_SHAPES)
    return student, teacher, Batch(torch.arange(NUM_EXAMPLES), labels_of(task))


def values_B(case: Case, student: Signals, teacher: Signals, batch: Batch, step: int = 0) -> Tensor:
    """Return a new loss's value of each example."""
    result: Tensor = case.objective()(student, teacher, batch, step)[0]
    return result


def rows(signals: Signals, chosen: slice | list[int]) -> Signals:
    features = {name: value[chosen] for name, value in signals.features.items()}
    return replace(signals, logits_BC=signals.logits_BC[chosen], features=features)


def leaves(signals: Signals) -> list[Tensor]:
    """Return the signals' tensors, each now asking for its gradient."""
    return [each.requires_grad_() for each in (signals.logits_BC, *signals.features.values())]
