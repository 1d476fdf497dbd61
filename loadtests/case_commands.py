"""One process of a crew that commands cases through their Application: 3 in 4 are assigned, 1 in 4 gets a sealed note.

    python -m loadtests.case_commands FOLDER DATABASE THREADS [MEMBER OF]     the ids of open cases are in FOLDER/cases.json

Every thread takes any case, so that threads meet on the same ones; and processes too, where they are not told to share the
cases out among them, as a proxy does that routes by the case.
"""

import json
import random
import sys
from itertools import count
from pathlib import Path
from uuid import uuid4

from kept.case.v1 import events_pb2 as e
from kept.case.v1.service_pb2 import AddNoteRequest, AssignRequest

from loadtests.cells import caller, settings_of
from loadtests.crew import Job, work
from services.case.application import CaseApplication
from services.kernel.errors import VersionConflict
from services.kernel.house import House

CASES = "cases.json"
ASSIGN, NOTE = caller("/kept.case.v1.CaseService/Assign"), caller("/kept.case.v1.CaseService/AddNote")


def main(folder: str, database: str, threads: int, member: int = 0, of: int = 1) -> None:
    house = House(settings_of(Path(folder), database))
    house.require()
    application = CaseApplication(house)
    cases = json.loads((Path(folder) / CASES).read_text())[member::of]
    work(lambda _: commander(application, cases), threads)
    house.close()


def commander(application: CaseApplication, cases: list[str]) -> Job:
    """One thread's commands; each is recorded, whatever was commanded before."""
    chance, name, numbers = random.Random(), uuid4().hex, count()  # noqa: S311 - which case comes next is no secret

    def assign(number: int) -> None:
        request = AssignRequest(
            request_id=f"{name}-{number}", case_id=chance.choice(cases), team="north", assignee=f"user:{name}-{number}"
        )
        application.assign(application.command(ASSIGN, request), request)

    def note(number: int) -> None:
        request = AddNoteRequest(
            request_id=f"{name}-{number}",
            case_id=chance.choice(cases),
            audience=e.NOTE_AUDIENCE_INTERNAL,
            text="the customer called and will call again tomorrow",
        )
        command = application.command(NOTE, request)
        application.add_note(command, request.case_id, audience=request.audience, text=request.text)

    def job() -> None:
        number = next(numbers)
        try:
            (note if number % 4 == 3 else assign)(number)
        except VersionConflict:
            job()  # as a client does: somebody else was first three times over

    return job


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
