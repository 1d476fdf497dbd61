"""Generates Python, with type stubs, from protos/kept into protos/gen; `--check` fails where that would change a file."""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PROTOS = Path(__file__).parent
GENERATED = PROTOS / "gen"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 where the committed code is stale")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(fresh)
        if not arguments.check:
            shutil.rmtree(GENERATED, ignore_errors=True)
            shutil.copytree(fresh, GENERATED)
            return 0
        stale = differences(fresh, GENERATED)
    for name in stale:
        print(f"protos/gen/{name} is stale; run: make protos", file=sys.stderr)
    return 1 if stale else 0


def generate(target: Path) -> None:
    sources = sorted(str(path.relative_to(PROTOS)) for path in (PROTOS / "kept").rglob("*.proto"))
    events = [name for name in sources if not name.endswith("service.proto")]
    services = [name for name in sources if name.endswith("service.proto")]
    plugins = Path(sys.executable).parent
    common = [
        sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={PROTOS}",
        f"--plugin=protoc-gen-mypy={plugins}/protoc-gen-mypy",
        f"--plugin=protoc-gen-mypy_grpc={plugins}/protoc-gen-mypy_grpc",
        f"--python_out={target}", f"--mypy_out=quiet:{target}",
    ]  # fmt: skip
    subprocess.run([*common, *events], check=True)
    # Only service.proto files yield code that imports grpc, so that workers can import every event (I8).
    grpc = [f"--grpc_python_out={target}", f"--mypy_grpc_out=quiet:{target}"]
    subprocess.run([*common, *grpc, *services], check=True)
    for folder in [target / "kept", *(path for path in (target / "kept").rglob("*") if path.is_dir())]:
        (folder / "__init__.py").touch()


def differences(fresh: Path, committed: Path) -> list[str]:
    def files(root: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(root)): path.read_bytes()
            for path in root.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }

    ours, theirs = files(fresh), files(committed)
    return sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))


if __name__ == "__main__":
    sys.exit(main())
