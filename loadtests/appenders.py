"""One process of a crew that appends events with no aggregate around them, through our recorder or the stock one.

    python -m loadtests.appenders {kept | stock} FOLDER ADDRESS THREADS

Each thread appends one event at a time, in turn to 50 streams of its own: 420 bytes, and with ours a request. Ours carries
the whole schema: a guard on the stream, the request, the head, the leaf and the tree's edge, four indexes.
"""

import argparse
import os
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from eventsourcing.persistence import StoredEvent

from loadtests.cells import settings_of
from loadtests.crew import Job, work
from services.kernel.house import House
from services.kernel.log.port import Entry, Request
from services.kernel.log.recorder import LogRecorder

if TYPE_CHECKING:
    from eventsourcing.postgres import PostgresApplicationRecorder

STREAMS, BYTES = 50, 420
TYPE = "kept.case.v1.CaseAssigned"


def kept(recorder: LogRecorder) -> Job:
    versions = {uuid4(): 0 for _ in range(STREAMS)}
    streams, record, fingerprint = cycle(versions), os.urandom(BYTES), os.urandom(32)

    def append() -> None:
        stream = next(streams)
        versions[stream] += 1
        entry = Entry(stream, versions[stream], TYPE, record, "main", stream)
        request = Request(UUID(bytes=os.urandom(16)), fingerprint)
        recorder.insert_events((entry,), request=request, answer=(stream, versions[stream]))

    return append


def stock_recorder(address: str, threads: int) -> "PostgresApplicationRecorder":
    """The library's own, with a connection for each thread."""
    from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore

    at = urlsplit(address)
    datastore = PostgresDatastore(
        at.path.removeprefix("/"),
        at.hostname or "",
        at.port or 5432,
        at.username or "",
        at.password or "-",
        pool_size=threads,
    )
    recorder = PostgresApplicationRecorder(datastore, events_table_name="stored_events")
    recorder.create_table()
    return recorder


def stock(recorder: "PostgresApplicationRecorder") -> Job:
    versions = {uuid4(): 0 for _ in range(STREAMS)}
    streams, record = cycle(versions), os.urandom(BYTES)

    def append() -> None:
        stream = next(streams)
        versions[stream] += 1
        recorder.insert_events([StoredEvent(stream, versions[stream], TYPE, record)])

    return append


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("kept", "stock"))
    parser.add_argument("folder", type=Path, help="the cell's folder")
    parser.add_argument("address", help="a postgresql:// address")
    parser.add_argument("threads", type=int)
    arguments = parser.parse_args()
    if arguments.kind == "kept":
        house = House(settings_of(arguments.folder, arguments.address))
        house.require()
        work(lambda _: kept(house.recorder), arguments.threads)
        house.close()
    else:
        recorder = stock_recorder(arguments.address, arguments.threads)
        work(lambda _: stock(recorder), arguments.threads)
        recorder.datastore.close()


if __name__ == "__main__":
    main()
