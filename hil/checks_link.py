"""Checks of the real link: `SerialLink` and `SerialRobot` as the control loop uses them."""

from __future__ import annotations

import os
import time
import tty
from collections.abc import Callable

import numpy as np

from deploy.loop.clock import WallClock, realtime
from deploy.loop.loop import COMMAND_LIFE_NS, next_deadline_ns
from hil.bench import Bench
from hil.check import Check, CheckFailed, Disturbed, Figure, expect
from robot_firmware_bridge.errors import BridgeError
from robot_firmware_bridge.messages import Fault, Mode, MotorCommand
from robot_firmware_bridge.serial.link import SerialLink
from robot_firmware_bridge.serial.robot import SerialRobot

_RATE_HZ = 500
_PERIOD_NS = 1_000_000_000 // _RATE_HZ
# Part of the ticks that a busy desktop may make the host miss; the board must not mind.
_LEAST_RATE = 0.9
# Of the time, what the exchange may take of a processor: with more it is too slow for the rate.
_MOST_BUSY = 0.5
_HELD_UP_S = 0.04


def full_duplex(bench: Bench) -> Figure:
    """States and commands at 500 Hz each, for a while: nothing is lost, nothing is damaged."""
    with bench.robot() as (link, robot):
        robot.activate()
        before = link.session.counters
        with realtime():
            sent, states, elapsed_s, busy_s, apart_s = _exchange(robot, bench.seconds)
        after = link.session.counters
        state = robot.read()
        trip = link.session.round_trip()
        robot.deactivate()
    counts = {name: getattr(after, name) - getattr(before, name) for name in _COUNTED}
    rate_hz, busy = sent / elapsed_s, busy_s / elapsed_s
    if apart_s > _HELD_UP_S:
        bench.held_up.append(f"the host had no turn for {1e3 * apart_s:.0f} ms")
    if state.fault is Fault.COMMAND_TIMEOUT and not counts["commands_lost"]:
        raise Disturbed("this computer sent no command for the life of one")
    expect(state.mode is Mode.ACTIVE, f"at the end the board is {state.mode.name}")
    expect(not any(counts.values()), f"lost or damaged: {counts}")
    slow = rate_hz < _LEAST_RATE * _RATE_HZ and bench.rung.kind.keeps_time
    much = f"only {rate_hz:.0f} commands a second, which took {100 * busy:.0f} % of a processor"
    if slow and busy < _MOST_BUSY:
        raise Disturbed(much)
    expect(not slow, much)
    if trip is None:
        raise CheckFailed("no command was ever echoed")
    p50, p99, most = trip.p50_us / 1e3, trip.p99_us / 1e3, trip.max_us / 1e3
    return Figure(
        f"{elapsed_s:.0f} s: {sent} commands ({rate_hz:.0f} Hz), {states} states, 0 lost, "
        f"0 damaged; round trip p50 {p50:.1f}, p99 {p99:.1f}, max {most:.1f} ms",
        {
            "seconds": elapsed_s,
            "commands": sent,
            "states": states,
            "rate_hz": rate_hz,
            **counts,
            "round_trip_ms": {"p50": p50, "p99": p99, "max": most},
        },
    )


_COUNTED = ("states_lost", "commands_lost", "crc_errors", "framing_errors", "board_bad_frames")


def _exchange(robot: SerialRobot, seconds: float) -> tuple[int, int, float, float, float]:
    """Read and command at the full rate.

    Returns:
        Commands sent, distinct states read, the time, that of the processor, and the longest
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


def quantised(bench: Bench) -> Figure:
    """What `write` returns is what the board got: to half a unit of the wire."""
    with bench.robot() as (_, robot):
        robot.activate()
        wanted = np.linspace(0.5, 3.0, 8)
        sent = robot.write(MotorCommand(wanted, 0.0, 0.0, COMMAND_LIFE_NS))
        robot.deactivate()
    worst_rad = float(np.abs(sent.target_rad - wanted).max())
    expect(worst_rad <= 0.000126, f"targets were changed by {worst_rad} rad")
    return Figure(f"targets within {1e6 * worst_rad:.0f} urad", {"worst_rad": worst_rad})


def port_errors(bench: Bench) -> Figure:
    """A port that cannot be used is refused in a line that names it."""
    with bench.robot():
        in_use = _refusal(lambda: _connect(bench.rung.port, bench.rung.baud))
    absent = _refusal(lambda: _connect("/dev/no-such-port", bench.rung.baud))
    board_fd, host_fd = os.openpty()
    tty.setraw(host_fd)
    mute_path = os.ttyname(host_fd)
    try:
        mute = _refusal(lambda: _connect(mute_path, bench.rung.baud))
    finally:
        os.close(board_fd)
        os.close(host_fd)
    expect("in use" in in_use, f"in use: {in_use}")
    expect("/dev/no-such-port" in absent, f"absent: {absent}")
    expect(mute_path in mute, f"no board: {mute}")
    return Figure("in use, not there, and not a board: each in one line")


def _connect(port: str, baud: int) -> None:
    link = SerialLink(port, baud)
    try:
        SerialRobot(link).close()
    finally:
        link.close()


def _refusal(act: Callable[[], None]) -> str:
    """What is said when this is refused, which it must be."""
    try:
        act()
    except BridgeError as error:
        expect("\n" not in str(error), f"more than one line: {error}")
        return str(error)
    raise CheckFailed("a port that cannot be used was opened")


CHECKS = (
    Check("full_duplex", "500 Hz both ways", full_duplex),
    Check("quantised", "sends what it says it sends", quantised),
    Check("port_errors", "refuses bad ports clearly", port_errors),
)
