"""What a replay found to differ: the first of each kind, with its position, and how many there are."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Difference:
    """`kind` is stable; `position` is where in the log, None where it is not about one event."""

    kind: str
    position: int | None
    detail: str


@dataclass
class Findings:
    first: dict[str, Difference] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, kind: str, position: int | None, detail: str) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.first.setdefault(kind, Difference(kind, position, detail))

    def __bool__(self) -> bool:
        return bool(self.first)
