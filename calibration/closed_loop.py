"""Replay the commands of a record on a plant, and compare what the two robots did.

The recorded board's own control law closes the loop, so that small errors do not add up as they do
under bare duties. Of a gait that stands on the edge of falling, the whole replay is a matter of
luck all the same: then trust the short windows of ``calibration.open_loop`` more.

A robot with foot commands first stands for a second under the first of them. A run of this stack
begins in its first measured state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calibration.errors import RecordError
from calibration.predict import starting_states
from calibration.record import Board, FootCommands, Record
from calibration.stimulus import Stimulus, commanded
from calibration.windows import cut, on_times
from robot_firmware_bridge.geometry import (
    quaternion_from_rpy,
    quaternion_product,
    rpy_from_quaternion,
)
from robot_firmware_bridge.robot import MINITAUR, NUM_MOTORS
from sim.plant.drives import strength_of
from sim.plant.params import TICK_S, PlantParams
from sim.plant.plant import Plant

Array = NDArray[np.float64]

# How long a robot stands under its first foot command before the others follow.
_STAND_S = 1.0
# The plant is looked at every so many ticks.
_SAMPLE_TICKS = 10
# A body that is tilted by more has fallen.
_FALLEN_RAD = 1.0
# Shorter than this, and distance and speed say nothing.
_LEAST_S = 0.3
# The shortest horizon that windows have is enough to begin from a measured state.
_START_HORIZON_MS = (10,)
# Kinds of robot whose odometry and IMU have one common heading.
_SIMULATED = ("sim", "emulator")


@dataclass(frozen=True, slots=True)
class Track:
    """What one robot did over time; a series that nobody knows is None.

    Attributes:
        way_t_s: Times of the way, from the start of the replay, shape (T,).
        way_m: Horizontal distance from the start, shape (T,): along the heading at the start where
            that is known of the recorded robot, else without a sign.
        attitude_t_s: Times of the attitude, from the start of the replay, shape (A,).
        roll_pitch_rad: Shape (A, 2).
        motor_t_s: Times of the motor angles, from the start of the replay, shape (M,).
        motor_rad: Shape (M, 8).
    """

    way_t_s: Array
    way_m: Array | None
    attitude_t_s: Array
    roll_pitch_rad: Array | None
    motor_t_s: Array
    motor_rad: Array | None


@dataclass(frozen=True, slots=True)
class Motion:
    """The figures of one robot; None for what nobody knows.

    Attributes:
        distance_m: Net horizontal distance.
        forward_m: The part of it along the heading at the start.
        speed_mps: Net distance over time.
        turn_rad: Yaw at the end less that at the start.
        roll_rms_rad: Of the roll about its mean.
        pitch_rms_rad: Of the pitch about its mean.
        roll_range_rad: Greatest less least roll.
        pitch_range_rad: Greatest less least pitch.
        power_w: Mean over time of the sum of the absolute motor powers, torque times speed.
        current_a: Mean absolute current of each motor, A.
    """

    distance_m: float | None
    forward_m: float | None
    speed_mps: float | None
    turn_rad: float | None
    roll_rms_rad: float | None
    pitch_rms_rad: float | None
    roll_range_rad: float | None
    pitch_range_rad: float | None
    power_w: float | None
    current_a: tuple[float, ...] | None


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """A replay against its record.

    Attributes:
        law: Which control law closed the loop, for people.
        seconds: Time compared.
        robot: What the record says.
        simulator: What the plant did in the same time.
        angles_rms_rad: Simulated less recorded motor angles, root mean square over all motors;
            None if none were recorded in that time.
        angles_rms_by_motor_rad: The same by motor.
        fell_after_s: When the simulated robot fell; None if it did not.
    """

    law: str
    seconds: float
    robot: Motion
    simulator: Motion
    angles_rms_rad: float | None
    angles_rms_by_motor_rad: tuple[float, ...] | None
    fell_after_s: float | None


@dataclass(frozen=True, slots=True)
class Replay:
    """Samples of a plant, every 10 ms; times are the record's."""

    t_s: Array
    position_m: Array
    rpy_rad: Array
    motor_rad: Array
    current_a: Array
    power_w: float


def replay_ticks(record: Record) -> int:
    """Return about how many milliseconds a replay simulates."""
    return round(record.seconds / TICK_S)


def compare(
    record: Record,
    plant: Plant,
    params: PlantParams,
    ticked: Callable[[int], None] = lambda ticks: None,
) -> tuple[ClosedLoop, Track, Track]:
    """Replay the commands of a record; return the comparison, and robot and simulator over time.

    Args:
        record: With commands.
        plant: Of any state; it is reset.
        params: Of the plant.
        ticked: Called now and then with the number of milliseconds that were simulated.

    Raises:
        RecordError: There are no commands, or they are too few, or there is no state to start from.
    """
    plant.reset(params)
    replay = replayed(record, plant, ticked)
    if isinstance(record.commands, FootCommands):
        # Its reader gives true times; the replay carries every command out at once.
        late_s, law = params.policy_latency_s, "foot commands, the board's PD in leg space"
        if record.mocap is not None:
            record = replace(record, mocap=replace(record.mocap, t_s=record.mocap.t_s - late_s))
    else:
        late_s, law = commanded(record).age_s(params), "motor commands, the motor controller's PD"
    return _compared(_earlier(record, late_s), replay, law)


def replayed(
    record: Record, plant: Plant, ticked: Callable[[int], None] = lambda ticks: None
) -> Replay:
    """Replay the commands of a record on a plant that has just been reset; errors as above."""
    stimulus = commanded(record)
    if isinstance(record.commands, FootCommands):
        start_s = _first_command_s(record)
        stimulus.run(plant, start_s - _STAND_S, round(_STAND_S / TICK_S))
    else:
        start_s = _begin_in_measured_state(record, plant, stimulus)
    end_s = _end_s(record)
    if end_s - start_s < _LEAST_S:
        raise RecordError(
            f"{record.source.name}: its commands and its measurements share {end_s - start_s:.1f} "
            f"s, and a replay needs {_LEAST_S} s"
        )
    return _replay(plant, stimulus, start_s, end_s, ticked)


def _first_command_s(record: Record) -> float:
    """Return when the commands begin, or later, when the first measurement was made."""
    assert record.commands is not None
    first = float(record.commands.t_s[0])
    if record.mocap is not None:
        first = max(first, float(record.mocap.t_s[0]))
    return first


def _end_s(record: Record) -> float:
    """Return when the last command or the last measurement was."""
    assert record.commands is not None
    measured = [each.t_s[-1] for each in (record.motors, record.mocap) if each is not None]
    return float(min([record.commands.t_s[-1], *measured]))


def _begin_in_measured_state(record: Record, plant: Plant, stimulus: Stimulus) -> float:
    """Place the plant in the first good state of a record; return the time at which it is."""
    windows = cut(record, None, _START_HORIZON_MS).chosen(np.array([0]))
    origin = starting_states(plant, windows, stimulus.age_s(plant.params))[0]
    if not np.isfinite(origin).all():
        raise RecordError(f"{record.source.name}: no leg of the plant has its first motor angles")
    offset = np.array(plant.params.encoder_offset_rad)
    plant.place(windows.position_rad[0] - offset, windows.velocity_rad_s[0], origin)
    return float(windows.t_s[0]) - stimulus.age_s(plant.params)


def _earlier(record: Record, late_s: float) -> Record:
    """Return a record whose motors and attitude have the times of the replay."""
    motors, attitude = record.motors, record.attitude
    return replace(
        record,
        motors=None if motors is None else replace(motors, t_s=motors.t_s - late_s),
        attitude=None if attitude is None else replace(attitude, t_s=attitude.t_s - late_s),
    )


def _replay(
    plant: Plant,
    stimulus: Stimulus,
    start_s: float,
    end_s: float,
    ticked: Callable[[int], None],
) -> Replay:
    samples = 1 + int((end_s - start_s) / TICK_S) // _SAMPLE_TICKS
    t_s = start_s + TICK_S * _SAMPLE_TICKS * np.arange(samples, dtype=np.float64)
    position, rpy = np.full((samples, 3), np.nan), np.full((samples, 3), np.nan)
    angles, currents = np.full((samples, NUM_MOTORS), np.nan), np.zeros((samples, NUM_MOTORS))
    offset = np.array(plant.params.encoder_offset_rad)
    begin_j = plant.energy_j
    for k in range(samples):
        if k:
            stimulus.run(plant, float(t_s[k - 1]), _SAMPLE_TICKS)
            ticked(_SAMPLE_TICKS)
        body, (read, speed, torque) = plant.truth(), plant.motor_truth()
        position[k], rpy[k], angles[k] = body.position_m, body.rpy_rad, read + offset
        currents[k] = currents_a(torque, speed, plant.params)
    seconds = float(t_s[-1] - t_s[0])
    return Replay(t_s, position, rpy, angles, currents, (plant.energy_j - begin_j) / seconds)


def currents_a(torque_nm: Array, velocity_rad_s: Array, params: PlantParams) -> Array:
    """Return the winding currents of the drives, shape (8,), by their current-torque curve.

    Past the end of the curve, 60 A, more current gives no more torque; the end is returned.

    Args:
        torque_nm: Torques of the drives, viscous friction included, shape (8,).
        velocity_rad_s: Shape (8,).
        params: Of the plant.
    """
    motor = MINITAUR.motor
    scale = np.maximum(strength_of(params, motor), 1e-9)
    electric = (torque_nm + params.motor_viscous_nm_s_per_rad * velocity_rad_s) / scale
    size = np.interp(np.abs(electric), motor.torque_table_nm, motor.current_table_a)
    return np.copysign(size, electric)


def _compared(record: Record, replay: Replay, law: str) -> tuple[ClosedLoop, Track, Track]:
    first_s, last_s = float(replay.t_s[0]), float(replay.t_s[-1])
    seconds = last_s - first_s
    times, rpy, is_heading = attitude_between(record, first_s, last_s)
    way_t_s, where = _position(record, first_s, last_s)
    heading = None
    if rpy is not None and is_heading and where is not None:
        heading = float(rpy[0, 2])
    ours = float(replay.rpy_rad[0, 2])
    joints, by_motor = _angle_errors(record, replay)
    tilt = np.abs(replay.rpy_rad[:, :2]).max(axis=1)
    fallen = np.flatnonzero(~(tilt < _FALLEN_RAD))
    closed = ClosedLoop(
        law=law,
        seconds=seconds,
        robot=_motion(
            where,
            heading,
            rpy,
            float(way_t_s[-1] - way_t_s[0]) if where is not None else seconds,
            recorded_power_w(record, first_s, last_s),
            _recorded_currents_a(record, first_s, last_s),
        ),
        simulator=_motion(
            replay.position_m,
            ours,
            replay.rpy_rad,
            seconds,
            replay.power_w,
            tuple(np.abs(replay.current_a[1:]).mean(axis=0).tolist()),
        ),
        angles_rms_rad=joints,
        angles_rms_by_motor_rad=by_motor,
        fell_after_s=float(replay.t_s[fallen[0]] - first_s) if len(fallen) else None,
    )
    is_signed = where is None or heading is not None
    return (
        closed,
        Track(
            way_t_s - first_s,
            None if where is None else _way(where, heading),
            times - first_s,
            None if rpy is None else rpy[:, :2],
            *_angles(record, first_s, last_s),
        ),
        Track(
            replay.t_s - first_s,
            _way(replay.position_m, ours if is_signed else None),
            replay.t_s - first_s,
            replay.rpy_rad[:, :2],
            replay.t_s - first_s,
            replay.motor_rad,
        ),
    )


def _position(record: Record, first_s: float, last_s: float) -> tuple[Array, Array | None]:
    """Return times and positions by motion capture in a span; None where there is none."""
    if (mocap := record.mocap) is None:
        return np.empty(0), None
    inside = _within(mocap.t_s, first_s, last_s)
    if inside.sum() < 2:
        return np.empty(0), None
    return mocap.t_s[inside], mocap.position_m[inside]


def _within(t_s: Array, first_s: float, last_s: float) -> NDArray[np.bool_]:
    """Return which times lie in a span, give or take rounding."""
    inside: NDArray[np.bool_] = (t_s >= first_s - 1e-6) & (t_s <= last_s + 1e-6)
    return inside


def attitude_between(
    record: Record, first_s: float, last_s: float
) -> tuple[Array, Array | None, bool]:
    """Return times, roll, pitch and yaw of the body in a span, and whether yaw is the mocap's own.

    By the IMU where there is one, else by motion capture; None where neither knows. Yaw is without
    wraps.
    """
    if (imu := record.attitude) is not None:
        used = imu.ok & _within(imu.t_s, first_s, last_s)
        if used.sum() < 2:
            return np.empty(0), None, False
        one_frame = record.source.board is Board.OWN and record.source.robot in _SIMULATED
        return imu.t_s[used], imu.rpy_rad[used], one_frame
    mocap = record.mocap
    if mocap is None or mocap.quaternion is None or mocap.mount_yaw_rad is None:
        return np.empty(0), None, False
    used = _within(mocap.t_s, first_s, last_s)
    if used.sum() < 2:
        return np.empty(0), None, False
    mount = quaternion_from_rpy(np.array((0.0, 0.0, mocap.mount_yaw_rad)))
    rpy = np.array(
        [rpy_from_quaternion(quaternion_product(each, mount)) for each in mocap.quaternion[used]]
    )
    rpy[:, 2] = np.unwrap(rpy[:, 2])
    return mocap.t_s[used], rpy, True


def _way(position_m: Array, heading_rad: float | None) -> Array:
    """Return the way from the start, shape (T,): along a heading, or without a sign."""
    x, y, _ = (position_m - position_m[0]).T
    if heading_rad is None:
        return np.asarray(np.hypot(x, y))
    return np.asarray(np.cos(heading_rad) * x + np.sin(heading_rad) * y)


def _motion(
    position_m: Array | None,
    heading_rad: float | None,
    rpy_rad: Array | None,
    seconds: float,
    power_w: float | None,
    current_a: tuple[float, ...] | None,
) -> Motion:
    distance = forward = None
    if position_m is not None:
        distance = float(np.hypot(*(position_m[-1] - position_m[0])[:2]))
        forward = None if heading_rad is None else float(_way(position_m, heading_rad)[-1])
    turn, rms, extent = None, (None, None), (None, None)
    if rpy_rad is not None:
        turn = float(np.unwrap(rpy_rad[:, 2])[-1] - rpy_rad[0, 2])
        rms = tuple(np.std(rpy_rad[:, :2], axis=0).tolist())
        extent = tuple(np.ptp(rpy_rad[:, :2], axis=0).tolist())
    return Motion(
        distance_m=distance,
        forward_m=forward,
        speed_mps=None if distance is None else distance / seconds,
        turn_rad=turn,
        roll_rms_rad=rms[0],
        pitch_rms_rad=rms[1],
        roll_range_rad=extent[0],
        pitch_range_rad=extent[1],
        power_w=power_w,
        current_a=current_a,
    )


def _angles(record: Record, first_s: float, last_s: float) -> tuple[Array, Array | None]:
    """Return times, from the first on, and motor angles in a span; None where there are none."""
    if (motors := record.motors) is None:
        return np.empty(0), None
    used = motors.ok & _within(motors.t_s, first_s, last_s)
    return motors.t_s[used] - first_s, motors.position_rad[used] if used.any() else None


def _angle_errors(record: Record, replay: Replay) -> tuple[float | None, tuple[float, ...] | None]:
    """Return the rms of simulated less recorded motor angles, over all and by motor."""
    t_s, angles = _angles(record, float(replay.t_s[0]), float(replay.t_s[-1]))
    if angles is None:
        return None, None
    square = (on_times(replay.t_s - replay.t_s[0], replay.motor_rad, t_s) - angles) ** 2
    return float(np.sqrt(square.mean())), tuple(np.sqrt(square.mean(axis=0)).tolist())


def recorded_power_w(record: Record, first_s: float, last_s: float) -> float | None:
    """Return the mean over time of the sum of the absolute motor powers that a record knows."""
    motors = record.motors
    if motors is None or motors.torque_nm is None or motors.velocity_rad_s is None:
        return None
    used = motors.ok & _within(motors.t_s, first_s, last_s)
    power = np.abs(motors.torque_nm[used] * motors.velocity_rad_s[used]).sum(axis=1)
    return float(power.mean()) if len(power) else None


def _recorded_currents_a(record: Record, first_s: float, last_s: float) -> tuple[float, ...] | None:
    motors = record.motors
    if motors is None or motors.current_a is None:
        return None
    used = _within(motors.t_s, first_s, last_s)
    used &= np.isfinite(motors.current_a).all(axis=1)
    if not used.any():
        return None
    return tuple(np.abs(motors.current_a[used]).mean(axis=0).tolist())
