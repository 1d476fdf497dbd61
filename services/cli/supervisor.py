"""Keeps the processes of one cell running on one machine, and leaves none behind.

One selector waits for everything: output, readiness and end of the children, and signals. Use it on the main thread of
a process: Python lets only that thread handle signals, and Linux counts the end of the thread that started a child as the
parent's death.
"""

from __future__ import annotations

import math
import os
import selectors
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from types import FrameType

from services.cli.end_with_parent import NOT_STARTED, ending_with_us
from services.kernel.ready import READY, READY_FD

EX_CONFIG = 78  # sysexits.h: starting it again cannot help
LINE_MOST = 64 * 1024  # bytes; a longer line comes in pieces
LAST_LINES = 20
_REAP_WITHIN = 0.9  # seconds; grace and this stay under the promised five
_POLL_EVERY = 0.05  # seconds; only where there is no pidfd
_DRAIN_READS = 16  # of LINE_MOST: as much as a pipe may hold; not more, or a flood would keep us


@dataclass(frozen=True)
class Process:
    """One program to keep running. `env` is all of its environment; Python children want PYTHONUNBUFFERED=1 there."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]


@dataclass(frozen=True)
class Backoff:
    """How long to wait before a restart, in seconds: longer each time, from the start after `reset_after` of health."""

    first: float = 0.1
    factor: float = 2.0
    most: float = 5.0
    reset_after: float = 10.0

    def after(self, waited: float, *, ran: float) -> float:
        """The next wait, when the last one was `waited` (0: none yet) and the process then ran for `ran`."""
        if waited == 0 or ran >= self.reset_after:
            return self.first
        return min(waited * self.factor, self.most)


class StartFailed(Exception):
    """A process that will not run. `code` is its exit code (-N: signal N; None: still running, but not ready in time).

    `lines` are the last things it wrote: show them, they name the cause.
    """

    def __init__(self, name: str, code: int | None, lines: Sequence[str]) -> None:
        self.name, self.code, self.lines = name, code, tuple(lines)
        super().__init__("\n  ".join((f"{name} {_told(code)}", *self.lines)))


class Supervisor:
    """Starts processes together, restarts what dies, stops all within `grace` plus a second of Ctrl-C or SIGTERM.

    Each process is told on `on_line(name, line)`: what it writes (stdout and stderr together), and restarts as lines
    that begin with "supervisor: ". `on_line` must not block, and stops things with `request_stop()`, never `stop()`.
    If it raises, it is not called again, everything is stopped, and the error goes on to the caller.

    Each process leads a session and group of its own: Ctrl-C reaches only the supervisor. What it leaves behind in that
    group is killed when it ends. When the supervisor itself is killed, Linux sends each SIGTERM, which it must obey;
    elsewhere they stay. Used once: after a stop, make a new one.
    """

    def __init__(
        self,
        processes: Sequence[Process],
        *,
        on_line: Callable[[str, str], None],
        backoff: Backoff = Backoff(),
        grace: float = 4.0,
    ) -> None:
        if len({process.name for process in processes}) < len(processes):
            raise ValueError("every process needs a name of its own")
        self._children = [_Child(process) for process in processes]
        self._on_line, self._backoff, self._grace = on_line, backoff, grace
        self._selector = selectors.DefaultSelector()
        self._wake: socket.socket | None = None
        self._stopping = self._hurry = False

    @property
    def stop_requested(self) -> bool:
        """Whether a stop was asked for; look at it after `start()`, before saying that all is up."""
        return self._stopping

    def start(self, *, ready_within: float = 30.0) -> None:
        """Starts all at once and returns when all are ready; or, all stopped again, when a stop was requested.

        Raises: StartFailed if one ended before it was ready, or was not ready in time; the others are stopped by then.
        """
        until = monotonic() + ready_within
        with self._stopped_unless_done():
            while not self._stopping and (late := [child for child in self._children if not child.ready]):
                if monotonic() >= until:
                    raise StartFailed(late[0].process.name, None, late[0].tail)
                self._turn(until)
            if self._stopping:
                self.stop()

    def run(self) -> None:
        """Starts what does not run, also again, until SIGINT, SIGTERM or `request_stop()`; then stops all and returns.

        A second Ctrl-C kills at once what still runs. The signal handlers of before are back afterwards.
        Raises: StartFailed, all stopped by then, when one ends with EX_CONFIG, or ends and was never ready.
        """
        with self._stopped_unless_done():
            while not self._stopping:
                self._turn(math.inf)
            self.stop()

    def request_stop(self) -> None:
        """Makes `start()` or `run()` stop everything and return. Safe in signal handlers and in `on_line`."""
        self._stopping = True
        if self._wake is not None:
            with suppress(OSError):  # full: it will wake up anyway
                self._wake.send(b"\0")

    def stop(self) -> None:
        """Ends all: SIGTERM, after `grace` SIGKILL, and leaves no zombie. Does nothing when nothing runs."""
        self._stopping = True
        with self.listening():
            until = monotonic() + self._grace
            try:
                self._send(os.kill, signal.SIGTERM)
                while self.pids() and not self._hurry and monotonic() < until:
                    self._turn(until)
            finally:
                self._send(os.killpg, signal.SIGKILL)
                until = monotonic() + _REAP_WITHIN
                while self.pids() and monotonic() < until:
                    self._turn(until)

    def pids(self) -> dict[str, int]:
        """The process id of each that runs now, by name."""
        return {child.process.name: child.life.popen.pid for child in self._children if child.life is not None}

    @contextmanager
    def _stopped_unless_done(self) -> Iterator[None]:
        with self.listening():
            try:
                yield
            except BaseException:
                self.stop()
                raise

    @contextmanager
    def listening(self) -> Iterator[None]:
        """While open, SIGINT and SIGTERM ask for a stop instead of what they did before. May be nested."""
        if self._wake is not None:
            yield
            return
        wakened, self._wake = socket.socketpair()
        wakened.setblocking(False)
        self._wake.setblocking(False)
        self._selector.register(wakened, selectors.EVENT_READ, partial(wakened.recv, LINE_MOST))
        handlers = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        wakeup_fd = signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup_fd)
            for number, handler in handlers.items():
                signal.signal(number, handler)
            self._selector.unregister(wakened)
            wake, self._wake = self._wake, None
            wakened.close()
            wake.close()

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self._hurry |= self._stopping and number == signal.SIGINT
        self.request_stop()

    def _send(self, kill: Callable[[int, int], None], number: signal.Signals) -> None:
        for pid in self.pids().values():  # not reaped yet, so these numbers are still theirs
            with suppress(ProcessLookupError, PermissionError):
                kill(pid, number)

    def _turn(self, until: float) -> None:
        """Starts what is due, then waits for the next news, not longer than `until` (monotonic seconds)."""
        if not self._stopping:
            for child in self._children:
                if child.life is None and child.due <= monotonic():
                    self._spawn(child)
            until = min([until, *(child.due for child in self._children if child.life is None)])
        unwatched = [child for child in self._children if child.life is not None and child.life.pidfd is None]
        wait = min(until - monotonic(), _POLL_EVERY if unwatched else math.inf)
        for key, _ in self._selector.select(None if wait == math.inf else max(wait, 0)):
            if self._selector.get_map().get(key.fd) is key:  # else its child's end came first in this batch
                key.data()
        for child in unwatched:
            if child.life is not None and child.life.popen.poll() is not None:
                self._ended(child, child.life)

    def _spawn(self, child: _Child) -> None:
        child.ready = False
        child.tail.clear()
        try:
            child.life = life = _born(child.process)
        except OSError as error:
            self._say(child, str(error))
            self._restart_later(child, NOT_STARTED, ran=0)
            return
        for fd, then in ((life.output, self._read_output), (life.ready, self._read_ready), (life.pidfd, self._ended)):
            if fd is not None:
                self._selector.register(fd, selectors.EVENT_READ, partial(then, child, life))

    def _read_output(self, child: _Child, life: _Life, *, most: int = 1) -> None:
        for _ in range(most):
            data = _read(life.output)
            life.written += data or b""
            for line in _lines(life.written, ended=data == b""):
                self._say(child, line)
            if data == b"":
                self._forget(life.output)
            if not data:
                return

    def _read_ready(self, child: _Child, life: _Life) -> None:
        data = _read(life.ready)
        if data is not None:
            self._forget(life.ready)
        if data == READY:
            self._read_output(child, life, most=_DRAIN_READS)  # what it wrote before comes before
            child.ready = child.was_ready = True

    def _ended(self, child: _Child, life: _Life) -> None:
        with suppress(ProcessLookupError, PermissionError):  # before wait(): until then the number is surely its own
            os.killpg(life.popen.pid, signal.SIGKILL)
        code = life.popen.wait()
        child.life = None
        try:
            self._read_ready(child, life)
            self._read_output(child, life, most=_DRAIN_READS)
            for line in _lines(life.written, ended=True):
                self._say(child, line)
        finally:
            for fd in (life.output, life.ready, life.pidfd):
                if fd is not None:
                    self._forget(fd)
                    os.close(fd)
        self._restart_later(child, code, ran=monotonic() - life.since)

    def _forget(self, fd: int) -> None:
        with suppress(KeyError):
            self._selector.unregister(fd)

    def _restart_later(self, child: _Child, code: int, *, ran: float) -> None:
        if self._stopping:
            return
        if code == EX_CONFIG or not child.was_ready:
            raise StartFailed(child.process.name, code, child.tail)
        child.waited = self._backoff.after(child.waited, ran=ran)
        child.due = monotonic() + child.waited
        self._say(child, f"supervisor: {_told(code)}; starts again in {child.waited:g} s")

    def _say(self, child: _Child, line: str) -> None:
        child.tail.append(line)
        try:
            self._on_line(child.process.name, line)
        except BaseException:
            self._on_line = lambda _name, _line: None  # stopping the others must not trip over it again
            raise


@dataclass
class _Life:
    """One run of a child, from spawn to reaping. `pidfd` is None where the system has none."""

    popen: subprocess.Popen[bytes]
    output: int
    ready: int
    pidfd: int | None
    written: bytearray = field(default_factory=bytearray)
    since: float = field(default_factory=monotonic)


@dataclass
class _Child:
    """A process through all its lives. `due` is when to start it, if it does not run; `waited` its last backoff."""

    process: Process
    life: _Life | None = None
    ready: bool = False
    was_ready: bool = False
    due: float = 0.0
    waited: float = 0.0
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES))


def _born(process: Process) -> _Life:
    (output, output_end), (ready, ready_end) = os.pipe(), os.pipe()
    try:
        popen = subprocess.Popen(
            ending_with_us(process.argv),
            env={**process.env, READY_FD: str(ready_end)},
            stdin=subprocess.DEVNULL,
            stdout=output_end,
            stderr=output_end,
            pass_fds=(ready_end,),
            start_new_session=True,
        )
    except OSError:
        os.close(output)
        os.close(ready)
        raise
    finally:
        os.close(output_end)
        os.close(ready_end)
    os.set_blocking(output, False)
    os.set_blocking(ready, False)
    return _Life(popen, output, ready, _pidfd(popen.pid))


def _pidfd(pid: int) -> int | None:
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # an old kernel, a Python built on an old one
            return os.pidfd_open(pid)
    return None


def _read(fd: int) -> bytes | None:
    """What is there now; None when nothing is, b"" when nothing ever will be."""
    with suppress(BlockingIOError):
        return os.read(fd, LINE_MOST)
    return None


def _lines(written: bytearray, *, ended: bool) -> Iterator[str]:
    """Takes the complete lines out of `written`; when it ended, the rest too."""
    while written:
        newline = written.find(b"\n", 0, LINE_MOST + 1)
        if newline < 0 and len(written) <= LINE_MOST and not ended:
            return
        size = newline if newline >= 0 else min(len(written), LINE_MOST)
        line = written[:size].decode("utf-8", "replace").removesuffix("\r")
        del written[: size + (newline >= 0)]
        yield line


def _told(code: int | None) -> str:
    if code is None:
        return "was not ready in time"
    if code == EX_CONFIG:
        return f"cannot work as it is set up (exit code {code})"
    return f"was ended by signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"ended with exit code {code}"
