"""Commands on rule sets."""

from kept.common.v1.record_pb2 import Receipt
from kept.notification.v1 import events_pb2 as e

from services.kernel.application import Application, Command
from services.kernel.errors import NotFound
from services.kernel.house import House
from services.kernel.validation import check_text
from services.notification.domain import RuleSet, rule_set_id
from services.notification.published import RuleSets
from services.notification.reading import read_rules

MOST_SOURCE = 100_000


class NotificationApplication(Application):
    """Raises, beside what each command says: invalid-argument, request-id-reused, version-conflict."""

    def __init__(self, house: House) -> None:
        super().__init__(house.recorder, house.keys, house.clock, house.aggregates)
        self._rule_sets = RuleSets(house.log)

    def check_rule_set(self, name: str, source: str) -> None:
        """Raises invalid-argument: for `source` with the line and column of each mistake."""
        check_text("name", name, most=100)
        check_text("source", source, most=MOST_SOURCE)
        read_rules(source)

    def publish_rule_set(self, command: Command, name: str, source: str) -> Receipt:
        """Records RuleSetPublished, unless the newest version already says the same."""
        self.check_rule_set(name, source)
        return self.publish(
            command,
            RuleSet,
            rule_set_id(command.stamp.tenant, name),
            lambda rules: rules.publish(name=name, source=source),
        )

    def rule_set(self, tenant: str, name: str, version: int) -> e.RuleSetPublished:
        """That version, the newest where it is 0. Raises rule-set-not-found."""
        check_text("name", name, most=100)
        found = self._rule_sets.find(tenant, name, version) if version >= 0 else None
        if found is None:
            told = f"version {version} of " if version else ""
            raise NotFound(
                "rule-set-not-found", f"there is no {told}rule set {name!r}; publish it first", rule_set=name
            )
        return found
