"""Regions nest by their codes."""

import pytest

from services.kernel.errors import Invalid
from services.kernel.regions import areas_of, check_region, within


@pytest.mark.parametrize(
    ("region", "area", "expected"),
    [
        ("330122", "330122", True),
        ("330122", "330100", True),
        ("330122", "330000", True),
        ("330100", "330122", False),
        ("330122", "330200", False),
        ("330122", "310000", False),
        ("location 12", "location 12", True),
        ("location 12", "330000", False),
        ("330122", "location 12", False),
    ],
)
def test_a_county_lies_in_its_city_and_its_province(region: str, area: str, expected: bool) -> None:
    assert within(region, area) is expected
    assert (area in areas_of(region)) is expected


@pytest.mark.parametrize("code", ["990000", "000000", "", "3" * 65])
def test_an_unknown_place_is_named(code: str) -> None:
    with pytest.raises(Invalid) as caught:
        check_region("scope.regions[0]", code)

    assert caught.value.field == "scope.regions[0]"


@pytest.mark.parametrize("code", ["330122", "710000", "Location 12", "33012"])
def test_a_known_place_and_a_tenants_own_code_pass(code: str) -> None:
    assert check_region("region", code) == code
