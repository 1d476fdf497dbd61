"""Commands on aggregates: load, decide, save; at most three times on a version conflict; exactly once by request id."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import NAMESPACE_URL, UUID, uuid5

from eventsourcing.application import AggregateNotFoundError
from eventsourcing.application import Application as LibraryApplication
from eventsourcing.persistence import ApplicationRecorder
from google.protobuf.message import Message
from kept.common.v1.record_pb2 import Receipt, Record

from services.kernel.aggregate import Aggregate
from services.kernel.clock import Clock, micros, micros_of, moment
from services.kernel.errors import Invalid, NotFound, RequestIdReused, VersionConflict
from services.kernel.events import ProtobufMapper, Stamp, full_name
from services.kernel.log.event_log import RequestRepeated
from services.kernel.log.port import Answer, Request
from services.kernel.log.recorder import LogRecorder
from services.kernel.privacy import KeyStore
from services.kernel.telemetry import current_traceparent, span
from services.kernel.validation import check_text, check_uuid

ATTEMPTS = 3
REQUESTS = uuid5(NAMESPACE_URL, "kept:request")
EARLIEST = 0  # 1970: nothing that Kept records was true before

A = TypeVar("A", bound=Aggregate)
M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Command:
    """Who wants what, when it was true, and under which request. Made by `Application.command`."""

    request: Request
    request_id: str
    stamp: Stamp
    told_at: int  # when it came, microseconds UTC

    def require_past(self) -> None:
        """Raises invalid-argument for what is yet to be true. Only of a new request: the machine's clock may have been set
        back since the same one was recorded, and that one keeps its answer (I6)."""
        if self.stamp.occurred_at > self.told_at:
            raise Invalid("occurred_at", f"lies in the future; it is {moment(self.told_at).isoformat()} here, UTC")

    def new_id(self, noun: str) -> UUID:
        """The same request makes the same ids (I6)."""
        return uuid5(self.request.key, noun)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, for which company, by which method."""

    principal: str
    tenant: str
    method: str


class Application(LibraryApplication[UUID]):
    """Base of the services' applications: one method per command, each through `create` or `change`."""

    def __init__(self, recorder: LogRecorder, keys: KeyStore, clock: Clock) -> None:
        self._log_recorder = recorder
        self.keys = keys
        self.clock = clock
        super().__init__(env={"PERSISTENCE_MODULE": "eventsourcing.popo"})

    def construct_recorder(self) -> ApplicationRecorder:
        return self._log_recorder

    def construct_mapper(self) -> ProtobufMapper:
        return ProtobufMapper()

    def command(self, caller: Caller, request: Any) -> Command:
        """Reads a request's identity and time. Raises invalid-argument for request_id and occurred_at."""
        request_id = check_text("request_id", request.request_id, most=128)
        now = micros(self.clock.now())
        occurred_at = now
        if "occurred_at" in request.DESCRIPTOR.fields_by_name and request.HasField("occurred_at"):
            occurred_at = micros_of(request.occurred_at)
            if not 0 <= request.occurred_at.nanos < 1_000_000_000 or occurred_at < EARLIEST:
                raise Invalid("occurred_at", "is not a time that a record can bear; give a UTC time since 1970")
        key = uuid5(REQUESTS, "\0".join((caller.tenant, caller.principal, caller.method, request_id)))
        fingerprint = self.keys.fingerprint(request.SerializeToString(deterministic=True))
        stamp = Stamp(
            tenant=caller.tenant,
            actor=caller.principal,
            occurred_at=occurred_at,
            correlation_id=str(key),
            request_key=str(key),
            traceparent=current_traceparent(),
        )
        return Command(Request(key, fingerprint), request_id, stamp, told_at=now)

    def create(self, command: Command, make: Callable[[], Sequence[Aggregate]]) -> Receipt:
        """Commits new aggregates; the receipt is the last one's. `make` gets to decide once the request is known new."""
        return self._exactly_once(command, make)

    def change(self, command: Command, kind: type[A], id: str, decide: Callable[[A], None]) -> Receipt:
        """Loads, decides and commits. Raises <noun>-not-found, what `decide` refuses, and version-conflict."""

        def attempt() -> Sequence[Aggregate]:
            aggregate = self.load(kind, id, tenant=command.stamp.tenant)
            aggregate.stamp = command.stamp
            decide(aggregate)
            return (aggregate,)

        return self._exactly_once(command, attempt)

    def load(self, kind: type[A], id: str, *, tenant: str) -> A:
        """Raises <noun>-not-found, also for another tenant's; and invalid-argument for what is no id."""
        stream = check_uuid(f"{kind.noun.replace(' ', '_')}_id", id)
        aggregate = None
        with suppress(AggregateNotFoundError):
            aggregate = self.repository.get(stream, projector_func=kind.projector())
        if aggregate is None or aggregate.tenant != tenant:
            raise kind.not_found(id)
        return aggregate

    def publish(self, command: Command, kind: type[A], id: UUID, decide: Callable[[A], None]) -> Receipt:
        """Like `change`, for an aggregate whose id follows from its name, so that the first command makes it."""

        def attempt() -> Sequence[Aggregate]:
            try:
                aggregate = self.load(kind, str(id), tenant=command.stamp.tenant)
            except NotFound:
                aggregate = kind(id)
            aggregate.stamp = command.stamp
            decide(aggregate)
            return (aggregate,)

        return self._exactly_once(command, attempt)

    def require_stream(self, noun: str, id: str, born_by: type[M], command: Command) -> M:
        """The first event of another service's stream (I1: all may read). Raises <noun>-not-found unless it is one of
        this tenant's."""
        (first, *_) = self._require(noun, id, born_by, command, upto=1)
        return born_by.FromString(first.data)

    def require_history(self, noun: str, id: str, born_by: type[M], command: Command) -> list[Record]:
        """As `require_stream`, for a decision that needs all that happened in it; oldest first."""
        return self._require(noun, id, born_by, command, upto=None)

    def _require(self, noun: str, id: str, born_by: type[M], command: Command, *, upto: int | None) -> list[Record]:
        events = self._log_recorder.log.stream(check_uuid(f"{noun}_id", id), upto=upto)
        records = [Record.FromString(record) for *_, record in events]
        if not records or records[0].type != full_name(born_by) or records[0].tenant != command.stamp.tenant:
            raise NotFound(f"{noun}-not-found", f"there is no {noun} {id}", **{noun: id})
        return records

    def _exactly_once(self, command: Command, attempt: Callable[[], Sequence[Aggregate]]) -> Receipt:
        for _ in range(ATTEMPTS):
            known = self._log_recorder.log.answer(command.request.key)
            if known is not None:
                return self._receipt_again(command, known)
            command.require_past()
            aggregates = attempt()
            answering = aggregates[-1]
            try:
                with span("log.append"):
                    recorded = self.save(
                        *aggregates,
                        request=command.request,
                        answer=(answering.id, answering.version),
                    )
            except (VersionConflict, RequestRepeated):
                continue  # look again: at what changed, or at the answer that the same request got
            if recorded:
                position = recorded[-1].notification.id
                return Receipt(id=str(answering.id), version=answering.version, position=position)
        known = self._log_recorder.log.answer(command.request.key)
        if known is None:
            raise VersionConflict(command.request_id)
        return self._receipt_again(command, known)

    def _receipt_again(self, command: Command, known: Answer) -> Receipt:
        if known.fingerprint != command.request.fingerprint:
            raise RequestIdReused(command.request_id)
        return Receipt(id=str(known.id), version=known.version, position=known.position)
