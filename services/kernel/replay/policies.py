"""A policy replayed in the sandbox: what it decides now, against what it decided then, byte for byte (I12)."""

from collections import defaultdict

from kept.common.v1.record_pb2 import Record

from services.kernel.database import Session
from services.kernel.events import DomainEvent, LogEvent
from services.kernel.log.port import Recorded
from services.kernel.policy import Aggregates, Policy, Work
from services.kernel.replay.findings import Findings

Place = tuple[str, int]


class ReplayedPolicy:
    """Reads up to where the live follower stood, without what it had parked. Decisions stay here."""

    def __init__(self, policy: Policy, upto: int, parked: set[int], findings: Findings) -> None:
        self.policy = policy
        self.upto = upto
        self._parked = parked
        self._findings = findings
        self._aggregates = Aggregates(_nothing, most=10**9)
        self._expected: dict[Place, tuple[bytes, int]] = {}
        self._actor = f"policy:{policy.name}@"
        self.older: dict[str, int] = defaultdict(int)
        self.decisions = 0

    def read(self, session: Session, event: LogEvent) -> None:
        """One event of the types that the policy reads."""
        if event.position <= self.upto and event.position not in self._parked:
            work = Work(session, self._aggregates)
            self.policy.decide(work, event)
            self._expect(work, event.position)

    def compare(self, session: Session, recorded: Recorded, record: Record) -> None:
        """One recorded event; nothing is done about others' events."""
        if not record.actor.startswith(self._actor) or record.type.startswith("kept.cell."):
            return
        self.decisions += 1
        if record.actor != self.policy.actor:
            self.older[record.actor] += 1
            self._expected.pop((record.stream, record.version), None)
            return
        place = (record.stream, record.version)
        if place not in self._expected:
            self._fire_due(session, recorded.position, record)
        expected, _ = self._expected.pop(place, (b"", 0))
        if not expected:
            detail = f"{record.type} in {record.stream}: nothing before it leads to this"
            self._findings.add("decision-unexplained", recorded.position, detail)
        elif expected != _untraced(recorded, record):
            detail = f"{record.type} in {record.stream}: decided otherwise now"
            self._findings.add("decision-differs", recorded.position, detail)

    def finish(self) -> None:
        for (stream, version), (_, cause) in sorted(self._expected.items(), key=lambda item: item[1][1]):
            detail = f"{self.policy.name} should have decided on this event: {stream} version {version}"
            self._findings.add("decision-missing", cause, detail)

    def _fire_due(self, session: Session, position: int, record: Record) -> None:
        """In a live cell no event says that time passed: the recorded decision itself says when it was due."""
        work = Work(session, self._aggregates)
        occurred_at = record.occurred_at.seconds * 1_000_000 + record.occurred_at.nanos // 1000
        self.policy.due(work, occurred_at + 1)
        self._expect(work, position)

    def _expect(self, work: Work, cause: int) -> None:
        for entry in work.decided:
            self._expected[str(entry.originator_id), entry.originator_version] = (entry.state, cause)


def _nothing(_stream: object) -> list[DomainEvent]:
    return []


def _untraced(recorded: Recorded, record: Record) -> bytes:
    """The record without its trace context, which is of the run and not of the decision."""
    if not record.traceparent:
        return recorded.record
    copy = Record()
    copy.CopyFrom(record)
    copy.ClearField("traceparent")
    return copy.SerializeToString(deterministic=True)
