"""Who was told first: counted from the streamed events alone, with the standard library and the generated messages.

`python tests/journeys/told_first.py EVENTS.jsonl`; lines as the auditor's client writes them (position, record in base64).
Somebody affected was told first when the notice about the problem went out before their first case on an affected item
while it lasted, or when they never opened one.
"""

import base64
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "protos" / "gen"))

from kept.case.v1.events_pb2 import AffectedRetracted, CaseOpened, CustomerAffected, ProblemResolved
from kept.common.v1.record_pb2 import Record
from kept.notification.v1.events_pb2 import OCCASION_PROBLEM_FOUND, NoticeSent


def count(path: Path) -> dict[str, dict[str, float]]:
    """For each problem: affected, told_first, called_first, not_told, share_told_first."""
    affected: dict[str, dict[str, CustomerAffected]] = {}
    told: dict[tuple[str, str], int] = {}
    calls: list[tuple[str, str, int]] = []
    ended: dict[str, int] = {}
    for record in read(path):
        at = record.occurred_at.ToNanoseconds()
        if record.type == CustomerAffected.DESCRIPTOR.full_name:
            body = CustomerAffected.FromString(record.data)
            affected.setdefault(body.problem_id, {})[record.customer_id] = body
        elif record.type == AffectedRetracted.DESCRIPTOR.full_name:
            affected[AffectedRetracted.FromString(record.data).problem_id].pop(record.customer_id)
        elif record.type == ProblemResolved.DESCRIPTOR.full_name:
            ended[record.stream] = at
        elif record.type == NoticeSent.DESCRIPTOR.full_name:
            sent = NoticeSent.FromString(record.data)
            if sent.occasion == OCCASION_PROBLEM_FOUND:
                key = (sent.about.problem_id, record.customer_id)
                told[key] = min(at, told.get(key, at))
        elif record.type == CaseOpened.DESCRIPTOR.full_name:
            opened = CaseOpened.FromString(record.data)
            calls.append((opened.customer_id, opened.item_id, at))
    return {
        problem: tally(problem, customers, told, [call for call in calls if call[2] <= ended.get(problem, call[2])])
        for problem, customers in affected.items()
    }


def read(path: Path) -> list[Record]:
    with path.open(encoding="ascii") as file:
        return [Record.FromString(base64.b64decode(json.loads(line)["record"])) for line in file]


def tally(
    problem: str,
    customers: dict[str, CustomerAffected],
    told: dict[tuple[str, str], int],
    calls: list[tuple[str, str, int]],
) -> dict[str, float]:
    first = called = silent = 0
    for customer, affected in customers.items():
        began = affected.began_at.ToNanoseconds()
        called_at = min(
            (at for who, item, at in calls if who == customer and item in affected.item_ids and at >= began),
            default=None,
        )
        told_at = told.get((problem, customer))
        silent += told_at is None
        if called_at is not None and (told_at is None or called_at <= told_at):
            called += 1
        elif told_at is not None:
            first += 1
    share = first / len(customers) if customers else 0.0
    return {
        "affected": len(customers),
        "told_first": first,
        "called_first": called,
        "not_told": silent,
        "share_told_first": share,
    }


if __name__ == "__main__":
    print(json.dumps(count(Path(sys.argv[1]))))  # noqa: T201
