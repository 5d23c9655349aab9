"""The real link: `SerialLink` and `SerialRobot` as the control loop uses them."""

from __future__ import annotations

import os
import time
import tty

import numpy as np
import pytest

from deploy.loop.clock import WallClock, realtime
from deploy.loop.loop import COMMAND_LIFE_NS, next_deadline_ns
from hil.boards import Board, Disturbed, Record
from hil.fault_injection import HOLD, HOLD_END, inject
from hil.loop_run import CheckedRobot
from robot_firmware_bridge.errors import BridgeError, LateStatesError
from robot_firmware_bridge.messages import Fault, Mode, MotorCommand
from robot_firmware_bridge.serial.link import SerialLink
from robot_firmware_bridge.serial.robot import SerialRobot

_RATE_HZ = 500
_PERIOD_NS = 1_000_000_000 // _RATE_HZ
# Part of the ticks that a busy desktop may make the host miss; the board must not mind.
_LEAST_RATE = 0.9
# Of the time, what the exchange may take of a processor: with more it is too slow for the rate.
_MOST_BUSY = 0.5
_STALLED_S = 0.04
_COUNTED = ("states_lost", "commands_lost", "crc_errors", "framing_errors", "board_bad_frames")


def test_full_duplex(
    board: Board, robot: CheckedRobot, pytestconfig: pytest.Config, record: Record
) -> None:
    """States and commands at 500 Hz each, for a while: none is lost, none is damaged."""
    robot.activate()
    before = robot.counters
    with realtime():
        sent, states, elapsed_s, busy_s, apart_s = _exchange(robot, pytestconfig.option.seconds)
    after, state, trip = robot.counters, robot.read(), robot.round_trip
    robot.deactivate()
    counts = {name: getattr(after, name) - getattr(before, name) for name in _COUNTED}
    rate_hz, busy = sent / elapsed_s, busy_s / elapsed_s
    if apart_s > _STALLED_S:
        board.stalls.append(f"the host had no turn for {1e3 * apart_s:.0f} ms")
    if state.fault is Fault.COMMAND_TIMEOUT and not counts["commands_lost"]:
        raise Disturbed("this computer sent no command for as long as one is valid")
    assert state.mode is Mode.ACTIVE, f"at the end the board is {state.mode.name}"
    assert not any(counts.values()), f"lost or damaged: {counts}"
    slow = rate_hz < _LEAST_RATE * _RATE_HZ and board.kind.keeps_time
    only = f"only {rate_hz:.0f} commands a second, which took {100 * busy:.0f} % of a processor"
    if slow and busy < _MOST_BUSY:
        raise Disturbed(only)
    assert not slow, only
    assert trip is not None, "no command was ever echoed"
    record(
        seconds=elapsed_s,
        commands=sent,
        states=states,
        rate_hz=rate_hz,
        **counts,
        round_trip_p50_ms=trip.p50_us / 1e3,
        round_trip_p99_ms=trip.p99_us / 1e3,
        round_trip_max_ms=trip.max_us / 1e3,
    )


def _exchange(robot: SerialRobot, seconds: float) -> tuple[int, int, float, float, float]:
    """Read and command at the full rate.

    Returns:
        Commands sent, distinct states read, the time, the time on the processor, and the longest
        between two commands, in s.
    """
    clock = WallClock()
    command = MotorCommand(robot.description.stance_pose_rad, 0.0, 0.0, COMMAND_LIFE_NS)
    sent = states = newest_ns = apart_ns = 0
    began_ns = deadline_ns = last_ns = clock.now_ns()
    busy_ns = time.thread_time_ns()
    end_ns = began_ns + round(seconds * 1e9)
    while deadline_ns < end_ns:
        clock.sleep_until_ns(deadline_ns)
        state = robot.read()
        robot.write(command)
        sent += 1
        states += state.t_ns > newest_ns
        newest_ns = state.t_ns
        now_ns = clock.now_ns()
        apart_ns, last_ns = max(apart_ns, now_ns - last_ns), now_ns
        deadline_ns = next_deadline_ns(deadline_ns, _PERIOD_NS, now_ns)
    busy_ns = time.thread_time_ns() - busy_ns
    return sent, states, (last_ns - began_ns) / 1e9, busy_ns / 1e9, apart_ns / 1e9


def test_quantised(robot: CheckedRobot, record: Record) -> None:
    """What `write` returns is what the board received: to half a unit of the wire."""
    robot.activate()
    wanted = np.linspace(0.5, 3.0, 8)
    sent = robot.write(MotorCommand(wanted, 0.0, 0.0, COMMAND_LIFE_NS))
    robot.deactivate()
    worst_rad = float(np.abs(sent.target_rad - wanted).max())
    assert worst_rad <= 0.000126, f"targets were changed by {worst_rad} rad"
    record(worst_rad=worst_rad)


@pytest.mark.simulated
def test_held_bytes(board: Board, robot: CheckedRobot, record: Record) -> None:
    """An adapter that holds bytes back for 16 ms is named before arming; cured, it is armed."""
    inject(board, HOLD)
    try:
        with pytest.raises(LateStatesError, match="instead of every 2 ms"):
            robot.activate()
        held = robot.arrival_gap
    finally:
        inject(board, HOLD_END)
    robot.activate()
    good = robot.arrival_gap
    robot.deactivate()
    assert held is not None, "no states came while bytes were held"
    assert good is not None, "no states came"
    record(held_p50_ms=held.p50_us / 1e3, good_p50_ms=good.p50_us / 1e3)


@pytest.mark.usefixtures("robot")
def test_port_errors(board: Board) -> None:
    """A port in use, not there or without a board is refused in one line that names it."""
    _check_refused(board.port, board.baud, "in use")
    _check_refused("/dev/no-such-port", board.baud, "/dev/no-such-port")
    board_fd, host_fd = os.openpty()
    tty.setraw(host_fd)
    mute_path = os.ttyname(host_fd)
    try:
        _check_refused(mute_path, board.baud, mute_path)
    finally:
        os.close(board_fd)
        os.close(host_fd)


def _check_refused(port: str, baud: int, reason: str) -> None:
    """Check that the port cannot be opened, for this reason."""
    with pytest.raises(BridgeError) as refused:
        SerialRobot(SerialLink(port, baud)).close()
    message = str(refused.value)
    assert reason in message, f"not {reason!r}: {message}"
    assert "\n" not in message, f"more than one line: {message}"
