"""A replay finds nothing in an honest log, and whatever was changed by hand in a forged one: its kind and its place."""

import gc
import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import pytest
from kept.case.v1 import events_pb2 as case_events
from kept.case.v1 import service_pb2 as case
from kept.common.v1.record_pb2 import Record
from kept.common.v1.sealed_pb2 import Sealed
from kept.customer.v1 import events_pb2 as customer_events
from kept.customer.v1 import service_pb2 as customer
from kept.notification.v1 import service_pb2 as notification
from kept.partner_network.v1 import events_pb2 as network_events
from kept.partner_network.v1 import service_pb2 as network
from kept.sla.v1 import events_pb2 as sla_events
from kept.sla.v1 import service_pb2 as sla

from services.case.policies import ImpactPolicy
from services.cli.table import SERVICES
from services.kernel.clock import FixedClock, timestamp
from services.kernel.config import read_settings
from services.kernel.database import marks
from services.kernel.decider import Decider
from services.kernel.events import event_id, full_name
from services.kernel.house import House
from services.kernel.log.reader import Shared
from services.kernel.privacy import Place, Sealer
from services.kernel.tables import Table
from services.sla.policies import SlaPolicy
from tests.history import Played, played, played_sample, verified
from tests.replay.forging import Forger
from tests.scene import install_item, lost_deal, open_case, register_customer
from tests.sla.desk import HOUR, OFFICE, rule

INCIDENTS = 12
ARMED, VERDICT = full_name(sla_events.ClockArmed), full_name(sla_events.VerdictReached)
WARNED, REPLANNED = full_name(sla_events.ThresholdReached), full_name(sla_events.ClockReplanned)
RESOLVED, NOTED = full_name(case_events.CaseResolved), full_name(case_events.NoteAdded)
TIME = "kept.cell.v1.TimeAdvanced"


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cell's folder with an imported history; not to be changed."""
    return played_sample(tmp_path_factory.mktemp("history"), INCIDENTS)


@pytest.fixture
def forger(history: Path, tmp_path: Path) -> Forger:
    return Forger(history, tmp_path)


def of_type(name: str) -> Any:
    return lambda record: record.type == name


# An honest log


def test_nothing_differs_in_an_imported_history(history: Path) -> None:
    verdict = verified(history)

    assert verdict.findings.first == {}
    assert (verdict.events, verdict.older) == (len(Forger.records(_Read(history))), {})
    assert verdict.decisions > 4 * INCIDENTS
    assert verdict.rows > 4 * INCIDENTS


def test_followers_leave_the_messages_that_they_share_as_they_were_recorded(tmp_path: Path) -> None:
    with played(tmp_path / "cell", FixedClock(START)) as cell:
        live(cell)
        head = cell.house.log.position()
        shared = cell.house.source.read(0, head)

    assert len(shared) == head
    for recorded in shared:
        assert isinstance(recorded, Shared)
        event = recorded.opened()
        assert event.record.SerializeToString(deterministic=True) == recorded.record
        assert event.body.SerializeToString(deterministic=True) == event.record.data, event.record.type


def test_the_root_is_the_recorded_one(history: Path) -> None:
    house = House(read_settings({}, history))

    assert verified(history).root == house.log.head().root.hex()
    house.close()


def test_a_replay_changes_nothing(history: Path) -> None:
    before = (contents(history), gc.get_threshold())

    verified(history)

    assert (contents(history), gc.get_threshold()) == before


def test_views_that_are_behind_are_compared_as_far_as_they_have_read(tmp_path: Path) -> None:
    with played(tmp_path / "cell", FixedClock(START)) as cell:
        views = [follower for follower in cell.followers if not isinstance(follower, Decider)]
        cell.followers = [follower for follower in cell.followers if isinstance(follower, Decider)]
        live(cell)
        for steps, follower in enumerate(views):
            follower._limit = 12
            for _ in range(steps):
                follower.step()
        positions = [follower.position() for follower in views]

    verdict = verified(tmp_path / "cell")

    assert verdict.findings.first == {}
    assert positions == [min(12 * steps, verdict.events) for steps in range(len(views))]
    assert positions[:3] == [0, 12, 24] < [verdict.events] * 3


def test_an_event_that_a_follower_has_parked_is_left_out_and_told(forger: Forger) -> None:
    note = forger.find(of_type(NOTED))
    (version,) = {record.version for at, record in forger.records().items() if at == note}
    forger.sql("INSERT INTO parked VALUES ('case-views', ?, 'a key', 'KeyError')", note, file="views-case")
    forger.sql(
        "DELETE FROM case_note WHERE case_id = ? AND version = ?",
        *(UUID(forger.records()[note].stream).bytes, version),
        file="views-case",
    )
    forger.sql("DELETE FROM case_event WHERE position = ?", note, file="views-case")

    found = forger.found()
    assert "event-parked" in found
    assert set(found) <= {"event-parked", "row-differs"}  # of the case's version, which the note had moved


def test_decisions_of_an_older_policy_are_counted_and_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(SlaPolicy, "version", "0")
        data = played_sample(tmp_path, INCIDENTS)

    verdict = verified(data)

    assert verdict.findings.first == {}
    assert verdict.older == {"policy:sla@0": verdict.decisions}


# A forged record


def test_one_changed_byte_of_a_record_is_found_wherever_it_is(forger: Forger) -> None:
    random = Random(20)  # noqa: S311 - places, not secrets
    positions = range(1, len(forger.records()) + 1)
    for _ in range(30):
        position = random.choice(positions)
        ((record,),) = forger.rows("SELECT record FROM log WHERE position = ?", position)
        place, bit = random.randrange(len(record)), 1 << random.randrange(8)
        changed = bytes([*record[:place], record[place] ^ bit, *record[place + 1 :]])
        forger.sql("UPDATE log SET record = ? WHERE position = ?", changed, position)

        found = forger.where()

        assert found["record-changed"] == position, (position, place, bit)
        assert found["root-differs"] is None
        forger.sql("UPDATE log SET record = ? WHERE position = ?", record, position)


def test_another_time_of_recording_is_found(forger: Forger) -> None:
    forger.sql("UPDATE log SET recorded_at = recorded_at + 1 WHERE position = 50")
    later = forger.where()
    forger.sql("UPDATE log SET recorded_at = 1 WHERE position = 50")
    earlier = forger.where()

    assert later["record-changed"] == earlier["record-changed"] == 50
    assert earlier["recorded-at-decreases"] == 50


def test_a_leaf_that_was_forged_too_is_found_by_the_root(forger: Forger) -> None:
    position = forger.find(of_type(RESOLVED))
    forger.rewrite(position, lambda record: setattr(record, "actor", "user:mallory"))
    ((head, recorded_at, peaks),) = forger.rows("SELECT position, recorded_at, peaks FROM head")
    forger.cover_up()
    forger.sql("UPDATE head SET position = ?, recorded_at = ?, peaks = ?", head, recorded_at, peaks)

    assert forger.where() == {"root-differs": None}


@pytest.mark.parametrize("peaks", [b"", b"short", bytes(32 * 60)])
def test_peaks_of_no_tree_are_found(forger: Forger, peaks: bytes) -> None:
    forger.sql("UPDATE head SET peaks = ?", peaks)

    assert forger.where() == {"root-differs": None}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("stream", UUID(int=7).bytes),
        ("stream", b"no uuid"),
        ("stream", "text"),
        ("version", 99),
        ("type", RESOLVED),
        ("tenant", "south"),
        ("customer_id", UUID(int=7).bytes),
        ("customer_id", None),
    ],
)
def test_a_column_that_is_no_copy_of_its_record_is_found(forger: Forger, column: str, value: object) -> None:
    position = forger.find(of_type(NOTED))
    forger.sql(f"UPDATE log SET {column} = ? WHERE position = ?", value, position)  # noqa: S608

    found = forger.where()

    assert found.get("columns-differ", found.get("event-unreadable")) == position
    assert set(found) & {"columns-differ", "event-unreadable"}


@pytest.mark.parametrize(
    ("column", "value"), [("record", "text"), ("record", 7), ("recorded_at", -1), ("recorded_at", "soon"), ("leaf", 7)]
)
def test_what_is_not_even_of_the_right_kind_is_found(forger: Forger, column: str, value: object) -> None:
    forger.sql(f"UPDATE log SET {column} = ? WHERE position = 50", value)  # noqa: S608

    found = forger.where()

    assert 50 in (found.get("event-unreadable"), found.get("record-changed"))


def test_bytes_that_are_no_record_are_found(forger: Forger) -> None:
    forger.sql("UPDATE log SET record = ? WHERE position = 50", b"\xff\xff\xff")

    assert forger.where()["record-unreadable"] == 50


def test_an_event_of_an_unknown_type_is_found(forger: Forger) -> None:
    position = forger.find(of_type(NOTED))
    forger.rewrite(position, lambda record: setattr(record, "type", "kept.case.v1.NoteSung"))
    forger.cover_up()

    assert forger.where()["event-unknown"] == position


# A log that lost some


def test_a_missing_row_is_found_where_it_was(forger: Forger) -> None:
    position = forger.find(of_type(RESOLVED))
    forger.remove(position)

    found = forger.where()

    assert found["position-gap"] == position
    assert found["stream-gap"] > position  # type: ignore[operator]
    assert "root-differs" in found


def test_missing_last_rows_are_found(forger: Forger) -> None:
    last = len(forger.records())
    for position in range(last - 4, last + 1):
        forger.remove(position)

    assert forger.where()["position-gap"] == last - 4


def test_missing_last_rows_are_found_even_under_a_head_of_their_own(forger: Forger) -> None:
    last = len(forger.records())
    for position in range(last - 4, last + 1):
        forger.remove(position)
    forger.cover_up()

    found = forger.where()

    assert found["follower-ahead"] == last - 4
    assert not {"position-gap", "root-differs", "record-changed"} & set(found)


def test_a_head_that_says_something_else_is_found(forger: Forger) -> None:
    last = len(forger.records())
    forger.sql("UPDATE head SET recorded_at = recorded_at + 1")
    other_time = forger.where()
    forger.sql("UPDATE head SET recorded_at = recorded_at - 1, position = position + 1")

    assert other_time == {"recorded-at-differs": last}
    assert forger.where()["position-gap"] == last + 1


def test_a_stream_of_another_version_is_found(forger: Forger) -> None:
    forger.sql("UPDATE stream SET version = version + 1 WHERE id = (SELECT max(id) FROM stream)")

    assert forger.where() == {"stream-version-differs": None}


def test_a_step_that_is_missing_in_a_stream_is_found(forger: Forger) -> None:
    position = forger.find(of_type(RESOLVED))
    forger.rewrite(position, lambda record: setattr(record, "version", record.version + 50))
    forger.cover_up()

    assert forger.where()["stream-gap"] == position


# Forged decisions, covered up thoroughly


def last_verdict(forger: Forger, kept: bool) -> tuple[int, int]:
    """Where a verdict is that ends its stream, and the event that brought it."""
    records = forger.records()
    ends = {record.stream: position for position, record in sorted(records.items())}
    for position, record in sorted(records.items()):
        if record.type == VERDICT and ends[record.stream] == position:
            verdict = sla_events.VerdictReached.FromString(record.data)
            if kept and verdict.outcome == sla_events.OUTCOME_KEPT:
                return position, next(at for at, one in records.items() if one.id == record.causation_id)
            if not kept and verdict.outcome == sla_events.OUTCOME_BROKEN:
                return position, max(at for at, one in records.items() if one.type == TIME and at < position)
    raise AssertionError("no such verdict")


@pytest.mark.parametrize("kept", [True, False])
def test_a_decision_that_was_taken_away_is_missed_where_it_was_due(forger: Forger, kept: bool) -> None:
    position, cause = last_verdict(forger, kept)
    forger.remove(position)
    forger.renumber()
    forger.cover_up()

    found = forger.where()

    assert found["decision-missing"] == cause
    assert not {"position-gap", "stream-gap", "root-differs", "record-changed", "columns-differ"} & set(found)


def test_a_decision_taken_away_in_the_middle_of_its_stream_is_found(forger: Forger) -> None:
    """Even when the later ones are numbered anew."""
    position = forger.find(of_type(WARNED))
    stream = forger.records()[position].stream
    forger.remove(position)
    version = 0
    for at, record in sorted(forger.records().items()):
        if record.stream == stream:
            version += 1
            forger.rewrite(at, lambda one, version=version: renumbered(one, version))  # type: ignore[misc]
    forger.renumber()
    forger.cover_up()

    found = forger.where()

    assert found["decision-differs"] == position
    assert "decision-missing" in found


def test_an_altered_decision_is_found(forger: Forger) -> None:
    position, _ = last_verdict(forger, kept=False)

    def kept_after_all(record: Record) -> None:
        verdict = sla_events.VerdictReached.FromString(record.data)
        verdict.outcome = sla_events.OUTCOME_KEPT
        record.data = verdict.SerializeToString(deterministic=True)

    forger.rewrite(position, kept_after_all)
    forger.cover_up()

    found = forger.where()
    assert found["decision-differs"] == position
    assert not {"root-differs", "record-changed"} & set(found)


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.occurred_at.FromSeconds(record.occurred_at.seconds - 60),
        lambda record: setattr(record, "causation_id", ""),
        lambda record: setattr(record, "correlation_id", "other"),
        lambda record: setattr(record, "tenant", "south"),
    ],
)
def test_a_decision_in_another_envelope_is_found(forger: Forger, change: Any) -> None:
    position = forger.find(of_type(REPLANNED))
    forger.rewrite(position, change)
    forger.cover_up()

    assert forger.where()["decision-differs"] == position


def test_an_invented_decision_is_found(forger: Forger) -> None:
    position, _ = last_verdict(forger, kept=False)
    invented = Record.FromString(forger.records()[position].SerializeToString())
    corrected = sla_events.VerdictCorrected(outcome=sla_events.OUTCOME_KEPT, used_s=60)
    invented.type, invented.data = full_name(corrected), corrected.SerializeToString(deterministic=True)
    renumbered(invented, invented.version + 1)
    position = forger.append(invented)
    forger.cover_up()

    assert forger.where()["decision-unexplained"] == position


def test_a_forged_command_is_found_by_the_decisions_that_followed_it(forger: Forger) -> None:
    position, cause = last_verdict(forger, kept=True)

    forger.rewrite(cause, lambda record: record.occurred_at.FromSeconds(record.occurred_at.seconds - 3600))
    forger.cover_up()

    assert forger.where()["decision-differs"] == position


# Forged rows

TABLES = [
    *(
        pytest.param(f"views-{one.name.replace('_', '-')}", table, id=table.name)
        for one in SERVICES
        for table in one.views.tables
    ),
    *(pytest.param("log", table, id=table.name) for table in (*SlaPolicy.tables, *ImpactPolicy.tables)),
]


@pytest.mark.parametrize(("file", "table"), TABLES)
def test_a_row_added_changed_or_taken_away_is_found(lived: Path, tmp_path: Path, file: str, table: Table) -> None:
    forger, name = Forger(lived, tmp_path), table.name
    row = forger.rows(f"SELECT {', '.join(table.columns)} FROM {name}", file=file)[0]  # noqa: S608
    values = dict(zip(table.columns, row, strict=True))
    this = " AND ".join(f"{column} = ?" for column in table.key)
    key = tuple(values[column] for column in table.key)

    for column, kind in table.columns.items():
        if column not in table.key and kind in ("text", "int"):
            forger.sql(f"UPDATE {name} SET {column} = '77' WHERE {this}", *key, file=file)  # noqa: S608
            changed = forger.found()
            forger.sql(f"UPDATE {name} SET {column} = ? WHERE {this}", values[column], *key, file=file)  # noqa: S608
            assert set(changed) == {"row-differs"}
            assert changed["row-differs"].detail.startswith(f"{name} ")
            assert changed["row-differs"].detail.endswith(f": {column}")

    for other in (7, bytes(16), b"\xff" * 16):  # before all others, which are of another kind or not; and after them
        added = (*(other if column == table.key[0] else values[column] for column in table.columns),)
        forger.sql(f"INSERT INTO {name} VALUES ({marks(len(added))})", *added, file=file)  # noqa: S608
        found = forger.found()
        forger.sql(f"DELETE FROM {name} WHERE {table.key[0]} = ?", other, file=file)  # noqa: S608
        assert set(found) == {"row-extra"}
        assert found["row-extra"].detail.startswith(f"{name} ")

    forger.sql(f"DELETE FROM {name} WHERE {this}", *key, file=file)  # noqa: S608
    taken = forger.found()
    assert set(taken) == {"row-missing"}
    assert taken["row-missing"].detail.startswith(f"{name} ")


# Sealed columns


class Vault:
    """The first sealed text of a case's view, and what could stand in its place."""

    def __init__(self, forger: Forger) -> None:
        self._forger = forger
        self.house = House(read_settings({}, forger.data))
        self.house.require()
        (stream, packed), *_ = forger.rows("SELECT id, need FROM case_row", file="views-case")
        self.stream = UUID(bytes=stream)
        self.sealed = Sealed.FromString(packed)
        self.subject = UUID(self.sealed.subject)
        self.text = str(self.house.sealer.open(self.sealed, stream=self.stream))

    def seal(self, text: str, **changes: Any) -> Sealed:
        place: dict[str, Any] = {
            "subject": self.subject,
            "purpose": self.sealed.purpose,
            "stream": self.stream,
            "type": self.sealed.type,
            "field": self.sealed.field,
        }
        return self.house.sealer.seal(text, Place(**(place | changes)))

    def put(self, value: bytes) -> None:
        self._forger.sql("UPDATE case_row SET need = ? WHERE id = ?", value, self.stream.bytes, file="views-case")


@pytest.fixture
def vault(forger: Forger) -> Iterator[Vault]:
    vault = Vault(forger)
    yield vault
    vault.house.close()


def test_the_same_text_sealed_anew_is_no_difference(forger: Forger, vault: Vault) -> None:
    vault.put(vault.seal(vault.text).SerializeToString())

    assert forger.found() == {}


def test_another_text_under_the_seal_differs(forger: Forger, vault: Vault) -> None:
    vault.put(vault.seal(vault.text + "!").SerializeToString())

    assert forger.found()["row-differs"].detail == f"case_row {vault.stream}: need"


def test_a_seal_that_does_not_open_differs(forger: Forger, vault: Vault) -> None:
    other = vault.house.settings
    of_another_cell = Sealer(vault.house.keys, other.cell + "-2")
    place = Place(vault.subject, vault.sealed.purpose, vault.stream, vault.sealed.type, vault.sealed.field)
    elsewhere = vault.seal(vault.text, stream=UUID(int=7))
    for value in (
        b"",
        b"garbage",
        vault.sealed.SerializeToString()[:-1],
        elsewhere.SerializeToString(),
        of_another_cell.seal(vault.text, place).SerializeToString(),
        Sealed(stream=str(vault.stream)).SerializeToString(),
        Sealed(stream=str(vault.stream), subject=str(UUID(int=9)), purpose="case").SerializeToString(),
    ):
        vault.put(value)

        assert forger.found()["row-differs"].detail == f"case_row {vault.stream}: need"


def test_a_seal_where_there_was_none_differs(forger: Forger) -> None:
    forger.sql("UPDATE party_row SET email = ? WHERE email = ?", b"garbage", b"", file="views-customer")

    assert forger.found()["row-differs"].detail.endswith(": email")


def test_what_is_erased_on_both_sides_is_no_difference(forger: Forger, vault: Vault) -> None:
    vault.put(vault.seal("something else").SerializeToString())
    vault.house.keys.destroy(vault.subject)

    assert forger.found() == {}


def test_an_erased_customer_breaks_no_proof(forger: Forger, vault: Vault) -> None:
    root = forger.verdict().root
    assert vault.house.keys.destroy(vault.subject) > 0

    assert (forger.found(), forger.verdict().root) == ({}, root)


# A live cell, where no event says that time has passed

START = datetime(2024, 5, 6, 1, 0, tzinfo=UTC)  # Monday, nine o'clock in Shanghai


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A case that was warned of, broken, resolved, reopened with a fresh promise, and kept; and one that is open."""
    data = tmp_path_factory.mktemp("lived") / "cell"
    with played(data, FixedClock(START)) as cell:
        live(cell)
    return data


def live(cell: Played) -> None:
    again = rule(warn_percents=[50, 75], on_reopen=sla_events.ON_REOPEN_RESTART)
    told = iter(range(1000))

    def tell(service: str, method: str, request: Any) -> str:
        request.request_id = f"r{next(told)}"
        made = str(cell.call(service, method, request).receipt.id)
        cell.drain()
        return made

    tell("sla", "PublishCalendar", sla.PublishCalendarRequest(name="office", definition=OFFICE))
    policy = sla_events.PolicyDefinition(rules=[again, rule(HOUR, sla_events.TARGET_KIND_TIME_TO_OWN)])
    tell("sla", "PublishPolicy", sla.PublishPolicyRequest(name="standard", definition=policy))
    rules = files("services.notification").joinpath("default_rules.yaml").read_text(encoding="utf-8")
    tell("notification", "PublishRuleSet", notification.PublishRuleSetRequest(name="standard", source=rules))
    customer_id = tell("customer", "RegisterCustomer", register_customer())
    tell("customer", "InstallItem", install_item(customer_id))
    purpose = customer_events.CONSENT_PURPOSE_SERVICE
    tell("customer", "GiveConsent", customer.GiveConsentRequest(customer_id=customer_id, purpose=purpose))
    first, second = (tell("case", "Open", open_case(customer_id)) for _ in range(2))
    cell.passes(START + timedelta(hours=2))
    tell("case", "Acknowledge", case.AcknowledgeRequest(case_id=first))
    note = case.AddNoteRequest(case_id=first, audience=case_events.NOTE_AUDIENCE_CUSTOMER, text="We look into it")
    tell("case", "AddNote", note)
    tell("case", "Hold", case.HoldRequest(case_id=first, waiting_for=case_events.WAITING_FOR_CUSTOMER, reason="waits"))
    cell.passes(START + timedelta(hours=3))
    tell("case", "Resume", case.ResumeRequest(case_id=first, reason="goes on"))
    for hours in (5, 7, 9, 25, 26):
        cell.passes(START + timedelta(hours=hours))
    late = case.ResolveRequest(case_id=second, reason="done", occurred_at=timestamp(START + timedelta(hours=4)))
    tell("case", "Resolve", late)
    tell("case", "Resolve", case.ResolveRequest(case_id=first, reason="done"))
    tell("case", "Reopen", case.ReopenRequest(case_id=first, reason="again"))
    cell.passes(START + timedelta(hours=31))
    tell("case", "Resolve", case.ResolveRequest(case_id=first, reason="done"))
    tell("case", "Open", open_case(customer_id))
    scope = case_events.Scope(product="Router R-1", regions=["310000"])
    priority = case_events.PRIORITY_HIGH
    problem_id = tell("case", "OpenProblem", case.OpenProblemRequest(title="Restarts", scope=scope, priority=priority))
    tell("case", "LinkCase", case.LinkCaseRequest(problem_id=problem_id, case_id=first))
    tell("customer", "RecordLostDeal", lost_deal(customer_id))
    visit(tell, first)


def visit(tell: Callable[[str, str, Any], str], case_id: str) -> None:
    """A partner with an agreement and a service point, and a visit that one of two declines and the other accepts."""
    invited = [join(tell, name) for name in ("Anxin", "Pingan")]
    offer = network.OfferWorkOrderRequest(
        case_id=case_id, product="Router R-1", skill="network", region="310000", partner_ids=invited,
        window=window(34, 38), expires_at=timestamp(START + timedelta(hours=33)),
    )  # fmt: skip
    work_order = tell("partner_network", "OfferWorkOrder", offer)
    decline = network.DeclineWorkOrderRequest(work_order_id=work_order, partner_id=invited[0], reason="no time")
    tell("partner_network", "DeclineWorkOrder", decline)
    accept = network.AcceptWorkOrderRequest(work_order_id=work_order, partner_id=invited[1], technician="Wang Jianguo")
    tell("partner_network", "AcceptWorkOrder", accept)


def join(tell: Callable[[str, str, Any], str], name: str) -> str:
    partner = tell("partner_network", "RegisterPartner", network.RegisterPartnerRequest(name=name))
    admitted = network_events.ADMISSION_STATE_ADMITTED
    decision = network.DecideAdmissionRequest(partner_id=partner, state=admitted, reason="fit")
    tell("partner_network", "DecideAdmission", decision)
    agreement = network_events.Agreement(
        regions=["310000"], products=["Router R-1"], skills=["network"],
        hours=network_events.Hours(time_zone="Asia/Shanghai", weekdays=OFFICE.weekdays),
    )  # fmt: skip
    sign = network.SignAgreementRequest(partner_id=partner, agreement=agreement, number="A-1")
    tell("partner_network", "SignAgreement", sign)
    place = network_events.Place(region="310000", latitude_deg=31.2, longitude_deg=121.5)
    tell(
        "partner_network",
        "OpenServicePoint",
        network.OpenServicePointRequest(partner_id=partner, name="E", place=place),
    )
    return partner


def window(since: int, until: int) -> network_events.VisitWindow:
    """In hours after the start."""
    begins, ends = (timestamp(START + timedelta(hours=hours)) for hours in (since, until))
    return network_events.VisitWindow(**{"from": begins, "until": ends})


def test_decisions_that_the_clock_brought_are_explained(lived: Path) -> None:
    verdict = verified(lived)

    assert verdict.findings.first == {}
    kinds = [record.type for record in Forger.records(_Read(lived)).values()]
    assert kinds.count(WARNED) >= 3
    assert kinds.count(VERDICT) >= 4
    assert TIME not in kinds
    assert full_name(sla_events.VerdictCorrected) in kinds
    assert full_name(case_events.CustomerAffected) in kinds


def test_a_decision_before_its_time_is_not_explained(lived: Path, tmp_path: Path) -> None:
    forger = Forger(lived, tmp_path)
    position = forger.find(of_type(WARNED))
    earlier = timedelta(minutes=1)

    def hasten(record: Record) -> None:
        record.occurred_at.FromDatetime(record.occurred_at.ToDatetime() - earlier)

    forger.rewrite(position, hasten)
    forger.cover_up()

    assert forger.where()["decision-unexplained"] == position


def test_a_verdict_that_the_clock_brought_and_somebody_took_away_is_found(lived: Path, tmp_path: Path) -> None:
    forger = Forger(lived, tmp_path)
    position = forger.find(
        lambda record: (
            record.type == VERDICT
            and sla_events.VerdictReached.FromString(record.data).outcome == sla_events.OUTCOME_BROKEN
        )
    )
    stream = forger.records()[position].stream
    forger.remove(position)
    version = 0
    for at, record in sorted(forger.records().items()):
        if record.stream == stream:
            version += 1
            forger.rewrite(at, lambda one, version=version: renumbered(one, version))  # type: ignore[misc]
    forger.renumber()
    forger.cover_up()

    assert set(forger.found()) & {"decision-missing", "decision-differs", "decision-unexplained"}


# Helpers


class _Read(Forger):
    """Looks, and changes nothing."""

    def __init__(self, data: Path) -> None:
        self.data = data


def renumbered(record: Record, version: int) -> None:
    record.version = version
    record.id = event_id(UUID(record.stream), version)


def contents(data: Path) -> dict[str, str]:
    return {
        str(path.relative_to(data)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in data.rglob("*")
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }
