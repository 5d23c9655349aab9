"""What a person wants to know of a run while it lasts, out of its newest ticks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy.loop.modes import LoopMode
from robot_firmware_bridge.messages import Fault, Mode

Array = NDArray[np.float64]

WINDOW_S = 5.0
"""Times and torques are the worst of so many seconds."""
# Over this time a speed is measured: some strides.
_SPEED_S = 1.0


@dataclass(frozen=True, slots=True)
class Peak:
    """The greatest value of eight motors, and the motor that has it."""

    value: float
    motor: int


@dataclass(frozen=True, slots=True)
class Figures:
    """The state of a run. What nobody knows is None.

    Attributes:
        mode: Mode of the loop.
        policy: Index of the policy at work, or -1.
        elapsed_s: Time since the first tick.
        command: Forward speed, m/s, and yaw rate, rad/s, that the policy follows.
        speed_mps: Measured forward speed over the last second.
        distance_m: Measured distance from where the run began.
        roll_rad: Roll.
        pitch_rad: Pitch.
        battery_v: Battery voltage.
        winding_c: The hottest winding.
        torque_nm: Greatest torque of ``WINDOW_S``, without its sign.
        late_p99_us: How late the loop woke, 99th percentile of ``WINDOW_S``.
        late_max_us: The same, greatest.
        compute_p99_us: From waking to the sent command.
        compute_max_us: The same, greatest.
        missed: Ticks of the whole run that were skipped.
        state_age_ms: How old the state of the newest tick was, greatest of ``WINDOW_S``.
        robot_mode: What the motor controller reports of itself.
        robot_fault: Why it stopped, if it did.
    """

    mode: LoopMode
    policy: int
    elapsed_s: float
    command: tuple[float, float] | None
    speed_mps: float | None
    distance_m: float | None
    roll_rad: float
    pitch_rad: float
    battery_v: float
    winding_c: Peak | None
    torque_nm: Peak | None
    late_p99_us: float
    late_max_us: float
    compute_p99_us: float
    compute_max_us: float
    missed: int
    state_age_ms: float
    robot_mode: Mode
    robot_fault: Fault


def figures(ticks: NDArray[Any], first: NDArray[Any], period_s: float) -> Figures:
    """Return the figures of a run.

    Args:
        ticks: The ticks of the last ``WINDOW_S``, one or more, oldest first; fields by name.
        first: The first tick of the run, shape (1,).
        period_s: Control period.
    """
    new, start = ticks[-1], first[0]
    late_us = (ticks["woke_ns"] - ticks["deadline_ns"]) / 1e3
    compute_us = ticks["compute_ns"] / 1e3
    due = round((int(new["deadline_ns"]) - int(start["deadline_ns"])) / (period_s * 1e9))
    command = tuple(new["velocity_command"].tolist())
    moved_m = new["base_position_m"] - start["base_position_m"]
    distance_m = math.hypot(*moved_m[:2].tolist())
    return Figures(
        mode=LoopMode(int(new["mode"])),
        policy=int(new["policy"]),
        elapsed_s=(int(new["woke_ns"]) - int(start["woke_ns"])) / 1e9,
        command=command if math.isfinite(command[0]) else None,
        speed_mps=_speed_mps(ticks, float(start["rpy_rad"][2]), period_s),
        distance_m=distance_m if math.isfinite(distance_m) else None,
        roll_rad=float(new["rpy_rad"][0]),
        pitch_rad=float(new["rpy_rad"][1]),
        battery_v=float(new["battery_v"]),
        winding_c=_peak(new["winding_temperature_c"]),
        torque_nm=_peak(np.abs(ticks["motor_torque_nm"]).max(axis=0)),
        late_p99_us=float(np.percentile(late_us, 99)),
        late_max_us=float(late_us.max()),
        compute_p99_us=float(np.percentile(compute_us, 99)),
        compute_max_us=float(compute_us.max()),
        missed=max(0, due - (int(new["tick"]) - int(start["tick"]))),
        state_age_ms=float((ticks["woke_ns"] - ticks["state_t_ns"]).max()) / 1e6,
        robot_mode=Mode(int(new["robot_mode"])),
        robot_fault=Fault(int(new["robot_fault"])),
    )


def _peak(values: Array) -> Peak | None:
    if not np.isfinite(values).all():
        return None
    motor = int(values.argmax())
    return Peak(float(values[motor]), motor)


def _speed_mps(ticks: NDArray[Any], first_heading_rad: float, period_s: float) -> float | None:
    """Return the speed along the newest heading; positions have x along the first one."""
    ticks = ticks[-max(2, round(_SPEED_S / period_s)) :]
    old, new = ticks[0], ticks[-1]
    duration_s = (int(new["woke_ns"]) - int(old["woke_ns"])) / 1e9
    if duration_s <= 0.0:
        return None
    x_m, y_m, _ = (new["base_position_m"] - old["base_position_m"]).tolist()
    heading_rad = float(new["rpy_rad"][2]) - first_heading_rad
    speed_mps = (x_m * math.cos(heading_rad) + y_m * math.sin(heading_rad)) / duration_s
    return speed_mps if math.isfinite(speed_mps) else None
