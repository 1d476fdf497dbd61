"""Commands on aggregates: check out, decide, append; at most three times on a version conflict; exactly once by request id.

The log is asked for nothing that its append finds out anyway: whether the request was recorded before, and whether
somebody else changed the stream. A command on an aggregate that is in the cache costs one append and no query. Only an
answer without an append, a refusal or nothing to do, asks first whether it is true of the stream as it is now.

The library's mapper and recorder are used as they are meant, its Repository is not: what it keeps it counts instead of
weighing it, copies for each command, and asks the log about every time.
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
from services.kernel.clock import Clock, micros, micros_of, moment
from services.kernel.errors import Invalid, NotFound, RequestIdReused, VersionConflict
from services.kernel.events import ProtobufMapper, Stamp, full_name
from services.kernel.log.port import Answer, Request, RequestRepeated
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


@dataclass(frozen=True, slots=True)
class Checkout(Generic[A]):
    """An aggregate that one command has for itself. A `cached` one may be older than its stream."""

    aggregate: A
    cached: bool


@dataclass(frozen=True, slots=True)
class Decided:
    """What is to be committed together; `cached` where it was decided on what may be older than its stream."""

    aggregates: Sequence[Aggregate]
    cached: bool = False


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
        return Command(Request(key, fingerprint), request_id, stamp, told_at=now)

    def create(self, command: Command, make: Callable[[], Sequence[Aggregate]]) -> Receipt:
        """Commits new aggregates; the receipt is the last one's. `make` may be called again for a request that was recorded
        before, so whatever else it does has to be the same by id: data keys are."""
        return self._exactly_once(command, lambda: Decided(make()))

    def change(self, command: Command, kind: type[A], id: str, decide: Callable[[A], None]) -> Receipt:
        """Checks out, decides and commits. Raises <noun>-not-found, what `decide` refuses, and version-conflict."""

        def attempt() -> Decided:
            held = self.checkout(kind, id, tenant=command.stamp.tenant)
            return self._decided(command, held, decide)

        with self._cache.turn(kind, _stream(kind, id)):
            return self._exactly_once(command, attempt)

    def publish(self, command: Command, kind: type[A], id: UUID, decide: Callable[[A], None]) -> Receipt:
        """Like `change`, for an aggregate whose id follows from its name, so that the first command makes it."""

        def attempt() -> Decided:
            try:
                held = self.checkout(kind, str(id), tenant=command.stamp.tenant)
            except NotFound:
                held = Checkout(kind(id), cached=False)
            return self._decided(command, held, decide)

        with self._cache.turn(kind, id):
            return self._exactly_once(command, attempt)

    def checkout(self, kind: type[A], id: str, *, tenant: str) -> Checkout[A]:
        """The aggregate for one command alone, which may change it: out of the cache, else from the log.

        Raises <noun>-not-found, also for another tenant's; and invalid-argument for what is no id.
        """
        found = self._cache.take(kind, _stream(kind, id))
        if found is None:
            return Checkout(self.load(kind, id, tenant=tenant), cached=False)
        if found.tenant != tenant:
            self._cache.put(found)
            raise kind.not_found(id)
        if not self._cache.often_stale:
            return Checkout(found, cached=True)
        known = found.version
        self._catch_up(found)
        self._cache.found(stale=found.version > known)
        return Checkout(found, cached=False)

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

    def _catch_up(self, aggregate: Aggregate) -> None:
        stored = self.recorder.select_events(aggregate.id, gt=aggregate.version)
        aggregate.projector()(aggregate, map(self.mapper.to_domain_event, stored))  # type: ignore[arg-type]  # ours
        aggregate.record_bytes += sum(len(event.state) for event in stored)

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

    def _decided(self, command: Command, held: Checkout[A], decide: Callable[[A], None]) -> Decided:
        """Raises what `decide` refuses, and version-conflict where it was decided without an append on what is stale."""
        aggregate, version = held.aggregate, held.aggregate.version
        aggregate.stamp = command.stamp
        try:
            decide(aggregate)
        except Exception:
            if held.cached:
                self._refuse_stale(aggregate.id, version)
            raise
        if held.cached and not aggregate.pending:
            self._refuse_stale(aggregate.id, version)
        return Decided((aggregate,), held.cached)

    def _refuse_stale(self, stream: UUID, version: int) -> None:
        stale = self._log_recorder.log.version(stream) != version
        self._cache.found(stale=stale)
        if stale:
            raise VersionConflict(stream)

    def _exactly_once(self, command: Command, attempt: Callable[[], Decided]) -> Receipt:
        """Whatever an attempt ends in, a request that was recorded before gets its first answer.

        What an attempt decided on is dropped where it ends in anything but a commit, so that the next one reads anew.
        """
        for _ in range(ATTEMPTS):
            try:
                command.require_past()
                decided = attempt()
            except VersionConflict:
                continue
            except Exception:
                answered = self._answered(command)
                if answered is None:
                    raise
                return answered
            try:
                position = self._commit(command, decided.aggregates)
            except VersionConflict:
                if decided.cached:
                    self._cache.found(stale=True)
                continue
            except RequestRepeated:
                break
            if decided.cached:
                self._cache.found(stale=False)
            last = decided.aggregates[-1]
            return Receipt(id=str(last.id), version=last.version, position=position)
        answered = self._answered(command)
        if answered is None:
            raise VersionConflict(command.request_id)
        return answered

    def _commit(self, command: Command, aggregates: Sequence[Aggregate]) -> int:
        """The position of the last event; where there was nothing to do, of the last one before the request.

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
        return positions.stop - 1

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
