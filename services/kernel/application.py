"""Commands on aggregates: check out, decide, append; at most three times on a version conflict; exactly once by request id.

The log is asked for nothing that its append finds out anyway: whether the request was recorded before, and whether
somebody else changed the stream. A command on an aggregate that is in the cache costs one append and no query. Only an
answer without an append, a refusal or nothing to do, asks first whether it is true of the stream as it is now.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import NAMESPACE_URL, UUID, uuid5

from eventsourcing.application import Application as LibraryApplication
from eventsourcing.persistence import ApplicationRecorder
from google.protobuf.message import Message
from kept.common.v1.record_pb2 import Receipt, Record

from services.kernel.aggregate import Aggregate
from services.kernel.aggregate_cache import AggregateCache
from services.kernel.clock import Clock, micros, micros_of
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

    def new_id(self, noun: str) -> UUID:
        """The same request makes the same ids (I6)."""
        return uuid5(self.request.key, noun)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, for which company, by which method."""

    principal: str
    tenant: str
    method: str


@dataclass(frozen=True, slots=True)
class Checkout(Generic[A]):
    """An aggregate that one command has for itself. A `cached` one may be older than its stream."""

    aggregate: A
    cached: bool


class Application(LibraryApplication[UUID]):
    """Base of the services' applications: one method per command, each through `create` or `change`."""

    def __init__(
        self, recorder: LogRecorder, keys: KeyStore, clock: Clock, cache: AggregateCache | None = None
    ) -> None:
        self._log_recorder = recorder
        self._cache = AggregateCache() if cache is None else cache
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
            if occurred_at > now:
                raise Invalid("occurred_at", f"lies in the future; it is {self.clock.now().isoformat()} here, UTC")
        key = uuid5(REQUESTS, "\0".join((caller.tenant, caller.principal, caller.method, request_id)))
        fingerprint = self.keys.fingerprint(request.SerializeToString(deterministic=True))
        named = str(key)
        stamp = Stamp(
            tenant=caller.tenant,
            actor=caller.principal,
            occurred_at=occurred_at,
            correlation_id=named,
            request_key=named,
            traceparent=current_traceparent(),
        )
        return Command(Request(key, fingerprint), request_id, stamp)

    def create(self, command: Command, make: Callable[[], Sequence[Aggregate]]) -> Receipt:
        """Commits new aggregates; the receipt is the last one's. `make` may be called again for a request that was recorded
        before, so whatever else it does has to be the same by id: data keys are."""
        return self._exactly_once(command, lambda _: make())

    def change(self, command: Command, kind: type[A], id: str, decide: Callable[[A], None]) -> Receipt:
        """Checks out, decides and commits. Raises <noun>-not-found, what `decide` refuses, and version-conflict."""

        def attempt(cached: bool) -> Sequence[Aggregate]:
            held = self.checkout(kind, id, tenant=command.stamp.tenant, cached=cached)
            return self._decided(command, held, decide)

        return self._exactly_once(command, attempt)

    def publish(self, command: Command, kind: type[A], id: UUID, decide: Callable[[A], None]) -> Receipt:
        """Like `change`, for an aggregate whose id follows from its name, so that the first command makes it."""

        def attempt(cached: bool) -> Sequence[Aggregate]:
            try:
                held = self.checkout(kind, str(id), tenant=command.stamp.tenant, cached=cached)
            except NotFound:
                held = Checkout(kind(id), cached=False)
            return self._decided(command, held, decide)

        return self._exactly_once(command, attempt)

    def checkout(self, kind: type[A], id: str, *, tenant: str, cached: bool = True) -> Checkout[A]:
        """The aggregate for one command alone, which may change it: out of the cache, else from the log.

        Raises <noun>-not-found, also for another tenant's; and invalid-argument for what is no id.
        """
        if cached:
            found = self._cache.take(kind, _stream(kind, id))
            if found is not None:
                if found.tenant == tenant:
                    return Checkout(found, cached=True)
                self._cache.put(found)
                raise kind.not_found(id)
        return Checkout(self.load(kind, id, tenant=tenant), cached=False)

    def load(self, kind: type[A], id: str, *, tenant: str) -> A:
        """The aggregate as the log has it at this moment, never from the cache, for a decision of another one.

        What it says was true while the command was decided (it is read again at each attempt), but nothing keeps others
        from changing it before the append, which guards only the streams that it adds to. A decision that has to hold
        at the append itself belongs into the aggregate that records it, or into a policy (I12).
        Raises <noun>-not-found, also for another tenant's; and invalid-argument for what is no id.
        """
        stored = self.recorder.select_events(_stream(kind, id))
        found = kind.projector()(None, map(self.mapper.to_domain_event, stored))  # type: ignore[arg-type]  # ours
        if found is None or found.tenant != tenant:
            raise kind.not_found(id)
        found.record_bytes = sum(len(event.state) for event in stored)
        return found

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

    def _decided(self, command: Command, held: Checkout[A], decide: Callable[[A], None]) -> Sequence[A]:
        """Raises what `decide` refuses, and version-conflict where it was decided without an append on what is stale."""
        aggregate, version = held.aggregate, held.aggregate.version
        aggregate.stamp = command.stamp
        try:
            decide(aggregate)
        except Exception as error:
            if held.cached and self._version(aggregate) != version:
                raise VersionConflict(aggregate.id) from error
            raise
        if held.cached and not aggregate.pending and self._version(aggregate) != version:
            raise VersionConflict(aggregate.id)
        return (aggregate,)

    def _version(self, aggregate: Aggregate) -> int:
        return self._log_recorder.log.version(aggregate.id)

    def _exactly_once(self, command: Command, attempt: Callable[[bool], Sequence[Aggregate]]) -> Receipt:
        """Whatever an attempt ends in, a request that was recorded before gets its first answer."""
        for cached in (True, *[False] * (ATTEMPTS - 1)):
            try:
                aggregates = attempt(cached)
            except Exception as error:
                answered = self._answered(command)
                if answered is not None:
                    return answered
                if isinstance(error, VersionConflict):
                    continue
                raise
            try:
                position = self._commit(command, aggregates)
            except (VersionConflict, RequestRepeated):
                answered = self._answered(command)
                if answered is not None:
                    return answered
                continue
            if position is not None:
                return Receipt(id=str(aggregates[-1].id), version=aggregates[-1].version, position=position)
            answered = self._answered(command)
            assert answered is not None, "what was just recorded is there"
            return answered
        raise VersionConflict(command.request_id)

    def _commit(self, command: Command, aggregates: Sequence[Aggregate]) -> int | None:
        """The position of the last event; None where only the request was recorded, since there was nothing to do.

        Past the library's `save`, which takes twice as long as the mapper. The aggregates are kept only from here on:
        when the append raises, nobody knows whether they are what is in the log.
        """
        entries = []
        for aggregate in aggregates:
            for event in aggregate.collect_events():
                entry = self.mapper.to_stored_event(event)
                aggregate.record_bytes += len(entry.state)
                entries.append(entry)
        answering = aggregates[-1]
        with span("log.append"):
            positions = self._log_recorder.insert_events(
                entries, request=command.request, answer=(answering.id, answering.version)
            )
        for aggregate in aggregates:
            self._cache.put(aggregate)
        return positions[-1] if positions else None

    def _answered(self, command: Command) -> Receipt | None:
        """What the same request got before. Raises request-id-reused."""
        known = self._log_recorder.log.answer(command.request.key)
        return None if known is None else self._receipt_again(command, known)

    def _receipt_again(self, command: Command, known: Answer) -> Receipt:
        if known.fingerprint != command.request.fingerprint:
            raise RequestIdReused(command.request_id)
        return Receipt(id=str(known.id), version=known.version, position=known.position)


def _stream(kind: type[Aggregate], id: str) -> UUID:
    return check_uuid(f"{kind.noun.replace(' ', '_')}_id", id)
