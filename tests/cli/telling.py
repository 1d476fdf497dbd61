"""What the demo's tests share: a cell that says yes to everything, and remembers what it was told, in order."""

from importlib import import_module
from threading import Lock
from typing import Any, NamedTuple
from uuid import NAMESPACE_URL, uuid5

from kept.cell.v1 import service_pb2 as cell
from kept.common.v1.record_pb2 import Receipt

from services.cli.demo.player import Player
from services.cli.demo.script import Step
from services.cli.demo.story import Size, Story, story

SMALL = Size(customers=60, days=5)


class Told(NamedTuple):
    """A change, with what the cell's clock showed then."""

    now: int
    tenant: str
    actor: str
    service: str
    method: str
    request: Any


class Agreeable:
    """`fail_at` is the number of the change that does not arrive."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.told: list[Told] = []
        self.now = 0
        self._fail_at = fail_at
        self._lock = Lock()

    def __call__(self, step: Step) -> Any:
        service, method, request = step.service, step.method, step.request
        response = getattr(import_module(f"kept.{service}.v1.service_pb2"), f"{method}Response")
        if "request_id" not in request.DESCRIPTOR.fields_by_name:
            return cell.GetCellResponse(position=len(self.told)) if method == "GetCell" else response()
        with self._lock:
            if method == "AdvanceTime":
                self.now = max(self.now, request.to.seconds)
            elif len(self.told) == self._fail_at:
                raise ConnectionError
            else:
                self.told.append(Told(self.now, step.tenant, step.actor, service, method, request))
        return response(receipt=Receipt(id=str(uuid5(NAMESPACE_URL, request.request_id)), version=1, position=1))


def told(seed: int = 1, size: Size = SMALL, listener: Agreeable | None = None) -> tuple[Story, Agreeable]:
    """The whole story, as the cell heard it."""
    listener, whole = listener or Agreeable(), story(seed, size)
    player = Player(listener, seed=seed)
    player.prepare(whole.before, whole.since)
    player.play(whole.during, whole.until)
    return whole, listener
