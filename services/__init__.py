"""The services, the kernel that they stand on, and the `kept` command."""

import zoneinfo

# Deadlines follow from the zones' rules: those of the pinned tzdata package count, not whatever the host has.
zoneinfo.reset_tzpath(to=())
