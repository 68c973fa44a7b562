"""What a run has sent, how it was answered, and what of that was wrong."""

from collections import Counter
from dataclasses import dataclass, field

MOST_SHOWN = 40


@dataclass
class Outcome:
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    """How often each operation answered with each status."""
    complaints: dict[str, str] = field(default_factory=dict)
    """What was wrong, once each, with the request that shows it."""

    @property
    def num_requests(self) -> int:
        return self.answers.total()

    def count(self, operation: str, status: int) -> None:
        self.answers[operation, status] += 1

    def complain(self, title: str, detail: str) -> None:
        self.complaints.setdefault(title, detail)

    def __add__(self, other: "Outcome") -> "Outcome":
        return Outcome(self.answers + other.answers, {**other.complaints, **self.complaints})

    def table(self) -> str:
        """Say how often each operation gave each class of status, then what was wrong."""
        operations = sorted({operation for operation, _ in self.answers})
        lines = [f"{'operation':78} {'2xx':>7} {'3xx':>7} {'4xx':>7} {'5xx':>7}"]
        lines += [_line(name, self._classes(name)) for name in operations]
        lines.append(_line(f"{self.num_requests} requests", self._classes(None)))
        shown = list(self.complaints.items())[:MOST_SHOWN]
        lines += [f"\nWRONG: {title}\n{detail}" for title, detail in shown]
        return "\n".join(lines)

    def _classes(self, name: str | None) -> Counter[int]:
        classes: Counter[int] = Counter()
        for (operation, status), number in self.answers.items():
            if name in {None, operation}:
                classes[status // 100] += number
        return classes


def _line(name: str, classes: Counter[int]) -> str:
    return f"{name:78} " + " ".join(f"{classes[one]:7}" for one in (2, 3, 4, 5))
