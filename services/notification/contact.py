"""The personal facts of one notice, opened as the log had them at a position: whom to address, where, and who comes."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from kept.common.v1.sealed_pb2 import Sealed
from kept.customer.v1 import events_pb2 as customer
from kept.notification.v1 import events_pb2 as e
from kept.partner_network.v1 import events_pb2 as partner

from services.kernel.database import Database
from services.kernel.events import log_event
from services.kernel.log.port import Recorded
from services.kernel.privacy import Erased, Sealer
from services.notification.facts import CUSTOMER_NAME, SITE, TECHNICIAN

PHONE_CHANNELS = frozenset({customer.CHANNEL_SMS, customer.CHANNEL_PHONE, customer.CHANNEL_WECHAT})


@dataclass(frozen=True, slots=True)
class Contact:
    """`facts` are those that are known, by name. Where the customer's own data was erased there are none."""

    facts: Mapping[str, str]
    phone: str = ""
    email: str = ""
    app: str = ""
    erased: bool = False

    def address(self, channel: customer.Channel.ValueType) -> str:
        """Empty where they cannot be reached by that channel."""
        if channel == customer.CHANNEL_EMAIL:
            return self.email
        if channel == customer.CHANNEL_APP:
            return self.app
        return self.phone if channel in PHONE_CHANNELS else ""


def read_contact(log: Database, sealer: Sealer, planned: e.NoticePlanned, as_of: int) -> Contact:
    """As of that log position. A technician who was erased is as one who is not named yet."""
    reader = _Reader(log, sealer, as_of)
    party_id = UUID(planned.party_id)
    contact = customer.Contact()
    for body in reader.stream(party_id):
        if isinstance(body, customer.PartyRegistered | customer.ContactChanged):
            contact = body.contact
    name = reader.opened(contact.name, party_id)
    site = reader.site(planned.about.item_id)
    if isinstance(name, Erased) or isinstance(site, Erased):
        return Contact({}, erased=True)
    phone = reader.opened(contact.phones[0], party_id) if contact.phones else ""
    email = reader.opened(contact.email, party_id)
    technician = reader.technician(planned.about.work_order_id)
    facts = {CUSTOMER_NAME: name, SITE: site, TECHNICIAN: technician}
    return Contact(
        {fact: text for fact, text in facts.items() if isinstance(text, str) and text},
        phone=phone if isinstance(phone, str) else "",
        email=email if isinstance(email, str) else "",
        app=planned.party_id,
    )


class _Reader:
    def __init__(self, log: Database, sealer: Sealer, as_of: int) -> None:
        self._log = log
        self._sealer = sealer
        self._as_of = as_of

    def stream(self, stream: UUID) -> list[object]:
        """The bodies of one stream's events, in order, as far as they were recorded by then."""
        with self._log.read() as session:
            rows = session.execute(
                "SELECT position, type, recorded_at, record FROM log WHERE stream = ? AND position <= ? ORDER BY version",
                (stream, self._as_of),
            ).fetchall()
        return [log_event(Recorded(*row)).body for row in rows]

    def opened(self, sealed: Sealed, stream: UUID) -> str | Erased:
        """Empty where nothing was sealed."""
        return self._sealer.open(sealed, stream=stream) if sealed.ciphertext else ""

    def site(self, item_id: str) -> str | Erased:
        if not item_id:
            return ""
        stream = UUID(item_id)
        installed = [body for body in self.stream(stream) if isinstance(body, customer.ItemInstalled)]
        return self.opened(installed[0].site, stream) if installed else ""

    def technician(self, work_order_id: str) -> str | Erased:
        """Of the newest acceptance."""
        if not work_order_id:
            return ""
        stream = UUID(work_order_id)
        accepted = [body for body in self.stream(stream) if isinstance(body, partner.WorkOrderAccepted)]
        return self.opened(accepted[-1].technician, stream) if accepted else ""
