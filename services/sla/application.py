"""Commands on calendars and policies."""

from kept.case.v1 import events_pb2 as case
from kept.common.v1.record_pb2 import Receipt
from kept.customer.v1.events_pb2 import ProductStage
from kept.sla.v1 import events_pb2 as e

from services.kernel.application import Application, Command
from services.kernel.errors import Invalid, Refused
from services.kernel.house import House
from services.kernel.validation import check_enum, check_text
from services.sla.calendar import Calendar
from services.sla.domain import PublishedCalendar, PublishedPolicy, calendar_id, policy_id

MOST_RULES = 1000
MOST_BUDGET_S = 10 * 366 * 86_400


class SlaApplication(Application):
    """Raises, beside what each command says: invalid-argument, request-id-reused, version-conflict."""

    def __init__(self, house: House) -> None:
        super().__init__(house.recorder, house.keys, house.clock, house.aggregates)

    def publish_calendar(self, command: Command, name: str, definition: e.CalendarDefinition) -> Receipt:
        """Records CalendarPublished, unless the newest version already says the same."""
        check_text("name", name, most=100)
        Calendar(definition)
        return self.publish(
            command,
            PublishedCalendar,
            calendar_id(command.stamp.tenant, name),
            lambda calendar: calendar.publish(name=name, definition=definition),
        )

    def publish_policy(self, command: Command, name: str, definition: e.PolicyDefinition) -> Receipt:
        """Records PolicyPublished, unless the newest version already says the same. Raises calendar-not-found."""
        check_text("name", name, most=100)
        if not 0 < len(definition.rules) <= MOST_RULES:
            raise Invalid("definition.rules", f"must be 1 to {MOST_RULES}")
        for at, rule in enumerate(definition.rules):
            self._check_rule(f"definition.rules[{at}]", rule, command.stamp.tenant)
        return self.publish(
            command,
            PublishedPolicy,
            policy_id(command.stamp.tenant, name),
            lambda policy: policy.publish(name=name, definition=definition),
        )

    def _check_rule(self, field: str, rule: e.TargetRule, tenant: str) -> None:
        check_enum(f"{field}.target", rule.target, e.TargetKind)
        check_enum(f"{field}.kind", rule.kind, case.CaseKind, optional=True)
        check_enum(f"{field}.priority", rule.priority, case.Priority, optional=True)
        check_enum(f"{field}.product_stage", rule.product_stage, ProductStage, optional=True)
        check_enum(f"{field}.on_reopen", rule.on_reopen, e.OnReopen)
        check_enum(f"{field}.boundary", rule.boundary, e.Boundary)
        check_text(f"{field}.entitlement", rule.entitlement, optional=True)
        if not 0 < rule.budget_s <= MOST_BUDGET_S:
            raise Invalid(f"{field}.budget_s", "must be 1 second to 10 years")
        if list(rule.warn_percents) != sorted(set(rule.warn_percents)):
            raise Invalid(f"{field}.warn_percents", "must be ascending, each once")
        if any(not 1 <= percent <= 99 for percent in rule.warn_percents):
            raise Invalid(f"{field}.warn_percents", "must be 1 to 99")
        for at, waiting_for in enumerate(rule.pause_on):
            check_enum(f"{field}.pause_on[{at}]", waiting_for, case.WaitingFor)
        check_text(f"{field}.calendar", rule.calendar, most=100)
        if not self._log_recorder.log.version(calendar_id(tenant, rule.calendar)):
            message = f"{field}.calendar: publish the calendar {rule.calendar!r} first"
            raise Refused("calendar-not-found", message, calendar=rule.calendar)
