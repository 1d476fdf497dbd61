"""`python -m tests.faults.small_disk FOLDER`, in a mount namespace of its own: a cell on a disk of a few megabytes that gets
full while people work, and is made larger later. Prints figures as JSON; whatever does not hold ends it with an error.
"""

import json
import subprocess
import sys
from pathlib import Path

import grpc
from kept.customer.v1.service_pb2_grpc import CustomerServiceStub

from services.cli.client import _told
from tests.faults.live import People, assert_each_is_there_once, live_cell, wait_until_all_is_read
from tests.scene import edited, register_customer

SMALL, LARGE = "6m", "512m"
AT_ONCE, AFTERWARDS = 3, 30
METADATA = (("kept-principal", "user:ana"), ("kept-tenant", "main"))


def mount(folder: Path, size: str, *options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join((*options, f"size={size}")), "tmpfs", folder], check=True)


def main(folder: Path) -> None:
    mount(folder, SMALL)
    with live_cell(folder / "cell") as cell:
        with People(cell, AT_ONCE) as people:
            people.wait_for_refusals(4 * AT_ONCE)
            before = len(cell.acknowledged)
            with grpc.insecure_channel(cell.targets["customer"]) as channel:
                try:
                    request = edited(register_customer(), {"request_id": "on a full disk"})
                    CustomerServiceStub(channel).RegisterCustomer(request, metadata=METADATA)
                    raise AssertionError("a full disk took another customer")
                except grpc.RpcError as refused:
                    said = (refused.code(), *_told(refused))
            mount(folder, LARGE, "remount")
            people.wait_for(AFTERWARDS)
        wait_until_all_is_read(cell)
        processes = cell.supervisor.poll()

    assert said[:2] == (grpc.StatusCode.UNAVAILABLE, "storage-full"), said
    assert "the disk is full; free some space and try again" in said[2]
    assert processes is None
    events = assert_each_is_there_once(cell)
    figures = {"before": before, "refusals": people.refusals, "acknowledged": len(cell.acknowledged), "events": events}
    sys.stdout.write(json.dumps(figures))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
