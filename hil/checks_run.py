"""Checks of whole runs, in processes of their own as a user starts them."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hil.bench import Bench
from hil.check import Check, CheckFailed, Disturbed, Figure, expect
from hil.checks_modes import damped_after_ms
from hil.walk import walk
from robot_firmware_bridge.messages import Mode
from robot_firmware_bridge.mocap import MocapError, MocapReader
from sim.board.process import Event

_START_S = 120.0
# A robot that has come so far is in full stride.
_STRIDE_M = 0.5
_TOLD_S = 5.0
_TROT_S = 20.0
# How far the robot may walk from what the in-process simulator says. Not nothing: over the line the
# policy sees the robot after some 3 ms, there after the paper's 15.
_SPEED_WITHIN = 0.10
_FINISH_S = 300.0


def killed_host(bench: Bench) -> Figure:
    """A host that is killed in full stride leaves a robot that damps, and stays so."""
    with bench.host():
        pass  # disarmed and on its stand
    since = len(bench.rung.board.events())
    here = ("--robot", "serial", "--port", bench.rung.port)
    with _start(bench, "killed", *here, "--seconds", "60") as run:
        try:
            _await_stride(bench, run)
            early = [e for e in bench.rung.board.events()[since:] if _is_mode(Mode.DAMPING)(e)]
        finally:
            run.kill()
    if early:
        raise Disturbed(f"DAMPING before the kill, faults {early[0]['fault']}")
    damping = bench.await_event(_is_mode(Mode.DAMPING), _TOLD_S, "DAMPING after the kill", since)
    silent_ms = damped_after_ms(damping)
    _is_refused_until_cleared(bench)
    return Figure(
        f"{silent_ms:.1f} ms from the last command to DAMPING; the next run was refused until "
        "--clear-fault",
        {"damped_after_ms": silent_ms},
    )


def _await_stride(bench: Bench, run: subprocess.Popen[str]) -> None:
    """Wait until the run's robot is in full stride.

    Raises:
        CheckFailed: The run ended, or does not get there.
        Disturbed: It ended because this computer held it up.
    """
    deadline_s = time.monotonic() + _START_S
    with contextlib.closing(MocapReader(bench.rung.truth)) as truth:
        while run.poll() is None:
            with contextlib.suppress(MocapError):  # its writer had no turn in the middle of a pose
                if float(np.linalg.norm(truth.read().position_m[:2])) > _STRIDE_M:
                    return
            if time.monotonic() > deadline_s:
                raise CheckFailed(f"the run comes nowhere in {_START_S:.0f} s")
            time.sleep(0.02)
    said = _one_line(run.communicate()[0])
    kind = Disturbed if "stale_state" in said else CheckFailed
    raise kind(f"the run ended before it could be killed: {said}")


def _one_line(said: str) -> str:
    return " | ".join(said.split("\n")).strip(" |")


def _is_refused_until_cleared(bench: Bench) -> None:
    """The next run must not move, unless told that the fault was seen."""
    here = ("--robot", "serial", "--port", bench.rung.port, "--seconds", "0.5")
    since = len(bench.rung.board.events())
    code, said = _finish(bench, "refused", *here)
    expect(code == 1 and "COMMAND_TIMEOUT" in said, f"the next run ended with {code}: {said}")
    moved = [e for e in bench.rung.board.events()[since:] if _is_mode(Mode.ACTIVE)(e)]
    expect(not moved, "the next run moved the robot")
    # Clear it, and have the robot picked up from the floor before it is armed.
    _finish(bench, "cleared", *here, "--clear-fault", "--dry-run")
    bench.await_event(_is_mode(Mode.DISARMED), _TOLD_S, "DISARMED after --clear-fault", since)
    bench.stand()
    _run(bench, "again", *here)


def trot(bench: Bench) -> Figure:
    """The shipped trot walks over the serial line as it does in the simulator."""
    sim = _run(bench, "trot-sim", "--robot", "sim", "--no-realtime", "--seconds", str(_TROT_S))
    with bench.robot() as (_, robot):
        course = walk(bench, robot, _TROT_S)
        trip = robot.round_trip
    if "stale_state" in course.faults:
        raise Disturbed(course.said)
    ours = course.report
    expect(not course.faults, f"the loop ended with: {course.said}")
    if ours.speed_mps is None or trip is None:
        raise CheckFailed("the robot did not walk")
    ratio = ours.speed_mps / sim["speed_mps"]
    speeds = f"{ours.speed_mps:.2f} m/s, {ratio:.2f} of the simulator's {sim['speed_mps']:.2f}"
    expect(abs(ratio - 1.0) <= _SPEED_WITHIN or not bench.rung.kind.keeps_time, speeds)
    return Figure(
        f"{speeds}, for {ours.seconds:.0f} s over pyserial; round trip p99 "
        f"{trip.p99_us / 1e3:.1f} ms, {ours.overruns} overruns",
        {
            "speed_mps": ours.speed_mps,
            "sim_speed_mps": sim["speed_mps"],
            "ratio": ratio,
            "seconds": ours.seconds,
            "overruns": ours.overruns,
            "round_trip_p99_ms": trip.p99_us / 1e3,
        },
    )


def _run(bench: Bench, name: str, *arguments: str) -> dict[str, Any]:
    """A whole run that must be good; its report."""
    code, said = _finish(bench, name, *arguments)
    if "stale_state" in said:
        raise Disturbed(f"{name}: {said}")
    expect(code == 0, f"{name} ended with {code}: {said}")
    report: dict[str, Any] = json.loads(_report(bench, name).read_text())
    return report


def _finish(bench: Bench, name: str, *arguments: str) -> tuple[int, str]:
    """A run to its end: exit code and what it said, in one line."""
    with _start(bench, name, *arguments) as run:
        try:
            said, _ = run.communicate(timeout=_FINISH_S)
        except subprocess.TimeoutExpired as error:
            run.kill()
            raise CheckFailed(f"{name} did not end within {_FINISH_S:.0f} s") from error
    return run.returncode, _one_line(said)


def _report(bench: Bench, name: str) -> Path:
    return bench.folder / f"{name}.json"


def _start(bench: Bench, name: str, *arguments: str) -> subprocess.Popen[str]:
    """`deploy.run` with the shipped policy, as a user types it."""
    command = [sys.executable, "-m", "deploy.run", "--policy", str(bench.policy)]
    command += ["--report", str(_report(bench, name)), *arguments]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
    )


def _is_mode(mode: Mode) -> Callable[[Event], bool]:
    def matches(event: Event) -> bool:
        return bool(event["event"] == "mode" and event["mode"] == mode.name)

    return matches


CHECKS = (
    Check("killed_host", "damps when its host is killed in full stride", killed_host, walks=True),
    Check("trot", "the shipped trot walks over the line", trot, walks=True),
)
