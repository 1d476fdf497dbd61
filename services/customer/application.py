"""Commands on parties, customers and what they own: check, seal, decide, append."""

import re
from collections.abc import Sequence
from uuid import UUID

from kept.common.v1.money_pb2 import Money
from kept.common.v1.record_pb2 import Receipt, Record
from kept.common.v1.sealed_pb2 import Sealed
from kept.customer.v1 import events_pb2 as e
from kept.customer.v1 import service_pb2 as m
from kept.sla.v1 import events_pb2 as sla

from services.customer.domain import Customer, Deal, Item, Party
from services.kernel.aggregate import Aggregate
from services.kernel.application import Application, Command
from services.kernel.clock import micros
from services.kernel.errors import Invalid, NotFound, Refused
from services.kernel.events import full_name, parse_event
from services.kernel.house import House
from services.kernel.privacy import Place
from services.kernel.validation import (
    check_enum,
    check_language,
    check_moment,
    check_text,
    check_time_zone,
    check_uuid,
)

CONTACT, SITE = "contact", "site"  # purposes of sealing
PHONES_MOST, PHONE_MOST, EMAIL_MOST, REGION_MOST = 10, 32, 254, 64
_PHONE = re.compile(r"(?=.*[0-9])[-+0-9 ()./#*x]+")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_CURRENCY = re.compile(r"[A-Z]{3}")  # ISO 4217
CLOCKS_MOST = 20


class CustomerApplication(Application):
    """Raises, beside what each command says: invalid-argument, request-id-reused, version-conflict."""

    def __init__(self, house: House) -> None:
        super().__init__(house.recorder, house.keys, house.clock, house.aggregates)
        self._sealer = house.sealer

    def register_party(self, command: Command, party: m.PartyInput) -> Receipt:
        """Records PartyRegistered."""
        check_party("party", party)
        return self.create(command, lambda: (self._party(command, party),))

    def register_customer(self, command: Command, request: m.RegisterCustomerRequest) -> Receipt:
        """Records CustomerRegistered, and PartyRegistered for a new party. Raises party-not-found, stage-not-reachable."""
        check_enum("stage", request.stage, e.CustomerStage)
        of = request.WhichOneof("of")
        if of == "party":
            check_party("party", request.party)
        elif of == "party_id":
            check_uuid("party_id", request.party_id)
        else:
            raise Invalid("of", "give a new party, or the party_id of a known one")

        def make() -> Sequence[Aggregate]:
            customer = Customer(command.new_id("customer"))
            customer.stamp = command.stamp
            if of == "party_id":
                self.require_stream("party", request.party_id, e.PartyRegistered, command)
                customer.register(party_id=UUID(request.party_id), stage=request.stage)
                return (customer,)
            customer.register(party_id=command.new_id("party"), stage=request.stage)
            return (self._party(command, request.party), customer)

        return self.create(command, make)

    def change_contact(self, command: Command, party_id: str, contact: m.ContactInput) -> Receipt:
        """Records ContactChanged. Raises party-not-found, subject-erased."""
        check_contact("contact", contact)
        return self.change(
            command,
            Party,
            party_id,
            lambda party: party.change_contact(self._seal(contact, party.id, e.ContactChanged)),
        )

    def change_preferences(self, command: Command, party_id: str, preferences: e.Preferences) -> Receipt:
        """Records PreferencesChanged. Raises party-not-found."""
        check_preferences("preferences", preferences)
        return self.change(command, Party, party_id, lambda party: party.change_preferences(preferences))

    def enter_stage(
        self, command: Command, customer_id: str, *, stage: e.CustomerStage.ValueType, reason: str
    ) -> Receipt:
        """Records CustomerStageEntered. Raises customer-not-found, stage-not-reachable."""
        check_enum("stage", stage, e.CustomerStage)
        check_text("reason", reason)
        return self.change(command, Customer, customer_id, lambda customer: customer.enter_stage(stage, reason=reason))

    def give_consent(self, command: Command, customer_id: str, purpose: e.ConsentPurpose.ValueType) -> Receipt:
        """Records ConsentGiven. Raises customer-not-found."""
        check_enum("purpose", purpose, e.ConsentPurpose)
        return self.change(command, Customer, customer_id, lambda customer: customer.give_consent(purpose))

    def withdraw_consent(self, command: Command, customer_id: str, purpose: e.ConsentPurpose.ValueType) -> Receipt:
        """Records ConsentWithdrawn. Raises customer-not-found."""
        check_enum("purpose", purpose, e.ConsentPurpose)
        return self.change(command, Customer, customer_id, lambda customer: customer.withdraw_consent(purpose))

    def install_item(self, command: Command, request: m.InstallItemRequest) -> Receipt:
        """Records ItemInstalled. Raises customer-not-found, subject-erased."""
        customer_id = check_uuid("customer_id", request.customer_id)
        check_text("product", request.product)
        check_text("serial", request.serial, optional=True)
        check_text("site", request.site, optional=True)
        check_text("region", request.region, most=REGION_MOST, optional=True)
        check_enum("product_stage", request.product_stage, e.ProductStage, optional=True)
        warranty_until = request.warranty_until if request.HasField("warranty_until") else None

        def make() -> Sequence[Aggregate]:
            if warranty_until and micros(check_moment("warranty_until", warranty_until)) <= command.stamp.occurred_at:
                message = "ends before it begins; give a moment after occurred_at, or leave it unset"
                raise Invalid("warranty_until", message)
            self.require_stream("customer", request.customer_id, e.CustomerRegistered, command)
            item = Item(command.new_id("item"))
            item.stamp = command.stamp
            place = Place(customer_id, SITE, item.id, full_name(e.ItemInstalled), "site")
            item.install(
                e.ItemInstalled(
                    customer_id=request.customer_id,
                    product=request.product,
                    serial=request.serial,
                    site=self._seal_text(request.site, place),
                    region=request.region,
                    product_stage=request.product_stage,
                    warranty_until=warranty_until,
                )
            )
            return (item,)

        return self.create(command, make)

    def enter_item_stage(self, command: Command, item_id: str, stage: e.ProductStage.ValueType) -> Receipt:
        """Records ItemStageEntered. Raises item-not-found, item-removed."""
        check_enum("product_stage", stage, e.ProductStage)
        return self.change(command, Item, item_id, lambda item: item.enter_stage(stage))

    def remove_item(self, command: Command, item_id: str, *, reason: str) -> Receipt:
        """Records ItemRemoved. Raises item-not-found, item-removed."""
        check_text("reason", reason)
        return self.change(command, Item, item_id, lambda item: item.remove(reason=reason))

    def record_lost_deal(self, command: Command, request: m.RecordLostDealRequest) -> Receipt:
        """Records DealLost. Raises customer-not-found, clock-not-found, promise-not-broken."""
        check_uuid("customer_id", request.customer_id)
        check_text("subject", request.subject)
        check_sum("sum", request.sum)
        check_enum("reason", request.reason, e.LossReason)
        check_clocks("clock_ids", request.clock_ids)

        def make() -> Sequence[Aggregate]:
            self.require_stream("customer", request.customer_id, e.CustomerRegistered, command)
            for clock_id in request.clock_ids:
                self._require_broken(command, clock_id, request.customer_id)
            deal = Deal(command.new_id("deal"))
            deal.stamp = command.stamp
            deal.lose(
                e.DealLost(
                    customer_id=request.customer_id,
                    subject=request.subject,
                    sum=request.sum,
                    reason=request.reason,
                    clock_ids=request.clock_ids,
                )
            )
            return (deal,)

        return self.create(command, make)

    def _require_broken(self, command: Command, clock_id: str, customer_id: str) -> None:
        """Raises clock-not-found for a promise to somebody else too, and promise-not-broken by what is known now."""
        history = self.require_history("clock", clock_id, sla.ClockArmed, command)
        if history[0].customer_id != customer_id:
            raise NotFound("clock-not-found", f"this customer has no clock {clock_id}", clock=clock_id)
        if _outcome(history) != sla.OUTCOME_BROKEN:
            raise Refused("promise-not-broken", f"by what is known now, {clock_id} is not broken", clock=clock_id)

    def _party(self, command: Command, new: m.PartyInput) -> Party:
        party = Party(command.new_id("party"))
        party.stamp = command.stamp
        contact = self._seal(new.contact, party.id, e.PartyRegistered)
        party.register(e.PartyRegistered(kind=new.kind, contact=contact, preferences=new.preferences))
        return party

    def _seal(
        self, contact: m.ContactInput, party_id: UUID, event: type[e.PartyRegistered | e.ContactChanged]
    ) -> e.Contact:
        def place(field: str) -> Place:
            return Place(party_id, CONTACT, party_id, full_name(event), f"contact.{field}")

        return e.Contact(
            name=self._seal_text(contact.name, place("name")),
            phones=[self._sealer.seal(phone, place(f"phones[{at}]")) for at, phone in enumerate(contact.phones)],
            email=self._seal_text(contact.email, place("email")),
        )

    def _seal_text(self, text: str, place: Place) -> Sealed | None:
        return self._sealer.seal(text, place) if text else None


def check_party(field: str, party: m.PartyInput) -> None:
    check_enum(f"{field}.kind", party.kind, e.PartyKind)
    check_contact(f"{field}.contact", party.contact)
    check_preferences(f"{field}.preferences", party.preferences)


def check_contact(field: str, contact: m.ContactInput) -> None:
    """A name; phones and e-mail where there are any, as people write them."""
    check_text(f"{field}.name", contact.name)
    if len(contact.phones) > PHONES_MOST:
        raise Invalid(f"{field}.phones", f"are {len(contact.phones)}; {PHONES_MOST} are allowed")
    for at, phone in enumerate(contact.phones):
        check_text(f"{field}.phones[{at}]", phone, most=PHONE_MOST)
        if not _PHONE.fullmatch(phone):
            raise Invalid(f"{field}.phones[{at}]", "is not a phone number such as +86 10 6552 9988")
    check_text(f"{field}.email", contact.email, most=EMAIL_MOST, optional=True)
    if contact.email and not _EMAIL.fullmatch(contact.email):
        raise Invalid(f"{field}.email", "is not an address such as ana@example.com")


def check_preferences(field: str, preferences: e.Preferences) -> None:
    check_language(f"{field}.language", preferences.language)
    check_time_zone(f"{field}.time_zone", preferences.time_zone)
    check_text(f"{field}.region", preferences.region, most=REGION_MOST, optional=True)
    for at, channel in enumerate(preferences.channels):
        check_enum(f"{field}.channels[{at}]", channel, e.Channel)
        if channel in preferences.channels[:at]:
            raise Invalid(f"{field}.channels[{at}]", "is named twice; give each channel once, most wanted first")


def check_sum(field: str, money: Money) -> None:
    """A positive sum in some currency. Whether ISO 4217 has that currency is not checked, since it changes."""
    if not _CURRENCY.fullmatch(money.currency):
        raise Invalid(f"{field}.currency", "is not an ISO 4217 code such as CNY")
    if money.minor_units <= 0:
        raise Invalid(f"{field}.minor_units", "must be more than 0, in the currency's smallest unit")


def check_clocks(field: str, clock_ids: Sequence[str]) -> None:
    if len(clock_ids) > CLOCKS_MOST:
        raise Invalid(field, f"are {len(clock_ids)}; {CLOCKS_MOST} are allowed")
    for at, clock_id in enumerate(clock_ids):
        check_uuid(f"{field}[{at}]", clock_id)
        if clock_id in clock_ids[:at]:
            raise Invalid(f"{field}[{at}]", "is named twice; give each clock once")


def _outcome(history: Sequence[Record]) -> sla.Outcome.ValueType:
    """What became of a clock, by the last of its events that says so; a new plan opens the question again."""
    outcome = sla.OUTCOME_UNSPECIFIED
    for record in history:
        match parse_event(record.type, record.data):
            case sla.VerdictReached() | sla.VerdictCorrected() as verdict:
                outcome = verdict.outcome
            case sla.ClockReplanned():
                outcome = sla.OUTCOME_UNSPECIFIED
    return outcome
