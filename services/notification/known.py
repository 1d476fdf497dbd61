"""What the notification policy has learnt from the log, in tables of its own; and the events that taught it.

Rows about a customer are made of that customer's events, of the party's, and of events that concern no customer: so one
notice can be decided again from these alone. Nothing sealed is kept.
"""

from typing import Any
from uuid import UUID

from kept.case.v1 import events_pb2 as case
from kept.customer.v1 import events_pb2 as customer
from kept.notification.v1 import events_pb2 as e
from kept.partner_network.v1 import events_pb2 as partner
from kept.sla.v1 import events_pb2 as sla

from services.kernel.clock import micros_of
from services.kernel.database import Session, as_uuid, marks, uuid_of
from services.kernel.events import LogEvent
from services.kernel.tables import Table

Row = dict[str, Any]

# `number` counts the tenant's rule sets in the order of their publication, whatever their names.
RULE_SETS = Table(
    "notice_rule_set",
    {"tenant": "text", "number": "int", "name": "text", "version": "int", "source": "text"},
    key=("tenant", "number"),
)
# The tenant's newest sla policy: whether a case will get a clock follows from it.
SLA_POLICIES = Table("notice_sla_policy", {"tenant": "text", "definition": "bytes"}, key=("tenant",))
PARTIES = Table(
    "notice_party",
    {"party_id": "uuid", "language": "text", "time_zone": "text", "channels": "text", "event_id": "text"},
    key=("party_id",),
)
CUSTOMERS = Table(
    "notice_customer",
    {"customer_id": "uuid", "party_id": "uuid", "stage": "int", "event_id": "text"},
    key=("customer_id",),
)
CONSENTS = Table(
    "notice_consent",
    {"customer_id": "uuid", "purpose": "int", "given": "int", "event_id": "text"},
    key=("customer_id", "purpose"),
)
ITEMS = Table("notice_item", {"item_id": "uuid", "product": "text", "event_id": "text"}, key=("item_id",))
# `episode` counts how often it was opened; `warned` is the last one whose deadline was told to be at risk. `outcome` of
# its promise was learnt at position `judged`.
CASES = Table(
    "notice_case",
    {
        "case_id": "uuid", "customer_id": "uuid", "number": "text", "item_id": "text", "opened_at": "int",
        "opened_by": "text", "over": "int", "episode": "int", "warned": "int", "team": "text", "team_by": "text",
        "promised": "int", "due_at": "int", "due_by": "text", "outcome": "int", "judged": "int", "judged_by": "text",
    },
    key=("case_id",),
    indexes=(("customer_id", "opened_at", "case_id"), ("customer_id", "judged")),
)  # fmt: skip
# Clocks to resolve alone: other targets are not promised to customers.
CLOCKS = Table("notice_clock", {"clock_id": "uuid", "case_id": "uuid"}, key=("clock_id",))
WORK_ORDERS = Table(
    "notice_work_order",
    {"work_order_id": "uuid", "case_id": "text", "product": "text", "event_id": "text"},
    key=("work_order_id",),
)
PROBLEMS = Table(
    "notice_problem",
    {"problem_id": "uuid", "title": "text", "expected_until": "int", "over": "int", "event_id": "text"},
    key=("problem_id",),
)
# `found` is the notice that told the customer so; empty where none was planned.
AFFECTED = Table(
    "notice_affected",
    {
        "problem_id": "uuid", "customer_id": "uuid", "episode": "int", "affected": "int", "product": "text",
        "item_id": "text", "items": "int", "began_at": "int", "found": "text", "event_id": "text",
    },
    key=("problem_id", "customer_id"),
)  # fmt: skip
# Notices that wait for the end of quiet hours, and were not yet seen to be sent.
WAITING = Table(
    "notice_waiting",
    {
        "notice_id": "uuid", "customer_id": "uuid", "occasion": "int", "case_id": "text", "problem_id": "text",
        "work_order_id": "text", "not_before": "int",
    },
    key=("notice_id",),
    indexes=(("customer_id", "not_before"),),
)  # fmt: skip
TABLES = (
    RULE_SETS, SLA_POLICIES, PARTIES, CUSTOMERS, CONSENTS, ITEMS, CASES, CLOCKS, WORK_ORDERS, PROBLEMS, AFFECTED, WAITING,
)  # fmt: skip


def get(session: Session, table: Table, *key: object) -> Row | None:
    found = select(session, table, " AND ".join(f"{name} = ?" for name in table.key), *key)
    return found[0] if found else None


def need(session: Session, table: Table, *key: object) -> Row:
    """The row of something that was recorded before what names it."""
    found = get(session, table, *key)
    assert found is not None, f"no {table.name} yet"
    return found


def select(session: Session, table: Table, where: str, *values: object) -> list[Row]:
    """`where` may go on with ORDER BY and LIMIT."""
    rows = session.execute(f"SELECT {', '.join(table.columns)} FROM {table.name} WHERE {where}", values)  # noqa: S608
    return [
        {
            name: as_uuid(value) if table.columns[name] == "uuid" else value
            for name, value in zip(table.columns, row, strict=True)
        }
        for row in rows.fetchall()
    ]


def put(session: Session, table: Table, row: Row) -> None:
    """Makes the row, or replaces the one with its key."""
    names = list(table.columns)
    rest = ", ".join(f"{name} = excluded.{name}" for name in names if name not in table.key)
    session.execute(
        f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({marks(len(names))})"  # noqa: S608 - our own names
        f" ON CONFLICT ({', '.join(table.key)}) DO UPDATE SET {rest}",
        tuple(row[name] for name in names),
    )


def drop(session: Session, table: Table, *key: object) -> None:
    where = " AND ".join(f"{name} = ?" for name in table.key)
    session.execute(f"DELETE FROM {table.name} WHERE {where}", key)  # noqa: S608 - our own names


# Learning


def learn(session: Session, event: LogEvent) -> None:
    """Keeps what an event says about parties, customers, items, rules, and the progress of cases and problems."""
    record, body = event.record, event.body
    stream = uuid_of(record.stream)
    match body:
        case e.RuleSetPublished():
            row = session.execute(
                "SELECT coalesce(max(number), 0) FROM notice_rule_set WHERE tenant = ?", (record.tenant,)
            ).fetchone()
            assert row is not None
            published = {"name": body.name, "version": body.version, "source": body.source}
            put(session, RULE_SETS, {"tenant": record.tenant, "number": row[0] + 1, **published})
        case sla.PolicyPublished():
            packed = body.definition.SerializeToString(deterministic=True)
            put(session, SLA_POLICIES, {"tenant": record.tenant, "definition": packed})
        case customer.PartyRegistered() | customer.PreferencesChanged():
            wanted = body.preferences
            channels = ",".join(map(str, wanted.channels))
            told = {"language": wanted.language, "time_zone": wanted.time_zone, "channels": channels}
            put(session, PARTIES, {"party_id": stream, **told, "event_id": record.id})
        case customer.CustomerRegistered():
            party_id = uuid_of(body.party_id)
            row_ = {"customer_id": stream, "party_id": party_id, "stage": body.stage, "event_id": record.id}
            put(session, CUSTOMERS, row_)
        case customer.CustomerStageEntered():
            known = need(session, CUSTOMERS, stream)
            put(session, CUSTOMERS, {**known, "stage": body.stage, "event_id": record.id})
        case customer.ConsentGiven() | customer.ConsentWithdrawn():
            given = int(isinstance(body, customer.ConsentGiven))
            consent = {"purpose": body.purpose, "given": given, "event_id": record.id}
            put(session, CONSENTS, {"customer_id": stream, **consent})
        case customer.ItemInstalled():
            put(session, ITEMS, {"item_id": stream, "product": body.product, "event_id": record.id})
        case case.ProblemOpened() | case.RootCauseFound():
            _learn_problem(session, stream, event)
        case case.ProblemResolved() | case.ProblemClosed():
            put(session, PROBLEMS, {**need(session, PROBLEMS, stream), "over": 1})
        case case.CaseAssigned():
            put(session, CASES, {**need(session, CASES, stream), "team": body.team, "team_by": record.id})
        case partner.WorkOrderOffered():
            offered = {"case_id": body.case_id, "product": body.product, "event_id": record.id}
            put(session, WORK_ORDERS, {"work_order_id": stream, **offered})


def _learn_problem(session: Session, stream: UUID, event: LogEvent) -> None:
    body = event.body
    assert isinstance(body, case.ProblemOpened | case.RootCauseFound)
    expected = micros_of(body.expected_until) if body.HasField("expected_until") else None
    if isinstance(body, case.ProblemOpened):
        title, over = body.title, 0
    else:
        known = need(session, PROBLEMS, stream)
        title, over = known["title"], known["over"]
        expected = known["expected_until"] if expected is None else expected
    row = {"problem_id": stream, "title": title, "expected_until": expected, "over": over, "event_id": event.record.id}
    put(session, PROBLEMS, row)


# Asking


def promises(session: Session, tenant: str, opened: case.CaseOpened) -> bool:
    """Whether the sla policy in force sets such a case a clock to resolve: an unset field of a rule matches every case."""
    row = get(session, SLA_POLICIES, tenant)
    if row is None:
        return False
    have = (opened.classification.kind, opened.priority, opened.entitlement, opened.product_stage)
    return any(
        rule.target == sla.TARGET_KIND_TIME_TO_RESOLVE
        and all(not want or want == one for want, one in zip(_wanted(rule), have, strict=True))
        for rule in sla.PolicyDefinition.FromString(bytes(row["definition"])).rules
    )


def _wanted(rule: sla.TargetRule) -> tuple[int, int, str, int]:
    return rule.kind, rule.priority, rule.entitlement, rule.product_stage


def newest_rules(session: Session, tenant: str) -> Row | None:
    """The rule set that was published last; None where none was."""
    found = select(session, RULE_SETS, "tenant = ? ORDER BY number DESC LIMIT 1", tenant)
    return found[0] if found else None


def cases_since(session: Session, customer_id: UUID, since: int, until: int) -> list[Row]:
    """Opened within [since, until], oldest first."""
    where = "customer_id = ? AND opened_at >= ? AND opened_at <= ? ORDER BY opened_at, case_id"
    return select(session, CASES, where, customer_id, since, until)


def last_judged(session: Session, customer_id: UUID, but: UUID) -> Row | None:
    """The customer's other case whose promise was judged last."""
    where = "customer_id = ? AND case_id <> ? AND judged > 0 ORDER BY judged DESC LIMIT 1"
    found = select(session, CASES, where, customer_id, but)
    return found[0] if found else None


def waiting_of(session: Session, customer_id: UUID, at: int) -> list[Row]:
    """The customer's notices that are still to wait at that moment."""
    where = "customer_id = ? AND not_before > ? ORDER BY not_before, notice_id"
    return select(session, WAITING, where, customer_id, at)
