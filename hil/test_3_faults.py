"""The board's own protections: what breaks on the robot stops it, and is reported.

The commands have no torque. Whether a walking robot is stopped is among the checks that walk.
"""

from __future__ import annotations

import pytest

from hil.boards import Board, Figure, is_mode
from hil.fault_injection import INJECTIONS, await_done, inject, mend
from hil.raw_host import RawHost, describe
from robot_firmware_bridge.messages import Fault, Mode
from robot_firmware_bridge.protocol.layout import Action, Result

# A protection that takes longer than this is none.
_WITHIN_S = 1.0
_REPORTED_S = 5.0

pytestmark = pytest.mark.simulated


@pytest.mark.parametrize("name", INJECTIONS)
def test_protection(board: Board, host: RawHost, figure: Figure, name: str) -> None:
    """A running board stops on a fault, and stays so until it is mended and cleared."""
    harm = INJECTIONS[name]
    host.activate()
    since = len(board.process.events())
    board.process.inject(harm.order)
    state = host.wait_state(
        lambda state: state.mode != Mode.ACTIVE, "stop", meanwhile=host.send_command
    )
    wrong = f"{describe(state)}; not {harm.mode.name} by {harm.fault.name}"
    assert state.mode == harm.mode and Fault(state.fault) & harm.fault, wrong
    done = await_done(board, harm.order, since, host.receive)
    if harm.lasts:
        host.demand(Action.CLEAR_FAULT, Result.FAULTY, harm.mode)
    mend(board, harm, host)
    host.stream(0.1)
    assert host.fresh_state().mode == harm.mode, "it did not stay stopped"
    host.clear()
    host.activate()
    stopped = board.await_event(is_mode(harm.mode), _REPORTED_S, harm.mode.name, since)
    after_ms = 1e3 * (stopped["t_s"] - done["t_s"])
    assert after_ms <= 1e3 * _WITHIN_S, f"{harm.mode.name} after {after_ms:.0f} ms only"
    figure(f"{harm.mode.name} by {harm.fault.name} after {after_ms:.0f} ms", after_ms=after_ms)


def test_noisy_line(board: Board, host: RawHost, figure: Figure) -> None:
    """A line that loses and turns bits costs frames, and never the mode."""
    host.activate()
    before = host.fresh_state()
    host.states.clear()
    crc_before, sequence = host.decoder.crc_errors + host.decoder.framing_errors, host.sequence
    for order in ("flip 0.001", "drop 0.001", "duplicate 0.001"):
        inject(board, order, host.pulse)
    host.stream(5.0)
    for order in ("flip 0", "drop 0", "duplicate 0"):
        inject(board, order, host.pulse)
    host.send_command()
    after = host.await_echo()
    for state in host.states:
        assert state.mode == Mode.ACTIVE, f"it came to {describe(state)}"
    damaged = host.decoder.crc_errors + host.decoder.framing_errors - crc_before
    lost = (after.commands_lost - before.commands_lost) & 0xFFFF
    assert damaged > 0 and lost > 0, "the line was not noisy"
    sent = (host.sequence - sequence) & 0xFFFF
    figure(
        f"{lost} of {sent} commands and {damaged} states lost at 0.3 % per byte, ACTIVE throughout",
        commands_lost=lost,
        commands=sent,
        states_damaged=damaged,
    )
