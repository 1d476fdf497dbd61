"""Zones have the pinned rules, whatever the host has."""

import subprocess
import sys


def test_the_hosts_zone_files_are_not_looked_at() -> None:
    told = "import services, zoneinfo; print(zoneinfo.TZPATH, zoneinfo.ZoneInfo('America/Sao_Paulo').key)"
    shown = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True).stdout
    assert shown == "() America/Sao_Paulo\n"
