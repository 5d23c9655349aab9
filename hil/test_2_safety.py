"""The mode machine, watchdog, emergency stop and the board's own protections.

No command among these has torque. Whether a walking robot is stopped is among the checks that walk.
"""

from __future__ import annotations

import pytest

from hil.boards import Board, Record
from hil.fault_injection import INJECTIONS, await_done, inject, mend, withhold_commands
from hil.raw_host import RawHost, describe, elapsed_ms, ticked_ms
from robot_firmware_bridge.limits import LIMITS
from robot_firmware_bridge.messages import Fault, Mode
from robot_firmware_bridge.protocol.layout import Action, Result
from robot_firmware_bridge.protocol.wire import State

# What a board's clock and the rate of its states may add to a time that is counted in states.
_GRAIN_MS = 10.0
# A protection that takes longer than this is none.
_PROTECTED_WITHIN_MS = 1000.0


def test_disarmed_ignores(host: RawHost) -> None:
    """A board that is not armed takes no commands."""
    host.states.clear()
    host.stream(0.2)
    host.fresh_state()
    for state in host.states:
        assert (state.mode, state.fault) == (Mode.DISARMED, Fault.NONE), describe(state)


def test_life(board: Board, host: RawHost, record: Record) -> None:
    """A board goes through READY, ACTIVE, DAMPING and DISARMED, and damps for its time."""
    host.activate()
    host.demand(Action.ARM, Result.WRONG_MODE, Mode.ACTIVE)
    host.states.clear()
    host.demand(Action.DISARM, Result.DONE, Mode.DAMPING)
    disarmed = host.wait_mode(Mode.DISARMED)
    damping = next(state for state in host.states if state.mode == Mode.DAMPING)
    assert damping.fault == Fault.NONE, f"disarming is no fault: {describe(damping)}"
    _check_lasts(board, record, damping, disarmed, LIMITS.damping_ms)


def test_ready_timeout(board: Board, host: RawHost, record: Record) -> None:
    """An armed board that receives no command disarms."""
    host.states.clear()
    host.arm()
    host.wait_mode(Mode.READY)
    disarmed = host.wait_mode(Mode.DISARMED, 5 * LIMITS.ready_timeout_ms / 1e3)
    ready = next(state for state in host.states if state.mode == Mode.READY)
    _check_lasts(board, record, ready, disarmed, LIMITS.ready_timeout_ms)


def _check_lasts(board: Board, record: Record, begin: State, end: State, wanted_ms: int) -> None:
    """Check the time between two states.

    The board counts its ticks. An emulation that stalled lost some while its clock went on: there,
    the ticks count.
    """
    passed_ms = elapsed_ms(begin, end)
    took_ms = ticked_ms(begin, end) if board.is_simulated else passed_ms
    assert abs(took_ms - wanted_ms) <= _GRAIN_MS, f"it took {took_ms:.0f} ms, not {wanted_ms}"
    record(took_ms=took_ms, passed_ms=passed_ms)


def test_watchdog(board: Board, host: RawHost, record: Record) -> None:
    """A board damps within 100 ms of its last valid command, by its own clock."""
    host.activate()
    record(damped_after_ms=withhold_commands(board, host))


def test_latched(board: Board, host: RawHost) -> None:
    """What the watchdog stopped stays stopped: no command and no arming undoes it."""
    host.activate()
    withhold_commands(board, host)
    _check_stays_damping(host, Fault.COMMAND_TIMEOUT)
    host.demand(Action.CLEAR_FAULT, Result.DONE, Mode.DISARMED)
    host.activate()


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
    assert (state.mode, state.fault) == (Mode.DAMPING, fault), wrong


def test_emergency_stop(host: RawHost) -> None:
    """An emergency stop damps in every mode and stays until it is cleared."""
    for prepare in (host.home, host.arm, host.activate):
        host.home()
        prepare()
        host.demand(Action.EMERGENCY_STOP, Result.DONE, Mode.DAMPING)
        _check_stays_damping(host, Fault.EMERGENCY_STOP)
        host.demand(Action.CLEAR_FAULT, Result.DONE, Mode.DISARMED)


def test_new_host(host: RawHost) -> None:
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


@pytest.mark.simulated
@pytest.mark.parametrize("name", INJECTIONS)
def test_protection(board: Board, host: RawHost, record: Record, name: str) -> None:
    """A running board stops on a fault, and stays so until it is mended and cleared."""
    harm = INJECTIONS[name]
    host.activate()
    since = len(board.process.events())
    board.process.inject(harm.order)
    state = host.wait_state(lambda s: s.mode != Mode.ACTIVE, "stop", meanwhile=host.send_command)
    wrong = f"{describe(state)}; not {harm.mode.name} by {harm.fault.name}"
    assert (state.mode, state.fault & harm.fault) == (harm.mode, harm.fault), wrong
    done = await_done(board, harm.order, since, host.receive)
    if harm.lasts:
        host.demand(Action.CLEAR_FAULT, Result.FAULTY, harm.mode)
    mend(board, harm, host)
    host.stream(0.1)
    assert host.fresh_state().mode == harm.mode, "it did not stay stopped"
    host.clear()
    host.activate()
    after_ms = 1e3 * (board.await_mode(harm.mode, since)["t_s"] - done["t_s"])
    assert after_ms <= _PROTECTED_WITHIN_MS, f"{harm.mode.name} after {after_ms:.0f} ms only"
    record(mode=harm.mode.name, fault=harm.fault.name, after_ms=after_ms)


@pytest.mark.simulated
def test_noisy_line(board: Board, host: RawHost, record: Record) -> None:
    """A line that loses, turns and repeats 0.3 % of its bytes costs frames, and never the mode."""
    host.activate()
    before = host.fresh_state()
    host.states.clear()
    sequence, bad_before = host.sequence, host.decoder.crc_errors + host.decoder.framing_errors
    for order in ("flip 0.001", "drop 0.001", "duplicate 0.001"):
        inject(board, order, host.pulse)
    host.stream(5.0)
    for order in ("flip 0", "drop 0", "duplicate 0"):
        inject(board, order, host.pulse)
    host.send_command()
    after = host.await_echo()
    for state in host.states:
        assert state.mode == Mode.ACTIVE, f"it came to {describe(state)}"
    damaged = host.decoder.crc_errors + host.decoder.framing_errors - bad_before
    lost = (after.commands_lost - before.commands_lost) & 0xFFFF
    assert min(damaged, lost) > 0, "the line was not noisy"
    sent = (host.sequence - sequence) & 0xFFFF
    record(commands_lost=lost, commands=sent, states_damaged=damaged)
