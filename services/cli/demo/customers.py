"""Two thousand customers: who they are, how they want to be told, and what they own."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp
from kept.customer.v1 import events_pb2 as e
from kept.customer.v1 import service_pb2 as customer

from services.cli.demo.chance import Chance
from services.cli.demo.company import CARE, CUSTOMERS_PERCENT, PRODUCTS, Product
from services.cli.demo.names import Named, address, organization, person
from services.cli.demo.places import AREAS, Area
from services.cli.demo.script import FIRST_DAY, ZONE, Script, Step

CUSTOMERS = 2000
ENGLISH_SHARE, ORGANIZATION_SHARE, PROSPECT_SHARE = 0.2, 0.06, 0.03
CARE_SHARE, SECOND_ITEM_SHARE = 0.1, 0.2
# Who wants to hear of offers too, and who does not even want notices about their own cases.
AGREED_SHARE, WITHDREW_SHARE = 0.2, 0.015
WARRANTY = timedelta(days=3 * 365)
CHANNELS = (
    (e.CHANNEL_WECHAT, e.CHANNEL_SMS),
    (e.CHANNEL_APP, e.CHANNEL_SMS, e.CHANNEL_EMAIL),
    (e.CHANNEL_SMS,),
    (e.CHANNEL_SMS, e.CHANNEL_PHONE),
    (e.CHANNEL_EMAIL, e.CHANNEL_SMS),
)


@dataclass
class Item:
    product: Product
    installed_at: datetime
    id: str = ""  # once it is recorded


@dataclass
class Customer:
    number: int
    tenant: str
    area: Area
    named: Named
    organization: bool
    since: datetime
    entitlement: str
    items: list[Item] = field(default_factory=list)
    id: str = ""  # once it is recorded

    @property
    def prospect(self) -> bool:
        """Has bought nothing yet."""
        return not self.items


def all_customers(seed: int, count: int = CUSTOMERS) -> list[Customer]:
    tenants = [tenant for tenant, percent in CUSTOMERS_PERCENT.items() for _ in range(percent)]
    return [
        _customer(Chance(seed, f"customer/{number}"), number, tenants[number * 61 % 100]) for number in range(count)
    ]


def _customer(chance: Chance, number: int, tenant: str) -> Customer:
    area = chance.one_of(AREAS[tenant])
    is_organization = chance.happens(ORGANIZATION_SHARE)
    named = (organization if is_organization else _private)(chance, area, english=ENGLISH_SHARE)
    prospect = chance.happens(PROSPECT_SHARE)
    items = [] if prospect else list(_items(chance))
    since = min((item.installed_at for item in items), default=FIRST_DAY - timedelta(days=chance.within(5, 90)))
    entitlement = CARE if items and chance.happens(CARE_SHARE) else ""
    return Customer(number, tenant, area, named, is_organization, since - timedelta(days=4), entitlement, items)


def _private(chance: Chance, _area: Area, *, english: float) -> Named:
    return person(chance, english=english)


def _items(chance: Chance) -> Iterator[Item]:
    first = chance.by_share({product.name: product.percent for product in PRODUCTS})
    wanted = [first]
    if chance.happens(SECOND_ITEM_SHARE):
        wanted += chance.some_of([product.name for product in PRODUCTS if product.name != first], 1)
    for product in PRODUCTS:
        if product.name in wanted:
            on_sale = datetime(product.launched, 3, 1, 9, tzinfo=ZONE)
            days = (FIRST_DAY - on_sale).days
            yield Item(product, on_sale + timedelta(days=chance.within(0, days - 20), minutes=5 * chance.within(0, 96)))


def arriving(seed: int, one: Customer) -> Script:
    """Registered when they came, with their consents, and each item when it was installed."""
    chance = Chance(seed, f"arrival/{one.number}")
    actor = f"user:sales.{one.tenant}"

    def step(at: datetime, request: object) -> Step:
        return Step(at, one.tenant, actor, "customer", request)

    stage = e.CUSTOMER_STAGE_PROSPECT if one.prospect else e.CUSTOMER_STAGE_ACTIVE
    registered = yield step(one.since, customer.RegisterCustomerRequest(party=_party(chance, one), stage=stage))
    one.id = registered.id
    if chance.happens(AGREED_SHARE):
        yield step(one.since, customer.GiveConsentRequest(customer_id=one.id, purpose=e.CONSENT_PURPOSE_MARKETING))
    for item in one.items:
        installed = yield step(item.installed_at, _installation(chance, one, item))
        item.id = installed.id
    if chance.happens(WITHDREW_SHARE):
        at = FIRST_DAY - timedelta(days=1)
        yield step(at, customer.WithdrawConsentRequest(customer_id=one.id, purpose=e.CONSENT_PURPOSE_SERVICE))


def _party(chance: Chance, one: Customer) -> customer.PartyInput:
    contact = customer.ContactInput(
        name=one.named.name,
        phones=[f"+86 199 0000 {one.number:04d}"],
        email=f"customer-{one.number:04d}@example.com",
    )
    preferences = e.Preferences(
        language=one.named.language,
        time_zone="Asia/Shanghai",
        region=one.area.code,
        channels=chance.one_of(CHANNELS),
    )
    kind = e.PARTY_KIND_ORGANIZATION if one.organization else e.PARTY_KIND_INDIVIDUAL
    return customer.PartyInput(kind=kind, contact=contact, preferences=preferences)


def _installation(chance: Chance, one: Customer, item: Item) -> customer.InstallItemRequest:
    return customer.InstallItemRequest(
        customer_id=one.id,
        product=item.product.name,
        serial=f"{item.product.name.split()[0]}-{item.installed_at:%y%m}-{chance.within(0, 99999):05d}",
        site=address(chance, one.area, one.named.language),
        region=one.area.code,
        product_stage=item.product.stage,
        warranty_until=Timestamp(seconds=int((item.installed_at + WARRANTY).timestamp())),
    )
