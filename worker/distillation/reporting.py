"""What a run says while it works, and where it learns that it should stop."""

import time
from collections.abc import Callable

from app.contracts.job import Phase, Progress
from app.contracts.message import AnyMessage, MetricsMeasured, ProgressMade, Warned
from worker.distillation.errors import Stopped

PROGRESS_EVERY_SECONDS = 0.5


class Reporter:
    """Sends a run's messages; the same for all stages.

    ``stop_requested`` is set by a signal handler; ``progress``, which every stage calls at each
    step or batch, raises ``Stopped`` once it is.
    """

    def __init__(self, send: Callable[[AnyMessage], None]) -> None:
        self.send = send
        self.stop_requested = False
        self.warnings: list[str] = []
        self._last_progress = 0.0

    def progress(self, progress: Callable[[], Progress]) -> None:
        """Tell how far the phase is, at most twice a second; call it at every step boundary."""
        if self.stop_requested:
            raise Stopped
        now = time.monotonic()
        if now - self._last_progress >= PROGRESS_EVERY_SECONDS:
            self._last_progress = now
            self.send(ProgressMade(progress=progress()))

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Record values of series such as `student/validation_accuracy`."""
        self.send(MetricsMeasured(step=step, values=values))

    def warn(self, message: str) -> None:
        self.warnings.append(message)
        self.send(Warned(message=message))


class Pace:
    """Progress of one phase from how many of its steps are done and how long they took."""

    def __init__(
        self, phase: Phase, steps: int, batch_size: int, epochs: int | None = None
    ) -> None:
        self.phase = phase
        self.steps = steps
        self.epochs = epochs
        self.batch_size = batch_size
        self._started = time.monotonic()

    def at(self, step: int, epoch: int | None = None) -> Progress:
        """Return the progress after ``step`` steps, of which this process did all."""
        seconds = max(time.monotonic() - self._started, 1e-6)
        return Progress(
            phase=self.phase,
            epoch=epoch,
            epochs=self.epochs,
            step=step,
            steps=self.steps,
            examples_per_second=step * self.batch_size / seconds,
            seconds_left=(self.steps - step) * seconds / max(step, 1),
        )
