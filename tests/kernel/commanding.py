"""Commands on jars by two processes: a second Application in a house of its own shares the log, and nothing else."""

from typing import Any

from kept.common.v1.record_pb2 import Receipt

from services.kernel.clock import FixedClock
from services.kernel.errors import Refused, VersionConflict
from services.kernel.house import House
from services.kernel.log.recorder import LogRecorder
from tests.kernel.toys import CALLER, NOW, Jar, JarRequest, Jars


class CountingRecorder(LogRecorder):
    """Counts the conflicts."""

    conflicts = 0

    def insert_events(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().insert_events(*args, **kwargs)
        except VersionConflict:
            self.conflicts += 1
            raise


def jars_of(house: House) -> Jars:
    """As an API process has them."""
    return Jars(house.recorder, house.keys, FixedClock(NOW), house.aggregates)


def asked(request_id: str, **fields: Any) -> Any:
    return JarRequest(request_id=request_id, **fields)


def made(jars: Jars, label: str = "plums", request_id: str = "make") -> Receipt:
    return jars.make(CALLER, asked(request_id, label=label))


def label(jars: Jars, jar: Receipt, text: str, request_id: str | None = None) -> Receipt:
    return jars.label(CALLER, asked(request_id or f"label {text}", id=jar.id, label=text))


def close(jars: Jars, jar: Receipt) -> Receipt:
    return jars.close_jar(CALLER, asked("close", id=jar.id))


def replace_label(jars: Jars, jar: Receipt, *, unless: str, by: str, request_id: str = "unless") -> Receipt:
    """Refused where the label is the one that must not be replaced."""

    def decide(held: Jar) -> None:
        if held.label == unless:
            raise Refused("label-stays", jar=held.id)
        held.label_as(by)

    return jars.change(jars.command(CALLER, asked(request_id, label=by)), Jar, jar.id, decide)
