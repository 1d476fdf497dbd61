"""All that the demo tells, put together from one seed."""

from dataclasses import dataclass
from datetime import datetime

from services.cli.demo import cases, company, customers, losses, outage
from services.cli.demo.company import Company
from services.cli.demo.places import AREAS
from services.cli.demo.script import DAYS, FIRST_DAY, Part, day
from services.cli.rules import default_rules

SEED = 1


@dataclass(frozen=True)
class Size:
    """Smaller ones are for tests."""

    customers: int = customers.CUSTOMERS
    days: int = DAYS


WHOLE = Size()


@dataclass(frozen=True)
class Story:
    """`before` is true when the first day begins; `during` happens from then until the end."""

    company: Company
    before: list[Part]
    during: list[Part]
    since: datetime
    until: datetime


def story(seed: int, size: Size = WHOLE) -> Story:
    """In fewer days the outage comes earlier, and what has a later day is left out."""
    told = company.founded(seed, default_rules())
    everybody = customers.all_customers(seed, size.customers)
    calls = cases.all_calls(seed, everybody, size.days)
    before = [Part(f"opening-{tenant}", FIRST_DAY, company.opening(told, tenant)) for tenant in AREAS]
    before += [Part(f"partner-{one.number}", FIRST_DAY, company.joining(told, one)) for one in told.partners]
    before += [Part(f"customer-{one.number}", FIRST_DAY, customers.arriving(seed, one)) for one in everybody]
    during = list(cases.courses(told, calls))
    during += outage.outage(told, everybody, on=outage.DAY * size.days // DAYS, first_number=len(calls))
    during += losses.losses(told)
    suspended = [(one, one.suspended_at) for one in told.partners if one.suspended_at is not None]
    during += [Part(f"suspension-{one.number}", at, company.suspension(one)) for one, at in suspended]
    # It ends while people work: what one then does in the console is answered at once.
    return Story(told, before, during, FIRST_DAY, day(size.days - 1, 10))
