"""Short windows of a record: a measured state, and what was measured over the next 100 ms.

A record does not say everything that a simulator starts from. What is missing is taken as follows.
Speeds are differences of angles where the board reports none. The height of the body is that at
which its lowest toe touches the floor, unless there is motion capture. Its velocity is that of the
motion capture. Without, the toes that touch are taken to rest: forward, half of what that gives and
half of the board's own estimate, if it makes one; upward, half of it, since nobody knows whether
the robot flies. With the whole of it, or none, the errors of the bounding robot are larger in both
of its runs on both engines (docs/real-data.md).

Imports numpy, records and the leg map; no plant.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from calibration.errors import RecordError
from calibration.record import (
    LONGEST_GAP_PERIODS,
    Board,
    FootGains,
    MotorSeries,
    Record,
    stretches,
)
from robot_firmware_bridge.geometry import MOTOR_TO_LEG, rpy_from_quaternion
from robot_firmware_bridge.robot import MINITAUR, NUM_LEGS

Array = NDArray[np.float64]

# Times after the start of a window at which prediction and measurement are compared.
HORIZONS_MS = (10, 20, 30, 50, 70, 100)
# A body that hardly moves says little; this is the least mean motor speed over a window.
_LEAST_MOTION_RAD_S = 0.3
# Slower records cannot be predicted from their own states.
_LEAST_RATE_HZ = 50.0
# A robot that falls or flails is in no state to start from: nobody knows what touches the floor.
_LARGEST_TILT_RAD, _LARGEST_SWING_RAD = 0.6, 1.2
# Extensions of a five-bar lie between 0 and pi, at whose ends its knees meet; the encoders' offsets
# are small against that.
_LEAST_EXTENSION_RAD = 0.05
# Hips ahead of the body's middle, and toes to the left of it, m (rainbow_dash's URDF, rounded).
_HIP_X_M = 0.2375 * np.array((1.0, -1.0, 1.0, -1.0))
_HIP_Y_M = 0.127 * np.array((1.0, 1.0, -1.0, -1.0))
# Toes this little above the lowest are taken to rest, and a body does not rise or fall faster.
_RESTING_M, _LARGEST_RISE_M_S = 0.01, 0.3
# Samples on either side of one by which it is smoothed.
_HALF = 2


@dataclass(frozen=True, slots=True)
class Track:
    """The body's motion by motion capture, at the times of its samples.

    Attributes:
        t_s: Shape (T,).
        height_m: From any level, shape (T,).
        velocity_m_s: In the world of the IMU's heading, shape (T, 3).
        level_known: Whether heights are those of the link's origin over the floor.
    """

    t_s: Array
    height_m: Array
    velocity_m_s: Array
    level_known: bool

    def at(self, t_s: Array) -> tuple[Array, Array]:
        """Return heights (W,) and velocities (W, 3) at times (W,)."""
        height = np.interp(t_s, self.t_s, self.height_m)
        return height, on_times(self.t_s, self.velocity_m_s, t_s)


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows of one record; row ``i`` of every array is window ``i``. Times are the record's.

    Attributes:
        t_s: When the state was measured, shape (W,).
        position_rad: Motor angles as read, shape (W, 8).
        velocity_rad_s: Motor speeds, shape (W, 8).
        rpy_rad: Roll, pitch and yaw, shape (W, 3).
        rate_rad_s: Turn rates about the body's axes, shape (W, 3).
        velocity_m_s: Velocity of the body's link origin without motion capture, in a world whose
            x axis is where the IMU's yaw is 0, shape (W, 3).
        later_position_rad: Motor angles at the horizons, shape (W, H, 8).
        later_rp_rad: Roll and pitch at the horizons, shape (W, H, 2).
        horizons_ms: The horizons, shape (H,).
        track: Where the body was by motion capture, or None.
        left_out: Windows of good samples that began in no state to start from: roll or pitch beyond
            0.6 rad, a swing beyond 1.2 rad, or a leg folded flat.
    """

    t_s: Array
    position_rad: Array
    velocity_rad_s: Array
    rpy_rad: Array
    rate_rad_s: Array
    velocity_m_s: Array
    later_position_rad: Array
    later_rp_rad: Array
    horizons_ms: NDArray[np.int64]
    track: Track | None
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.t_s)

    def chosen(self, rows: NDArray[np.int64]) -> Windows:
        """Return some of the windows."""
        arrays = {
            field.name: getattr(self, field.name)[rows]
            for field in fields(self)
            if field.name not in ("horizons_ms", "track", "left_out")
        }
        return replace(self, **arrays)

    def held(self) -> tuple[Array, Array]:
        """Predict that nothing moves: motor angles (W, H, 8), roll and pitch (W, H, 2)."""
        shape = (1, len(self.horizons_ms), 1)
        return np.tile(self.position_rad[:, None], shape), np.tile(self.rpy_rad[:, None, :2], shape)

    def at_constant_speed(self) -> tuple[Array, Array]:
        """Predict that all speeds stay: motor angles (W, H, 8), roll and pitch (W, H, 2)."""
        angles, attitude = self.held()
        later_s = self.horizons_ms[None, :, None] * 1e-3
        return (
            angles + self.velocity_rad_s[:, None] * later_s,
            attitude + self.rate_rad_s[:, None, :2] * later_s,
        )


def cut(
    record: Record, count: int | None = None, horizons_ms: tuple[int, ...] = HORIZONS_MS
) -> Windows:
    """Cut the windows of a record whose samples are all good.

    Args:
        record: With motor angles and attitude at 50 Hz or more.
        count: How many, spread evenly over the record; None for one at each sample.
        horizons_ms: Times after the start at which is measured, in rising order.

    Raises:
        RecordError: The record lacks what windows need, or has no good window with motion.
    """
    name, motors, attitude = record.source.name, record.motors, record.attitude
    if motors is None or attitude is None:
        lacks = "motor angles" if motors is None else "the attitude of the body"
        raise RecordError(f"{name}: nothing to predict from: it lacks {lacks}")
    if motors.rate_hz < _LEAST_RATE_HZ:
        raise RecordError(
            f"{name}: {motors.rate_hz:.0f} samples a second are too few to predict motion from; "
            f"{_LEAST_RATE_HZ:.0f} are needed"
        )
    t_s, ok = motors.t_s, motors.ok & _held_ok(attitude.t_s, attitude.ok, motors.t_s)
    rpy = on_times(attitude.t_s, attitude.rpy_rad, t_s)
    if attitude.rate_rad_s is None:
        smooth_rpy, rpy_rate = smoothed(t_s, rpy)
        body_rate = _body_rates(smooth_rpy, rpy_rate)
    else:
        rate = on_times(attitude.t_s, attitude.rate_rad_s, t_s)
        smooth_rpy, body_rate = integrated(t_s, rpy, rate), smoothed(t_s, rate)[0]
    speed = motors.speeds_rad_s()

    sensible = _sensible(name, motors, smooth_rpy, ok)

    last_s = horizons_ms[-1] * 1e-3
    starts, left_out, whole = [], 0, 0
    longest_s = LONGEST_GAP_PERIODS / motors.rate_hz
    gaps = np.diff(t_s) > longest_s
    for i in range(_HALF, len(t_s) - _HALF):
        end = int(np.searchsorted(t_s, t_s[i] + last_s - 1e-9)) + 1
        first, stop = i - _HALF, max(end, i + _HALF + 1)
        if stop > len(t_s) or not ok[first:stop].all() or gaps[first : stop - 1].any():
            continue
        whole += 1
        if np.abs(speed[i:end]).mean() < _LEAST_MOTION_RAD_S:
            continue
        if sensible[i]:
            starts.append(i)
        else:
            left_out += 1
    if not starts and left_out:
        raise RecordError(
            f"{name}: all {left_out} stretches of {last_s * 1e3:.0f} ms begin with the body tilted "
            f"by more than {_LARGEST_TILT_RAD} rad or a leg swung by more than "
            f"{_LARGEST_SWING_RAD} rad: record a robot on its feet"
        )
    if not whole:
        raise RecordError(
            f"{name}: no {last_s * 1e3:.0f} ms without a bad sample or a gap: the record is too "
            "short, its clock jumps, or samples were lost"
        )
    if not starts:
        raise RecordError(
            f"{name}: no {last_s * 1e3:.0f} ms of good samples in which the legs move: nothing can "
            "be predicted or identified; record a gait"
        )
    rows = np.array(starts)
    if count is not None and count < len(rows):
        rows = rows[spread(len(rows), count)]
    at = (t_s[rows, None] + np.array(horizons_ms) * 1e-3).ravel()
    shape = (len(rows), len(horizons_ms))
    return Windows(
        t_s=t_s[rows],
        position_rad=motors.position_rad[rows],
        velocity_rad_s=speed[rows],
        rpy_rad=smooth_rpy[rows],
        rate_rad_s=body_rate[rows],
        velocity_m_s=_velocity(record, rows, smooth_rpy, body_rate, speed),
        later_position_rad=_between(motors, at).reshape(*shape, 8),
        later_rp_rad=on_times(t_s, smooth_rpy[:, :2], at).reshape(*shape, 2),
        horizons_ms=np.array(horizons_ms),
        track=_track(record, smooth_rpy[:, 2]),
        left_out=left_out,
    )


def spread(size: int, count: int) -> NDArray[np.int64]:
    """Return ``count`` rows of ``size``, from the first to the last, as even as they can be."""
    rows: NDArray[np.int64] = np.round(np.linspace(0, size - 1, count)).astype(np.int64)
    return rows


def _sensible(
    name: str, motors: MotorSeries, rpy: Array, ok: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return which samples are states to start from, shape (T,).

    Raises:
        RecordError: Most good samples are no states of a Minitaur's legs.
    """
    swing, extension = motors.leg_space()
    with np.errstate(invalid="ignore"):
        outside = (extension < _LEAST_EXTENSION_RAD) | (extension > np.pi - _LEAST_EXTENSION_RAD)
        closed: NDArray[np.bool_] = np.logical_not(np.logical_or.reduce(outside, axis=1))
        upright = (np.abs(rpy[:, :2]) <= _LARGEST_TILT_RAD).all(axis=1)
        under = (np.abs(swing) <= _LARGEST_SWING_RAD).all(axis=1)
    if ok.any() and closed[ok].mean() < 0.5:
        leg = MINITAUR.leg_names[int(np.argmax(outside[ok].sum(axis=0)))]
        raise RecordError(
            f"{name}: the {leg} leg's motors stand at angles that no leg of a Minitaur can have "
            "(their mean is not between 0 and pi): a log of another robot, or other motor zeros"
        )
    return np.asarray(closed & upright & under)


def smoothed(t_s: Array, values: Array) -> tuple[Array, Array]:
    """Return values and their time derivative from the parabola through five samples.

    The parabola of least squares (Savitzky and Golay 1964); the two samples at either end stay as
    they are, with a derivative of NaN.

    Args:
        t_s: Nearly even times, shape (T,).
        values: Shape (T, N).
    """
    value, slope = values.copy(), np.full(values.shape, np.nan)
    if len(t_s) > 2 * _HALF:
        v = [values[k : len(values) - 2 * _HALF + k] for k in range(2 * _HALF + 1)]
        value[_HALF:-_HALF] = (17 * v[2] + 12 * (v[1] + v[3]) - 3 * (v[0] + v[4])) / 35
        step = ((t_s[2 * _HALF :] - t_s[: -2 * _HALF]) / (2 * _HALF))[:, None]
        slope[_HALF:-_HALF] = (2 * (v[4] - v[0]) + v[3] - v[1]) / (10 * step)
    return value, slope


def integrated(t_s: Array, rpy: Array, rate: Array) -> Array:
    """Return roll, pitch and yaw, shape (T, 3), of a gyroscope that a noisy attitude corrects.

    What the integral of the turn rates lacks to the attitude, averaged over half a second around
    each sample, is added to it: the noise of single samples goes, motion stays.

    Args:
        t_s: Nearly even times, shape (T,).
        rpy: Roll, pitch and yaw without wraps, shape (T, 3); NaN where unknown.
        rate: Turn rates about the body's axes, shape (T, 3).
    """
    good = np.asarray(np.isfinite(np.concatenate((rpy, rate), axis=1)).all(axis=1), dtype=np.bool_)
    roll, pitch = np.nan_to_num(rpy[:, 0]), np.nan_to_num(rpy[:, 1])
    x, y, z = np.nan_to_num(rate).T
    turning = (np.sin(roll) * y + np.cos(roll) * z) / np.cos(pitch)
    slope = np.stack(
        (x + np.sin(pitch) * turning, np.cos(roll) * y - np.sin(roll) * z, turning), axis=1
    )
    steps = 0.5 * (slope[1:] + slope[:-1]) * np.diff(t_s)[:, None]
    integral = np.concatenate((np.zeros((1, 3)), np.cumsum(steps, axis=0)))
    lacking = np.where(good[:, None], rpy - integral, 0.0)
    half = max(1, round(0.25 / float(np.median(np.diff(t_s))))) if len(t_s) > 1 else 1
    out = np.full(rpy.shape, np.nan)
    for stretch in stretches(t_s, good):
        sums = np.concatenate((np.zeros((1, 3)), np.cumsum(lacking[stretch], axis=0)))
        counts = np.arange(len(sums) - 1)
        first, stop = np.maximum(0, counts - half), np.minimum(len(counts), counts + half + 1)
        mean = (sums[stop] - sums[first]) / (stop - first)[:, None]
        out[stretch] = integral[stretch] + mean
    return out


def _body_rates(rpy: Array, rpy_rate: Array) -> Array:
    """Return turn rates about the body's axes of changing roll, pitch and yaw, both (T, 3)."""
    roll, pitch = rpy[:, 0], rpy[:, 1]
    droll, dpitch, dyaw = rpy_rate.T
    return np.stack(
        (
            droll - np.sin(pitch) * dyaw,
            np.cos(roll) * dpitch + np.sin(roll) * np.cos(pitch) * dyaw,
            -np.sin(roll) * dpitch + np.cos(roll) * np.cos(pitch) * dyaw,
        ),
        axis=1,
    )


def _held_ok(t_s: Array, ok: NDArray[np.bool_], at_s: Array) -> NDArray[np.bool_]:
    """Return whether the samples on both sides of each time are good."""
    after = np.clip(np.searchsorted(t_s, at_s), 0, len(t_s) - 1)
    before = np.clip(np.searchsorted(t_s, at_s, side="right") - 1, 0, len(t_s) - 1)
    within = (at_s >= t_s[0]) & (at_s <= t_s[-1])
    good: NDArray[np.bool_] = ok[after] & ok[before] & within
    return good


def on_times(t_s: Array, values: Array, at_s: Array) -> Array:
    """Return columns (T, N) interpolated to other times, shape (len(at_s), N)."""
    return np.stack([np.interp(at_s, t_s, column) for column in values.T], axis=1)


def _between(motors: MotorSeries, at_s: Array) -> Array:
    """Return motor angles at any times, (N, 8): by cubics where the board reports speeds."""
    t_s, angle, speed = motors.t_s, motors.position_rad, motors.velocity_rad_s
    if speed is None:
        return on_times(t_s, angle, at_s)
    after = np.clip(np.searchsorted(t_s, at_s), 1, len(t_s) - 1)
    step = (t_s[after] - t_s[after - 1])[:, None]
    s = np.clip((at_s - t_s[after - 1])[:, None] / step, 0.0, 1.0)
    before, then = angle[after - 1], angle[after]
    cubic: Array = (
        (1.0 + 2.0 * s) * (1.0 - s) ** 2 * before
        + s**2 * (3.0 - 2.0 * s) * then
        + step * s * (1.0 - s) * ((1.0 - s) * speed[after - 1] - s * speed[after])
    )
    return cubic


def _velocity(
    record: Record, rows: NDArray[np.int64], rpy: Array, rate: Array, speed: Array
) -> Array:
    """Return the body's velocity by the board's estimate and the legs, shape (W, 3)."""
    velocity = np.zeros((len(rows), 3))
    if (motors := record.motors) is None:
        return velocity
    states = zip(motors.position_rad[rows], speed[rows], rpy[rows], rate[rows], strict=True)
    forward, upward = np.array([stance_velocity(*state) for state in states]).T
    if (board := record.speed) is not None:
        estimate = np.interp(motors.t_s[rows], board.t_s[board.ok], board.speed_mps[board.ok])
        forward = 0.5 * (forward + estimate)
    velocity[:, 0] = forward * np.cos(rpy[rows, 2])
    velocity[:, 1] = forward * np.sin(rpy[rows, 2])
    velocity[:, 2] = 0.5 * np.clip(upward, -_LARGEST_RISE_M_S, _LARGEST_RISE_M_S)
    return velocity


def stance_velocity(
    position_rad: Array, velocity_rad_s: Array, rpy_rad: Array, rate: Array
) -> tuple[float, float]:
    """Return the body's speed forward and upward at which its lowest toes rest on the floor, m/s.

    The mean over the toes that are less than 10 mm above the lowest, by the legs' nominal geometry.

    Args:
        position_rad: Motor angles, shape (8,).
        velocity_rad_s: Motor speeds, shape (8,).
        rpy_rad: Attitude, shape (3,).
        rate: Turn rates about the body's axes, rad/s, shape (3,).
    """
    leg, moving = MOTOR_TO_LEG @ position_rad, MOTOR_TO_LEG @ velocity_rad_s
    length, slope = leg_length_m(leg[NUM_LEGS:])
    pitch = rpy_rad[1]
    swing, turning = leg[:NUM_LEGS] + pitch, moving[:NUM_LEGS] + rate[1]  # from the vertical
    longer = slope * moving[NUM_LEGS:]
    depth = length * np.cos(swing) + _HIP_X_M * np.sin(pitch) - _HIP_Y_M * np.sin(rpy_rad[0])
    rests = depth > depth.max() - _RESTING_M
    sinking = longer * np.cos(swing) - length * np.sin(swing) * turning
    sinking += _HIP_X_M * np.cos(pitch) * rate[1] - _HIP_Y_M * rate[0]
    back = longer * np.sin(swing) + length * np.cos(swing) * turning
    back += _HIP_X_M * np.sin(pitch) * rate[1]
    return float(back[rests].mean()), float(sinking[rests].mean())


def leg_length_m(extension_rad: Array, gains: FootGains = FootGains()) -> tuple[Array, Array]:  # noqa: B008  a frozen value
    """Return the lengths of legs from hip to toe pin, m, and their slopes, m/rad."""
    upper, lower = gains.upper_link_m, gains.lower_link_m
    sine, cosine = np.sin(extension_rad), np.cos(extension_rad)
    root = np.sqrt(lower**2 - (upper * sine) ** 2)
    return root - upper * cosine, upper * sine - upper**2 * sine * cosine / root


def _track(record: Record, yaw_rad: Array) -> Track | None:
    """Return the body's motion by motion capture that is fast enough; None without."""
    mocap, motors = record.mocap, record.motors
    if mocap is None or motors is None or mocap.rate_hz < _LEAST_RATE_HZ:
        return None
    velocity = np.gradient(mocap.position_m, mocap.t_s, axis=0)
    if mocap.quaternion is not None and mocap.mount_yaw_rad is not None:
        seen = np.unwrap([rpy_from_quaternion(each)[2] for each in mocap.quaternion])
        good = np.isfinite(yaw_rad)
        imu = np.interp(mocap.t_s, motors.t_s[good], yaw_rad[good])
        turn = imu - seen - mocap.mount_yaw_rad
        x, y = velocity[:, 0].copy(), velocity[:, 1].copy()
        velocity[:, 0] = np.cos(turn) * x - np.sin(turn) * y
        velocity[:, 1] = np.sin(turn) * x + np.cos(turn) * y
    own = record.source.board is Board.OWN  # a simulator's odometry
    return Track(mocap.t_s, mocap.position_m[:, 2], velocity, own)
