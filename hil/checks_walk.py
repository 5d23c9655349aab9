"""Checks of the control loop on a walking robot to which something happens in full stride."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from deploy.loop.loop import COMMAND_LIFE_NS
from hil.bench import Bench
from hil.check import Check, CheckFailed, Disturbed, Figure, expect
from hil.checks_faults import MEND_HEAT
from hil.checks_modes import damped_after_ms
from hil.walk import Walk, walk
from robot_firmware_bridge.errors import BridgeError, RobotFaultError
from robot_firmware_bridge.limits import LIMITS
from robot_firmware_bridge.messages import Fault, Mode, MotorCommand
from robot_firmware_bridge.serial.link import SerialLink
from robot_firmware_bridge.serial.robot import SerialRobot
from sim.board.process import Event

_RUN_S = 4.0
_NOTICED_PERIODS = 3.0
# A silence is seen in the tick after that; and the order that causes it has its way to the board.
_TO_GROW_OLD = 1.5
# Of that, what a loop that is late itself may use up.
_LATE_PERIODS = 0.25
_RECONNECT_S = 10.0
_TOLD_S = 5.0
_WATCH_S = 1.0


def unplugged(bench: Bench) -> Figure:
    """A pulled cable ends the run; the robot damps, and put back it waits to be cleared."""
    board = bench.rung.board
    with bench.robot() as (link, robot):
        since = len(board.events())
        course = walk(bench, robot, _RUN_S, ["unplug"])
        expect("robot_link" in course.faults, f"the loop ended with: {course.said}")
        damping = bench.await_event(_mode(Mode.DAMPING), _TOLD_S, "DAMPING", since)
        bench.inject("replug")
        _is_reconnected(link)
        _waits_to_be_cleared(bench, robot)
        bench.stand()
        robot.activate()
        robot.deactivate()
    silent_ms = damped_after_ms(damping)
    return _noticed(
        course, f"; DAMPING after {silent_ms:.1f} ms, reconnected, moved only when armed"
    )


def _is_reconnected(link: SerialLink) -> None:
    """States flow again, by themselves."""
    deadline_s = time.monotonic() + _RECONNECT_S
    while time.monotonic() < deadline_s:
        try:
            if link.wait(lambda: link.session.identity is not None, 0.1):
                return
        except BridgeError:
            time.sleep(0.02)
    raise CheckFailed(f"the link did not come back within {_RECONNECT_S:g} s")


def _waits_to_be_cleared(bench: Bench, robot: SerialRobot) -> None:
    """A latched robot that can be reached again neither moves nor is armed, until cleared."""
    since = len(bench.rung.board.events())
    command = MotorCommand(robot.description.stance_pose_rad, 1.0, 0.01, COMMAND_LIFE_NS)
    end_s = time.monotonic() + _WATCH_S
    while time.monotonic() < end_s:
        with contextlib.suppress(BridgeError):
            robot.write(command)
        time.sleep(0.01)
    try:
        robot.activate()
    except RobotFaultError as error:
        expect(Fault.COMMAND_TIMEOUT.name in str(error), f"refused with: {error}")
    else:
        raise CheckFailed("a latched board was armed")
    moved = [e for e in bench.rung.board.events()[since:] if _mode(Mode.ACTIVE)(e)]
    expect(not moved, "the robot moved before it was cleared and armed")
    robot.clear_fault()


def silent(bench: Bench) -> Figure:
    """A line that falls silent without breaking is noticed by the age of its last state."""
    with bench.robot() as (_, robot):
        course = walk(bench, robot, _RUN_S, ["stall 300"])
        expect("stale_state" in course.faults, f"the loop ended with: {course.said}")
    return _noticed(course, allowance=_TO_GROW_OLD)


def restarted(bench: Bench) -> Figure:
    """A board that restarts in full stride is noticed, and does not move until it is armed."""
    board = bench.rung.board
    with bench.robot() as (link, robot):
        since = len(board.events())
        course = walk(bench, robot, _RUN_S, ["reset"])
        booted = bench.await_event(lambda e: e["event"] == "boot", _TOLD_S, "boot", since)
        expect(link.wait(lambda: _is_known(link, booted), _TOLD_S), "no state of the new start")
        time.sleep(_WATCH_S)
        moved = [e for e in board.events()[since:] if _mode(Mode.ACTIVE)(e) and _after(e, booted)]
        expect(not moved, "the robot moved after its restart")
        expect(link.session.counters.board_resets == 1, "the restart was not counted")
        expect("started anew" in course.said, f"the loop ended with: {course.said}")
        bench.stand()
        robot.activate()
        robot.deactivate()
    return _noticed(course, f", boot {booted['boot_count']}; moved only when armed", _TO_GROW_OLD)


def _is_known(link: SerialLink, booted: Event) -> bool:
    """Whether the link has states of this start of the board."""
    state = link.session.raw_state
    return state is not None and state.boot_count == booted["boot_count"]


def _after(event: Event, other: Event) -> bool:
    return bool(event["t_s"] > other["t_s"])


def _fault(
    harm: str, mends: tuple[str, ...], fault: Fault, mode: Mode, loop: str = "robot_fault"
) -> Callable[[Bench], Figure]:
    """A check that a walking robot is stopped by the board for this reason.

    Args:
        harm: Order that does the harm.
        mends: Orders that take it back.
        fault: What the board must say that it was.
        mode: Mode in which it must stop.
        loop: What the loop must call it, if it looks for the same itself.
    """

    def check(bench: Bench) -> Figure:
        board = bench.rung.board
        with bench.robot() as (_, robot):
            since = len(board.events())
            course = walk(bench, robot, _RUN_S, [harm])
            stopped = bench.await_event(_mode(mode), _TOLD_S, mode.name, since)
            bench.mend(mends)
            bench.clear(robot)
        if set(course.faults) == {"stale_state"}:
            raise Disturbed(course.said)
        expect(bool({"robot_fault", loop} & set(course.faults)), f"the loop: {course.said}")
        expect(fault.name in stopped["fault"], f"the board reports {stopped['fault']}")
        return Figure(f"{mode.name} by {fault.name}; the loop: {course.said}")

    return check


def noisy_walk(bench: Bench) -> Figure:
    """A robot walks on while its line loses a frame in a hundred."""
    with bench.robot() as (link, robot):
        course = walk(bench, robot, 2 * _RUN_S, ["flip 0.0001", "drop 0.0001"])
        counters = link.session.counters
        for order in ("flip 0", "drop 0"):
            bench.inject(order)
    if "stale_state" in course.faults:
        raise Disturbed(course.said)
    expect(not course.faults, f"the loop ended with: {course.said}")
    damaged = counters.crc_errors + counters.framing_errors + counters.board_bad_frames
    expect(damaged > 0, "the line was not noisy")
    return Figure(
        f"{counters.states_lost} states and {counters.commands_lost} commands lost in "
        f"{2 * _RUN_S - 1:.0f} s, no fault",
        {"states_lost": counters.states_lost, "commands_lost": counters.commands_lost},
    )


def _noticed(course: Walk, more: str = "", allowance: float = 0.0) -> Figure:
    """How soon the loop noticed, which is bounded."""
    periods = course.periods or 0.0
    if periods > _NOTICED_PERIODS + allowance and course.late_periods > _LATE_PERIODS:
        raise Disturbed(f"the loop was {course.late_periods:.1f} periods late itself")
    expect(periods <= _NOTICED_PERIODS + allowance, f"noticed after {periods:.1f} periods only")
    return Figure(f"noticed after {periods:.1f} control periods{more}", {"periods": periods})


def _mode(mode: Mode) -> Callable[[Event], bool]:
    return lambda event: bool(event["event"] == "mode" and event["mode"] == mode.name)


_JUMP_RAD = 2 * LIMITS.encoder_jump_rad
_HOT_C = LIMITS.max_housing_c + 10.0
_FROZEN_IMU = _fault("freeze-imu", ("thaw-imu",), Fault.IMU, Mode.DAMPING)
_ENCODER_JUMP = _fault(
    f"encoder-jump 2 {_JUMP_RAD}", (f"encoder-jump 2 {-_JUMP_RAD}",), Fault.ENCODER, Mode.FAULT
)
_LOW_BATTERY = _fault(
    "battery 12", ("battery 16",), Fault.UNDERVOLTAGE, Mode.DAMPING, "battery_low"
)
_HOT_MOTOR = _fault(f"heat 5 {_HOT_C}", MEND_HEAT, Fault.OVERHEAT, Mode.DAMPING)

CHECKS = (
    Check("unplugged", "bears its cable being pulled in full stride", unplugged, walks=True),
    Check("silent", "notices a line that falls silent", silent, walks=True),
    Check("restarted", "notices a board that restarts", restarted, walks=True),
    Check("walk_imu", "walking: stops on a frozen IMU", _FROZEN_IMU, walks=True),
    Check("walk_encoder", "walking: stops on an encoder", _ENCODER_JUMP, walks=True),
    Check("walk_battery", "walking: stops on a low battery", _LOW_BATTERY, walks=True),
    Check("walk_heat", "walking: stops on a hot motor", _HOT_MOTOR, walks=True),
    Check("walk_noise", "walks on over a noisy line", noisy_walk, walks=True),
)
