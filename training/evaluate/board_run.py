"""A run of the deploy loop on the emulated board, as a user starts it, and what came of it.

The loop is a process of its own, ``python -m deploy.run --robot emulator``, which starts the board
as another: nothing of the evaluation, neither its threads nor its memory, is in the loop's way. All
figures are about RUN, the policy's own time. Standing up and arming come before it and count for
nothing; a fault while the loop brings the robot to a stop afterwards ends a run badly all the same.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deploy.command_sources import Script, read_script
from deploy.record.flight_log import FlightLog
from deploy.record.metrics import Tracking
from deploy.run import EXIT_FAULT, EXIT_INTERRUPTED, EXIT_OK
from robot_firmware_bridge.messages import Fault
from training.errors import EvaluationError
from training.tasks.course import Track
from training.tasks.env import FALLEN_HEIGHT_M

# What no policy can do: the loop or the board was not there in time.
_LINK_FAULTS = ("stale_state", "robot_link", f"robot_fault {Fault.COMMAND_TIMEOUT.name}")
# So many ticks lost in a row, the longest that the loop lets a state grow old, so shortly before
# the end, and a fall is not the policy's alone.
_LOST_TICKS, _SHORTLY_S = 3, 1.0
_STOP_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Line:
    """What only a run over a serial line has; counts from opening the line to the end of the run.

    Attributes:
        ticks: Of the policy.
        overruns: Ticks that were skipped because their deadline had passed.
        states: States received.
        states_lost: States that were sent and did not arrive.
        commands_lost: Commands that were sent and did not arrive.
        damaged_frames: Frames that arrived damaged, on either side.
        reconnects: Times that the port came back.
        round_trip_p99_us: From sending a command to the state that echoes it; None without one.
    """

    ticks: int
    overruns: int
    states: int
    states_lost: int
    commands_lost: int
    damaged_frames: int
    reconnects: int
    round_trip_p99_us: float | None


@dataclass(frozen=True, slots=True)
class BoardRun:
    """What came of a run.

    Attributes:
        cause: What ended it before its time, ``name: detail``; empty for a good run.
        disturbance: How the computer, and not the policy, ended it; empty if it did not.
        seconds: Time that the policy ran.
        distance_m: Net displacement along the start heading in that time.
        drift_m: The same across it; None on a course, whose distance is along the body's own
            heading.
        mean_power_w: Mean of ``sum_i |torque_i * speed_i|`` over the ticks, as the board measures.
        line: How line and loop did.
        tracking: The errors over a course, by the IMU's yaw; None without one.
    """

    cause: str
    disturbance: str
    seconds: float
    distance_m: float
    drift_m: float | None
    mean_power_w: float
    line: Line
    tracking: Tracking | None = None


def run_on_board(
    policy: Path, randomization: str, seed: int, seconds: float, course: Path | None = None
) -> BoardRun:
    """Run the deploy loop on the plant that a seed draws, along a course if there is one.

    Raises:
        EvaluationError: The loop refuses, dies or is interrupted; with its own words.
    """
    with tempfile.TemporaryDirectory(prefix="minitaur-") as folder:
        report = Path(folder) / "run.json"
        command = [sys.executable, "-m", "deploy.run", "--robot", "emulator", "--no-plot"]
        command += ["--policy", str(policy), "--seconds", str(seconds), "--report", str(report)]
        command += [] if course is None else ["--command", str(course)]
        _complete([*command, "--randomization", randomization, "--seed", str(seed)])
        log = FlightLog.load(report.with_suffix(".npz"))
        script = None if course is None else read_script(course)
        return outcome(json.loads(report.read_text()), log, script, seconds)


def outcome(
    report: dict[str, Any], log: FlightLog, course: Script | None = None, course_s: float = 0.0
) -> BoardRun:
    """What came of a run, from its report and its flight log; and of its course of some seconds."""
    run = log.run
    end = min(run.stop, len(log) - 1)  # as in the report: until the tick that ended RUN
    cause = "; ".join(report["fault_details"])
    low = np.flatnonzero(log.base_position_m[run.start : end + 1, 2] < FALLEN_HEIGHT_M)
    if run.stop > run.start and low.size:
        end = run.start + int(low[0])
        cause = f"fell: the body is {log.base_position_m[end, 2]:.2f} m above the floor"
    ran = slice(run.start, max(run.start, min(end, run.stop)))
    distance_m = seconds = power_w = 0.0
    drift_m = 0.0 if course is None else None
    errors: Tracking | None = None
    if ran.stop > ran.start:
        if course is None:
            moved = log.base_position_m[end] - log.base_position_m[ran.start]
            distance_m, drift_m = float(moved[0]), float(moved[1])
        else:
            track = _track(log, ran.start, end, course)
            distance_m, errors = track.forward_m, track.errors(course_s)
        seconds = float(log.deadline_ns[end] - log.deadline_ns[ran.start]) / 1e9
        power = np.abs(log.motor_torque_nm[ran] * log.motor_velocity_rad_s[ran]).sum(axis=1)
        power_w = float(power.mean())
    disturbed = _disturbance(cause, log, end) if cause else ""
    return BoardRun(cause, disturbed, seconds, distance_m, drift_m, power_w, _line(report), errors)


def _track(log: FlightLog, start: int, end: int, course: Script) -> Track:
    """What the body did from one tick to another, at least one later, and what it was told."""
    contract = log.contract
    if contract.command is None:
        raise EvaluationError("the policy takes no command, and has no course to walk")
    where, yaw_rad = log.base_position_m, log.rpy_rad[:, 2]
    track = Track(course, contract.command, contract.action.gait, where[start], yaw_rad[start])
    for tick in range(start, end):
        t_s = float(log.deadline_ns[tick + 1] - log.deadline_ns[start]) / 1e9
        track.add(t_s, where[tick + 1], yaw_rad[tick + 1], log.command[tick])
    return track


def ending(cause: str) -> str:
    """The short name of a cause: the loop's name of the fault, with the motor controller's own."""
    name = cause.partition(":")[0]
    return " ".join((name, *(str(fault.name) for fault in Fault if str(fault.name) in cause)))


def _disturbance(cause: str, log: FlightLog, end: int) -> str:
    if ending(cause).startswith(_LINK_FAULTS):
        return cause
    shortly = log.deadline_ns[: end + 1] >= log.deadline_ns[end] - _SHORTLY_S * 1e9
    lost = log.missed[:end][shortly[:end]]
    if lost.size and lost.max() >= _LOST_TICKS:
        return f"{cause}; the loop lost {lost.max()} ticks in a row shortly before"
    return ""


def _line(report: dict[str, Any]) -> Line:
    link = report["link"]
    trip = link["round_trip_us"]
    return Line(
        ticks=report["ticks"],
        overruns=report["overruns"],
        states=link["states"],
        states_lost=link["states_lost"],
        commands_lost=link["commands_lost"],
        damaged_frames=link["crc_errors"] + link["framing_errors"] + link["board_bad_frames"],
        reconnects=link["reconnects"],
        round_trip_p99_us=None if trip is None else trip["p99"],
    )


def _complete(command: list[str]) -> None:
    """Run the loop to its end, whether that is a good one or a fault."""
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        try:
            said = process.communicate()[1].decode(errors="replace").strip()
        except BaseException:
            _stop(process)
            raise
    if process.returncode == EXIT_INTERRUPTED:  # Ctrl-C would have interrupted us too
        raise EvaluationError("the loop on the emulated board was interrupted by a signal")
    if process.returncode not in (EXIT_OK, EXIT_FAULT):
        words = said.splitlines()[-1].removeprefix("error: ") if said else "no message"
        raise EvaluationError(f"the loop on the emulated board: {words}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the loop gently, in some seconds: the board ends with it."""
    process.terminate()
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
