"""Checks of what callers say of places, agreements and visits. Each names the field and says what would do."""

from collections.abc import Sequence

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from kept.partner_network.v1 import events_pb2 as e
from kept.partner_network.v1 import service_pb2 as m

from services.kernel.clock import micros
from services.kernel.errors import Invalid
from services.kernel.hours import read_weekdays, read_zone
from services.kernel.regions import check_region
from services.kernel.validation import check_moment, check_text, check_uuid

MOST_PARTNERS, MOST_COVERED = 20, 100


def check_place(field: str, place: e.Place) -> None:
    """A region, a point, or both."""
    check_region(f"{field}.region", place.region, optional=True)
    given: Message = place
    for name, other, most in (("latitude_deg", "longitude_deg", 90), ("longitude_deg", "latitude_deg", 180)):
        if given.HasField(other) and not given.HasField(name):
            raise Invalid(f"{field}.{name}", f"is missing; give it with {other}, or neither")
        if given.HasField(name) and not -most <= getattr(place, name) <= most:
            raise Invalid(f"{field}.{name}", f"must be -{most} to {most} degrees (WGS 84)")
    if not place.region and not place.HasField("latitude_deg"):
        raise Invalid(field, "give a region such as 330122, a point, or both")


def check_agreement(field: str, agreement: e.Agreement) -> None:
    """At least one region, product and skill, and some hours."""
    for name in ("regions", "products", "skills"):
        values: Sequence[str] = getattr(agreement, name)
        if not 0 < len(values) <= MOST_COVERED:
            raise Invalid(f"{field}.{name}", f"are {len(values)}; give 1 to {MOST_COVERED}")
        for at, value in enumerate(values):
            check = check_region if name == "regions" else check_text
            check(f"{field}.{name}[{at}]", value)
    read_zone(f"{field}.hours.time_zone", agreement.hours.time_zone)
    if not any(read_weekdays(f"{field}.hours.weekdays", agreement.hours.weekdays)):
        raise Invalid(f"{field}.hours.weekdays", "at least one weekday needs a span")
    valid_from = check_moment(f"{field}.valid_from", agreement.valid_from)
    if agreement.HasField("valid_until"):
        valid_until = check_moment(f"{field}.valid_until", agreement.valid_until)
        if valid_until <= valid_from:
            raise Invalid(f"{field}.valid_until", "must come after valid_from; leave it unset for an open end")


def check_partner_ids(field: str, partner_ids: Sequence[str]) -> None:
    if not 0 < len(partner_ids) <= MOST_PARTNERS:
        raise Invalid(field, f"are {len(partner_ids)}; give 1 to {MOST_PARTNERS}")
    for at, partner_id in enumerate(partner_ids):
        check_uuid(f"{field}[{at}]", partner_id)
        if partner_id in partner_ids[:at]:
            raise Invalid(f"{field}[{at}]", "is named twice; give each partner once")


def check_window(field: str, window: e.VisitWindow) -> None:
    since = _required_moment(window, "from", f"{field}.from")
    if _required_moment(window, "until", f"{field}.until") <= since:
        raise Invalid(f"{field}.until", "must come after from")


def check_expiry(request: m.OfferWorkOrderRequest | m.ReofferWorkOrderRequest, *, after: int) -> None:
    """Between the command's own time, `after` in microseconds UTC, and the end of the window."""
    expires_at = _required_moment(request, "expires_at", "expires_at")
    if expires_at <= after:
        raise Invalid("expires_at", "must come after occurred_at, or after now where that is unset")
    if expires_at > micros(check_moment("window.until", request.window.until)):
        raise Invalid("expires_at", "must not come after window.until")


def _required_moment(message: Message, name: str, field: str) -> int:
    if not message.HasField(name):
        raise Invalid(field, "is missing")
    moment: Timestamp = getattr(message, name)
    return micros(check_moment(field, moment))
