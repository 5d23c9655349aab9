"""Runs of this stack's own control loop: ``run.npz`` of a run folder, or the folder.

Used are the ticks of RUN and a little before it: commands that were sent before a state still act
when that state is true. States carry the time at which they were true; a loop that is faster than
its board reads one state twice, and it counts once.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.errors import RecordError
from calibration.readers.checks import (
    attitude_in_range,
    clean_angles,
    clean_times,
    finite,
    flags_of,
    hide,
    require_motion,
)
from calibration.readers.files import is_npz, read_bytes, read_npz
from calibration.record import (
    AttitudeSeries,
    BatterySeries,
    Board,
    MotionCapture,
    MotorCommands,
    MotorSeries,
    Reason,
    Record,
    Source,
)
from deploy.loop.modes import LoopMode
from robot_firmware_bridge.json_values import JsonValueError
from robot_firmware_bridge.robot import NUM_MOTORS, RobotDescription
from sim.plant.terrain import FLAT

_LOG_NAME = "run.npz"
_LEAD_NS = 100_000_000
_KINDS = ("sim", "emulator", "serial")
# Arrays of ``deploy.record.flight_log.FlightLog`` that are used here, and their widths.
_WIDTHS = {
    "woke_ns": 0,
    "mode": 0,
    "state_t_ns": 0,
    "motor_position_rad": NUM_MOTORS,
    "motor_velocity_rad_s": NUM_MOTORS,
    "motor_torque_nm": NUM_MOTORS,
    "rpy_rad": 3,
    "angular_rate_rad_s": 3,
    "battery_v": 0,
    "target_rad": NUM_MOTORS,
    "kp": 0,
    "kd": 0,
    "base_position_m": 3,
}

# A state is read within some periods of when it was true, on the clock of the loop.
_LARGEST_AGE_S = 0.5


def read_run_log(path: Path) -> Record:
    """Return what the log of a run of this stack holds; its time 0 is when the policy took over.

    Args:
        path: The log, or the folder of the run.

    Raises:
        RecordError: There is no such log, or nothing in it can be used.
    """
    path = _log_of(path)
    data = read_bytes(path)
    if not is_npz(data):
        raise RecordError(f"{path} is no .npz file of NumPy")
    return run_log_of(path, data, read_npz(path, data))


def looks_like_run_log(arrays: dict[str, NDArray[Any]]) -> bool:
    """Return whether arrays are those of a flight log."""
    return {"state_t_ns", "mode", "contract"} <= arrays.keys()


def run_log_of(path: Path, data: bytes, arrays: dict[str, NDArray[Any]]) -> Record:
    """Return the record of a log that was read.

    Raises:
        RecordError: As for :func:`read_run_log`.
    """
    if arrays.get("dry_run", False):
        raise RecordError(
            f"{path} is the log of a dry run, of which no command was sent: take one of a run that "
            "armed the robot"
        )
    robot = _robot(path, arrays)
    log = _columns(path, arrays)
    ticks = _ticks(path, log)
    log = {name: values[ticks] for name, values in log.items()}
    zero_ns = log["woke_ns"][log["mode"] == LoopMode.RUN][0]

    commands, command_counts = _commands(path, log, zero_ns, robot)
    # A state that was read twice has the time of the one before, and is left out here.
    times = clean_times(path, (log["state_t_ns"] - zero_ns) / 1e9)
    states = {name: values[times.keep] for name, values in log.items()}
    t_s = times.t_s + float((log["state_t_ns"][0] - zero_ns) / 1e9)

    position, velocity, torque = (
        states[f"motor_{each}"] for each in ("position_rad", "velocity_rad_s", "torque_nm")
    )
    is_finite = finite(position, velocity, torque)
    # After a jump of the board's clock, nothing tells which command a state belongs to.
    in_time = np.abs(t_s - (states["woke_ns"] - zero_ns) / 1e9) < _LARGEST_AGE_S
    angles, ok, angle_counts = clean_angles(t_s, position, is_finite & in_time)
    motors = MotorSeries(
        t_s, ok, angles, velocity_rad_s=hide(velocity, ok), torque_nm=hide(torque, ok)
    )
    require_motion(path, motors)

    attitude, rates, battery = (
        states[each] for each in ("rpy_rad", "angular_rate_rad_s", "battery_v")
    )
    is_attitude = attitude_in_range(attitude)
    upright = is_attitude & finite(attitude, rates) & in_time
    rpy_rad = hide(attitude, upright)
    rpy_rad[upright, 2] = np.unwrap(attitude[upright, 2])
    charged = np.isfinite(battery)
    return Record(
        source=Source.of(_name(path), data, Board.OWN, _kind(path)),
        motors=motors,
        attitude=AttitudeSeries(t_s, upright, rpy_rad, hide(rates, upright)),
        battery=BatterySeries(t_s, charged, battery) if charged.any() else None,
        mocap=_mocap(log, zero_ns),
        commands=commands,
        flags=flags_of(
            command_counts,
            times.counts,
            angle_counts,
            [
                (Reason.NOT_FINITE, int((~(is_finite & finite(attitude, rates))).sum())),
                (Reason.ATTITUDE_RANGE, int((~is_attitude).sum())),
                (Reason.OTHER_CLOCK, int((~in_time).sum())),
            ],
        ),
        robot=robot,
    )


def _log_of(path: Path) -> Path:
    """Return the log of a run folder; the path itself if it is no folder."""
    if not path.is_dir():
        return path
    if (path / _LOG_NAME).is_file():
        return path / _LOG_NAME
    logs = sorted(path.glob("*.npz"))
    if len(logs) != 1:
        found = f"{len(logs)} .npz files, none of them {_LOG_NAME}" if logs else f"no {_LOG_NAME}"
        raise RecordError(f"{path} is a folder with {found}: name the log itself")
    return logs[0]


def _robot(path: Path, arrays: dict[str, NDArray[Any]]) -> RobotDescription:
    try:
        return RobotDescription.from_json(str(arrays["robot"]))
    except (JsonValueError, KeyError) as error:
        raise RecordError(
            f"{path}: its description of the robot cannot be read: {error}"
        ) from error


def _columns(path: Path, arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the arrays that are used, of as many ticks each."""
    if missing := [name for name in _WIDTHS if name not in arrays]:
        raise RecordError(
            f"{path}: its log lacks {', '.join(missing)}: it is of another version of this stack"
        )
    rows = arrays["mode"].shape[:1]
    for name, width in _WIDTHS.items():
        array, kinds = arrays[name], "iu" if name.endswith("_ns") or name == "mode" else "f"
        shape = (*rows, width) if width else rows
        if array.shape != shape or array.dtype.kind not in kinds:
            raise RecordError(
                f"{path}: {name} has the type {array.dtype} and the shape {array.shape}, not "
                f"{shape}: the log is damaged"
            )
    return {
        name: arrays[name].astype(np.int64 if arrays[name].dtype.kind in "iu" else np.float64)
        for name in _WIDTHS
    }


def _ticks(path: Path, log: dict[str, NDArray[Any]]) -> slice:
    """Return the ticks of RUN and those shortly before it."""
    run = np.flatnonzero(log["mode"] == LoopMode.RUN)
    if not len(run):
        raise RecordError(
            f"{path}: its run ended before the policy took over, so it has nothing to explain"
        )
    woke_ns = log["woke_ns"]
    if (np.diff(woke_ns) <= 0).any():
        raise RecordError(f"{path}: its ticks are not in the order of time: the log is damaged")
    first = int(np.searchsorted(woke_ns, woke_ns[run[0]] - _LEAD_NS))
    return slice(first, int(run[-1]) + 1)


def _commands(
    path: Path, log: dict[str, NDArray[Any]], zero_ns: int, robot: RobotDescription
) -> tuple[MotorCommands, list[tuple[Reason, int]]]:
    """Return the commands; a tick sends its own right after it woke."""
    target_rad, kp, kd = log["target_rad"], log["kp"], log["kd"]
    sent = finite(target_rad, kp, kd)
    if not sent.any():
        raise RecordError(f"{path}: not one of its commands is finite")
    t_s = (log["woke_ns"][sent] - zero_ns) / 1e9
    commands = MotorCommands(t_s, target_rad[sent], kp[sent], kd[sent], robot.max_duty)
    return commands, [(Reason.NOT_FINITE, int((~sent).sum()))]


def _mocap(log: dict[str, NDArray[Any]], zero_ns: int) -> MotionCapture | None:
    """Return where the body was; None for a run without odometry."""
    known = finite(log["base_position_m"])
    if known.sum() < 2:
        return None
    return MotionCapture((log["woke_ns"][known] - zero_ns) / 1e9, log["base_position_m"][known])


def _name(path: Path) -> str:
    """Return what people call a log: the logs of all runs have one name, so their folder's too."""
    path = path.resolve()  # runs-robot/last is a link
    return f"{path.parent.name}/{path.name}" if path.name == _LOG_NAME else path.name


def _kind(path: Path) -> str:
    """Return the kind of robot from the report beside the log; "" if there is none.

    Raises:
        RecordError: The robot walked on rough ground, of which nothing here knows.
    """
    try:
        report = json.loads(read_bytes(path.with_suffix(".json")))
        robot = report["robot"]
    except (RecordError, ValueError, KeyError, TypeError, RecursionError):
        return ""
    setup = report.get("setup")
    terrain = setup.get("terrain", FLAT) if isinstance(setup, dict) else FLAT
    if terrain != FLAT:
        raise RecordError(
            f"{_name(path)}: the robot walked on {terrain}, and records are compared with a robot "
            "on the flat floor: make a run without TERRAIN"
        )
    return robot if robot in _KINDS else ""
