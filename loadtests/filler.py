"""Fills a log with real cases: the case service's aggregate decides each event, and what was said is sealed."""

from collections.abc import Callable, Iterator
from itertools import chain, count, islice, zip_longest
from random import Random
from uuid import NAMESPACE_URL, UUID, uuid5

from kept.case.v1 import events_pb2 as e
from kept.common.v1.sealed_pb2 import Sealed
from kept.customer.v1 import events_pb2 as customer

from services.case.application import PURPOSE
from services.case.domain import Case
from services.kernel.events import ProtobufMapper, Stamp, full_name
from services.kernel.house import House
from services.kernel.log.port import Save
from services.kernel.privacy import Place

NAMES = uuid5(NAMESPACE_URL, "kept:loadtests")
CUSTOMERS = 500
SIDE_BY_SIDE = 300  # cases whose commands take turns, in one batch
FROM, MINUTE = 1_760_000_000_000_000, 60_000_000
TEAMS = ("north", "south", "field", "desk", "parts")
NEED = "The dishwasher leaks at the front left foot, since this morning."
NOTE = "They asked twice already; ring before you come."


def fill(house: House, events: int, *, seed: int = 1) -> int:
    """Appends whole cases until there are at least so many events. Returns how many it appended."""
    cases, appended = _cases(house, Random(seed)), 0  # noqa: S311 - cases, not secrets
    while appended < events:
        taking_turns = zip_longest(*islice(cases, SIDE_BY_SIDE))
        saves = [save for save in chain.from_iterable(taking_turns) if save is not None]
        for outcome in house.log.append(saves):
            if not isinstance(outcome, int):
                raise outcome
        appended += sum(len(save.entries) for save in saves)
    return appended


def _cases(house: House, chance: Random) -> Iterator[list[Save]]:
    """Without end; each as what its commands saved, in order."""
    mapper = ProtobufMapper()
    for number in count(1):
        case, customer_id = Case(uuid5(NAMES, f"case {number}")), uuid5(NAMES, f"customer {number % CUSTOMERS}")
        saves = []
        for hour, decide in enumerate(_life(house, case.id, customer_id, chance)):
            case.stamp = _stamp(case.id, number + 60 * hour)
            decide(case)
            saves.append(Save(tuple(map(mapper.to_stored_event, case.collect_events()))))
        yield saves


def _life(house: House, case_id: UUID, customer_id: UUID, chance: Random) -> Iterator[Callable[[Case], None]]:
    """The commands on one case, from its opening to its closing."""
    need, note = (
        _sealed(house, case_id, customer_id, *what)
        for what in ((e.CaseOpened, "need", NEED), (e.NoteAdded, "text", NOTE))
    )
    opened = e.CaseOpened(
        customer_id=str(customer_id),
        classification=e.Classification(kind=e.CASE_KIND_INCIDENT, category="appliance", symptom="leak"),
        priority=chance.choice((e.PRIORITY_HIGH, e.PRIORITY_MODERATE, e.PRIORITY_LOW)),
        need=need,
        channel=customer.CHANNEL_PHONE,
        region="DE-BE",
        item_id=str(uuid5(customer_id, "item")),
    )
    assigned = e.CaseAssigned(team=chance.choice(TEAMS), assignee=f"user:{chance.randrange(40)}")
    yield lambda case: case.open(opened)
    yield Case.acknowledge
    yield lambda case: case.assign(assigned)
    if chance.random() < 0.4:
        yield lambda case: case.hold(waiting_for=e.WAITING_FOR_PARTS, reason="the pump has to be ordered")
        yield lambda case: case.resume(reason="the pump has come")
    yield lambda case: case.add_note(e.NoteAdded(audience=e.NOTE_AUDIENCE_INTERNAL, text=note))
    yield lambda case: case.resolve(reason="pump replaced, ran for an hour without a leak")
    yield lambda case: case.close(customer_confirmed=True, reason="")


def _sealed(
    house: House, case_id: UUID, customer_id: UUID, event: type[e.CaseOpened | e.NoteAdded], field: str, text: str
) -> Sealed:
    return house.sealer.seal(text, Place(customer_id, PURPOSE, case_id, full_name(event), field))


def _stamp(case_id: UUID, minutes: int) -> Stamp:
    cause = str(uuid5(case_id, str(minutes)))
    return Stamp("main", "user:ana", FROM + minutes * MINUTE, correlation_id=cause, request_key=cause)
