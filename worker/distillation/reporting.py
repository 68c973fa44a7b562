"""What a run says while it works, and where it learns that it should stop."""

import time
from collections.abc import Callable

from app.contracts.job import Phase, Progress
from app.contracts.message import (
    AnyMessage,
    MetricsMeasured,
    ProgressMade,
    StillAlive,
    StopReason,
    Warned,
)
from worker.distillation.errors import Stopped

PROGRESS_EVERY_SECONDS = 0.5


class Reporter:
    """Sends a run's messages; the same for all stages.

    ``progress``, which every stage calls at each step or batch, raises ``Stopped`` once someone
    has asked for it: by setting ``stop_reason``, or through ``listen``.
    """

    def __init__(
        self,
        send: Callable[[AnyMessage], None],
        listen: Callable[[], StopReason | None] = lambda: None,
    ) -> None:
        """``listen`` says at once whether the run should stop; it is asked at every step."""
        self.send = send
        self._listen = listen
        self._asked: StopReason | None = None
        self._stop_reason: StopReason | None = None
        self._has_looked = False
        self.warnings: list[str] = []
        self._last_progress = 0.0

    @property
    def stop_reason(self) -> StopReason | None:
        """Return why the run stops, as it was when someone looked last."""
        return self._stop_reason

    @stop_reason.setter
    def stop_reason(self, reason: StopReason) -> None:
        self._asked = reason

    def look(self) -> StopReason | None:
        """Return why the run should stop, if it should; ``progress`` then goes by the same answer.

        So a wish that comes between the two waits for the next boundary, with its checkpoint. What
        is asked last counts, but nothing undoes a cancel.
        """
        self._has_looked = True
        if self._stop_reason is not StopReason.CANCEL:
            self._stop_reason = self._listen() or self._asked or self._stop_reason
        return self._stop_reason

    def alive(self) -> None:
        """Say, at most twice a second, that the run works where there are no steps to tell of."""
        now = time.monotonic()
        if now - self._last_progress >= PROGRESS_EVERY_SECONDS:
            self._last_progress = now
            self.send(StillAlive())

    def progress(self, progress: Callable[[], Progress]) -> None:
        """Tell how far the phase is, at most twice a second; call it at every step boundary."""
        if not self._has_looked:
            self.look()
        self._has_looked = False
        if self._stop_reason is not None:
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
    """Progress of one phase from how many of its steps are done and how long they took.

    The time before the first that is told of, in which data was read, say, is not theirs.
    """

    def __init__(
        self, phase: Phase, steps: int, batch_size: float, epochs: int | None = None
    ) -> None:
        """``batch_size`` is that of a step in the mean."""
        self.phase = phase
        self.steps = steps
        self.epochs = epochs
        self.batch_size = batch_size
        self._began: tuple[int, float] | None = None

    def at(self, step: int, epoch: int | None = None) -> Progress:
        """Return the progress after ``step`` steps; how fast it is, from the second call on."""
        now = time.monotonic()
        first, began = self._began = self._began or (step, now)
        made = Progress(
            phase=self.phase, epoch=epoch, epochs=self.epochs, step=step, steps=self.steps
        )
        if step == first:
            return made
        a_second = (step - first) / max(now - began, 1e-6)
        return made.model_copy(
            update={
                "examples_per_second": self.batch_size * a_second,
                "seconds_left": (self.steps - step) / a_second,
            }
        )
