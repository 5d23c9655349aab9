"""Checks of the line and the handshake: who may talk, what counts, what damage costs."""

from __future__ import annotations

import random
import statistics
import time
from itertools import pairwise

from hil.bench import Bench
from hil.check import Check, Figure, expect
from hil.checks_modes import silence
from hil.host import ROBOT_HASH, Host, describe, elapsed_ms
from robot_firmware_bridge.messages import Mode
from robot_firmware_bridge.protocol.layout import PROTOCOL_HASH, Action, Result

_DAMAGED_FRAMES = 100
_FLOOD_BYTES = 50_000
_GOOD = 100
_SILENCE_S = 0.3
_BOOT_S = 10.0
_STATES_S = 2.0
# Share of a time that the board's clock may differ by; in which an emulation must have lived.
_CLOCK, _STEADY = 0.02, 0.5
# Intervals that a state is late when a tick was lost before it; ticks are half as long.
_LOST_TICK = 1.25


def identity(bench: Bench) -> Figure:
    """The board says who it is, and is what this stack was built for."""
    with bench.host() as host:
        began_s = time.perf_counter()
        who = host.hello()
        answer_ms = 1e3 * (time.perf_counter() - began_s)
        expect(who.protocol_hash == PROTOCOL_HASH, "another protocol: reflash the board")
        expect(who.robot_hash == ROBOT_HASH, "firmware of another robot: reflash the board")
        state = host.fresh_state()
    expect(state.boot_count == who.boot_count, "identity and state name different boots")
    firmware = who.firmware_id.rstrip(b"\0").decode("ascii", "replace")
    return Figure(
        f"{firmware}, boot {who.boot_count}, a state every {who.state_interval_ms} ms, "
        f"answered in {answer_ms:.1f} ms",
        {
            "firmware_id": firmware,
            "board_id": who.board_id.hex(),
            "boot_count": who.boot_count,
            "state_interval_ms": who.state_interval_ms,
            "answer_ms": answer_ms,
        },
    )


def without_hello(bench: Bench) -> Figure:
    """A board that nobody introduced himself to since its reset says nothing and does not arm."""
    with bench.host() as host:
        boots, since = host.fresh_state().boot_count, len(bench.rung.board.events())
        bench.inject("reset", host.receive)
        bench.await_event(lambda e: e["event"] == "boot", _BOOT_S, "boot", since)
        _is_deaf(host)
        expect(host.state.boot_count == boots, "states came after the reset, before a hello")
    return Figure("arm refused, no states")


def wrong_protocol(bench: Bench) -> Figure:
    """A host of another protocol is told who the board is, and no more."""
    with bench.host() as host:
        who = host.hello(protocol_hash=PROTOCOL_HASH ^ 1)
        expect(who.protocol_hash == PROTOCOL_HASH, "the board did not answer with its own hash")
        _is_deaf(host)
    return Figure("arm refused, no states")


def wrong_robot(bench: Bench) -> Figure:
    """A host of another robot is told who the board is, and no more."""
    with bench.host() as host:
        who = host.hello(robot_hash=ROBOT_HASH ^ 1)
        expect(who.robot_hash == ROBOT_HASH, "the board did not answer with its own hash")
        _is_deaf(host)
    return Figure("arm refused, no states")


def _is_deaf(host: Host) -> None:
    """What a board owes a host that was not introduced: a refusal."""
    # What was on the line when it forgot its host comes before its answer, and nothing after.
    host.demand(Action.ARM, Result.NOT_INTRODUCED, Mode.DISARMED)
    before = len(host.states)
    for _ in range(5):
        host.send_command()
    host.listen(_SILENCE_S)
    host.demand(Action.ARM, Result.NOT_INTRODUCED, Mode.DISARMED)
    heard = len(host.states) - before
    expect(not heard, f"{heard} states came without an introduction")


def damaged_frames(bench: Bench) -> Figure:
    """A damaged frame costs itself, and neither its neighbours nor the count of them."""
    rng = random.Random(0)
    with bench.host() as host:
        host.activate()
        before = host.fresh_state()
        for _ in range(_DAMAGED_FRAMES):
            host.send(_damaged(host.command(), rng))
            host.send_command()
            host.listen(0.002)
        after = host.await_echo()
    bad = (after.bad_frames - before.bad_frames) & 0xFFFF
    lost = (after.commands_lost - before.commands_lost) & 0xFFFF
    expect(bad == _DAMAGED_FRAMES, f"{bad} frames counted as damaged, {_DAMAGED_FRAMES} were")
    expect(lost == _DAMAGED_FRAMES, f"{lost} commands lost to {_DAMAGED_FRAMES} damaged frames")
    return Figure(f"{bad} damaged, {lost} lost", {"damaged": bad, "lost": lost})


def _damaged(frame: bytes, rng: random.Random) -> bytes:
    """The frame with one bit wrong, in the delimiters too.

    A bit that makes a zero of another byte cuts the frame in two, which rightly counts as two.
    """
    while True:
        place, bit = rng.randrange(len(frame)), 1 << rng.randrange(8)
        damaged = bytearray(frame)
        damaged[place] ^= bit
        if damaged[place]:
            return bytes(damaged)


def stale_sequence(bench: Bench) -> Figure:
    """A command that came before, or an older one, neither acts nor keeps the robot alive."""
    with bench.host() as host:
        host.activate()

        def repeat() -> None:
            last = host.sequence
            host.send(host.command(last) + host.command(last - 5))

        silent_ms = silence(bench, host, repeat)
        echo = host.state.command_echo
        expect(echo == host.sequence, f"echo {echo}, last new was {host.sequence}")
    return Figure(
        f"ignored; the board damped by its watchdog {silent_ms:.1f} ms after the last new one",
        {"damped_after_ms": silent_ms},
    )


def garbage(bench: Bench) -> Figure:
    """Bytes that mean nothing, in masses and in between, are survived; good commands go on."""
    rng = random.Random(1)
    with bench.host() as host:
        for _ in range(_FLOOD_BYTES // 500):
            host.send(rng.randbytes(500))
            host.receive()
        host.home()  # answered when all of it has been heard
        before = host.fresh_state()
        host.arm()
        for _ in range(_GOOD):
            host.send(rng.randbytes(100) + host.command())
            host.listen(0.005)
        after = host.await_echo()
    expect(after.mode == Mode.ACTIVE, f"among garbage: {describe(after)}")
    bad = (after.bad_frames - before.bad_frames) & 0xFFFF
    lost = (after.commands_lost - before.commands_lost) & 0xFFFF
    expect(bad > 0, "no bad frame was counted")
    expect(lost == 0, f"{lost} of {_GOOD} good commands among garbage were not taken")
    return Figure(
        f"{_FLOOD_BYTES // 1000} kB at once, then 10 kB among {_GOOD} commands: "
        f"{bad} bad frames counted, all commands taken",
        {"bad_frames": bad},
    )


def states(bench: Bench) -> Figure:
    """States come at the rate that was asked for, each once, with the board's time."""
    with bench.host() as host:
        who = host.home()
        host.fresh_state()
        host.states.clear()
        host.listen(_STATES_S)
        first, last, count = host.states[0], host.states[-1], len(host.states)
        lost = ((last.sequence - first.sequence) & 0xFFFF) - (count - 1)
        expect(lost == 0, f"{lost} of {count + lost} states lost")
        wanted_ms = who.state_interval_ms
        apart_ms = [elapsed_ms(*pair) for pair in pairwise(host.states)]
    held_up_ms = 0.0
    if bench.rung.is_emulated:
        # An emulation that this computer held up lost ticks: those intervals say nothing, unless
        # they are the most.
        steady_ms = [ms for ms in apart_ms if ms <= _LOST_TICK * wanted_ms]
        if sum(steady_ms) > _STEADY * elapsed_ms(first, last):
            held_up_ms = sum(apart_ms) - sum(steady_ms)
            apart_ms = steady_ms
    interval_ms = statistics.fmean(apart_ms)
    expect(
        abs(interval_ms - wanted_ms) <= _CLOCK * wanted_ms,
        f"a state every {interval_ms:.3f} ms, not {wanted_ms}",
    )
    more = f"; held up for {held_up_ms:.0f} ms" if held_up_ms else ""
    return Figure(
        f"{count} states, {interval_ms:.3f} ms apart{more}",
        {"interval_ms": interval_ms, "held_up_ms": held_up_ms},
    )


CHECKS = (
    Check("identity", "says who it is", identity),
    Check("without_hello", "refuses without a hello", without_hello, simulated=True),
    Check("wrong_protocol", "refuses another protocol", wrong_protocol),
    Check("wrong_robot", "refuses another robot", wrong_robot),
    Check("states", "sends states at the rate asked for", states),
    Check("damaged_frames", "a damaged frame costs itself only", damaged_frames),
    Check("stale_sequence", "ignores stale and repeated commands", stale_sequence),
    Check("garbage", "survives garbage", garbage),
)
