"""Move one motor of a robot whose wiring is not known, such that nothing can run away.

A position loop that is closed through the wrong encoder, or with the wrong sign, runs away. So no
loop is closed here. Every motor is commanded to where it was just measured, which takes no torque:
its bridge brakes. One motor is commanded to a place that is always the same small way beyond. That
is a torque of a known size, whichever encoder is read. It grows from nothing, ends as soon as any
encoder has moved by some degrees, and lasts for 0.3 s at most.

The one motor is driven against gravity, knee up: what sinks by itself is not taken for driven.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deploy.bringup.rig import Driver, follow
from deploy.errors import SafetyStop

Array = NDArray[np.float64]

# With both at their greatest, a duty of 0.04: 0.34 Nm on a motor that stands, and 7 rad/s on one
# that nothing holds. A leg on a stand needs 0.06 Nm. By the delay of a slow line this gain feeds
# a speed back to less than what the winding brakes.
_BEYOND_RAD, _GAIN = 0.2, 0.2
_RISE_NS, _FULL_NS = 200_000_000, 100_000_000
_WATCH_NS = 50_000_000
MOVED_RAD = 0.05
"""An encoder that moved by this much, 3 degrees, ends the nudge."""

_TOO_FAR_RAD = 0.35
# A motor moved too if it moved by this share of the one that moved most.
_SHARE = 0.4


@dataclass(frozen=True, slots=True)
class Nudge:
    """What the encoders saw of one nudge.

    Attributes:
        motor: Output that was driven, in the direction of a smaller angle.
        moved_rad: How far each encoder moved at most, with its sign, shape (8,).
    """

    motor: int
    moved_rad: Array

    @property
    def encoder(self) -> int | None:
        """The encoder that moved most; None if none moved."""
        worst = int(np.argmax(np.abs(self.moved_rad)))
        return worst if abs(self.moved_rad[worst]) >= MOVED_RAD else None

    @property
    def others(self) -> tuple[int, ...]:
        """Further encoders that moved."""
        far = np.abs(self.moved_rad)
        moved = np.flatnonzero((far >= MOVED_RAD) & (far >= _SHARE * far.max()))
        return tuple(int(i) for i in moved if i != self.encoder)


def nudge(driver: Driver, motor: int) -> Nudge:
    """Arm, drive one motor for a moment, watch it come to rest, and make all motors safe.

    Raises:
        SafetyStop: The robot must not go on, or a motor moved far.
        RunError: The board takes the legs for elsewhere.
        BridgeError: The robot cannot be reached, or refuses.
    """
    with driver.armed():
        state = driver.tick()
        start_rad = state.motor_position_rad.copy()
        moved = np.zeros_like(start_rad)
        begin_ns = end_ns = driver.clock.now_ns()
        driving = True
        while driving or driver.clock.now_ns() < end_ns:
            elapsed_ns = driver.clock.now_ns() - begin_ns
            target = follow(state)
            if driving:
                target[motor] -= _BEYOND_RAD
            driver.send(target, _GAIN * min(1.0, elapsed_ns / _RISE_NS))
            state = driver.tick()
            now_rad = state.motor_position_rad - start_rad
            moved = np.where(np.abs(now_rad) > np.abs(moved), now_rad, moved)
            far_rad = float(np.abs(now_rad).max())
            if far_rad > _TOO_FAR_RAD:
                worst = driver.robot.description.motor_names[int(np.argmax(np.abs(now_rad)))]
                raise SafetyStop(
                    "moved_too_far", f"motor {worst} moved by {np.degrees(far_rad):.0f} degrees"
                )
            over = far_rad >= MOVED_RAD or elapsed_ns >= _RISE_NS + _FULL_NS
            if driving and over:
                driving, end_ns = False, driver.clock.now_ns() + _WATCH_NS
    return Nudge(motor, moved)
