"""Draws that are the same for the same seed: from shares, and from quantiles that were measured."""

from collections.abc import Sequence
from datetime import timedelta
from random import Random
from typing import TypeVar

from services.cli.demo.figures import Minutes, Shares

T = TypeVar("T")


class Chance:
    """Of one thing that is told about: what happens to one customer shifts nothing of another's."""

    def __init__(self, seed: int, about: str) -> None:
        self._random = Random(f"{seed}/{about}")  # noqa: S311 - a story, not a secret

    def one_of(self, choices: Sequence[T]) -> T:
        return self._random.choice(choices)

    def some_of(self, choices: Sequence[T], count: int) -> list[T]:
        """At most that many, each once."""
        return self._random.sample(choices, min(count, len(choices)))

    def within(self, least: int, most: int) -> int:
        return self._random.randint(least, most)

    def happens(self, share: float) -> bool:
        return self._random.random() < share

    def by_share(self, shares: Shares) -> str:
        """The shares need not add up to 1."""
        return self._random.choices(list(shares), list(shares.values()))[0]

    def lasts(self, minutes: Minutes) -> timedelta:
        """A duration as measured: between two of the percentiles, in a straight line; none outside the outermost."""
        place = self._random.random() * len(minutes) - 0.5
        low = min(max(int(place), 0), len(minutes) - 1)
        high = min(low + 1, len(minutes) - 1)
        part = min(max(place - low, 0.0), 1.0)
        return timedelta(minutes=round(minutes[low] + (minutes[high] - minutes[low]) * part))
