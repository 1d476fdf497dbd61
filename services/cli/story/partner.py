"""The partner company's own program, a process of its own: takes the next offer, comes when it said, and reports.

Told on the command line where the services answer and which partner it is; tells each step as a line of JSON.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from kept.cell.v1.service_pb2 import GetCellRequest
from kept.partner_network.v1 import service_pb2 as network

from services.cli.client import Client, Connection

TECHNICIAN = "王建国"
LOOKS_EVERY_S = 0.05
WITHIN_S = 60.0
COMES_AFTER_S, TAKES_S = 600, 4200
PARTNERS = "partner_network"


def main() -> None:
    targets, tenant, partner_id = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]
    with Client(Connection(targets, tenant=tenant, principal=f"partner:{partner_id}")) as client:
        for step in serve(client.call, partner_id):
            print(json.dumps(step), flush=True)


def serve(call: Callable[[str, str, Any], Any], partner_id: str) -> Iterator[dict[str, Any]]:
    """One work order, from the offer to the end."""
    offered = network.ListWorkOrdersRequest(partner_id=partner_id, states=[network.WORK_ORDER_STATE_OFFERED])
    order = _eventually(lambda: next(iter(call(PARTNERS, "ListWorkOrders", offered).work_orders), None))
    number = order.work_order_id
    window = order.window
    getattr(window, "from").FromSeconds(getattr(window, "from").seconds + 3600)
    window.until.FromSeconds(getattr(window, "from").seconds + 3600)
    accept = network.AcceptWorkOrderRequest(
        request_id=f"{number}:accept",
        work_order_id=number,
        partner_id=partner_id,
        technician=TECHNICIAN,
        arrival=window,
    )
    call(PARTNERS, "AcceptWorkOrder", accept)
    arrives = getattr(window, "from").seconds + COMES_AFTER_S
    yield {"step": "accepted", "work_order_id": number, "next_at": arrives}

    _wait_for(call, arrives)
    call(PARTNERS, "ReportArrival", network.ReportArrivalRequest(request_id=f"{number}:arrive", work_order_id=number))
    yield {"step": "arrived", "work_order_id": number, "next_at": arrives + TAKES_S}

    _wait_for(call, arrives + TAKES_S)
    done = network.CompleteWorkOrderRequest(
        request_id=f"{number}:complete", work_order_id=number, outcome="更换混水阀，出水 55 度"
    )
    call(PARTNERS, "CompleteWorkOrder", done)
    yield {"step": "completed", "work_order_id": number, "next_at": 0}


def _wait_for(call: Callable[[str, str, Any], Any], seconds: int) -> None:
    """Until it is that time in the cell."""
    _eventually(lambda: call("cell", "GetCell", GetCellRequest()).now.seconds >= seconds)


def _eventually(look: Callable[[], Any]) -> Any:
    until = time.monotonic() + WITHIN_S
    while not (found := look()):
        if time.monotonic() > until:
            sys.exit("partner: nothing came within a minute")
        time.sleep(LOOKS_EVERY_S)
    return found


if __name__ == "__main__":
    main()
