"""Runs of the SDK board with foot commands under motion capture, as arrays in an ``.npz`` file.

Commands come at some 940 Hz, poses at 120 Hz, joints and currents at 10 Hz, each with the times at
which the host received them. Source of the runs: public repository resibots/minitaur_sdk,
examples/CommandRobotRosXY, and the recordings that belong to it.

What was found in a run of 13.9 s, and is put right here:

- Legs are front left, back left, front right, back right; the swing of a leg is half the difference
  of its two motor angles with the signs of ``geometry.py``. With that order and those signs the
  body tilts as the legs lengthen (R^2 0.98), and walks where its x axis points, within 4 degrees.
- The swing that is commanded is ``atan2(y, x)``, and the joints follow it. A positive swing brings
  the toe behind the hip, so y of the file is the distance behind the hip. Through the board's law
  the commands move the simulated robot by 1.13 m forward (the real one by 1.22 m), and with the
  other sign by 0.03 m backward.
- Poses were taken at 120.00 Hz, and came in the bunches of a receiver that looks every 10 ms. Times
  on a straight line replace the times of arrival.
- Joints and currents come late: the height of the body is explained best by the lengths that the
  legs are said to have 0.12 s later (within 0.02 s; R^2 0.93). When the first command came, the
  body began to fall 35 ms after it, and the joints were said to stand still for 100 ms more.
- Currents are in the direction of the drive; torques are in motor space.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.errors import RecordError
from calibration.readers.checks import (
    clean_angles,
    clean_times,
    finite,
    flags_of,
    hide,
    require_motion,
)
from calibration.readers.files import is_npz, read_bytes, read_npz
from calibration.record import (
    Array,
    Board,
    FootCommands,
    FootGains,
    MotionCapture,
    MotorSeries,
    Reason,
    Record,
    Source,
)
from robot_firmware_bridge.geometry import rotation_from_quaternion
from robot_firmware_bridge.robot import MINITAUR, NUM_LEGS, NUM_MOTORS

_COMMANDS = {"command_t_s": 0, "command_x_m": NUM_LEGS, "command_y_m": NUM_LEGS}
_MOCAP = {"mocap_t_s": 0, "mocap_position_m": 3, "mocap_quaternion_xyzw": 4}
_JOINTS = {
    "joint_t_s": 0,
    "joint_position_rad": NUM_MOTORS,
    "joint_velocity_rad_s": NUM_MOTORS,
    "joint_torque_nm": NUM_MOTORS,
}
_CURRENTS = {"current_t_s": 0, "motor_current_a": NUM_MOTORS}
_JOINTS_LATE_S = 0.12
# Joints and currents of one packet arrive within a few milliseconds.
_SAME_PACKET_S = 0.02
_DRIVE_TO_MOTOR_SPACE = -MINITAUR.directions
_LARGEST_SPEED_RAD_S = 200.0
# A leg, toe included, reaches from 0.1 m to 0.32 m; commands may overshoot.
_NEAR_M, _FAR_M = 0.05, 0.5
# The angle of the marker frame is found by two contrasts of the legs; farther apart than this they
# contradict each other.
_MOUNT_AGREES_RAD = 0.5


def read_walk(path: Path) -> Record:
    """Return what an ``.npz`` file with the arrays of a walk under motion capture holds.

    Raises:
        RecordError: The file has no such arrays, or nothing in it can be used.
    """
    data = read_bytes(path)
    if not is_npz(data):
        raise RecordError(f"{path} is no .npz file of NumPy")
    return walk_of(path, data, read_npz(path, data))


def looks_like_walk(arrays: dict[str, NDArray[Any]]) -> bool:
    """Return whether arrays are those of a walk under motion capture."""
    return "command_x_m" in arrays


def walk_of(path: Path, data: bytes, arrays: dict[str, NDArray[Any]]) -> Record:
    """Return the record of a file that was read.

    Raises:
        RecordError: As for :func:`read_walk`.
    """
    tables = {
        key: _table(path, arrays, columns)
        for key, columns in (
            ("commands", _COMMANDS),
            ("mocap", _MOCAP),
            ("joints", _JOINTS),
            ("currents", _CURRENTS),
        )
    }
    joints, currents = tables["joints"], tables["currents"]
    origin = float(tables["commands"]["command_t_s"].min())
    origin = min(origin, *(float(each[next(iter(each))].min()) for each in tables.values()))

    commands, command_counts = _commands(path, tables["commands"], origin)
    motors, joint_counts = _motors(path, joints, currents, origin)
    require_motion(path, motors)
    mocap, mocap_counts = _mocap(path, tables["mocap"], origin)
    mocap = MotionCapture(
        mocap.t_s, mocap.position_m, mocap.quaternion, _mount_yaw_rad(motors, mocap)
    )
    return Record(
        source=Source.of(path.name, data, Board.FOOT_COMMANDS),
        motors=motors,
        mocap=mocap,
        commands=commands,
        flags=flags_of(command_counts, joint_counts, mocap_counts),
    )


def _table(
    path: Path, arrays: dict[str, NDArray[Any]], columns: dict[str, int]
) -> dict[str, Array]:
    """Return the arrays of one time base, as float64, their shapes checked."""
    if missing := [name for name in columns if name not in arrays]:
        raise RecordError(f"{path}: it lacks the arrays {', '.join(missing)}")
    rows = arrays[next(iter(columns))].shape[:1]
    table: dict[str, Array] = {}
    for name, width in columns.items():
        array = arrays[name]
        shape = (*rows, width) if width else rows
        if array.shape != shape or array.dtype.kind not in "fiu" or not (array.ndim and array.size):
            wanted = f"(T, {width})" if width else "(T,)"
            raise RecordError(
                f"{path}: {name} must hold numbers in the shape {wanted} of its time base, not "
                f"{array.dtype} in {array.shape}"
            )
        table[name] = array.astype(np.float64)
    times = next(iter(table.values()))
    if not np.isfinite(times).all():
        raise RecordError(f"{path}: {next(iter(columns))} is not finite")
    return table


def _commands(
    path: Path, table: dict[str, Array], origin: float
) -> tuple[FootCommands, list[tuple[Reason, int]]]:
    t_s, x_m, y_m = table.values()
    good = finite(x_m, y_m)
    if not good.any():
        raise RecordError(f"{path}: not one of its foot commands is finite")
    times = clean_times(path, t_s[good])
    t_s = times.t_s + t_s[good][0] - origin
    x_m, y_m = x_m[good][times.keep], y_m[good][times.keep]
    far_m = float(np.median(np.hypot(x_m, y_m)))
    if not _NEAR_M <= far_m <= _FAR_M:
        raise RecordError(
            f"{path}: its feet are commanded {far_m:.3g} m from the hips, where no leg reaches "
            f"({_NEAR_M} to {_FAR_M} m): foot commands are in metres"
        )
    return FootCommands(t_s, x_m, -y_m, FootGains()), [
        # A command holds until the next, so a gap between two is none in the record.
        *(each for each in times.counts if each[0] not in (Reason.GAP, Reason.PAUSE)),
        (Reason.NOT_FINITE, int((~good).sum())),
    ]


def _motors(
    path: Path, joints: dict[str, Array], currents: dict[str, Array], origin: float
) -> tuple[MotorSeries, list[tuple[Reason, int]]]:
    times = clean_times(path, joints["joint_t_s"])
    arrival_s = joints["joint_t_s"][times.keep]
    t_s = times.t_s + arrival_s[0] - origin - _JOINTS_LATE_S
    _, position, velocity, torque = (values[times.keep] for values in joints.values())
    good = finite(position, velocity, torque)
    possible = (np.abs(velocity) < _LARGEST_SPEED_RAD_S).all(axis=1)
    angles, ok, counts = clean_angles(t_s, position, good & possible)
    motors = MotorSeries(
        t_s,
        ok,
        angles,
        velocity_rad_s=hide(velocity, ok),
        torque_nm=hide(torque, ok),
        current_a=_currents_at(arrival_s, currents) * _DRIVE_TO_MOTOR_SPACE,
    )
    return motors, [*times.counts, *counts, (Reason.NOT_FINITE, int((~(good & possible)).sum()))]


def _currents_at(t_s: Array, table: dict[str, Array]) -> Array:
    """Return the currents of the packet that each joint sample came with, shape (T, 8).

    NaN where there was none.
    """
    order = np.argsort(table["current_t_s"], kind="stable")
    times, currents = (values[order] for values in table.values())
    after = np.clip(np.searchsorted(times, t_s), 1, max(1, len(times) - 1))
    after = np.minimum(after, len(times) - 1)
    before = np.maximum(after - 1, 0)
    nearest = np.where(t_s - times[before] <= times[after] - t_s, before, after)
    return hide(currents[nearest], np.abs(times[nearest] - t_s) <= _SAME_PACKET_S)


def _mocap(
    path: Path, table: dict[str, Array], origin: float
) -> tuple[MotionCapture, list[tuple[Reason, int]]]:
    t_s, position, quaternion = table.values()
    good = finite(position, quaternion) & (np.linalg.norm(quaternion, axis=1) > 0.5)
    if good.sum() < 2:
        raise RecordError(f"{path}: fewer than two poses of the motion capture are good")
    t_s = _without_jitter(t_s)
    times = clean_times(path, t_s[good])
    position, quaternion = position[good][times.keep], quaternion[good][times.keep]
    quaternion = quaternion / np.linalg.norm(quaternion, axis=1, keepdims=True)
    return MotionCapture(times.t_s + t_s[good][0] - origin, position, quaternion), [
        *times.counts,
        (Reason.NOT_FINITE, int((~good).sum())),
    ]


def _without_jitter(t_s: Array) -> Array:
    """Return times on a straight line where arrivals jitter about one; else as they are.

    A frame cannot arrive before it was taken, so the line runs through the earliest arrivals. A
    camera frame that was lost bends the line: then the times of arrival stay.
    """
    rows = np.arange(len(t_s))
    if len(t_s) < 10:
        return t_s
    slope, start = np.polyfit(rows, t_s, 1)
    early = t_s - (start + slope * rows)
    return start + slope * rows + early.min() if np.abs(early).max() < 1.5 * slope else t_s


def _mount_yaw_rad(motors: MotorSeries, mocap: MotionCapture) -> float | None:
    """Return the direction of the robot's x axis in the marker frame; None if it does not show.

    Longer front legs raise the nose, longer left legs the left side. So the part of the tilt that
    goes with each of the two points along x and along y.
    """
    assert mocap.quaternion is not None
    inside = motors.ok & (motors.t_s >= mocap.t_s[0]) & (motors.t_s <= mocap.t_s[-1])
    if inside.sum() < 20:
        return None
    swing, extension = motors.leg_space()
    gains = FootGains()
    across = gains.upper_link_m * np.sin(extension)
    length = np.sqrt(gains.lower_link_m**2 - across**2)
    depth = ((length - gains.upper_link_m * np.cos(extension)) * np.cos(swing))[inside]
    up = np.array([rotation_from_quaternion(each)[2, :2] for each in mocap.quaternion])
    tilt = np.stack(
        [np.interp(motors.t_s[inside], mocap.t_s, up[:, axis]) for axis in (0, 1)], axis=1
    )
    contrasts = depth @ np.array(((1, 1, 1), (-1, 1, -1), (1, -1, -1), (-1, -1, 1)))
    causes = np.column_stack((contrasts, np.ones(len(depth))))
    (fore, left), *_ = np.split(np.linalg.lstsq(causes, tilt, rcond=None)[0], (2,))
    along_x = complex(*fore), complex(*left) / 1j
    if 0.0 in along_x:
        return None
    x_axis = [each / abs(each) for each in along_x]
    if abs(math.remainder(np.angle(x_axis[0]) - np.angle(x_axis[1]), math.tau)) > _MOUNT_AGREES_RAD:
        return None
    return float(np.angle(sum(x_axis)))
