"""A power cut at any moment takes nothing away that somebody was told, and leaves every file sound.

A cell works on a disk that writes down what is done to it. Of each image that a cut may have left, a cell is opened.
"""

import hashlib
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import NamedTuple
from uuid import UUID

import pytest
from google.protobuf.message import Message
from kept.common.v1.sealed_pb2 import Sealed

from services.kernel.clock import FixedClock
from services.kernel.config import read_settings
from services.kernel.database import Database, SQLite
from services.kernel.errors import Misconfigured
from services.kernel.events import log_event
from services.kernel.house import House
from services.kernel.log.port import Recorded
from services.kernel.merkle import Edge, leaf_hash
from tests.faults.disk import Disk, Done, recorded
from tests.faults.forms import takes_long, times
from tests.faults.power import Image, boundaries_of, images
from tests.figures import Figures
from tests.history import Played, played, verified
from tests.scene import edited, install_item, open_case, register_customer

NOW = datetime(2024, 5, 6, 8, 0, tzinfo=UTC)
SESSIONS, CUSTOMERS = 3, times(6, 12)
BOUNDARIES, EACH, GO_ON = times(110, 1_000_000), times(3, 8), times(4, 60)
SEED = 20_240_506
ALL = 1_000_000


class Told(NamedTuple):
    """What a caller knows by its receipt: where its last event is. `history` stands for all events up to there."""

    position: int
    history: bytes


def worked(data: Path) -> list[Done]:
    """What a cell did to its disk in some sessions of a few customers' commands, and what it told them."""
    now = FixedClock(NOW)
    with recorded() as disk:
        for session in range(SESSIONS):
            with played(data, now) as cell:
                for number in range(CUSTOMERS):
                    now.set(now.now() + timedelta(minutes=7))
                    serve_one(cell, disk, f"{session}-{number}")
                    cell.drain()
                    if number % 2:
                        checkpoint(data)
    return disk.journal


def serve_one(cell: Played, disk: Disk, name: str) -> None:
    def tell(service: str, request: Message) -> str:
        request = edited(request, {"request_id": f"{name}-{request.DESCRIPTOR.name}"})
        receipt = cell.call(service, request.DESCRIPTOR.name.removesuffix("Request"), request).receipt
        *_, history = histories(cell.house.log.read(0, receipt.position))
        disk.tell(Told(receipt.position, history))
        return str(receipt.id)

    customer = tell("customer", register_customer())
    tell("customer", edited(install_item(customer), {"warranty_until": None}))
    tell("case", edited(open_case(customer), {"external_reference": name}))


def checkpoint(data: Path) -> None:
    """As SQLite does by itself every thousand pages: the journal goes into the file, and begins anew."""
    for path in data.glob("*.db"):
        with closing(sqlite3.connect(path)) as database:
            ((busy, *_),) = database.execute("PRAGMA wal_checkpoint").fetchall()
            assert not busy


def histories(events: list[Recorded]) -> Iterator[bytes]:
    """For each position from 0 on, a digest of all records up to it."""
    so_far = hashlib.sha256()
    yield so_far.digest()
    for event in events:
        so_far.update(event.record)
        yield so_far.digest()


@contextmanager
def power_is_back(image: Image, worked_in: Path) -> Iterator[Path]:
    """The folder as it is found."""
    folder = worked_in.parent / "found"
    image.write(folder)
    shutil.copy(worked_in / "master.key", folder)
    yield folder
    shutil.rmtree(folder)


def assert_sound(folder: Path) -> None:
    for path in folder.glob("*.db"):
        with closing(sqlite3.connect(path)) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)], path.name


def lost(house: House, image: Image) -> int:
    """How many of those who were told something do not find it. What is there is a log without a gap, whole as it says."""
    if not is_made(house):
        return len(image.told)
    events = house.log.read(0, ALL)
    edge = Edge()
    edge.extend(leaf_hash(event.position, event.recorded_at, event.record) for event in events)
    assert [event.position for event in events] == list(range(1, len(events) + 1))
    assert (house.log.head().position, house.log.head().root) == (len(events), edge.root())
    found = list(histories(events))
    return sum(told.position > len(events) or found[told.position] != told.history for told in image.told)


def is_made(house: House) -> bool:
    """Whether the log's tables are there, and the rows that every log has from its start."""
    try:
        house.log.require()
    except Misconfigured:
        return False
    with house.database("log").read() as session:
        return session.execute("SELECT 1 FROM head").fetchone() is not None


def assert_sealed_values_open(house: House) -> None:
    """A key is on the disk before what it seals."""
    for event in map(log_event, house.log.read(0, ALL)):
        for sealed in sealed_in(event.body):
            assert isinstance(house.sealer.open(sealed, stream=UUID(event.record.stream)), str)


def sealed_in(message: Message) -> Iterator[Sealed]:
    for field, value in message.ListFields():
        if field.message_type is not None:
            for one in value if field.is_repeated else [value]:
                yield from [one] if isinstance(one, Sealed) else sealed_in(one)


def assert_goes_on(folder: Path) -> None:
    """Followers catch up, a new customer is served, and a replay finds every view and every decision the same."""
    with played(folder, FixedClock(NOW + timedelta(days=1))) as cell:
        cell.drain()
        serve_one(cell, Disk(), "after the cut")
        cell.drain()
    assert verified(folder).findings.first == {}


@takes_long
def test_a_power_cut_takes_nothing_that_was_told(memory: Path, figures: Figures) -> None:
    data = memory / "worked"
    journal = worked(data)
    random = Random(SEED)  # noqa: S311 - moments, not secrets
    seen = sealed = 0
    goes_on = set(random.sample(range(min(BOUNDARIES, boundaries_of(journal)) * EACH), GO_ON))

    for image in images(journal, random, boundaries=BOUNDARIES, each=EACH):
        with power_is_back(image, data) as folder:
            assert_sound(folder)
            with closing(House(read_settings({}, folder))) as house:
                assert lost(house, image) == 0, image
                if image.told:
                    assert_sealed_values_open(house)
                    sealed += 1
            if seen in goes_on:
                assert_goes_on(folder)
        seen += 1

    assert sealed > seen / 2
    told = sum(done.what == "told" for done in journal)
    figures(images=seen, boundaries=boundaries_of(journal), acknowledged=told, lost=0, corrupt=0, seed=SEED)


@takes_long
def test_files_that_are_not_synced_at_each_commit_lose_what_was_told(
    memory: Path, figures: Figures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: the disk takes away what it may, and the check sees it."""

    def unsynced(house: House, namespace: str) -> Database:
        return SQLite(house.settings.data / f"{namespace}.db", durable=False)

    monkeypatch.setattr(House, "_open", unsynced)
    data = memory / "worked"
    journal = worked(data)
    with_loss = seen = 0

    for image in images(journal, Random(SEED), boundaries=BOUNDARIES, each=EACH):  # noqa: S311 - moments, not secrets
        with power_is_back(image, data) as folder:
            assert_sound(folder)
            with closing(House(read_settings({}, folder))) as house:
                with_loss += lost(house, image) > 0
        seen += 1

    assert with_loss > 0
    figures(images=seen, with_loss=with_loss)
