"""Every command of the README is run, section by section, and says what the README shows.

In shown output `…` stands for anything, or for lines left out; numbers and digests may be others. A command that stays
up is interrupted, as by Ctrl-C, once it has said the last line shown; the Python that follows it is run before that.
`make test` is left out: it is what runs this.
"""

import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from services.cli.imports.sample import write_sample
from services.kernel.config import read_settings

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
STAYING = ("make run", "kept up")
LEFT_OUT = ("make test",)
# What the README names and a test cannot have: each has a stand-in.
REAL_LOG = "incident_event_log.csv"
REAL_DATABASE = "postgresql://kept@localhost/kept"
UP_WITHIN_S, DOWN_WITHIN_S, DONE_WITHIN_S = 60.0, 10.0, 60.0

Step = tuple[str, str, list[str]]  # "run" or "python", the command or the code, the output shown


def steps_of(section: str) -> Iterator[Step]:
    for language, block in re.findall(r"(?ms)^```(console|sh|python)\n(.*?)^```$", section):
        if language == "python":
            yield "python", block, []
        elif language == "sh":
            yield from (("run", line, []) for line in block.splitlines())
        else:
            for one in re.split(r"(?m)^\$ ", block)[1:]:
                command, *shown = one.splitlines()
                yield "run", command, [line for line in shown if line.strip(" …")]


SECTIONS = {part.splitlines()[0]: list(steps_of(part)) for part in re.split(r"(?m)^## ", README)[1:]}


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where a newcomer stands after `make setup`. Its path is short, as those of sockets have to be."""
    path = Path(tempfile.mkdtemp(prefix="kept-"))
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, path)
        os.utime(path / name, (0, 0))  # older than the set-up, which so is not made again while others use it
    (path / ".venv").symlink_to(sys.prefix)
    write_sample(path / REAL_LOG, incidents=20)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def empty_database(postgres: str) -> Iterator[str]:
    """Each section has a database of its own."""
    name = f"kept_readme_{uuid4().hex[:12]}"
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
    yield urlsplit(postgres)._replace(path=f"/{name}").geturl()
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


@pytest.mark.parametrize("section", [name for name, steps in SECTIONS.items() if steps])
def test_the_commands_of_a_section_do_what_it_shows(section: str, folder: Path, request: pytest.FixtureRequest) -> None:
    steps = [step for step in SECTIONS[section] if step[1] not in LEFT_OUT]
    while steps:
        _, command, shown = steps.pop(0)
        if REAL_DATABASE in command:
            command = command.replace(REAL_DATABASE, request.getfixturevalue("empty_database"))
        if not any(command.endswith(name) or f"{name} " in command for name in STAYING):
            compare(shown, run(["bash", "-c", command], folder))
            continue
        with staying(command, folder, until=shown[-1]) as said:
            compare(shown, said)
            while steps and steps[0][0] == "python":
                assert run([".venv/bin/python", "-c", steps.pop(0)[1]], folder)


def test_the_readme_has_the_commands_that_matter() -> None:
    commands = [step[1] for steps in SECTIONS.values() for step in steps]

    for wanted in (
        "make run",
        "kept import",
        "kept replay --verify",
        "kept digest",
        "kept up",
        "--separate",
        "kept story",
        "kept audit",
    ):
        assert any(wanted in command for command in commands), wanted


def test_every_setting_is_in_the_table() -> None:
    table = set(re.findall(r"(?m)^\| `(KEPT_\w+)` \|", README))

    assert table == set(read_settings({}).environment())


def test_every_path_in_the_house_map_exists() -> None:
    house = README.split("## Where things are")[1].split("### ")[0]
    named = re.findall(r"`([\w./-]+/[\w./-]+|tests|gateway|k8s|loadtests)`", house)

    assert len(named) > 8
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        (["nothing differs"], ["1 event", "the log and what was made of it do not agree"]),
        (["kept: true 33, false 2", "broken: true 0"], ["broken: true 0", "kept: true 33, false 2"]),
        (["the cell is up: unix:…/kept.sock"], ["the cell is up: unix:/tmp/case.sock"]),
    ],
)
def test_another_output_than_shown_is_noticed(shown: list[str], said: list[str]) -> None:
    with pytest.raises(AssertionError):
        compare(shown, said)


def compare(shown: list[str], said: list[str]) -> None:
    """The lines shown were said, in this order; what was said beside them is not looked at."""
    rest = iter(said)
    for line in shown:
        assert any(like(line).fullmatch(one) for one in rest), f"not said: {line!r}\nbut:\n" + "\n".join(said)


def like(line: str) -> re.Pattern[str]:
    pattern = re.sub(r"[0-9a-f]{64}|[\d,.]*\d", "0", line)
    return re.compile(re.escape(pattern).replace("…", ".*").replace("0", r"([0-9a-f]{64}|[\d,.]*\d)"))


def run(command: list[str], folder: Path) -> list[str]:
    """What it wrote. It has to succeed."""
    ended = subprocess.run(
        command,
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DONE_WITHIN_S,
        check=False,
    )
    assert ended.returncode == 0, f"{command} exits with {ended.returncode}:\n{ended.stdout}"
    return ended.stdout.splitlines()


@contextmanager
def staying(command: str, folder: Path, *, until: str) -> Iterator[list[str]]:
    """Starts it, gives what it wrote up to the line awaited, and interrupts it as Ctrl-C in a terminal does."""
    process = subprocess.Popen(
        ["bash", "-c", f"exec env {command}"],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield lines_until(process, like(until))
        os.killpg(process.pid, signal.SIGINT)
        code = process.wait(DOWN_WITHIN_S)
        if not command.startswith("make"):  # which tells of the interruption
            assert code == 0, f"{command} exits with {code}:\n" + b"".join(process.stdout or ()).decode(
                errors="replace"
            )
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(DOWN_WITHIN_S)
        assert process.stdout is not None
        process.stdout.close()


def lines_until(process: "subprocess.Popen[bytes]", awaited: re.Pattern[str]) -> list[str]:
    assert process.stdout is not None
    until, said = time.monotonic() + UP_WITHIN_S, b""
    while True:
        ready, _, _ = select.select([process.stdout], [], [], until - time.monotonic())
        more = os.read(process.stdout.fileno(), 65536) if ready else b""
        said += more
        lines = said.decode(errors="replace").splitlines()
        if any(awaited.fullmatch(line) for line in lines):
            return lines
        assert more, f"{awaited.pattern!r} was not said, but:\n{said.decode(errors='replace')}"


def environment() -> dict[str, str]:
    """As in a newcomer's shell: nothing of ours is set, and no other `make` is around. Only the demo is a small one."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("KEPT_", "MAKE", "MFLAGS"))}
    return {**own, "KEPT_DEMO_CUSTOMERS": "60", "KEPT_DEMO_DAYS": "4"}
