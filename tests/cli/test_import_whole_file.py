"""The whole UCI log, planned without a cell: every row accounted for, quickly, and with no more memory than it needs."""

import time
from collections import Counter
from pathlib import Path
from typing import Any

from kept.case.v1 import service_pb2 as case
from kept.cell.v1 import service_pb2 as cell
from kept.common.v1.record_pb2 import Receipt
from kept.customer.v1 import service_pb2 as customer
from kept.sla.v1 import service_pb2 as sla

from services.cli.imports.progress import Silent
from services.cli.imports.runner import prepare, run
from tests.cli.importing import LATEST, ZONE
from tests.shared_data import shared_data

MODULES = {"cell": cell, "customer": customer, "case": case, "sla": sla}
SECONDS = 15  # of this process, with everything else that the machine does left out


class Agreeable:
    """A cell that says yes to everything and keeps nothing but the number of calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, service: str, method: str, request: Any) -> Any:
        self.calls += 1
        response = getattr(MODULES[service], f"{method}Response")
        if method in ("GetCell", "CountCases", "CountVerdicts", "ListClocks"):
            return response()
        return response(receipt=Receipt(id=f"id-{self.calls}", version=1, position=self.calls))


def test_the_whole_log_is_planned_and_accounted_for(tmp_path: Path) -> None:
    path = shared_data("uci-incidents/incident_event_log.parquet")
    started = time.process_time()

    source = prepare(path, ZONE, data_dir=tmp_path, now=lambda: LATEST)
    summary = run(source, call=Agreeable(), tenant="main", data_dir=tmp_path, progress=Silent())

    seconds = time.process_time() - started
    assert (summary.rows, summary.cases, summary.customers) == (141_712, 24_918, 5_245)
    assert summary.applied + summary.repeated + summary.rejected == summary.rows
    assert summary.rejected_by_reason == {"state-unknown": 5}
    assert [row["line"] for row in summary.rejected_samples] == [115642, 115643, 124508, 124509, 124510]
    assert summary.not_closed_in_file == 0
    answers = Counter[str]()
    for counts in summary.made_sla.values():
        answers.update(counts)
    assert answers == {"true": 24_918 - 9_115, "false": 9_115}
    assert seconds < SECONDS
