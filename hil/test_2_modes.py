"""The mode machine, watchdog and emergency stop; no command among these has torque."""

from __future__ import annotations

from hil.boards import Board, Figure
from hil.fault_injection import withhold_commands
from hil.raw_host import VALID_MS, RawHost, describe, elapsed_ms, ticked_ms
from robot_firmware_bridge.limits import LIMITS
from robot_firmware_bridge.messages import Fault, Mode
from robot_firmware_bridge.protocol.layout import Action, Result
from robot_firmware_bridge.protocol.wire import State

# What a board's clock and the rate of its states may add to a time that is counted in states.
_GRAIN_MS = 10.0


def test_disarmed_ignores(host: RawHost, figure: Figure) -> None:
    """A board that is not armed takes no commands."""
    host.states.clear()
    host.stream(0.2)
    host.fresh_state()
    for state in host.states:
        assert state.mode == Mode.DISARMED and state.fault == Fault.NONE, describe(state)
    figure("commands for 0.2 s, DISARMED throughout")


def test_life(board: Board, host: RawHost, figure: Figure) -> None:
    """A board goes through READY, ACTIVE, DAMPING and DISARMED, and damps for its time."""
    host.activate()
    host.demand(Action.ARM, Result.WRONG_MODE, Mode.ACTIVE)
    host.demand(Action.DISARM, Result.DONE, Mode.DAMPING)
    disarmed = host.wait_mode(Mode.DISARMED)
    damping = host.first(Mode.DAMPING)
    assert damping.fault == Fault.NONE, f"disarming is no fault: {describe(damping)}"
    _check_lasts(board, figure, damping, disarmed, LIMITS.damping_ms, "damped for")


def test_ready_timeout(board: Board, host: RawHost, figure: Figure) -> None:
    """An armed board that receives no command disarms."""
    host.arm()
    host.wait_mode(Mode.READY)
    disarmed = host.wait_mode(Mode.DISARMED, 5 * LIMITS.ready_timeout_ms / 1e3)
    ready = host.first(Mode.READY)
    _check_lasts(board, figure, ready, disarmed, LIMITS.ready_timeout_ms, "disarmed after")


def _check_lasts(
    board: Board, figure: Figure, begin: State, end: State, wanted_ms: int, what: str
) -> None:
    """Check the time between two states.

    The board counts its ticks. An emulation that stalled lost some while its clock went on: there,
    the ticks count.
    """
    passed_ms = elapsed_ms(begin, end)
    took_ms = ticked_ms(begin, end) if board.is_simulated else passed_ms
    assert abs(took_ms - wanted_ms) <= _GRAIN_MS, f"{what} {took_ms:.0f} ms, not {wanted_ms}"
    stalled_ms = passed_ms - took_ms
    more = f", and stalled for {stalled_ms:.0f} ms" if stalled_ms > _GRAIN_MS else ""
    figure(f"{what} {took_ms:.0f} ms{more}", took_ms=took_ms, passed_ms=passed_ms)


def test_watchdog(board: Board, host: RawHost, figure: Figure) -> None:
    """A board damps within 100 ms of its last valid command, by its own clock."""
    host.activate()
    silent_ms = withhold_commands(board, host)
    figure(f"{silent_ms:.1f} ms from the last command to DAMPING", damped_after_ms=silent_ms)


def test_latched(board: Board, host: RawHost, figure: Figure) -> None:
    """What the watchdog stopped stays stopped: no command and no arming undoes it."""
    host.activate()
    withhold_commands(board, host)
    _check_stays_damping(host, Fault.COMMAND_TIMEOUT)
    host.demand(Action.CLEAR_FAULT, Result.DONE, Mode.DISARMED)
    host.activate()
    figure("commands ignored, arming refused; cleared on request only")


def _check_stays_damping(host: RawHost, fault: Fault) -> None:
    """Check that nothing but clearing the fault helps."""
    host.demand(Action.ARM, Result.FAULTY, Mode.DAMPING)
    host.demand(Action.DISARM, Result.DONE, Mode.DAMPING)
    host.stream(0.3)
    host.hello()
    host.demand(Action.ARM, Result.FAULTY, Mode.DAMPING)
    host.stream(0.3)
    state = host.fresh_state()
    wrong = f"it came to {describe(state)}; not DAMPING, faults {fault.name}"
    assert state.mode == Mode.DAMPING and state.fault == fault, wrong


def test_emergency_stop(host: RawHost, figure: Figure) -> None:
    """An emergency stop damps in every mode and stays until it is cleared."""
    for prepare in (host.home, host.arm, host.activate):
        host.home()
        prepare()
        host.demand(Action.EMERGENCY_STOP, Result.DONE, Mode.DAMPING)
        _check_stays_damping(host, Fault.EMERGENCY_STOP)
        host.demand(Action.CLEAR_FAULT, Result.DONE, Mode.DISARMED)
    figure("from DISARMED, READY and ACTIVE; latched until cleared")


def test_new_host(host: RawHost, figure: Figure) -> None:
    """A running board that receives a hello disarms, and does not move on."""
    host.activate()
    before = len(host.states)
    host.hello()
    host.wait_mode(Mode.DISARMED, meanwhile=host.send_command)
    modes = [state.mode for state in host.states[before:]]
    assert Mode.DAMPING in modes, "it did not damp after a hello"
    assert Mode.ACTIVE not in modes[modes.index(Mode.DAMPING) :], "it moved on after a hello"
    host.arm()
    host.hello()
    host.wait_mode(Mode.DISARMED)
    figure(f"disarmed; commands are valid for {VALID_MS} ms, armed or not")
