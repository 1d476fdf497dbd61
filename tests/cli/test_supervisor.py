"""The supervisor, with real processes. Nothing sleeps: every wait is for a line, a pipe or a pidfd, and is bounded."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from time import monotonic

import pytest

from services.cli.supervisor import LINE_MOST, Backoff, Process, StartFailed, Supervisor
from services.kernel.ready import announce_ready

pytestmark = [
    pytest.mark.timeout(10),
    pytest.mark.filterwarnings("ignore:Using fork:DeprecationWarning"),  # eventlet, when a pytest plugin imports it
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through pidfds"),
]

ROOT = str(Path(__file__).parents[2])
ENV = {**os.environ, "PYTHONPATH": ROOT, "PYTHONUNBUFFERED": "1"}
Supervise = Callable[..., Supervisor]

QUICK = Backoff(first=0.01, most=0.02)

UP = "import os, signal; print('alive', os.getpid()); os.write(int(os.environ['KEPT_READY_FD']), b'ready\\n'); "
SERVE = UP + "signal.pause()"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SERVE
CLINGS = "import signal; signal.signal(signal.SIGTERM, lambda *_: print('not yet'));" + UP + "\nwhile 1: signal.pause()"
WITNESS = "import signal; signal.signal(signal.SIGINT, lambda *_: print('interrupted')); " + DEAF.replace(
    "signal.SIG_IGN", "lambda *_: print('terminated') or exit(0)"
)

WRITES_MUCH = "import fcntl; fcntl.fcntl(1, fcntl.F_SETPIPE_SZ, 1 << 20); print('\\n'.join(['much' * 200] * 300)); "


def python(name: str, code: str) -> Process:
    return Process(name, (sys.executable, "-S", "-c", code), ENV)


class Lines:
    """Collects what a supervisor hands on, and calls back when a line contains a word for the nth time."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self._then: list[tuple[str, int, Callable[[], object]]] = []

    def when(self, word: str, then: Callable[[], object], *, nth: int = 1) -> None:
        self._then.append((word, nth, then))

    def __call__(self, name: str, line: str) -> None:
        self.seen.append((name, line))
        for word, nth, then in self._then:
            if word in line and len(self.of(word)) == nth:
                then()

    def of(self, word: str) -> list[str]:
        return [line for _, line in self.seen if word in line]


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def supervise(lines: Lines) -> Iterator[Callable[..., Supervisor]]:
    """Makes supervisors that are stopped, whatever the test does."""
    with ExitStack() as stack:

        def make(*processes: Process, grace: float = 4.0, backoff: Backoff = QUICK) -> Supervisor:
            supervisor = Supervisor(processes, on_line=lines, grace=grace, backoff=backoff)
            stack.callback(supervisor.stop)
            return supervisor

        yield make


@pytest.fixture
def watch() -> Iterator[Callable[[int], int]]:
    """Opens a pidfd of a process that may be nobody's child; what still runs after the test is killed."""
    pidfds: list[int] = []

    def opened(pid: int) -> int:
        pidfds.append(os.pidfd_open(pid))
        return pidfds[-1]

    yield opened
    for pidfd in pidfds:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.close(pidfd)


def ends(pidfd: int, *, within: float = 3.0) -> bool:
    return bool(select.select([pidfd], [], [], within)[0])


def runs(pid: int) -> bool:
    """Whether there is such a child of ours, zombies included."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Outside:
    """A supervisor in a process of its own, which leads a process group as a shell's foreground job does."""

    def __init__(self, *codes: str, grace: float, call: str) -> None:
        made = ", ".join(
            f"Process('{i}', ({sys.executable!r}, '-S', '-c', {code!r}), e)" for i, code in enumerate(codes)
        )
        script = (
            "import os; from services.cli.supervisor import *; e = dict(os.environ)\n"
            f"s = Supervisor([{made}], on_line=print, grace={grace})\n{call}; print('over')"
        )
        self.process = subprocess.Popen(
            (sys.executable, "-c", script), env=ENV, stdout=subprocess.PIPE, bufsize=0, process_group=0
        )
        self.said = ""

    def hears(self, word: str, *, within: float = 3.0) -> str:
        """The line with this word, which is the next not yet heard."""
        assert self.process.stdout is not None
        until = monotonic() + within
        while not (
            found := [line for line in self.said.splitlines(keepends=True) if word in line and line[-1] == "\n"]
        ):
            assert select.select([self.process.stdout], [], [], max(until - monotonic(), 0))[0], (word, self.said)
            data = os.read(self.process.stdout.fileno(), 4096)
            assert data, (word, self.said)
            self.said += data.decode()
        self.said = self.said.replace(found[0], "", 1)
        return found[0].strip()

    def pid_of_a_child(self) -> int:
        return int(self.hears("alive").split()[-1])

    def __enter__(self) -> "Outside":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


def test_start_returns_when_all_are_ready_and_has_handed_on_what_they_wrote_before(
    supervise: Supervise, lines: Lines
) -> None:
    announces = "import signal, services.kernel.ready as r; print('as a service'); r.announce_ready(); signal.pause()"
    supervisor = supervise(python("api", SERVE), python("worker", announces))

    supervisor.start()

    assert ("api", f"alive {supervisor.pids()['api']}") in lines.seen
    assert ("worker", "as a service") in lines.seen
    assert all(runs(pid) for pid in supervisor.pids().values())
    assert not supervisor.stop_requested


def test_start_waits_for_the_slowest(supervise: Supervise, lines: Lines) -> None:
    gate, opener = os.pipe()
    waits = f"import os; print('waits'); open('/proc/{os.getpid()}/fd/{gate}').read(1); " + SERVE
    supervisor = supervise(python("quick", SERVE), python("slow", waits))
    lines.when("waits", lambda: os.write(opener, b"!"))

    supervisor.start()

    assert [line.split()[0] for name, line in lines.seen if name == "slow"] == ["waits", "alive"]
    os.close(gate)
    os.close(opener)


def test_one_that_ends_before_it_is_ready_fails_the_start_and_the_others_are_stopped(
    supervise: Supervise, lines: Lines
) -> None:
    fails = "import sys; print(*range(30), sep='\\n'); print('no such table', file=sys.stderr); sys.exit(3)"
    gate, opener = os.pipe()  # it fails only when the other is up
    fails = f"open('/proc/{os.getpid()}/fd/{gate}').read(1); " + fails
    supervisor = supervise(python("api", SERVE), python("worker", fails))
    lines.when("alive", lambda: os.write(opener, b"!"))

    with pytest.raises(StartFailed) as failed:
        supervisor.start()

    assert (failed.value.name, failed.value.code) == ("worker", 3)
    assert failed.value.lines == (*map(str, range(11, 30)), "no such table")
    assert str(failed.value).startswith("worker ended with exit code 3\n  11\n")
    assert supervisor.pids() == {}
    assert not runs(int(lines.of("alive")[0].split()[1]))
    os.close(gate)
    os.close(opener)


def test_one_that_is_not_ready_in_time_fails_the_start(supervise: Supervise) -> None:
    supervisor = supervise(python("api", "import signal; signal.pause()"), python("worker", SERVE))
    with pytest.raises(StartFailed, match="api was not ready in time") as failed:
        supervisor.start(ready_within=0.3)
    assert failed.value.code is None
    assert supervisor.pids() == {}


def test_a_program_that_is_not_there_fails_the_start(supervise: Supervise) -> None:
    with pytest.raises(StartFailed, match="No such file") as failed:
        supervise(Process("api", ("/nowhere/api",), ENV)).start()
    assert (failed.value.name, failed.value.code) == ("api", 127)


def test_a_stop_requested_during_start_ends_it_with_all_stopped(supervise: Supervise, lines: Lines) -> None:
    supervisor = supervise(python("api", SERVE), python("never-ready", "import signal; signal.pause()"))
    lines.when("alive", supervisor.request_stop)
    supervisor.start()
    assert supervisor.stop_requested
    assert supervisor.pids() == {}
    supervisor.run()
    assert len(lines.of("alive")) == 1


@pytest.mark.parametrize("pidfds", [True, False], ids=["pidfd", "polling"])
def test_a_killed_child_is_restarted_until_stopped(
    supervise: Supervise, lines: Lines, monkeypatch: pytest.MonkeyPatch, pidfds: bool
) -> None:
    if not pidfds:
        monkeypatch.delattr(os, "pidfd_open")
    supervisor = supervise(python("api", SERVE), python("worker", SERVE))
    supervisor.start()
    before = supervisor.pids()
    during: dict[str, int] = {}
    os.kill(before["worker"], signal.SIGKILL)
    lines.when("alive", lambda: during.update(supervisor.pids()), nth=3)
    lines.when("alive", supervisor.request_stop, nth=3)

    supervisor.run()

    assert during["api"] == before["api"]
    assert during["worker"] != before["worker"]
    assert ("worker", "supervisor: was ended by signal 9 (Killed); starts again in 0.01 s") in lines.seen
    assert not any(map(runs, (*before.values(), *during.values())))


def test_what_a_child_leaves_in_its_group_ends_with_it(
    supervise: Supervise, lines: Lines, watch: Callable[[int], int]
) -> None:
    leaves = (
        "import os, sys; os.fork() or os.execv(sys.executable, [sys.executable, '-S', '-c', sys.argv[1]]); " + SERVE
    )
    grandchild = "import os, signal; print('left', os.getpid()); signal.pause()"
    supervisor = supervise(Process("api", (sys.executable, "-S", "-c", leaves, grandchild), ENV))
    left: list[int] = []
    lines.when("left", lambda: left.append(watch(int(lines.of("left")[0].split()[1]))))
    lines.when("left", lambda: os.kill(supervisor.pids()["api"], signal.SIGKILL))
    lines.when("left", supervisor.request_stop, nth=2)

    supervisor.run()

    assert ends(left[0])


def test_backoff_grows_to_its_bound_and_starts_anew_after_health() -> None:
    backoff, waited, waits = Backoff(), 0.0, []
    for ran in (0.0, 0.1, 9.9, 0.0, 0.0, 0.0, 0.0, 0.0, 10.0, 0.0):
        waited = backoff.after(waited, ran=ran)
        waits.append(waited)
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 0.1, 0.2]


def test_restarts_back_off(supervise: Supervise, lines: Lines) -> None:
    supervisor = supervise(python("api", UP), backoff=Backoff(first=0.01, factor=3, most=0.05))
    lines.when("alive", supervisor.request_stop, nth=5)
    began = monotonic()
    supervisor.run()
    assert [float(line.split()[-2]) for line in lines.of("starts again")] == [0.01, 0.03, 0.05, 0.05]
    assert monotonic() - began > 0.14


def test_exit_78_is_not_restarted_and_stops_everything(supervise: Supervise, lines: Lines) -> None:
    gate, opener = os.pipe()
    wrong = UP + f"open('/proc/{os.getpid()}/fd/{gate}').read(1); print('log is of version 9'); exit(78)"
    wrong = wrong.replace("exit", "os._exit")
    supervisor = supervise(python("api", SERVE), python("worker", wrong))
    supervisor.start()
    api = supervisor.pids()["api"]
    os.write(opener, b"!")

    with pytest.raises(StartFailed, match="worker cannot work as it is set up") as failed:
        supervisor.run()

    assert (failed.value.code, failed.value.lines[-1]) == (78, "log is of version 9")
    assert len(lines.of("alive")) == 2
    assert supervisor.pids() == {}
    assert not runs(api)
    os.close(gate)
    os.close(opener)


def test_stop_kills_what_ignores_sigterm_after_the_grace(supervise: Supervise) -> None:
    supervisor = supervise(python("deaf", DEAF), python("api", SERVE), grace=0.3)
    supervisor.start()
    pids = supervisor.pids().values()
    began = monotonic()

    supervisor.stop()

    assert 0.3 <= monotonic() - began < 1.2
    assert not any(map(runs, pids))
    supervisor.stop()


def test_stop_lets_them_finish_first(supervise: Supervise, lines: Lines) -> None:
    supervisor = supervise(python("api", WITNESS))
    supervisor.start()
    supervisor.stop()
    assert lines.of("terminated")


def test_lines_are_bounded_and_always_text(supervise: Supervise, lines: Lines) -> None:
    writes = (
        f"import os; os.write(1, b'bad \\xff byte\\r\\n\\n'); os.write(1, b'x' * {2 * LINE_MOST + 5} + b'\\nrest');"
        f"os.write(1, b' of y' + b'y' * {LINE_MOST - 9} + b'\\nlast'); {UP} os._exit(78)"
    )
    with pytest.raises(StartFailed):
        supervise(python("api", writes)).run()
    written = [line for _, line in lines.seen if not line.startswith("lastalive")]
    assert written[:2] == ["bad \N{REPLACEMENT CHARACTER} byte", ""]
    assert [(line[0], len(line)) for line in written[2:]] == [
        ("x", LINE_MOST), ("x", LINE_MOST), ("x", 5), ("r", LINE_MOST)
    ]  # fmt: skip
    assert len(lines.seen) == 7


def test_the_last_line_needs_no_newline(supervise: Supervise) -> None:
    with pytest.raises(StartFailed) as failed:
        supervise(python("api", "import sys; sys.exit(print('and then', end=''))")).start()
    assert failed.value.lines == ("and then",)


def test_a_line_without_end_is_handed_on_in_pieces_as_it_comes(supervise: Supervise, lines: Lines) -> None:
    supervisor = supervise(python("api", f"import os, signal; os.write(1, b'x' * {LINE_MOST + 5}); signal.pause()"))
    lines.when("xx", supervisor.request_stop)
    supervisor.run()
    assert [len(line) for _, line in lines.seen] == [LINE_MOST, 5]


def test_all_that_was_written_before_ready_is_handed_on_by_then(supervise: Supervise, lines: Lines) -> None:
    gate, opener = os.pipe()
    writes = WRITES_MUCH + UP + f"open('/proc/{os.getpid()}/fd/{opener}', 'w').write('!'); signal.pause()"
    lines.when("much", lambda: ends(gate))  # reads on when it is ready already

    supervise(python("api", writes)).start()

    assert len(lines.of("much")) == 300
    os.close(gate)
    os.close(opener)


def test_all_that_was_written_before_the_end_is_handed_on(
    supervise: Supervise, lines: Lines, watch: Callable[[int], int]
) -> None:
    supervisor = supervise(python("api", WRITES_MUCH))
    lines.when("much", lambda: ends(watch(supervisor.pids()["api"])))  # reads on when it has ended already
    with pytest.raises(StartFailed):
        supervisor.start()
    assert len(lines.of("much")) == 300


def test_an_end_counts_though_a_daemon_keeps_the_output_open(
    supervise: Supervise, lines: Lines, watch: Callable[[int], int]
) -> None:
    leaves = (
        "import os, signal; gate, opener = os.pipe()\n"
        "if os.fork() == 0: os.setsid(); print('left', os.getpid()); os.write(opener, b'!'); signal.pause()\n"
        "os.read(gate, 1); print('and then', end='', flush=True); os._exit(3)"
    )
    lines.when("left", lambda: watch(int(lines.of("left")[0].split()[1])))
    with pytest.raises(StartFailed) as failed:
        supervise(python("api", leaves)).start(ready_within=3)
    assert (failed.value.code, failed.value.lines) == (3, (*lines.of("left"), "and then"))


def test_a_reader_that_fails_is_not_asked_again_and_everything_is_stopped() -> None:
    asked: list[str] = []

    def broken(name: str, line: str) -> None:
        asked.append(line)
        raise BrokenPipeError("nobody reads")

    supervisor = Supervisor([python("api", CLINGS)], on_line=broken, grace=0.2)
    began = monotonic()
    with pytest.raises(BrokenPipeError):
        supervisor.run()
    assert len(asked) == 1
    assert monotonic() - began >= 0.2, "the others still have their grace"
    assert supervisor.pids() == {}


def test_signal_handlers_are_back_after_run(supervise: Supervise, lines: Lines) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    supervisor = supervise(python("api", SERVE))
    lines.when("alive", supervisor.request_stop)
    supervisor.run()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert signal.set_wakeup_fd(-1) == -1


def test_kill_9_of_the_supervisor_ends_its_children(watch: Callable[[int], int]) -> None:
    with Outside(SERVE, SERVE, grace=4, call="s.start(); s.run()") as outside:
        children = [watch(outside.pid_of_a_child()) for _ in range(2)]
        outside.process.kill()
        assert all(ends(child) for child in children)


def test_sigterm_to_the_supervisor_stops_everything(watch: Callable[[int], int]) -> None:
    with Outside(SERVE, DEAF, grace=0.3, call="s.run()") as outside:
        children = [watch(outside.pid_of_a_child()) for _ in range(2)]
        outside.process.terminate()
        outside.hears("over")
        assert all(ends(child, within=0) for child in children)
        assert outside.process.wait(3) == 0


def test_ctrl_c_reaches_the_supervisor_alone_and_stops_everything(watch: Callable[[int], int]) -> None:
    with Outside(WITNESS, grace=4, call="s.run()") as outside:
        child = watch(outside.pid_of_a_child())
        os.killpg(outside.process.pid, signal.SIGINT)
        outside.hears("terminated")
        outside.hears("over")
        assert "interrupted" not in outside.said
        assert ends(child, within=0)


def test_a_second_ctrl_c_kills_at_once(watch: Callable[[int], int]) -> None:
    with Outside(CLINGS, grace=60, call="s.run()") as outside:
        child = watch(outside.pid_of_a_child())
        os.killpg(outside.process.pid, signal.SIGINT)
        outside.hears("not yet")
        os.killpg(outside.process.pid, signal.SIGINT)
        outside.hears("over")
        assert ends(child, within=0)


def test_names_are_unique() -> None:
    with pytest.raises(ValueError, match="a name of its own"):
        Supervisor([python("api", SERVE)] * 2, on_line=print)


def test_announcing_ready_is_said_once_and_not_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    monkeypatch.setenv("KEPT_READY_FD", str(writer))
    announce_ready()
    announce_ready()
    assert "KEPT_READY_FD" not in os.environ
    assert os.read(reader, 100) == b"ready\n"
    assert os.read(reader, 100) == b"", "the write end is still open"
    os.close(reader)


def test_announcing_ready_to_a_supervisor_that_died_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    monkeypatch.setenv("KEPT_READY_FD", str(writer))
    announce_ready()
