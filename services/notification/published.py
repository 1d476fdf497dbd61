"""Rule sets as they were published, by version, from their own streams."""

from kept.common.v1.record_pb2 import Record
from kept.notification.v1 import events_pb2 as e

from services.kernel.log.event_log import EventLog
from services.notification.domain import rule_set_id
from services.notification.reading import read_rules
from services.notification.rules import Rules


class RuleSets:
    """Each version of a rule set is one event of its stream."""

    def __init__(self, log: EventLog) -> None:
        self._log = log

    def find(self, tenant: str, name: str, version: int = 0) -> e.RuleSetPublished | None:
        """The newest version where it is 0; None where there is none."""
        stream = rule_set_id(tenant, name)
        wanted = version or self._log.version(stream)
        found = self._log.stream(stream, after=wanted - 1, upto=wanted) if wanted > 0 else []
        return e.RuleSetPublished.FromString(Record.FromString(found[0][2]).data) if found else None

    def rules(self, tenant: str, planned: e.NoticePlanned) -> Rules:
        """Those that a notice is pinned to."""
        published = self.find(tenant, planned.rule_set, planned.rule_set_version)
        assert published is not None, "a notice is pinned only to what was published"
        return read_rules(published.source)
