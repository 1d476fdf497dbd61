"""Regions by code. GB/T 2260 codes nest: 330000 the province, 330100 the city, 330122 the county.

Other codes of a tenant's own are allowed; such a region contains itself alone.
"""

import re

from services.kernel.errors import Invalid
from services.kernel.validation import check_text

_GBT2260 = re.compile(r"[0-9]{6}")
# GB/T 2260: the provinces, autonomous regions, municipalities and special administrative regions.
_PROVINCES = re.compile("1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[12]")
REGION_MOST = 64


def check_region(field: str, code: str, *, optional: bool = False) -> str:
    """Raises Invalid for a six-digit code that is in no province."""
    check_text(field, code, most=REGION_MOST, optional=optional)
    if _GBT2260.fullmatch(code) and not _PROVINCES.fullmatch(code[:2]):
        raise Invalid(
            field, f"there is no province {code[:2]}; give a GB/T 2260 code such as 330122, or one of your own"
        )
    return code


def within(region: str, area: str) -> bool:
    """Whether the region is the area, or lies in it."""
    if region == area:
        return True
    if not (_GBT2260.fullmatch(region) and _GBT2260.fullmatch(area)):
        return False
    if area.endswith("0000"):
        return region[:2] == area[:2]
    return area.endswith("00") and region[:4] == area[:4]


def areas_of(region: str) -> tuple[str, ...]:
    """The region and what it lies in, the smallest first: every area for which `within` holds."""
    if not _GBT2260.fullmatch(region):
        return (region,)
    return tuple(dict.fromkeys((region, f"{region[:4]}00", f"{region[:2]}0000")))
