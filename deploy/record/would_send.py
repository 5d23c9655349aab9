"""What a dry run would have sent: how fast, and how far from where the robot was."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deploy.loop.modes import LoopMode
from deploy.record.flight_log import FlightLog
from deploy.steering import STAND


@dataclass(frozen=True, slots=True)
class WouldSend:
    """The worst of the commands that a dry run computed, those that only damp left out.

    Attributes:
        fastest_rad_s: Greatest speed of a motor's target.
        fastest_motor: That motor.
        fastest_mode: Mode of the loop then, such as "run".
        fastest_at_s: When, since that mode began, for the last time before.
        first_target_rad: Greatest distance of the first target from the measured angle.
        first_target_motor: That motor.
        fastest_policy: Number of the policy at work then, counted from 1; None where none was, or
            where the run has only one.
    """

    fastest_rad_s: float
    fastest_motor: str
    fastest_mode: str
    fastest_at_s: float
    first_target_rad: float
    first_target_motor: str
    fastest_policy: int | None = None

    def describe(self) -> str:
        """Return one line for people."""
        policy = "" if self.fastest_policy is None else f" of policy {self.fastest_policy}"
        return (
            f"fastest {self.fastest_rad_s:.1f} rad/s ({self.fastest_motor}, "
            f"{self.fastest_at_s:.2f} s into {self.fastest_mode}{policy}); first target "
            f"{self.first_target_rad:.2f} rad from the measured pose ({self.first_target_motor})"
        )


def would_send(log: FlightLog) -> WouldSend | None:
    """Return the worst of the commands of a flight log; None if none would have moved a motor."""
    ticks = np.flatnonzero(log.kp > 0.0)
    if not ticks.size:
        return None
    target_rad, deadline_ns = log.target_rad[ticks], log.deadline_ns[ticks]
    # The first target moves away from the measured pose, and has one period to do so.
    steps_rad = np.diff(target_rad, axis=0, prepend=log.motor_position_rad[ticks[:1]])
    steps_s = np.diff(deadline_ns, prepend=deadline_ns[0] - round(log.period_s * 1e9)) / 1e9
    speed_rad_s = np.abs(steps_rad) / steps_s[:, None]
    tick, motor = np.unravel_index(int(speed_rad_s.argmax()), speed_rad_s.shape)
    policy = int(log.policy[ticks[tick]])
    began_ns = log.deadline_ns[log.stretch(int(ticks[tick])).start]
    first = int(np.abs(steps_rad[0]).argmax())
    return WouldSend(
        fastest_rad_s=float(speed_rad_s[tick, motor]),
        fastest_motor=log.robot.motor_names[motor],
        fastest_mode=LoopMode(log.mode[ticks[tick]]).words,
        fastest_at_s=float(deadline_ns[tick] - began_ns) / 1e9,
        first_target_rad=float(np.abs(steps_rad[0, first])),
        first_target_motor=log.robot.motor_names[first],
        fastest_policy=policy + 1 if log.also and policy != STAND else None,
    )
