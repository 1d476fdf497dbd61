"""From problems and the installed base to the customers affected: as of then, with corrections. Reads nothing sealed (I5).

An item touches a customer when they owned it at some moment between the problem's beginning and its end; what we learn
late counts as if we had always known it. A customer is affected once, however many items and areas say so, and stays so
until no item does any more.
"""

from uuid import UUID

from kept.case.v1 import events_pb2 as e
from kept.customer.v1 import events_pb2 as customer

from services.case.domain import Impact, impact_id
from services.kernel.clock import micros_of, timestamp_of
from services.kernel.database import Session, as_uuid, uuid_of
from services.kernel.events import LogEvent, full_name
from services.kernel.policy import Policy, Work
from services.kernel.regions import areas_of
from services.kernel.tables import Table

NEVER = 2**62  # after every moment, on both databases

ITEMS = Table(
    "impact_item",
    {"item_id": "uuid", "customer_id": "uuid", "installed_at": "int", "removed_at": "int"},
    key=("item_id",),
)
# One row for each area that an item lies in, so that a problem's areas find their items without a search.
ITEM_AREAS = Table(
    "impact_item_area",
    {"tenant": "text", "product": "text", "area": "text", "customer_id": "uuid", "item_id": "uuid"},
    key=("tenant", "product", "area", "customer_id", "item_id"),
    indexes=(("item_id",),),
)
PROBLEMS = Table(
    "impact_problem",
    {"problem_id": "uuid", "product": "text", "began_at": "int", "ended_at": "int"},
    key=("problem_id",),
)
PROBLEM_AREAS = Table(
    "impact_problem_area",
    {"tenant": "text", "product": "text", "area": "text", "problem_id": "uuid"},
    key=("tenant", "product", "area", "problem_id"),
    indexes=(("problem_id",),),
)
AFFECTED = Table("impact_affected", {"problem_id": "uuid", "customer_id": "uuid"}, key=("problem_id", "customer_id"))

# Owned while it lasted, or when it began: also of a problem that was over in the same moment.
_OWNED = """i.installed_at < i.removed_at AND i.removed_at > p.began_at
    AND (i.installed_at < p.ended_at OR i.installed_at <= p.began_at)"""
_OWNERS = f"""SELECT DISTINCT i.customer_id, i.item_id
    FROM impact_problem p
    JOIN impact_problem_area pa ON pa.problem_id = p.problem_id
    JOIN impact_item_area ia ON ia.tenant = pa.tenant AND ia.product = pa.product AND ia.area = pa.area
    JOIN impact_item i ON i.item_id = ia.item_id
    WHERE p.problem_id = ? AND {_OWNED}"""  # noqa: S608 - our own words
_TOUCHED = """SELECT DISTINCT pa.problem_id FROM impact_item_area ia
    JOIN impact_problem_area pa ON pa.tenant = ia.tenant AND pa.product = ia.product AND pa.area = ia.area
    WHERE ia.item_id = ? ORDER BY pa.problem_id"""


class ImpactPolicy(Policy):
    name = "case"
    version = "1"
    reads = frozenset(
        full_name(event)
        for event in (
            customer.ItemInstalled, customer.ItemRemoved, e.ProblemOpened, e.RootCauseFound, e.ProblemResolved,
        )
    )  # fmt: skip
    tables = (ITEMS, ITEM_AREAS, PROBLEMS, PROBLEM_AREAS, AFFECTED)

    def decide(self, work: Work, event: LogEvent) -> None:
        session, stream, body = work.session, uuid_of(event.record.stream), event.body
        match body:
            case customer.ItemInstalled():
                _keep_item(session, event, body)
                self._reconsider_item(work, event)
            case customer.ItemRemoved():
                sql = "UPDATE impact_item SET removed_at = ? WHERE item_id = ?"
                session.execute(sql, (event.occurred_at, stream))
                self._reconsider_item(work, event)
            case e.ProblemOpened():
                session.execute("INSERT INTO impact_problem VALUES (?, ?, ?, ?)", (stream, "", 0, NEVER))
                _set_scope(session, event.record.tenant, stream, body.scope)
                self._reconsider(work, event, stream)
            case e.RootCauseFound():
                _set_scope(session, event.record.tenant, stream, body.scope)
                self._reconsider(work, event, stream)
            case e.ProblemResolved():
                # Who got an item after the end, as we know it now, was not affected after all.
                sql = "UPDATE impact_problem SET ended_at = ? WHERE problem_id = ?"
                session.execute(sql, (event.occurred_at, stream))
                self._reconsider(work, event, stream)

    def _reconsider_item(self, work: Work, event: LogEvent) -> None:
        """What an item's news mean for its owner, problem by problem."""
        touched = work.session.execute(_TOUCHED, (uuid_of(event.record.stream),)).fetchall()
        for (problem_id,) in touched:
            self._reconsider(work, event, as_uuid(problem_id), uuid_of(event.record.customer_id))

    def _reconsider(self, work: Work, event: LogEvent, problem_id: UUID, only: UUID | None = None) -> None:
        """The difference between who is affected and who we said is; of one customer where `only` one may have changed."""
        now, said = _owners(work.session, problem_id, only), _affected(work.session, problem_id, only)
        for customer_id in sorted(now.keys() ^ said):
            if customer_id in said:
                self._retract(work, event, problem_id, customer_id)
            else:
                self._affect(work, event, problem_id, customer_id, now[customer_id])

    def _affect(self, work: Work, event: LogEvent, problem_id: UUID, customer_id: UUID, items: list[UUID]) -> None:
        key = (problem_id, customer_id)
        row = work.session.execute(
            "SELECT product, began_at FROM impact_problem WHERE problem_id = ?", (problem_id,)
        ).fetchone()
        assert row is not None
        affected = e.CustomerAffected(
            problem_id=str(problem_id),
            item_ids=map(str, items),
            product=row[0],
            began_at=timestamp_of(row[1]),
        )
        work.session.execute("INSERT INTO impact_affected VALUES (?, ?)", key)
        stamp = self.stamp(event)
        work.decide(
            Impact, impact_id(*key), stamp, lambda impact: impact.affect(affected, customer_id=str(customer_id))
        )

    def _retract(self, work: Work, event: LogEvent, problem_id: UUID, customer_id: UUID) -> None:
        key = (problem_id, customer_id)
        work.session.execute("DELETE FROM impact_affected WHERE problem_id = ? AND customer_id = ?", key)
        stamp = self.stamp(event)
        work.decide(Impact, impact_id(*key), stamp, lambda impact: impact.retract(problem_id=str(problem_id)))


def _keep_item(session: Session, event: LogEvent, body: customer.ItemInstalled) -> None:
    item_id, owner = uuid_of(event.record.stream), uuid_of(body.customer_id)
    row = (item_id, owner, event.occurred_at, NEVER)
    session.execute("INSERT INTO impact_item VALUES (?, ?, ?, ?)", row)
    session.executemany(
        "INSERT INTO impact_item_area VALUES (?, ?, ?, ?, ?)",
        [(event.record.tenant, body.product, area, owner, item_id) for area in areas_of(body.region)],
    )


def _set_scope(session: Session, tenant: str, problem_id: UUID, scope: e.Scope) -> None:
    change = (scope.product, micros_of(scope.began_at), problem_id)
    session.execute("UPDATE impact_problem SET product = ?, began_at = ? WHERE problem_id = ?", change)
    session.execute("DELETE FROM impact_problem_area WHERE problem_id = ?", (problem_id,))
    session.executemany(
        "INSERT INTO impact_problem_area VALUES (?, ?, ?, ?)",
        [(tenant, scope.product, area, problem_id) for area in scope.regions],
    )


def _owners(session: Session, problem_id: UUID, only: UUID | None) -> dict[UUID, list[UUID]]:
    """Who owned what the problem touches, while it lasted: each one's items, in order."""
    restricted, wanted = _of("ia.customer_id", problem_id, only)
    owners: dict[UUID, list[UUID]] = {}
    for customer_id, item_id in session.execute(f"{_OWNERS}{restricted} ORDER BY i.customer_id, i.item_id", wanted):
        owners.setdefault(as_uuid(customer_id), []).append(as_uuid(item_id))
    return owners


def _affected(session: Session, problem_id: UUID, only: UUID | None) -> set[UUID]:
    """Whom we said to be affected."""
    restricted, wanted = _of("customer_id", problem_id, only)
    sql = f"SELECT customer_id FROM impact_affected WHERE problem_id = ?{restricted}"  # noqa: S608 - our own names
    return {as_uuid(customer_id) for (customer_id,) in session.execute(sql, wanted)}


def _of(column: str, problem_id: UUID, only: UUID | None) -> tuple[str, tuple[UUID, ...]]:
    """A further condition where it is about one customer alone, and the parameters."""
    return ("", (problem_id,)) if only is None else (f" AND {column} = ?", (problem_id, only))
