"""Checks of the line and the handshake: who may talk, what counts, what damage costs."""

from __future__ import annotations

import random
import time

from deploy.hil.bench import Bench
from deploy.hil.check import Check, Figure, expect
from deploy.hil.host import ROBOT_HASH, Host, describe, elapsed_ms
from robot_firmware_bridge.messages import Fault, Mode
from robot_firmware_bridge.protocol import PROTOCOL_HASH, Action, Result
from robot_firmware_bridge.wire import State

_DAMAGED_FRAMES = 100
_FLOOD_BYTES = 50_000
_SILENCE_S = 0.3


def identity(bench: Bench) -> Figure:
    """The board says who it is, and is what this stack was built for."""
    with bench.host() as host:
        began_s = time.perf_counter()
        who = host.hello()
        answer_ms = 1e3 * (time.perf_counter() - began_s)
        expect(who.protocol_hash == PROTOCOL_HASH, "another protocol: reflash the board")
        expect(who.robot_hash == ROBOT_HASH, "firmware of another robot: reflash the board")
        state = host.wait_state(lambda state: True, 1.0, "state")
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
        bench.inject("reset")
        host.listen(1.0)
        _is_deaf(host)
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
    host.listen(0.05)  # states that were on the line when the hello came
    host.demand(Action.ARM, Result.NOT_INTRODUCED, Mode.DISARMED)
    for _ in range(5):
        host.send(host.command())
    heard = [m for m in host.listen(_SILENCE_S) if isinstance(m, State)]
    expect(not heard, f"{len(heard)} states came without an introduction")


def damaged_frames(bench: Bench) -> Figure:
    """A damaged frame costs itself, and neither its neighbours nor the count of them."""
    rng = random.Random(0)
    with bench.host() as host:
        host.activate()
        before = host.fresh_state()
        for _ in range(_DAMAGED_FRAMES):
            host.send(_damaged(host.command(), rng) + host.command())
            host.listen(0.002)
        after = host.wait_state(
            lambda state: state.command_echo == host.sequence, 1.0, "echo of the last command"
        )
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
        host.send(host.command())
        last = host.sequence
        end_s = time.monotonic() + 0.3
        while time.monotonic() < end_s:
            host.send(host.command(last) + host.command(last - 5))
            host.listen(0.01)
        state = host.wait_mode(Mode.DAMPING)
        expect(state.command_echo == last, f"echo {state.command_echo}, last new was {last}")
        expect(state.fault == Fault.COMMAND_TIMEOUT, describe(state))
    return Figure("ignored; the board damped by its watchdog")


def garbage(bench: Bench) -> Figure:
    """Bytes that mean nothing, in masses and in between, are survived; good commands go on."""
    rng = random.Random(1)
    with bench.host() as host:
        for _ in range(_FLOOD_BYTES // 500):
            host.send(rng.randbytes(500))
            host.receive()
        host.listen(0.5 + 10.0 * _FLOOD_BYTES / bench.rung.baud)  # until the line has carried it
        host.home()
        before = host.fresh_state()
        host.arm()
        for _ in range(100):
            host.send(rng.randbytes(100) + host.command())
            host.listen(0.005)
        after = host.fresh_state()
        expect(after.mode == Mode.ACTIVE, f"among garbage: {describe(after)}")
        expect(after.command_echo == host.sequence, "a good command among garbage was not taken")
    bad = (after.bad_frames - before.bad_frames) & 0xFFFF
    return Figure(
        f"{_FLOOD_BYTES // 1000} kB at once, then 10 kB among 100 commands: "
        f"{bad} bad frames counted, all commands taken",
        {"bad_frames": bad},
    )


def states(bench: Bench) -> Figure:
    """States come at the rate that was asked for, each once, with the board's time."""
    with bench.host() as host:
        who = host.home()
        host.listen(0.1)
        host.states.clear()
        host.listen(2.0)
        first, last, count = host.states[0], host.states[-1], len(host.states)
    lost = ((last.sequence - first.sequence) & 0xFFFF) - (count - 1)
    interval_ms = elapsed_ms(first, last) / (count - 1 + lost)
    expect(lost == 0, f"{lost} of {count + lost} states lost")
    wrong = abs(interval_ms - who.state_interval_ms) > 0.02 * who.state_interval_ms
    expect(not wrong, f"a state every {interval_ms:.3f} ms, not {who.state_interval_ms}")
    return Figure(f"{count} states, {interval_ms:.3f} ms apart", {"interval_ms": interval_ms})


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
