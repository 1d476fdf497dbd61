"""A small incident log in ServiceNow's format, made up: for `make run` and for tests. The same seed gives the same file.

Every state occurs, and reassignments, waits, a vendor's visit, a reopening, rows that say nothing new, two that fall into
one minute, one that goes back in time, and two bad ones.
"""

import csv
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

_HEADER_LINE = (
    "number,incident_state,active,reassignment_count,reopen_count,sys_mod_count,made_sla,caller_id,opened_by,opened_at,"
    "sys_created_by,sys_created_at,sys_updated_by,sys_updated_at,contact_type,location,category,subcategory,u_symptom,"
    "cmdb_ci,impact,urgency,priority,assignment_group,assigned_to,knowledge,u_priority_confirmation,notify,problem_id,"
    "rfc,vendor,caused_by,closed_code,resolved_by,resolved_at,closed_at"
)
HEADER = tuple(next(csv.reader([_HEADER_LINE])))

_START = datetime(2016, 2, 29, 8, 0)  # noqa: DTZ001 - local, as the format has it
_WAITS = ("Awaiting User Info", "Awaiting Evidence", "Awaiting Vendor", "Awaiting Problem")
_LEVELS = {"1": "1 - High", "2": "2 - Medium", "3": "3 - Low"}
_PRIORITIES = {"1": "1 - Critical", "2": "2 - High", "3": "3 - Moderate", "4": "4 - Low"}
_RESOLVE_WITHIN = {"1": timedelta(hours=4), "2": timedelta(hours=8), "3": timedelta(days=4), "4": timedelta(days=8)}
_Values = dict[str, str]


def write_sample(path: Path, incidents: int = 60, seed: int = 7) -> None:
    """Writes a CSV with that many incidents, grouped by incident as the real log is."""
    random = Random(seed)  # noqa: S311 - a sample, not a secret
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, HEADER)
        writer.writeheader()
        for index in range(incidents):
            rows = list(_incident(index, random))
            _tell_the_end(rows)
            if index == 2:
                rows.insert(1, {**rows[0], "incident_state": "-100"})
            if index == 4:
                rows.insert(1, {**rows[0], "sys_updated_at": "31/2/2016 10:00"})
            writer.writerows(rows)


def _incident(index: int, random: Random) -> Iterator[_Values]:
    """One incident's rows. Which things happen follows from its index, so that a small sample has them all."""
    at = _START + timedelta(minutes=random.randrange(0, 60 * 24) + 300 * index)
    now = _first_row(index, random)

    def updated(after_minutes: int, **values: str) -> _Values:
        nonlocal at
        at += timedelta(minutes=after_minutes)
        now.update(values)
        now["sys_updated_at"] = _told(at)
        now["sys_updated_by"] = f"Updated by {random.randrange(1, 900)}"
        row = dict(now)
        now["sys_mod_count"] = str(int(now["sys_mod_count"]) + 1)
        return row

    yield updated(0)
    if index % 5 == 0:
        yield updated(0)  # says nothing new, in the same minute
    if index == 3:
        yield updated(-40)  # goes back in time
        at += timedelta(minutes=40)
    if index % 6 != 5:  # the sixth is resolved straight from New
        yield updated(random.randrange(1, 240), incident_state="Active", assigned_to=_resolver(random))
    if index % 3 == 1:
        yield updated(random.randrange(5, 300), **_reassigned(now, random))
    if index % 7 == 2:
        yield updated(4, impact="1 - High", urgency="1 - High", priority=_PRIORITIES["1"])
    if index % 8 == 4:
        yield updated(9, subcategory=f"Subcategory {random.randrange(1, 250)}", u_symptom="?")
    if index % 4 == 2:
        wait = _WAITS[index // 4 % len(_WAITS)]
        vendor = f"Vendor {1 + index % 3}" if wait == "Awaiting Vendor" else "?"
        problem = f"Problem ID  {index}" if wait == "Awaiting Problem" else "?"
        yield updated(random.randrange(5, 90), incident_state=wait, vendor=vendor, problem_id=problem)
        if index % 3 == 0:
            yield updated(60, incident_state=_WAITS[0], vendor="?")
        yield updated(random.randrange(60, 4000), incident_state="Active", vendor="?")
    if index % 9 == 7:
        yield updated(12, location=f"Location {random.randrange(1, 200)}", assignment_group="?")
    yield updated(random.randrange(10, 3000), incident_state="Resolved")
    if index % 10 == 3:
        yield updated(600, incident_state="Active", reopen_count="1")
        yield updated(random.randrange(10, 600), incident_state="Resolved", **_reassigned(now, random))
    if index % 20 != 19:  # the twentieth is still open to question
        yield updated(5 * 24 * 60, incident_state="Closed", active="false")


def _first_row(index: int, random: Random) -> _Values:
    rank = random.choice("1233334")
    level = _LEVELS[min(rank, "3")]
    created = _told(_START)
    caller = "?" if index == 8 else f"Caller {1 + index % 17}"
    return dict.fromkeys(HEADER, "?") | {
        "number": f"INC{index + 1:07d}",
        "incident_state": "New",
        "active": "true",
        "reassignment_count": "0",
        "reopen_count": "0",
        "sys_mod_count": "0",
        "made_sla": "true",
        "caller_id": caller,
        "opened_by": f"Opened by  {random.randrange(1, 99)}",
        "sys_created_by": f"Created by {random.randrange(1, 99)}",
        "sys_created_at": created,
        "contact_type": ("Phone", "Phone", "Email", "Self service", "IVR", "Direct opening")[index % 6],
        "location": f"Location {1 + index % 12}",
        "category": f"Category {random.randrange(1, 60)}",
        "subcategory": f"Subcategory {random.randrange(1, 250)}",
        "u_symptom": f"Symptom {random.randrange(1, 500)}",
        "impact": level,
        "urgency": level,
        "priority": _PRIORITIES[rank],
        "assignment_group": f"Group {random.randrange(1, 9)}",
        "knowledge": "false",
        "u_priority_confirmation": "false",
        "notify": "Do Not Notify",
    }


def _reassigned(now: _Values, random: Random) -> _Values:
    count = str(int(now["reassignment_count"]) + 1)
    group = f"Group {10 + random.randrange(1, 9)}"
    return {"assignment_group": group, "assigned_to": _resolver(random), "reassignment_count": count}


def _resolver(random: Random) -> str:
    return f"Resolver {random.randrange(1, 99)}"


def _tell_the_end(rows: list[_Values]) -> None:
    """Puts final values on every row, as the real log does, and the outcome on the last one."""
    first, last = _parsed(rows[0]["sys_updated_at"]), rows[-1]
    resolved = next(row for row in reversed(rows) if row["incident_state"] == "Resolved")["sys_updated_at"]
    final = {
        "opened_at": rows[0]["sys_updated_at"],
        "resolved_at": resolved,
        "closed_at": last["sys_updated_at"],
        "resolved_by": last["assigned_to"].replace("Resolver", "Resolved by"),
        "closed_code": "code 6",
    }
    for row in rows:
        row.update(final)
    if last["incident_state"] == "Closed":
        within = _RESOLVE_WITHIN[last["priority"][0]]
        last["made_sla"] = "true" if _parsed(resolved) - first <= within else "false"


def _told(at: datetime) -> str:
    return f"{at.day}/{at.month}/{at.year} {at:%H:%M}"


def _parsed(text: str) -> datetime:
    return datetime.strptime(text, "%d/%m/%Y %H:%M")  # noqa: DTZ007 - local, as the format has it
