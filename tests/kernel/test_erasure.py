"""A destruction of keys is on the log before it is done, and is done again wherever it was undone."""

from uuid import UUID

import pytest
from kept.cell.v1.events_pb2 import KeysDestroyed
from kept.common.v1.record_pb2 import Record

from services.cli.table import migrate
from services.kernel import erasure
from services.kernel.errors import Refused, Unavailable
from services.kernel.house import House
from services.kernel.log.event_log import EventLog
from tests.databases import Cell

ANA, BO = UUID(int=1), UUID(int=2)
AT = 1_700_000_000_000_000


def erased(house: House, subject: UUID) -> int:
    return erasure.erase(house.log, house.database("keys"), subject, actor="user:ana", at=AT)


def last(log: EventLog) -> KeysDestroyed:
    (event,) = log.read(log.position() - 1, 1)
    record = Record.FromString(bytes(event.record))
    assert record.type == erasure.DESTROYED
    return KeysDestroyed.FromString(record.data)


def made(house: House) -> tuple[bytes, bytes]:
    """Two keys of Ana's, and one of Bo's."""
    keys = (house.keys.key_for_sealing(ANA, "contact"), house.keys.key_for_sealing(ANA, "case"))
    house.keys.key_for_sealing(BO, "contact")
    return keys


def test_an_erasure_is_recorded_with_what_it_destroys(house: House) -> None:
    made(house)

    assert erased(house, ANA) == 2

    event = last(house.log)
    assert (event.subject, list(event.purposes)) == (str(ANA), ["case", "contact"])
    assert house.keys.key_for_opening(ANA, "contact") is None
    assert house.keys.key_for_opening(BO, "contact")


def test_who_has_no_keys_is_not_recorded(house: House) -> None:
    made(house)
    erased(house, ANA)
    before = house.log.position()

    assert erased(house, ANA) == erased(house, UUID(int=3)) == 0
    assert house.log.position() == before


def test_the_record_comes_first(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash between the two is made good; the other way round, a restore would bring the key back."""
    made(house)

    with monkeypatch.context() as broken:
        broken.setattr(house.database("keys"), "write", _crashed)
        with pytest.raises(Unavailable):
            erased(house, ANA)
    assert house.keys.key_for_opening(ANA, "contact")

    assert erasure.carry_out(house.database("log"), house.database("keys")) == 2
    assert house.keys.key_for_opening(ANA, "contact") is None
    assert house.keys.key_for_opening(BO, "contact")


def _crashed() -> None:
    raise Unavailable("storage-lost")


def test_a_start_does_what_a_crash_has_left_undone(sqlite_cell: Cell) -> None:
    for house in (sqlite_cell.house(), sqlite_cell.house()):
        migrate(house)
        if house.log.position() == 0:
            made(house)
            erasure.record(house.log, ANA, {"contact", "case"}, actor="user:ana", at=AT)
        else:
            assert house.keys.key_for_opening(ANA, "contact") is None
        house.close()


def test_a_key_that_a_copy_never_had_is_not_made_there_either(house: House) -> None:
    """The back-up is from before the key was made; that its owner was erased since is known all the same."""
    erasure.record(house.log, ANA, {"contact"}, actor="user:ana", at=AT)

    assert erasure.carry_out(house.database("log"), house.database("keys")) == 0

    with pytest.raises(Refused, match="erased"):
        house.keys.key_for_sealing(ANA, "contact")


def test_all_that_a_log_or_a_key_store_tells_is_found(house: House) -> None:
    made(house)
    erased(house, ANA)
    erasure.record(house.log, BO, set(), actor="user:ana", at=AT)

    assert erasure.recorded(house.database("log")) == {ANA: {"contact", "case"}, BO: set()}
    assert erasure.told_by_keys(house.database("keys")) == {ANA: {"contact", "case"}}


def test_what_is_missing_is_what_is_told_and_not_known() -> None:
    told = {ANA: {"contact", "case"}, BO: {"contact"}}

    assert list(erasure.missing(told, {})) == [(ANA, {"contact", "case"}), (BO, {"contact"})]
    assert list(erasure.missing(told, {ANA: {"contact"}, BO: {"contact"}})) == [(ANA, {"case"})]
    assert list(erasure.missing({ANA: set()}, {})) == [(ANA, set())]
    assert list(erasure.missing({ANA: set()}, {ANA: set()})) == []
