"""What the control loop asks of whoever steers a run: a person, a script or a constant.

The loop asks once per tick in its own thread, so a source must answer at once. The contract bounds
the requested velocity and limits its slew before the policy sees it; see
``deploy.policy.velocity_command``.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from deploy.policy.velocity_command import Velocity


@dataclass(frozen=True, slots=True)
class Steering:
    """What whoever steers has asked for so far, beside a velocity.

    Attributes:
        stops: Stop requests so far: the first ends the run gently, the second damps at once.
        lost: Why nobody steers any more, in one line; None while somebody does. The loop takes it
            as a stop request, but as no second one.
    """

    stops: int = 0
    lost: str | None = None


# Nobody asks for anything.
UNATTENDED = Steering()


class CommandSource(Protocol):
    """Requested velocity over time: forward speed, m/s, and yaw rate, rad/s."""

    @property
    def instructions(self) -> str | None:
        """One line for the person who steers; None where nobody does."""

    def poll(self) -> Steering:
        """Take in what came since the call before, and return what is asked for; never waits.

        The loop calls it in every tick, in whatever mode, before it asks for a velocity.
        """

    def requested(self, t_s: float) -> Velocity:
        """Return the requested velocity at the policy's time ``t_s``; never waits."""

    def listen(self) -> AbstractContextManager[None]:
        """Listen for the length of a run; ``poll`` and ``requested`` are called only within."""
