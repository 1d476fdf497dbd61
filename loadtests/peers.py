"""Installs what benchmarks are measured beside, into a folder outside of this repository, and only when it is called.

    python -m loadtests.peers FOLDER        then: export KEPT_PEERS=FOLDER

message-db comes from npm (`npm pack`, nothing of it is run), psycopg-pool from where pip finds packages.
"""

import argparse
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

MESSAGE_DB = "@eventide/message-db@1.3.1"
POOL = "psycopg-pool==3.3.1"
ROOT = Path(__file__).parent.parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder.resolve()
    if folder.is_relative_to(ROOT):
        parser.error(f"{folder} is in this repository; choose a folder outside of it")
    folder.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target", str(folder), POOL]
    subprocess.run(pip, check=True)
    _unpack(MESSAGE_DB, folder / "message-db")
    print(f"installed; now: export KEPT_PEERS={folder}")
    return 0


def _unpack(package: str, to: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", "--silent", package], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        (archive,) = Path(folder).iterdir()
        with tarfile.open(archive) as packed:
            packed.extractall(to, filter="data")


if __name__ == "__main__":
    sys.exit(main())
