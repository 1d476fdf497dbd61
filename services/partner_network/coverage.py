"""What an agreement covers, and why a partner cannot be asked. Pure; moments are whole microseconds since 1970 UTC."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

from kept.partner_network.v1 import events_pb2 as e

from services.kernel.clock import micros_of
from services.kernel.regions import within

FOREVER = 2**62  # microseconds; after every moment that a record can bear
IN_SERVICE = (e.ADMISSION_STATE_ADMITTED, e.ADMISSION_STATE_PROBATION)


class Need(NamedTuple):
    """What somebody needs help with, where (None: anywhere), and when (microseconds UTC)."""

    region: str | None
    product: str
    skill: str
    at: int


class Obstacle(StrEnum):
    """Why a partner cannot be asked; named as in WhyNot of the service."""

    NOT_ADMITTED = "it is not admitted"
    SUSPENDED = "it is suspended"
    NO_AGREEMENT = "no agreement of it is valid at that moment"
    REGION = "no valid agreement of it covers the region"
    PRODUCT = "its agreements for the region do not cover the product"
    SKILL = "its agreements for the region and the product do not cover the skill"


def valid_at(agreement: e.Agreement, at: int) -> bool:
    since, until = _validity(agreement)
    return since <= at < until


def covers_region(agreement: e.Agreement, region: str | None) -> bool:
    return region is None or any(within(region, area) for area in agreement.regions)


def covering(signed: Iterable[e.AgreementSigned], need: Need) -> tuple[Sequence[e.AgreementSigned], Obstacle | None]:
    """The agreements that cover the need; or none, and what the last of them failed at."""
    left = [one for one in signed if valid_at(one.agreement, need.at)]
    if not left:
        return (), Obstacle.NO_AGREEMENT
    left = [one for one in left if covers_region(one.agreement, need.region)]
    if not left:
        return (), Obstacle.REGION
    left = [one for one in left if need.product in one.agreement.products]
    if not left:
        return (), Obstacle.PRODUCT
    left = [one for one in left if need.skill in one.agreement.skills]
    return left, None if left else Obstacle.SKILL


def barred(state: e.AdmissionState.ValueType) -> Obstacle | None:
    """Why a partner in that state gets no offers at all."""
    if state in IN_SERVICE:
        return None
    return Obstacle.SUSPENDED if state == e.ADMISSION_STATE_SUSPENDED else Obstacle.NOT_ADMITTED


def _validity(agreement: e.Agreement) -> tuple[int, int]:
    until = micros_of(agreement.valid_until) if agreement.HasField("valid_until") else FOREVER
    return micros_of(agreement.valid_from), until


def overlap(one: e.Agreement, other: e.Agreement) -> bool:
    """Whether some visit would be covered by both."""
    (since, until), (others_since, others_until) = _validity(one), _validity(other)
    return (
        since < others_until
        and others_since < until
        and not set(one.products).isdisjoint(other.products)
        and not set(one.skills).isdisjoint(other.skills)
        and any(within(mine, its) or within(its, mine) for mine in one.regions for its in other.regions)
    )
