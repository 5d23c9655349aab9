"""The control loop on a walking robot to which something happens in full stride."""

from __future__ import annotations

import contextlib
import time

import pytest

from deploy.loop.loop import COMMAND_LIFE_NS
from hil.boards import Board, CheckFailed, Disturbed, Figure, is_mode
from hil.fault_injection import INJECTIONS, clear, damped_after_ms, inject, mend
from hil.loop_run import Command, Walk, walk
from robot_firmware_bridge.errors import BridgeError, RobotFaultError
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
_REPORTED_S = 5.0
_WATCH_S = 1.0

Connection = tuple[SerialLink, SerialRobot]

pytestmark = pytest.mark.walks


def test_unplugged(board: Board, connection: Connection, command: Command, figure: Figure) -> None:
    """A pulled cable ends the run; the robot damps, and put back it waits to be cleared."""
    link, robot = connection
    since = len(board.process.events())
    run = walk(board, robot, command.policy, _RUN_S, "unplug")
    assert "robot_link" in run.faults, f"the loop ended with: {run.ending}"
    damping = board.await_event(is_mode(Mode.DAMPING), _REPORTED_S, "DAMPING", since)
    inject(board, "replug")
    _await_reconnected(link)
    _check_waits_to_be_cleared(board, robot)
    board.stand()
    robot.activate()
    robot.deactivate()
    silent_ms = damped_after_ms(damping)
    more = f"; DAMPING after {silent_ms:.1f} ms, reconnected, moved only when armed"
    _check_noticed(run, figure, more)


def _await_reconnected(link: SerialLink) -> None:
    """Wait until the link has found the board again, by itself."""
    deadline_s = time.monotonic() + _RECONNECT_S
    while time.monotonic() < deadline_s:
        try:
            if link.wait(lambda: link.session.identity is not None, 0.1):
                return
        except BridgeError:
            time.sleep(0.02)
    raise CheckFailed(f"the link did not come back within {_RECONNECT_S:g} s")


def _check_waits_to_be_cleared(board: Board, robot: SerialRobot) -> None:
    """Check that a latched robot neither moves nor is armed until its fault is cleared."""
    since = len(board.process.events())
    command = MotorCommand(robot.description.stance_pose_rad, 1.0, 0.01, COMMAND_LIFE_NS)
    end_s = time.monotonic() + _WATCH_S
    while time.monotonic() < end_s:
        with contextlib.suppress(BridgeError):
            robot.write(command)
        time.sleep(0.01)
    try:
        robot.activate()
    except RobotFaultError as error:
        assert Fault.COMMAND_TIMEOUT.name in str(error), f"refused with: {error}"
    else:
        raise CheckFailed("a latched board was armed")
    assert not board.moved(since), "the robot moved before it was cleared and armed"
    robot.clear_fault()


def test_silent(board: Board, robot: SerialRobot, command: Command, figure: Figure) -> None:
    """A line that falls silent without breaking is noticed by the age of its last state."""
    run = walk(board, robot, command.policy, _RUN_S, "stall 300")
    assert "stale_state" in run.faults, f"the loop ended with: {run.ending}"
    _check_noticed(run, figure, allowance=_TO_GROW_OLD)


def test_restarted(board: Board, connection: Connection, command: Command, figure: Figure) -> None:
    """A board that restarts in full stride is noticed, and does not move until it is armed."""
    link, robot = connection
    since = len(board.process.events())
    run = walk(board, robot, command.policy, _RUN_S, "reset")
    booted = board.await_event(lambda e: e["event"] == "boot", _REPORTED_S, "boot", since)
    assert link.wait(lambda: _is_known(link, booted), _REPORTED_S), "no state of the new start"
    time.sleep(_WATCH_S)
    assert not board.moved(since, booted["t_s"]), "the robot moved after its restart"
    assert link.session.counters.board_resets == 1, "the restart was not counted"
    assert "started anew" in run.ending, f"the loop ended with: {run.ending}"
    board.stand()
    robot.activate()
    robot.deactivate()
    more = f", boot {booted['boot_count']}; moved only when armed"
    _check_noticed(run, figure, more, _TO_GROW_OLD)


def _is_known(link: SerialLink, booted: Event) -> bool:
    """Return whether the link has states of this start of the board."""
    state = link.session.raw_state
    return state is not None and state.boot_count == booted["boot_count"]


def _check_noticed(run: Walk, figure: Figure, more: str = "", allowance: float = 0.0) -> None:
    """Check how soon the loop noticed."""
    periods, most = run.periods or 0.0, _NOTICED_PERIODS + allowance
    if periods > most and run.late_periods > _LATE_PERIODS:
        raise Disturbed(f"the loop was {run.late_periods:.1f} periods late itself")
    assert periods <= most, f"noticed after {periods:.1f} periods only"
    figure(f"noticed after {periods:.1f} control periods{more}", periods=periods)


@pytest.mark.parametrize("name", INJECTIONS)
def test_walking_protection(
    board: Board, robot: SerialRobot, command: Command, figure: Figure, name: str
) -> None:
    """A walking robot is stopped by its board on a fault."""
    harm = INJECTIONS[name]
    since = len(board.process.events())
    run = walk(board, robot, command.policy, _RUN_S, harm.order)
    stopped = board.await_event(is_mode(harm.mode), _REPORTED_S, harm.mode.name, since)
    mend(board, harm)
    clear(robot)
    if set(run.faults) == {"stale_state"}:
        raise Disturbed(run.ending)
    assert {"robot_fault", harm.loop_fault} & set(run.faults), f"the loop: {run.ending}"
    assert harm.fault.name in stopped["fault"], f"the board reports {stopped['fault']}"
    figure(f"{harm.mode.name} by {harm.fault.name}; the loop: {run.ending}")


def test_noisy_walk(board: Board, connection: Connection, command: Command, figure: Figure) -> None:
    """A robot walks on while its line loses a frame in a hundred."""
    link, robot = connection
    run = walk(board, robot, command.policy, 2 * _RUN_S, "flip 0.0001", "drop 0.0001")
    counters = link.session.counters
    for order in ("flip 0", "drop 0"):
        inject(board, order)
    if "stale_state" in run.faults:
        raise Disturbed(run.ending)
    assert not run.faults, f"the loop ended with: {run.ending}"
    damaged = counters.crc_errors + counters.framing_errors + counters.board_bad_frames
    assert damaged > 0, "the line was not noisy"
    figure(
        f"{counters.states_lost} states and {counters.commands_lost} commands lost in "
        f"{2 * _RUN_S - 1:.0f} s, no fault",
        states_lost=counters.states_lost,
        commands_lost=counters.commands_lost,
    )
