"""What clients were told, held against the log: an acknowledged command is there once, and its answer never changes."""

from collections.abc import Sequence
from uuid import UUID, uuid5

from google.protobuf.message import Message
from kept.common.v1.record_pb2 import Receipt

from services.kernel.application import REQUESTS
from services.kernel.errors import KeptError, Unavailable, VersionConflict
from services.kernel.events import LogEvent
from services.kernel.house import House
from tests.simulation.prelude import TENANT

# Nothing was decided; the same may be sent again.
AGAIN = (Unavailable, VersionConflict)


class AnswerError(AssertionError):
    """A client was told what is not so."""


class Answers:
    def __init__(self, house: House) -> None:
        self.log = house.log
        self.receipts: dict[UUID, Receipt] = {}

    def is_recorded(self, request: Message, principal: str) -> bool:
        return self.log.answer(request_key(request, principal)) is not None

    def given(self, request: Message, principal: str, answer: Receipt | KeptError, *, recorded: bool) -> None:
        """By an API process; `recorded` says whether the request was in the log when it began."""
        key = request_key(request, principal)
        if isinstance(answer, Receipt):
            before = self.receipts.setdefault(key, answer)
            if before != answer:
                raise AnswerError(f"{request_name(request)} was answered {shown(before)}, now {shown(answer)}")
            self._is_there(key, request, answer)
        elif recorded and not isinstance(answer, AGAIN):
            raise AnswerError(f"{request_name(request)} is recorded, and now refused: {answer.slug}: {answer}")

    def _is_there(self, key: UUID, request: Message, receipt: Receipt) -> None:
        name = request_name(request)
        known = self.log.answer(key)
        if known is None or (str(known.id), known.version, known.position) != (
            receipt.id,
            receipt.version,
            receipt.position,
        ):
            raise AnswerError(f"{name} was acknowledged with {shown(receipt)}, which the log does not know")
        if not self.log.at([receipt.position]):
            raise AnswerError(f"{name} was acknowledged at position {receipt.position}, where nothing is")

    def check_effects(self, history: Sequence[LogEvent]) -> None:
        """Each request's events are together, and end where it was acknowledged."""
        positions: dict[str, list[int]] = {}
        for event in history:
            if event.record.request_key:
                positions.setdefault(event.record.request_key, []).append(event.position)
        for key, found in positions.items():
            known = self.log.answer(UUID(key))
            if known is None or found != list(range(known.position - len(found) + 1, known.position + 1)):
                raise AnswerError(f"request {key} has events at {found}, and was recorded as {known}")


def request_key(request: Message, principal: str) -> UUID:
    service = request.DESCRIPTOR.file.package.split(".")[1]
    method = f"/kept.{service}.v1/{request.DESCRIPTOR.name.removesuffix('Request')}"
    return uuid5(REQUESTS, "\0".join((TENANT, principal, method, getattr(request, "request_id"))))  # noqa: B009


def request_name(request: Message) -> str:
    return f"{request.DESCRIPTOR.name.removesuffix('Request')} {getattr(request, 'request_id', '')}"


def shown(answer: Receipt | KeptError) -> str:
    if isinstance(answer, KeptError):
        return answer.slug
    return f"{answer.id[:8]} version {answer.version} position {answer.position}"
