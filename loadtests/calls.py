"""One process of a crew that calls a server over gRPC: `python -m loadtests.calls ADDRESS {echo | assign} CASES.JSON THREADS`.

`assign` sends what `case_commands` commands three times in four; `echo` sends the same bytes to the bare server.
"""

import json
import random
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
from kept.case.v1.service_pb2 import AssignRequest
from kept.case.v1.service_pb2_grpc import CaseServiceStub

from loadtests.crew import Job, work
from loadtests.echo import METHOD
from services.kernel.rpc.interceptors import PRINCIPAL, TENANT

METADATA = ((PRINCIPAL, "user:bench"), (TENANT, "main"))
DEADLINE_S = 10.0


def main(address: str, what: str, cases: list[str], threads: int) -> None:
    with grpc.insecure_channel(address) as channel:
        echo = channel.unary_unary(METHOD, AssignRequest.SerializeToString, AssignRequest.FromString)
        call: Any = echo if what == "echo" else CaseServiceStub(channel).Assign
        work(lambda _: _caller(call, cases), threads)


def _caller(call: Callable[..., object], cases: list[str]) -> Job:
    chance, name, numbers = random.Random(), uuid4().hex, count()  # noqa: S311 - which case comes next is no secret

    def job() -> None:
        number = next(numbers)
        request = AssignRequest(
            request_id=f"{name}-{number}", case_id=chance.choice(cases), team="north", assignee=f"user:{name}-{number}"
        )
        try:
            call(request, metadata=METADATA, timeout=DEADLINE_S)
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.ABORTED:
                raise
            job()  # somebody else was first three times over

    return job


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], json.loads(Path(sys.argv[3]).read_text()), int(sys.argv[4]))
