"""After the sixty days the demo's time goes on, at the pace of a real clock: what one does in the console is answered."""

import time
import uuid
from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from kept.cell.v1 import service_pb2 as cell

from services.cli.cell import Stop

LOOKS_EVERY_S = 0.5
# Time alone makes an event each time it is advanced, so without anything new it is done once a minute.
IDLE_S = 60.0


def keep_time(
    call: Callable[[str, str, Message], Any],
    stopped: Stop,
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """Advances the cell's clock until `stopped`: soon after something was told, else now and then."""
    now = call("cell", "GetCell", cell.GetCellRequest())
    began, since = now.now.ToNanoseconds(), monotonic()
    position, advanced = -1, since
    while not stopped.wait(LOOKS_EVERY_S):
        at = monotonic()
        head = call("cell", "GetCell", cell.GetCellRequest()).position
        if head == position and at - advanced < IDLE_S:
            continue
        to = Timestamp()
        to.FromNanoseconds(began + int((at - since) * 1e9))
        call("cell", "AdvanceTime", cell.AdvanceTimeRequest(request_id=str(uuid.uuid4()), to=to))
        position, advanced = call("cell", "GetCell", cell.GetCellRequest()).position, at
