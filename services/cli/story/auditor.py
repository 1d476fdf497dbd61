"""The auditor's own program, a process of its own: reads every event, checks the signed root, reproduces a notice.

Told on the command line where the services answer, which tenant's notice to reproduce, and where to write the events that
it was sent. Tells its findings as one line of JSON.
"""

import base64
import json
import sys
from pathlib import Path
from typing import Any

from kept.audit.v1.service_pb2 import StreamEventsRequest
from kept.notification.v1.service_pb2 import ReproduceNoticeRequest

from services.cli.audit_check import check, events_after
from services.cli.client import Client, Connection


def main() -> None:
    targets, tenant, notice_id, kept_in = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4])
    with Client(Connection(targets, tenant=tenant, principal="auditor:story")) as client:
        print(json.dumps(audit(client, notice_id, kept_in)))


def audit(client: Client, notice_id: str, kept_in: Path) -> dict[str, Any]:
    outcome = check(client, key=None, earlier=None, position=None)
    reproduced = client.call("notification", "ReproduceNotice", ReproduceNoticeRequest(notice_id=notice_id))
    write_events(client, kept_in)
    return {
        "events": outcome.events,
        "root": outcome.root,
        "differences": sorted(outcome.findings.counts),
        "notice": {
            "notice_id": notice_id,
            "reproduced": reproduced.decided_the_same and reproduced.rendered_the_same,
            "difference": reproduced.difference,
            "rules": f"{reproduced.rule_set} v{reproduced.rule_set_version}",
            "because": [event.type for event in reproduced.because],
        },
    }


def write_events(client: Client, path: Path) -> None:
    """One JSON line for each event: position, recorded_at in RFC 3339, and the record's bytes in base64."""
    with path.open("w", encoding="ascii") as file:
        for event in events_after(client, StreamEventsRequest()):
            line = {
                "position": event.position,
                "recorded_at": event.recorded_at.ToJsonString(),
                "record": base64.b64encode(event.record).decode(),
            }
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
