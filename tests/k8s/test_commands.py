"""What the containers start is there, and a worker says that it is up where its probe looks."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from services.cli.main import main
from services.cli.table import NAMES, RELAY, SENDER, migrate
from services.kernel.config import Settings
from services.kernel.house import House
from tests.k8s.rendering import OVERLAYS, manifests, processes

COMMANDS = {who: container["args"] for each in OVERLAYS for who, _, container in processes(manifests(each))}


def missing(command: list[str]) -> bool:
    """Whether the code has no such command; of the image's two programs."""
    match command:
        case ["kept", "api", service, "--listen", _]:
            return service not in NAMES
        case ["kept", known, *_]:
            return known not in {*main.commands, *getattr(main, "modules", ())}
        case ["python", "-m", "services.cli.worker", service]:
            return service not in {*NAMES, SENDER, RELAY}
        case ["python", "-m", module]:
            return not any(_there(name) for name in (f"{module}.__main__", module))
    return True


def _there(module: str) -> bool:
    """Whether there is such a module to run; a package is none, only its __main__."""
    try:
        found = find_spec(module)
    except ModuleNotFoundError:
        return False
    return found is not None and found.submodule_search_locations is None


def test_what_the_containers_start_is_there() -> None:
    assert {who for who, command in COMMANDS.items() if missing(command)} == set()


@pytest.mark.parametrize(
    "command",
    [
        ["kept", "api", "cases", "--listen", "0.0.0.0:8443"],
        ["kept", "migrato"],
        ["python", "-m", "services.cli.worker", "cases"],
        ["python", "-m", "services.cli.walker"],
        ["python", "-m", "services.kernel"],
        ["sleep", "infinity"],
    ],
)
def test_a_command_that_is_not_there_is_found(command: list[str]) -> None:
    assert missing(command)


def test_a_worker_says_that_it_is_up_in_the_file_that_its_probe_looks_at(tmp_path: Path) -> None:
    container = next(container for who, _, container in processes(manifests("small")) if who == "case-worker")
    assert container["startupProbe"]["exec"]["command"] == ["test", "-s", "/tmp/ready"]
    ready = tmp_path / "ready"
    os.mkfifo(ready)  # to be read at once, where the container's file would have to be looked at again and again
    settings = Settings(tmp_path, "local", "", False, None, tmp_path / "master.key")
    migrate(House(settings))
    argv = [part.replace("/tmp/ready", str(ready)) for part in (*container["command"], *container["args"])]
    argv[argv.index("python")] = sys.executable
    (number,) = [each["value"] for each in container["env"] if each["name"] == "KEPT_READY_FD"]

    worker = subprocess.Popen(argv, env={**os.environ, **settings.environment(), "KEPT_READY_FD": number})
    try:
        assert ready.read_bytes()[:6] == b"ready\n"
    finally:
        worker.terminate()
        assert worker.wait() == 0
