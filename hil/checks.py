"""Every check there is, in the order in which they are made: what is relied on comes first."""

from __future__ import annotations

from hil import (
    checks_faults,
    checks_link,
    checks_modes,
    checks_protocol,
    checks_run,
    checks_walk,
)
from hil.check import Check

CHECKS: tuple[Check, ...] = (
    *checks_protocol.CHECKS,
    *checks_modes.CHECKS,
    *checks_faults.CHECKS,
    *checks_link.CHECKS,
    *checks_walk.CHECKS,
    *checks_run.CHECKS,
)
