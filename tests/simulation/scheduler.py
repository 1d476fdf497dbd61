"""Who goes next: tasks in one thread, switched by a seeded generator wherever a real process could have been interrupted.

A task runs until it pauses, waits, or its process is killed. Nothing here knows what the tasks do.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from random import Random

from greenlet import getcurrent, greenlet  # type: ignore[import-untyped]  # it has no types

MOST_TICKS = 20_000


class Killed(BaseException):
    """The process ends here, with all that it has in memory."""


class StuckError(AssertionError):
    """Somebody waits for what never comes."""


class Process:
    """What dies together: tasks, and whatever they keep in memory."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.stopped_until = 0  # a tick: it gets no processor before

    def __str__(self) -> str:
        return self.name


class Task:
    """One thread of control of a process. A patient one works in the background."""

    def __init__(self, name: str, process: Process, body: Callable[[], None], *, patient: bool) -> None:
        self.name = name
        self.process = process
        self.patient = patient
        self.ready: Callable[[], bool] | None = None
        self.transactions = 0  # inside of which nobody else may go on, since the database has one writer
        self.greenlet = greenlet(body)


class Scheduler:
    def __init__(self, seed: int, *, traced: Callable[[str], None] | None = None) -> None:
        self.random = Random(seed)  # noqa: S311 - to be drawn again is what it is for
        self.tick = 0
        self.happened: Counter[str] = Counter()
        self.switching = 0.3  # how often others do go on where they could
        self.patience = 0.5  # how often the patient are passed over while others have something to do
        self._hub = getcurrent()
        self._tasks: list[Task] = []
        self._current: Task | None = None
        self._hash = sha256()
        self._traced = traced

    @property
    def current(self) -> Task | None:
        """The task that runs; None outside of all of them."""
        return self._current

    def chance(self, probability: float) -> bool:
        return probability > 0 and self.random.random() < probability

    def note(self, line: str, *, counts_as: str = "") -> None:
        """Adds to the trace what happens now, and who does it; and counts it where a run is to be known by it."""
        if counts_as:
            self.happened[counts_as] += 1
        line = f"{self.tick:5} {self._current.name if self._current else '-'}: {line}"
        self._hash.update(line.encode())
        if self._traced is not None:
            self._traced(line)

    def trace_hash(self) -> str:
        return self._hash.hexdigest()

    # Called by tasks

    def pause(self) -> None:
        """Others may go on here; whoever is dead does not."""
        task = self._current
        if task is None or task.transactions:
            return
        if not task.process.alive:
            raise Killed
        if self.random.random() < self.switching:
            self._leave(task)

    def wait(self, ready: Callable[[], bool]) -> None:
        """Goes on once it is so, and others had their chance."""
        task = self._current
        assert task is not None, "only a task waits"
        assert not task.transactions, "nobody waits inside a transaction"
        if not task.process.alive:
            raise Killed
        task.ready = ready
        self._leave(task)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Nobody else goes on within."""
        task = self._current
        if task is None:
            yield
            return
        task.transactions += 1
        try:
            yield
        finally:
            task.transactions -= 1

    def _leave(self, task: Task) -> None:
        self._hub.switch()
        if not task.process.alive:
            raise Killed

    # Called from outside of them

    def spawn(self, name: str, process: Process, body: Callable[[], None], *, patient: bool = False) -> None:
        task = Task(name, process, body, patient=patient)
        task.greenlet.parent = self._hub
        self._tasks.append(task)

    def step(self) -> bool:
        """One task goes on, until it leaves. Returns False where all of them wait."""
        self.tick += 1
        if self.tick > MOST_TICKS:
            waiting = ", ".join(sorted(task.name for task in self._tasks))
            raise StuckError(f"after {MOST_TICKS} steps these have not ended: {waiting}")
        ready = [
            task
            for task in self._tasks
            if task.process.stopped_until <= self.tick and (task.ready is None or task.ready())
        ]
        if not ready:
            return False
        hurried = [task for task in ready if not task.patient]
        task = self.random.choice(hurried if hurried and self.random.random() < self.patience else ready)
        task.ready = None
        self._go_on(task)
        if not task.process.alive:
            self.kill(task.process)
        return True

    def kill(self, process: Process) -> None:
        """Ends all its tasks where they are."""
        process.alive = False
        for task in [task for task in self._tasks if task.process is process]:
            self._go_on(task, kill=True)
        assert all(task.process is not process for task in self._tasks), "a killed task goes on"

    def end(self) -> None:
        """Ends whatever still goes on."""
        for process in {task.process: None for task in self._tasks}:
            self.kill(process)

    def _go_on(self, task: Task, *, kill: bool = False) -> None:
        self._current = task
        try:
            if kill:
                task.greenlet.throw(Killed)
            else:
                task.greenlet.switch()
        except Killed:
            pass
        finally:
            self._current = None
            if task.greenlet.dead:
                self._tasks.remove(task)
