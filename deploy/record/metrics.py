"""How well a body followed its velocity commands, stride by stride.

Within a stride a walking body speeds up and slows down, however steady the walk. Motion and command
are therefore averaged over a moving window before they are compared. The window is the same on both
sides, so its delay cancels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deploy.policy.contract import ActionSpec
from deploy.policy.gait import Gait

Array = NDArray[np.float64]

# Where a gait keeps no time there is no stride; this is about as long as a trot's.
_DEFAULT_STRIDE_S = 0.3


@dataclass(frozen=True, slots=True)
class Tracking:
    """Mean absolute errors over a course.

    Attributes:
        speed_error_mps: Of the forward speed along the body's own heading; None where the robot's
            position is not known.
        yaw_rate_error_rad_s: Of the yaw rate.
    """

    speed_error_mps: float | None
    yaw_rate_error_rad_s: float


def window_s(action: ActionSpec) -> float:
    """Return the time over which motion and command are averaged before they are compared.

    A stride; three of them where the network changes the frequency, since a window that is no whole
    number of strides leaves a part of the swaying in.
    """
    return stride_s(action.gait.frequency_hz) * (1.0 if action.modulation is None else 3.0)


def stride_s(frequency_hz: float) -> float:
    """Return the length of a stride of a gait that repeats itself so often."""
    return 1.0 / frequency_hz if frequency_hz > 0.0 else _DEFAULT_STRIDE_S


def forward_steps(position_m: Array, yaw_rad: Array) -> Array:
    """Return the displacements along the heading at the start of each, shape (T,), m.

    Positions are x and y in the world, shape (T + 1, 2); headings, shape (T + 1,), are those of the
    body's x axis on the floor.
    """
    moved, heading = np.diff(position_m, axis=0), yaw_rad[:-1]
    forward: Array = moved[:, 0] * np.cos(heading) + moved[:, 1] * np.sin(heading)
    return forward


def turn_steps(yaw_rad: Array) -> Array:
    """Return the changes of a heading, the short way round, shape (T,) of (T + 1,)."""
    turned: Array = (np.diff(yaw_rad) + math.pi) % (2.0 * math.pi) - math.pi
    return turned


def tracking(
    t_s: Array, position_m: Array, yaw_rad: Array, command: Array, window: float
) -> Tracking:
    """Return the errors over a course.

    Args:
        t_s: Times, shape (T + 1,), T at least 1.
        position_m: x and y at those times, shape (T + 1, 2); NaN if unknown.
        yaw_rad: Headings at those times, shape (T + 1,).
        command: Commanded speed and yaw rate from each time to the next, shape (T, 2).
        window: Length of the moving window, s; see :func:`window_s`.
    """
    dt_s = np.diff(t_s)
    moved, turned = forward_steps(position_m, yaw_rad), turn_steps(yaw_rad)
    slower = moving_rates(moved - command[:, 0] * dt_s, dt_s, window)
    askew = moving_rates(turned - command[:, 1] * dt_s, dt_s, window)
    known = bool(np.isfinite(slower).all())
    return Tracking(float(np.abs(slower).mean()) if known else None, float(np.abs(askew).mean()))


def heading_speed_mps(t_s: Array, position_m: Array, yaw_rad: Array) -> float | None:
    """Return the mean over time of the velocity along the body's own heading.

    Args:
        t_s: Rising times, shape (T + 1,).
        position_m: x and y at those times, shape (T + 1, 2); NaN if unknown.
        yaw_rad: Headings at those times, shape (T + 1,).

    Returns:
        The speed in m/s; None where no time passes or a position is unknown.
    """
    if len(t_s) < 2 or not t_s[-1] > t_s[0]:
        return None
    speed = float(forward_steps(position_m, yaw_rad).sum()) / float(t_s[-1] - t_s[0])
    return speed if math.isfinite(speed) else None


def stride_ticks(gait: Gait, period_s: float) -> int:
    """Return the ticks in a stride of a gait, at least one."""
    return max(1, round(stride_s(gait.frequency_hz) / period_s))


@dataclass(frozen=True, slots=True)
class Following:
    """How measured angles follow their targets.

    A motor that drives a leg lags behind a moving target: its torque is in proportion to the
    difference, and its sensors report late. So a difference of tenths of a radian is no fault in a
    quick gait; what remains at the best delay is.

    Attributes:
        rms_rad: Root mean square of target less measured angle, both of the same tick.
        delay_s: Delay of the targets at which that is least, in whole ticks.
        rms_delayed_rad: The same with the targets delayed so.
    """

    rms_rad: float
    delay_s: float
    rms_delayed_rad: float


# Longest delay that is looked for.
_LONGEST_DELAY_S = 0.1


def following(target_rad: Array, measured_rad: Array, period_s: float) -> Following | None:
    """Return how angles (T, N) follow targets (T, N), a tick a row; None for less than 0.2 s."""
    longest = round(_LONGEST_DELAY_S / period_s)
    ticks = len(target_rad) - longest
    if ticks <= longest:
        return None
    # The same measured angles for every delay.
    measured = measured_rad[longest:]
    rms = [
        float(np.sqrt(np.mean((target_rad[longest - k : longest - k + ticks] - measured) ** 2)))
        for k in range(longest + 1)
    ]
    best = int(np.argmin(rms))
    return Following(rms[0], best * period_s, rms[best])


def moving_rates(steps: Array, dt_s: Array, window: float) -> Array:
    """Return the moving mean: the sum of steps, shape (T,), over a window, divided by its time.

    The shape is (T - n + 1,) for n steps in a window; one value if the whole is shorter than that.
    T is at least 1, and ``dt_s``, shape (T,), is how long each step took.
    """
    ticks = min(max(1, round(window / float(np.median(dt_s)))), len(steps))
    return _sums(steps, ticks) / _sums(dt_s, ticks)


def _sums(values: Array, ticks: int) -> Array:
    """Return the sums of every ``ticks`` values in a row."""
    until = np.concatenate(((0.0,), np.cumsum(values)))
    sums: Array = until[ticks:] - until[:-ticks]
    return sums
