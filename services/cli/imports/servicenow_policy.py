"""The promises that an imported history is measured by.

The figures are typical of IT service desks (ITIL), and are not tuned to any file: the log states no deadlines. Critical
and high count around the clock, moderate and low in office hours.
"""

from kept.case.v1 import events_pb2 as case_events
from kept.sla.v1 import events_pb2 as sla_events

POLICY = "servicenow-import"
OFFICE, ALWAYS = "office", "always"
HOUR = 3600
_WHOLE_DAY = (0, 24 * HOUR)
_OFFICE_HOURS = (8 * HOUR, 18 * HOUR)

# priority, calendar, seconds to own, seconds to resolve
TARGETS = (
    (case_events.PRIORITY_CRITICAL, ALWAYS, HOUR // 2, 4 * HOUR),
    (case_events.PRIORITY_HIGH, ALWAYS, 1 * HOUR, 8 * HOUR),
    (case_events.PRIORITY_MODERATE, OFFICE, 4 * HOUR, 40 * HOUR),
    (case_events.PRIORITY_LOW, OFFICE, 8 * HOUR, 80 * HOUR),
)
WARN_PERCENT = 75
# Time to own never stands: nobody can be waited for before somebody took the case in hand.
PAUSES = (case_events.WAITING_FOR_CUSTOMER, case_events.WAITING_FOR_PARTNER, case_events.WAITING_FOR_PROBLEM)


def calendars(zone: str) -> dict[str, sla_events.CalendarDefinition]:
    """By name: Monday to Friday 08:00 to 18:00 in `zone`, and around the clock; no holidays: the file names none."""
    return {OFFICE: _calendar(zone, days=5, hours=_OFFICE_HOURS), ALWAYS: _calendar(zone, days=7, hours=_WHOLE_DAY)}


def policy() -> sla_events.PolicyDefinition:
    """One target to own and one to resolve for each priority."""
    rules = []
    for priority, calendar, own_s, resolve_s in TARGETS:
        own = _rule(sla_events.TARGET_KIND_TIME_TO_OWN, priority, calendar, own_s)
        resolve = _rule(sla_events.TARGET_KIND_TIME_TO_RESOLVE, priority, calendar, resolve_s)
        resolve.pause_on.extend(PAUSES)
        rules += [own, resolve]
    return sla_events.PolicyDefinition(rules=rules)


def _calendar(zone: str, *, days: int, hours: tuple[int, int]) -> sla_events.CalendarDefinition:
    span = sla_events.Span(from_s=hours[0], until_s=hours[1])
    weekdays = [sla_events.Weekday(weekday=day, spans=[span]) for day in range(1, days + 1)]
    return sla_events.CalendarDefinition(time_zone=zone, weekdays=weekdays)


def _rule(
    target: sla_events.TargetKind.ValueType, priority: case_events.Priority.ValueType, calendar: str, budget_s: int
) -> sla_events.TargetRule:
    return sla_events.TargetRule(
        target=target,
        kind=case_events.CASE_KIND_INCIDENT,
        priority=priority,
        budget_s=budget_s,
        calendar=calendar,
        warn_percents=[WARN_PERCENT],
        on_reopen=sla_events.ON_REOPEN_RESUME,
        boundary=sla_events.BOUNDARY_CLOSING_TIME,
    )
