"""Published calendars and policies, version by version, as the policy's follower keeps them beside the log."""

from functools import lru_cache

from kept.sla.v1 import events_pb2 as e

from services.kernel.database import Session
from services.kernel.tables import Table
from services.sla.calendar import Calendar

CALENDARS = Table(
    "sla_calendar",
    {"tenant": "text", "name": "text", "version": "int", "definition": "bytes"},
    key=("tenant", "name", "version"),
)
# `number` counts the tenant's policies in the order of their publication, whatever their names.
POLICIES = Table(
    "sla_policy",
    {"tenant": "text", "number": "int", "name": "text", "version": "int", "definition": "bytes"},
    key=("tenant", "number"),
)
# What a rule is matched against: kind, priority, entitlement, product stage.
Matched = tuple[int, int, str, int]


def keep_calendar(session: Session, tenant: str, published: e.CalendarPublished) -> None:
    packed = published.definition.SerializeToString(deterministic=True)
    session.execute("INSERT INTO sla_calendar VALUES (?, ?, ?, ?)", (tenant, published.name, published.version, packed))


def keep_policy(session: Session, tenant: str, published: e.PolicyPublished) -> None:
    row = session.execute("SELECT coalesce(max(number), 0) FROM sla_policy WHERE tenant = ?", (tenant,)).fetchone()
    assert row is not None
    packed = published.definition.SerializeToString(deterministic=True)
    values = (tenant, row[0] + 1, published.name, published.version, packed)
    session.execute("INSERT INTO sla_policy VALUES (?, ?, ?, ?, ?)", values)


def latest_policy(session: Session, tenant: str) -> tuple[str, int, e.PolicyDefinition] | None:
    """Name, version and definition of what was published last; None where nothing was."""
    row = session.execute(
        "SELECT name, version, definition FROM sla_policy WHERE tenant = ? ORDER BY number DESC LIMIT 1", (tenant,)
    ).fetchone()
    return None if row is None else (row[0], row[1], _definition(bytes(row[2])))


def policy_version(session: Session, tenant: str, name: str, version: int) -> e.PolicyDefinition:
    row = session.execute(
        "SELECT definition FROM sla_policy WHERE tenant = ? AND name = ? AND version = ?", (tenant, name, version)
    ).fetchone()
    assert row is not None, "a clock is pinned only to what was published"
    return _definition(bytes(row[0]))


def latest_calendar(session: Session, tenant: str, name: str) -> int:
    """The calendar's newest version."""
    row = session.execute(
        "SELECT max(version) FROM sla_calendar WHERE tenant = ? AND name = ?", (tenant, name)
    ).fetchone()
    assert row is not None, "a policy is published only with calendars that are"
    return int(row[0])


def calendar_version(session: Session, tenant: str, name: str, version: int) -> Calendar:
    return _calendar(_packed_calendar(session, tenant, name, version))


def calendar_definition(session: Session, tenant: str, name: str, version: int) -> e.CalendarDefinition:
    return e.CalendarDefinition.FromString(_packed_calendar(session, tenant, name, version))


def _packed_calendar(session: Session, tenant: str, name: str, version: int) -> bytes:
    row = session.execute(
        "SELECT definition FROM sla_calendar WHERE tenant = ? AND name = ? AND version = ?", (tenant, name, version)
    ).fetchone()
    assert row is not None, "a clock is pinned only to what was published"
    return bytes(row[0])


def first_match(definition: e.PolicyDefinition, target: int, matched: Matched) -> e.TargetRule | None:
    """The first rule for this target that matches; unset fields of a rule match everything."""
    for rule in definition.rules:
        wanted = (rule.kind, rule.priority, rule.entitlement, rule.product_stage)
        if rule.target == target and all(not want or want == have for want, have in zip(wanted, matched, strict=True)):
            return rule
    return None


@lru_cache(maxsize=256)
def _definition(packed: bytes) -> e.PolicyDefinition:
    return e.PolicyDefinition.FromString(packed)


@lru_cache(maxsize=256)
def _calendar(packed: bytes) -> Calendar:
    return Calendar(e.CalendarDefinition.FromString(packed))
