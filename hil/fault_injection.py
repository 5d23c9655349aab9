"""Faults that a check causes: through the board's console, by damaged frames, by a silent host."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

from hil.boards import Board, CheckFailed, Disturbed
from hil.raw_host import Meanwhile, RawHost, describe, elapsed_ms, ticked_ms
from robot_firmware_bridge.errors import RobotFaultError
from robot_firmware_bridge.limits import LIMITS
from robot_firmware_bridge.messages import Fault, Mode
from robot_firmware_bridge.serial.robot import SerialRobot
from sim.board.process import Event

# The promise to whoever stands beside the robot.
DAMPED_WITHIN_MS = 100.0

_ORDER_S = 5.0
# After an injected fault is taken back, the board's slowest model, which is of heat, needs time.
_MEND_S = 0.5
_CLEAR_S = 5.0


@dataclass(frozen=True, slots=True)
class Injection:
    """A fault that can be injected by the board's console.

    Attributes:
        order: Console order that causes it.
        mends: Console orders that take it back.
        fault: Fault that the board must report.
        mode: Mode in which the board must stop.
        lasts: The cause is there until mended, so that the fault cannot be cleared before.
        loop_fault: What the control loop calls it, where the loop looks for the same itself.
    """

    order: str
    mends: tuple[str, ...]
    fault: Fault
    mode: Mode = Mode.DAMPING
    lasts: bool = True
    loop_fault: str = "robot_fault"


_JUMP, _JUMP_BACK = (f"encoder-jump 2 {by * LIMITS.encoder_jump_rad}" for by in (2, -2))
# What an adapter of FTDI does by default, and its end.
HOLD, HOLD_END = "hold 16", "hold 0"
# A motor cools down slowly: it is set to be cool before the sensor's order is taken back.
_HOT = f"heat 5 {LIMITS.max_housing_c + 10.0}"
INJECTIONS = {
    "frozen_imu": Injection("freeze-imu", ("thaw-imu",), Fault.IMU),
    "encoder_jump": Injection(_JUMP, (_JUMP_BACK,), Fault.ENCODER, Mode.FAULT, lasts=False),
    "low_battery": Injection(
        "battery 12", ("battery 16",), Fault.UNDERVOLTAGE, loop_fault="battery_low"
    ),
    "hot_motor": Injection(_HOT, ("heat 5 25", "cool"), Fault.OVERHEAT),
}


def inject(board: Board, order: str, meanwhile: Meanwhile = None) -> Event:
    """Give the board's console an order; return the event that reports that it was done.

    ``meanwhile`` is called repeatedly until then, e.g. to command a robot that must stay active.

    Raises:
        CheckFailed: The board refuses, or does not answer.
    """
    since = len(board.process.events())
    board.process.inject(order)
    return await_done(board, order, since, meanwhile)


def await_done(board: Board, order: str, since: int, meanwhile: Meanwhile = None) -> Event:
    """Wait for the event that reports that this order was carried out; see :func:`inject`."""

    def answers(event: Event) -> bool:
        return event["event"] == "refused" or event.get("order") == order

    wait_s = 0.1 if meanwhile is None else 0.0
    end_s = time.monotonic() + _ORDER_S
    while (event := board.process.wait_event(answers, wait_s, since)) is None:
        if time.monotonic() > end_s:
            raise CheckFailed(f"the console did not answer to {order!r}")
        if meanwhile is not None:
            meanwhile()
    if event["event"] == "refused":
        raise CheckFailed(f"the console refuses {order!r}: {event['reason']}")
    return event


def mend(board: Board, injection: Injection, host: RawHost | None = None) -> None:
    """Take an injected fault back, and wait until the board's models have seen that.

    A raw host that is connected receives meanwhile, and waits by the board's clock.
    """
    for order in injection.mends:
        if host is None:
            inject(board, order)
            time.sleep(_MEND_S)
        else:
            inject(board, order, host.receive)
            host.let_pass(_MEND_S)


def clear(robot: SerialRobot) -> None:
    """Clear the robot's faults as soon as no cause is there any more.

    Raises:
        RobotFaultError: One stays.
    """
    end_s = time.monotonic() + _CLEAR_S
    while True:
        try:
            robot.clear_fault()
            return
        except RobotFaultError:
            if time.monotonic() > end_s:
                raise


def damaged(frame: bytes, rng: random.Random) -> bytes:
    """Return the frame with one bit wrong, in the delimiters too.

    A bit that makes a zero of another byte would cut the frame in two, which counts as two.
    """
    while True:
        place, bit = rng.randrange(len(frame)), 1 << rng.randrange(8)
        wrong = bytearray(frame)
        wrong[place] ^= bit
        if wrong[place]:
            return bytes(wrong)


def withhold_commands(board: Board, host: RawHost, meanwhile: Meanwhile = None) -> float:
    """Send one last command and wait for the damping; return the time between, in ms.

    The command came after the last state that does not echo it, so the time begins there.
    ``meanwhile`` is called every 10 ms of the silence.

    Raises:
        CheckFailed: The damping comes too late, or the command was not taken.
        Disturbed: The damping comes too late because the board stalled.
    """
    before = host.fresh_state()
    host.states.clear()
    host.send_command()
    damping = host.wait_mode(Mode.DAMPING, 1.0, meanwhile)
    if damping.fault != Fault.COMMAND_TIMEOUT:
        raise CheckFailed(describe(damping))
    active = [state for state in host.states if state.mode == Mode.ACTIVE]
    if not any(state.command_echo == host.sequence for state in active):
        raise CheckFailed("it damped before its last command")
    before = [before, *(s for s in host.states if s.command_echo != host.sequence)][-1]
    silent_ms = elapsed_ms(before, damping)
    if silent_ms > DAMPED_WITHIN_MS:
        late = f"{silent_ms:.1f} ms from the last command to DAMPING"
        if board.is_simulated and ticked_ms(before, damping) <= DAMPED_WITHIN_MS:
            raise Disturbed(f"{late}, of which the board lost ticks")
        raise CheckFailed(late)
    return silent_ms


def damped_after_ms(damping: Event) -> float:
    """Return the time from the last command to this DAMPING, which must be in time, in ms.

    Raises:
        CheckFailed: It is late.
        Disturbed: Something else than the watchdog was first.
    """
    silent_ms: float | None = damping["since_command_ms"]
    if silent_ms is None or damping["fault"] != Fault.COMMAND_TIMEOUT.name:
        raise Disturbed(f"DAMPING before its time, faults {damping['fault']}")
    if silent_ms > DAMPED_WITHIN_MS:
        raise CheckFailed(f"DAMPING {silent_ms:.1f} ms after the last command")
    return silent_ms
