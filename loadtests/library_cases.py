"""The same cases as the library keeps them out of the box: its aggregates, its JSON, its recorder. Its events say what
ours say: for whom and by whom, under which request, and what was said as it is sealed."""

import os
import sys
from collections.abc import Mapping
from random import Random
from uuid import UUID, uuid5

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import InfrastructureFactoryError

from loadtests.filler import CUSTOMERS, NAMES, TEAMS
from loadtests.measure import NotInstalled

AT_ONCE = 300  # cases of one transaction
Stamp = dict[str, str]


class LibraryCase(Aggregate):
    @event("Opened")
    def __init__(
        self, stamp: Stamp, customer_id: UUID, category: str, symptom: str, priority: int, need: Stamp, region: str
    ) -> None:
        self.opened_by = stamp["actor"]
        self.customer_id, self.category, self.symptom, self.priority = customer_id, category, symptom, priority
        self.need, self.region, self.state, self.team, self.assignee = need, region, "acknowledged", "", ""

    @event("Acknowledged")
    def acknowledge(self, stamp: Stamp) -> None:  # noqa: ARG002 - the event takes what is asked for
        self.state = "in_progress"

    @event("Assigned")
    def assign(self, stamp: Stamp, team: str, assignee: str) -> None:  # noqa: ARG002
        self.team, self.assignee = team, assignee

    @event("Held")
    def hold(self, stamp: Stamp, waiting_for: int, reason: str) -> None:  # noqa: ARG002
        self.state = f"held for {waiting_for}"

    @event("Resumed")
    def resume(self, stamp: Stamp, reason: str) -> None:  # noqa: ARG002
        self.state = "in_progress"

    @event("NoteAdded")
    def add_note(self, stamp: Stamp, audience: int, text: Stamp) -> None:  # noqa: ARG002
        self.state = self.state

    @event("Resolved")
    def resolve(self, stamp: Stamp, reason: str) -> None:  # noqa: ARG002
        self.state = "resolved"

    @event("Closed")
    def close(self, stamp: Stamp, customer_confirmed: bool) -> None:  # noqa: ARG002
        self.state = "closed"


class Library:
    """One store of the library's, filled with cases."""

    def __init__(self, environment: Mapping[str, str], events: int, *, seed: int = 1) -> None:
        """Raises NotInstalled where the library misses what its PostgreSQL module needs."""
        sys.path.extend(filter(None, [os.environ.get("KEPT_PEERS")]))
        try:
            self._application = Application[UUID](env=environment)
        except InfrastructureFactoryError as error:
            folder = os.environ.get("KEPT_PEERS") or "FOLDER"
            how = f"pip install --no-deps --target {folder} psycopg-pool, and set KEPT_PEERS to that folder"
            raise NotInstalled(how) from error
        chance, number, self.events = Random(seed), 0, 0  # noqa: S311 - cases, not secrets
        while self.events < events:
            cases = [_case(number + place, chance) for place in range(AT_ONCE)]
            stored = [self._application.mapper.to_stored_event(one) for case in cases for one in case.collect_events()]
            self._application.recorder.insert_events(stored)
            number, self.events = number + AT_ONCE, self.events + len(stored)

    def read(self, batch: int) -> int:
        """Selects every notification and maps it to its domain event. Returns how many there are."""
        recorder, mapper = self._application.recorder, self._application.mapper
        start, count = 1, 0
        while notifications := recorder.select_notifications(start, batch):
            for notification in notifications:
                mapper.to_domain_event(notification)
            start, count = notifications[-1].id + 1, count + len(notifications)
        return count

    def close(self) -> None:
        self._application.close()


def _case(number: int, chance: Random) -> LibraryCase:
    customer_id, cause = uuid5(NAMES, f"customer {number % CUSTOMERS}"), str(uuid5(NAMES, f"cause {number}"))
    stamp = {
        "tenant": "main", "customer_id": str(customer_id), "actor": "user:ana", "request_key": cause,
        "correlation_id": cause,
    }  # fmt: skip
    case = LibraryCase(stamp, customer_id, "appliance", "leak", 2, _sealed(customer_id, "need", 67, chance), "DE-BE")
    case.acknowledge(stamp)
    case.assign(stamp, chance.choice(TEAMS), f"user:{chance.randrange(40)}")
    if chance.random() < 0.4:
        case.hold(stamp, 3, "the pump has to be ordered")
        case.resume(stamp, "the pump has come")
    case.add_note(stamp, 1, _sealed(customer_id, "text", 50, chance))
    case.resolve(stamp, "pump replaced, ran for an hour without a leak")
    case.close(stamp, True)
    return case


def _sealed(subject: UUID, field: str, length: int, chance: Random) -> Stamp:
    """As long as our ciphertexts: the text's bytes and 16 more."""
    return {
        "subject": str(subject), "purpose": "case", "field": field, "nonce": chance.randbytes(12).hex(),
        "ciphertext": chance.randbytes(length + 16).hex(),
    }  # fmt: skip
