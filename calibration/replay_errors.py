"""How far a replay of a whole record is from it, stretch by stretch, for the fit.

Where states are too rare to predict from, the commands of the record are replayed through its
board's law, and the two robots are compared over stretches of time: way, attitude, motor angles,
currents, and once for the whole record distance and power.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibration.closed_loop import Replay, attitude_between, recorded_power_w, replayed
from calibration.record import FootCommands, Record
from calibration.windows import on_times
from robot_firmware_bridge.robot import NUM_MOTORS
from sim.plant.plant import Plant

Array = NDArray[np.float64]

# Length of a stretch: half a stride of a slow walk.
_STRETCH_S = 0.5
# Errors that count as one: of the way in a stretch, of roll and pitch, of motor angles, of a
# motor's mean current; of distance and power, shares of the recorded.
_WAY_M, _TILT_RAD, _ANGLE_RAD, _CURRENT_A = 0.03, 0.05, 0.1, 3.0
_DISTANCE_SHARE, _POWER_SHARE = 0.05, 0.15
# Robots that stay where they are or hardly work are told apart no finer than this.
_LEAST_DISTANCE_M, _LEAST_POWER_W = 0.03, 0.2
# Weight of the two figures of the whole record, in stretches.
_WHOLE = 4.0


def is_replayed(record: Record) -> bool:
    """Return whether a record is compared by a replay rather than by windows."""
    return isinstance(record.commands, FootCommands) and record.mocap is not None


class ReplayErrors:
    """Errors of a replay; rows are stretches of the record."""

    def __init__(self, record: Record) -> None:
        self._record = record

    def set_scale(self, plant: Plant) -> None:
        """Do nothing: the units are fixed."""

    def errors(self, plant: Plant) -> Array:
        """Return the weighted errors of a plant, which has just been reset, shape (S, 13)."""
        replay = replayed(self._record, plant)
        late_s = plant.params.policy_latency_s
        stretches = int((replay.t_s[-1] - replay.t_s[0] - 2.0 * late_s) / _STRETCH_S)
        edges = replay.t_s[0] + _STRETCH_S * np.arange(stretches + 1)
        rows = [
            self._way(replay, edges, late_s),
            self._tilt(replay, edges, late_s),
            self._angles(replay, edges, late_s),
            self._currents(replay, edges, late_s),
        ]
        each = np.concatenate(rows, axis=1)
        # Half a unit of loss for a stretch whose errors are all one.
        each /= np.sqrt(each.shape[1])
        whole = np.zeros((1, each.shape[1]))
        whole[0, :2] = np.sqrt(_WHOLE) * np.array(self._whole(replay))
        errors: Array = np.concatenate((each, whole))
        return np.nan_to_num(errors, nan=10.0, posinf=10.0, neginf=-10.0)

    def _way(self, replay: Replay, edges: Array, late_s: float) -> Array:
        """Return errors of the way forward and to the left in each stretch, shape (S, 2)."""
        mocap = self._record.mocap
        if mocap is None:
            return np.zeros((len(edges) - 1, 2))
        ours = _turned(on_times(replay.t_s, replay.position_m[:, :2], edges), replay.rpy_rad[0, 2])
        times, rpy, _ = attitude_between(self._record, float(edges[0]), float(edges[-1]) + late_s)
        there = on_times(mocap.t_s, mocap.position_m[:, :2], edges + late_s)
        heading = 0.0 if rpy is None else float(rpy[: max(1, len(times) // 20), 2].mean())
        theirs = _turned(there, heading)
        return np.asarray(np.diff(ours - theirs, axis=0) / _WAY_M)

    def _tilt(self, replay: Replay, edges: Array, late_s: float) -> Array:
        """Return errors of roll and pitch about their means, in the middle of each stretch."""
        middle = 0.5 * (edges[1:] + edges[:-1])
        first_s, last_s = float(edges[0]), float(edges[-1])
        times, rpy, _ = attitude_between(self._record, first_s + late_s, last_s + late_s)
        if rpy is None:
            return np.zeros((len(middle), 2))
        compared = (replay.t_s >= first_s - 1e-6) & (replay.t_s <= last_s + 1e-6)
        ours = replay.rpy_rad[:, :2] - replay.rpy_rad[compared, :2].mean(axis=0)
        theirs = rpy[:, :2] - rpy[:, :2].mean(axis=0)
        error = on_times(replay.t_s, ours, middle) - on_times(times, theirs, middle + late_s)
        return np.asarray(error / _TILT_RAD)

    def _angles(self, replay: Replay, edges: Array, late_s: float) -> Array:
        """Return root mean square errors of each motor's angle by stretch, shape (S, 8)."""
        motors = self._record.motors
        if motors is None:
            return np.zeros((len(edges) - 1, NUM_MOTORS))
        t_s, angles = motors.t_s[motors.ok], motors.position_rad[motors.ok]
        inside = (t_s >= edges[0] + late_s) & (t_s < edges[-1] + late_s)
        error = on_times(replay.t_s, replay.motor_rad, t_s[inside] - late_s) - angles[inside]
        return _by_stretch(t_s[inside] - late_s, error, edges) / _ANGLE_RAD

    def _currents(self, replay: Replay, edges: Array, late_s: float) -> Array:
        """Return the error of the mean current over the motors in each stretch, shape (S, 1)."""
        motors = self._record.motors
        if motors is None or motors.current_a is None:
            return np.zeros((len(edges) - 1, 1))
        known = np.isfinite(motors.current_a).all(axis=1)
        theirs = np.abs(motors.current_a[known]).mean(axis=1, keepdims=True)
        ours = np.abs(replay.current_a).mean(axis=1, keepdims=True)
        t_s = motors.t_s[known] - late_s
        inside = (t_s >= edges[0]) & (t_s < edges[-1])
        error = on_times(replay.t_s, ours, t_s[inside]) - theirs[inside]
        return _by_stretch(t_s[inside], error, edges) / _CURRENT_A

    def _whole(self, replay: Replay) -> tuple[float, float]:
        """Return the errors of net distance and mean power, shares of the recorded."""
        record, distance, power = self._record, 0.0, 0.0
        if record.mocap is not None:
            ours = float(np.hypot(*(replay.position_m[-1] - replay.position_m[0])[:2]))
            theirs = record.mocap.distance_m
            distance = (ours - theirs) / max(_DISTANCE_SHARE * theirs, _LEAST_DISTANCE_M)
        recorded = recorded_power_w(record, float(replay.t_s[0]), float(replay.t_s[-1]))
        if recorded is not None:
            unit_w = max(_POWER_SHARE * recorded, _LEAST_POWER_W)
            power = (replay.power_w - recorded) / unit_w
        return distance, power


def _turned(position_m: Array, heading_rad: float) -> Array:
    """Return x and y, shape (T, 2), along a heading and to its left."""
    x, y = position_m.T
    cosine, sine = np.cos(heading_rad), np.sin(heading_rad)
    return np.stack((cosine * x + sine * y, cosine * y - sine * x), axis=1)


def _by_stretch(t_s: Array, errors: Array, edges: Array) -> Array:
    """Return signed root mean squares of columns (T, N) by stretch, shape (S, N); 0 without any.

    The sign is that of the mean, so that a small change of a parameter makes a small change here.
    """
    out = np.zeros((len(edges) - 1, errors.shape[1]))
    stretch = np.searchsorted(edges, t_s, side="right") - 1
    for k in range(len(out)):
        mine = errors[stretch == k]
        if len(mine):
            out[k] = np.sqrt((mine**2).mean(axis=0)) * np.where(mine.mean(axis=0) < 0, -1, 1)
    return out
