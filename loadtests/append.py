"""Appends in a second, by 32 callers on PostgreSQL, beside single-row inserts by pgbench, message-db and the stock recorder.

    python -m loadtests.append [--json] [--seconds 5] [--repetitions 3]

Ours and the stock recorder are called by 32 threads of one Python process; a single-row insert and message-db's own function
by pgbench with 32 clients, without any Python. message-db writes one message at a time in each category of streams: it is
measured with one category, as our cases are, and with one for each client, which is the best for it. Each has a database of
its own with the server's own fsync and synchronous_commit. Peers: `python -m loadtests.peers FOLDER`; KEPT_PEERS names it.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from loadtests.appenders import BYTES
from loadtests.cells import postgres_database, settings_of, sqlite_folder
from loadtests.crew import jobs_per_s, require_peer
from loadtests.measure import NotInstalled, Ratio, command, measure, tell
from services.kernel.house import House

CALLERS = 32
RATIOS = (
    Ratio("kept to pgbench", "kept", "pgbench", 0.7),
    Ratio("kept to message-db", "kept", "message-db", 4.0),
    Ratio("kept to message-db, a category each", "kept", "message-db, a category each", 4.0),
    Ratio("kept to stock", "kept", "stock", 10.0),
)
ROW = "INSERT INTO row (stream, record) VALUES (gen_random_uuid(), decode(repeat('ab', {bytes}), 'hex'))"
MESSAGE = """SELECT message_store.write_message(gen_random_uuid()::varchar, 'case' || {category} || '-' || :stream,
 'CaseAssigned', jsonb_build_object('record', repeat('a', {bytes})))"""


def main() -> int:
    parser = command(__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each side runs")
    arguments = parser.parse_args()
    seconds = arguments.seconds
    with (
        postgres_database() as ours,
        postgres_database() as theirs,
        postgres_database() as bare,
        postgres_database() as messages,
        sqlite_folder() as folder,
        message_db(messages) as has_message_db,
    ):
        house = House(settings_of(folder, ours))
        house.make()
        house.close()
        with psycopg.connect(bare, autocommit=True) as admin:
            admin.execute("CREATE TABLE row (id BIGSERIAL PRIMARY KEY, stream UUID NOT NULL, record BYTEA NOT NULL)")
        kept = ["loadtests.appenders", "kept", str(folder), ours, str(CALLERS)]
        stock = ["loadtests.appenders", "stock", str(folder), theirs, str(CALLERS)]

        def stock_recorder() -> float:
            require_peer("psycopg_pool", "psycopg-pool")
            return jobs_per_s(stock, processes=1, seconds=seconds)

        def message_store(category: str) -> float:
            has_message_db()
            message = MESSAGE.format(category=category, bytes=BYTES).replace("\n", "")
            script = f"\\set stream random(1, {50 * CALLERS})\n{message};"
            return pgbench(f"{messages}?options=-csearch_path%3Dmessage_store", script, folder, seconds)

        sides = {
            "kept": lambda: jobs_per_s(kept, processes=1, seconds=seconds),
            "pgbench": lambda: pgbench(bare, ROW.format(bytes=BYTES) + ";", folder, seconds),
            "message-db": lambda: message_store("''"),
            "message-db, a category each": lambda: message_store(":client_id"),
            "stock": stock_recorder,
        }
        result = measure(sides, RATIOS, unit="appends/s", repetitions=arguments.repetitions)
    tell(result, as_json=arguments.json)
    return 0


def pgbench(address: str, script: str, folder: Path, seconds: float) -> float:
    """Transactions in a second of prepared statements by as many clients as we have callers. Raises NotInstalled."""
    program = shutil.which("pgbench")
    if program is None:
        raise NotInstalled("pgbench is part of PostgreSQL's server packages")
    file = folder / "script.sql"
    file.write_text(script)
    options = ["-n", "-M", "prepared", "-c", str(CALLERS), "-j", str(os.cpu_count()), "-T", str(max(1, round(seconds)))]
    done = subprocess.run([program, *options, "-f", str(file), address], stdout=subprocess.PIPE, check=True, text=True)
    found = re.search(r"tps = ([0-9.]+)", done.stdout)
    assert found is not None, done.stdout
    return float(found[1])


@contextmanager
def message_db(address: str) -> Iterator[Callable[[], None]]:
    """Gives a function that raises NotInstalled where the peer is not there. Its own script makes a role, dropped again."""
    folder = Path(os.environ.get("KEPT_PEERS") or "nowhere") / "message-db" / "package" / "database"

    def there() -> None:
        if not folder.exists():
            raise NotInstalled("python -m loadtests.peers FOLDER, and set KEPT_PEERS to that folder")

    if not folder.exists():
        yield there
        return
    at = urlsplit(address)
    place = {"PGHOST": at.hostname or "", "PGPORT": str(at.port or 5432), "PGUSER": at.username or ""}
    database = {"DATABASE_NAME": at.path.removeprefix("/"), "CREATE_DATABASE": "off"}
    with psycopg.connect(address, autocommit=True) as admin:
        mine = admin.execute("SELECT 1 FROM pg_roles WHERE rolname = 'message_store'").fetchone() is None
    subprocess.run(
        ["bash", str(folder / "install.sh")], env={**os.environ, **place, **database}, check=True, capture_output=True
    )
    try:
        yield there
    finally:
        if mine:
            with psycopg.connect(address, autocommit=True) as admin:
                admin.execute("DROP OWNED BY message_store CASCADE")
                admin.execute("DROP ROLE message_store")


if __name__ == "__main__":
    sys.exit(main())
