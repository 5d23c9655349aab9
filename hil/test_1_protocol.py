"""The line and the handshake: who may talk, what counts, what damage costs."""

from __future__ import annotations

import random
import statistics
import time
from itertools import pairwise

import pytest

from hil.boards import Board, Record
from hil.fault_injection import damaged, inject, withhold_commands
from hil.raw_host import ROBOT_HASH, RawHost, describe, elapsed_ms
from robot_firmware_bridge.messages import Mode
from robot_firmware_bridge.protocol.layout import PROTOCOL_HASH, Action, Result
from robot_firmware_bridge.protocol.wire import State

_DAMAGED_FRAMES = 100
_FLOOD_BYTES = 50_000
_GOOD = 100
_SILENCE_S = 0.3
_BOOT_S = 10.0
_STATES_S = 2.0
# Share of a time that the board's clock may differ by; in which an emulation must lose no tick.
_CLOCK, _STEADY = 0.02, 0.5
# Intervals that a state is late when a tick was lost before it; ticks are half as long.
_LOST_TICK = 1.25


def test_identity(host: RawHost, record: Record) -> None:
    """The board reports who it is, and is what this stack was built for."""
    began_s = time.perf_counter()
    who = host.hello()
    answer_ms = 1e3 * (time.perf_counter() - began_s)
    assert who.protocol_hash == PROTOCOL_HASH, "another protocol: reflash the board"
    assert who.robot_hash == ROBOT_HASH, "firmware of another robot: reflash the board"
    assert host.fresh_state().boot_count == who.boot_count, "identity and state name two boots"
    record(
        firmware_id=who.firmware_id.rstrip(b"\0").decode("ascii", "replace"),
        board_id=who.board_id.hex(),
        boot_count=who.boot_count,
        state_interval_ms=who.state_interval_ms,
        answer_ms=answer_ms,
    )


@pytest.mark.simulated
def test_without_hello(board: Board, host: RawHost) -> None:
    """A board that received no hello since its reset sends no state and does not arm."""
    boots, since = host.fresh_state().boot_count, len(board.process.events())
    inject(board, "reset", host.receive)
    board.await_event(lambda event: event["event"] == "boot", "boot", since, _BOOT_S)
    _check_refuses(host)
    assert host.states[-1].boot_count == boots, "states came after the reset, before a hello"


@pytest.mark.parametrize("wrong", ["protocol", "robot"])
def test_wrong_hash(host: RawHost, wrong: str) -> None:
    """A host of another protocol or robot learns who the board is, and no more."""
    own = {"protocol": PROTOCOL_HASH, "robot": ROBOT_HASH}
    sent = {**own, wrong: own[wrong] ^ 1}
    who = host.hello(protocol_hash=sent["protocol"], robot_hash=sent["robot"])
    answered = {"protocol": who.protocol_hash, "robot": who.robot_hash}
    assert answered[wrong] == own[wrong], "the board did not answer with its own hash"
    _check_refuses(host)


def _check_refuses(host: RawHost) -> None:
    """Check that a board without a hello refuses to arm and sends no states."""
    # What was on the line when the board forgot its host comes before its answer.
    host.demand(Action.ARM, Result.NOT_INTRODUCED, Mode.DISARMED)
    before = len(host.states)
    for _ in range(5):
        host.send_command()
    host.listen(_SILENCE_S)
    host.demand(Action.ARM, Result.NOT_INTRODUCED, Mode.DISARMED)
    received = len(host.states) - before
    assert not received, f"{received} states came without a hello"


def test_states(board: Board, host: RawHost, record: Record) -> None:
    """States come at the requested rate, each once, with the board's time."""
    wanted_ms = host.home().state_interval_ms
    host.fresh_state()
    host.states.clear()
    host.listen(_STATES_S)
    first, last, count = host.states[0], host.states[-1], len(host.states)
    lost = ((last.sequence - first.sequence) & 0xFFFF) - (count - 1)
    assert lost == 0, f"{lost} of {count + lost} states lost"
    apart_ms = [elapsed_ms(*pair) for pair in pairwise(host.states)]
    stalled_ms = 0.0
    if board.is_simulated:
        # Where this computer stalled an emulation it lost ticks: those intervals prove nothing,
        # unless they are the most.
        steady_ms = [ms for ms in apart_ms if ms <= _LOST_TICK * wanted_ms]
        if sum(steady_ms) > _STEADY * elapsed_ms(first, last):
            stalled_ms = sum(apart_ms) - sum(steady_ms)
            apart_ms = steady_ms
    interval_ms = statistics.fmean(apart_ms)
    wrong = f"a state every {interval_ms:.3f} ms, not {wanted_ms}"
    assert abs(interval_ms - wanted_ms) <= _CLOCK * wanted_ms, wrong
    record(states=count, interval_ms=interval_ms, stalled_ms=stalled_ms)


def test_damaged_frames(host: RawHost, record: Record) -> None:
    """A damaged frame costs itself, and neither its neighbours nor the count of them."""
    rng = random.Random(0)
    host.activate()
    before = host.fresh_state()
    for _ in range(_DAMAGED_FRAMES):
        host.send(damaged(host.command(), rng))
        host.send_command()
        host.listen(0.002)
    bad, lost = _bad_and_lost(before, host.await_echo())
    assert bad == _DAMAGED_FRAMES, f"{bad} frames counted as damaged, {_DAMAGED_FRAMES} were"
    assert lost == _DAMAGED_FRAMES, f"{lost} commands lost to {_DAMAGED_FRAMES} damaged frames"
    record(damaged=bad, lost=lost)


def _bad_and_lost(before: State, after: State) -> tuple[int, int]:
    """Return the bad frames and lost commands that the board counted between two states."""
    return (
        (after.bad_frames - before.bad_frames) & 0xFFFF,
        (after.commands_lost - before.commands_lost) & 0xFFFF,
    )


def test_stale_sequence(board: Board, host: RawHost, record: Record) -> None:
    """A command that came before, or an older one, neither acts nor keeps the robot active."""
    host.activate()

    def repeat() -> None:
        last = host.sequence
        host.send(host.command(last) + host.command(last - 5))

    silent_ms = withhold_commands(board, host, repeat)
    echo = host.states[-1].command_echo
    assert echo == host.sequence, f"echo {echo}, last new was {host.sequence}"
    record(damped_after_ms=silent_ms)


def test_garbage(host: RawHost, record: Record) -> None:
    """Bytes without meaning, at once and between frames, do no harm; good commands are taken."""
    rng = random.Random(1)
    for _ in range(_FLOOD_BYTES // 500):
        host.send(rng.randbytes(500))
        host.receive()
    host.home()  # answered when all of it was received
    before = host.fresh_state()
    host.arm()
    for _ in range(_GOOD):
        host.send(rng.randbytes(100) + host.command())
        host.listen(0.005)
    after = host.await_echo()
    assert after.mode == Mode.ACTIVE, f"among garbage: {describe(after)}"
    bad, lost = _bad_and_lost(before, after)
    assert bad > 0, "no bad frame was counted"
    assert lost == 0, f"{lost} of {_GOOD} good commands among garbage were not taken"
    record(bad_frames=bad, commands=_GOOD, lost=lost)
