"""What the control loop asks of whoever steers a run: a person, a script or a constant.

The loop asks once per tick in its own thread, so a source must answer at once. The contract bounds
the requested velocity and limits its slew before the policy sees it; see
``deploy.policy.velocity_command``.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from deploy.policy.velocity_command import STOP, Velocity, VelocityCommandSpec, range_in_words

# The choice of no policy: the robot holds its stance.
STAND = -1


@dataclass(frozen=True, slots=True)
class Steering:
    """What whoever steers has asked for so far, beside a velocity.

    Attributes:
        stops: Stop requests so far: the first ends the run gently, the second damps at once.
        lost: Why nobody steers any more, in one line; None while somebody does. The loop takes it
            as a stop request, but as no second one.
        choice: Index of the chosen policy, or ``STAND``.
    """

    stops: int = 0
    lost: str | None = None
    choice: int = 0


# Nobody asks for anything.
UNATTENDED = Steering()


class CommandSource(Protocol):
    """Requested velocity over time: forward speed, m/s, and yaw rate, rad/s."""

    @property
    def instructions(self) -> str | None:
        """One line for the person who steers; None where nobody does."""

    def poll(self) -> Steering:
        """Take in what came since the call before, and return what is asked for; never waits.

        The loop calls it once before it arms the motors, and in every tick, in whatever mode,
        before it asks for a velocity.
        """

    def requested(self, t_s: float) -> Velocity:
        """Return the requested velocity at the policy's time ``t_s``; never waits."""

    def listen(self) -> AbstractContextManager[None]:
        """Listen for the length of a run; ``poll`` and ``requested`` are called only within."""


@dataclass(frozen=True, slots=True)
class Choosable:
    """A policy of a run for whoever chooses one.

    Attributes:
        name: What people call it.
        spec: The velocity commands that it was trained for; None if it takes none.
    """

    name: str
    spec: VelocityCommandSpec | None


class Choice:
    """Which policy whoever steers has chosen; the first one before anybody has.

    Attributes:
        index: Index of the chosen policy, or ``STAND``.
    """

    def __init__(self, policies: Sequence[Choosable]) -> None:
        self._policies = tuple(policies)
        self.index = 0

    def choose(self, index: int) -> None:
        """Choose a policy, or ``STAND``; one that is not there changes nothing."""
        if STAND <= index < len(self._policies):
            self.index = index

    def step(self, step: int) -> None:
        """Choose the next policy or, with -1, the one before; from a stand, the first or last."""
        start = self.index if self.index != STAND else min(0, -step)
        self.index = (start + step) % len(self._policies)

    def stop(self) -> None:
        """Choose to stand where the chosen policy takes no velocity command: it cannot stop."""
        if self._spec is None:
            self.index = STAND

    def clip(self, speed_mps: float, yaw_rate_rad_s: float) -> Velocity:
        """Return the nearest velocity that the chosen policy was trained for."""
        return STOP if self._spec is None else self._spec.clip(speed_mps, yaw_rate_rad_s)

    @property
    def ranges(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Ranges of speed and yaw rate of the chosen policy; zero for one without."""
        return (STOP, STOP) if self._spec is None else self._spec.ranges

    def in_words(self) -> str:
        """Return the policies and their ranges for people, one after the other."""
        return "; ".join(
            f"{number} {policy.name} ({_in_words(policy.spec)})"
            for number, policy in enumerate(self._policies, 1)
        )

    @property
    def _spec(self) -> VelocityCommandSpec | None:
        return None if self.index == STAND else self._policies[self.index].spec


def _in_words(spec: VelocityCommandSpec | None) -> str:
    if spec is None:
        return "cannot be steered"
    speed, yaw_rate = spec.ranges
    return f"{range_in_words(speed)} m/s, {range_in_words(yaw_rate)} rad/s"
