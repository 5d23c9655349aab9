"""A host that speaks the protocol frame by frame, as no careful host would.

The checks of the protocol send what the real link never sends: nothing at all, stale numbers,
damaged frames, the wrong hash. The raw host shares only the codec with the real link.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import serial

from deploy.loop.clock import realtime
from hil.boards import Board, CheckFailed
from robot_firmware_bridge.messages import Fault, Mode, fault_names
from robot_firmware_bridge.protocol import wire
from robot_firmware_bridge.protocol.layout import PROTOCOL_HASH, Action, Result
from robot_firmware_bridge.protocol.wire import Identity, Reply, State
from robot_firmware_bridge.robot import MINITAUR

ROBOT_HASH = int(MINITAUR.hash()[:16], 16)
VALID_MS = 80
STATE_INTERVAL_MS = 2
Answer = TypeVar("Answer", Identity, Reply)
Meanwhile = Callable[[], object] | None

_WAIT_S = 5.0
_READ_S = 0.01
_COMMAND_S = 0.01
# The last request of every host, which disarms the board, is repeated once.
_SAFE_S = 1.0
# No action of the protocol: it is answered like every other, and changes nothing.
_NO_ACTION = 0

_logger = logging.getLogger(__name__)


class RawHost:
    """The host's end of the line. Closing it disarms the board.

    Args:
        answer_s: Time for an answer. A reply takes a millisecond or two; behind 50 kB of garbage,
            on an emulated computer, seconds.
        repeat_s: A question is repeated after this time: a board that is starting receives nothing.

    Attributes:
        decoder: Decoder of what was received, with its counters.
        states: Every state received so far, oldest first.
        sequence: Number of the last command sent.
        stalled_s: The longest time for which this computer left the host without a turn.
    """

    def __init__(
        self, port: str, baud: int, *, answer_s: float = 10.0, repeat_s: float = 0.5
    ) -> None:
        self._answer_s, self._repeat_s = answer_s, repeat_s
        # A port that takes no byte for so long is a failure, never a hang.
        self._serial = serial.Serial(
            port, baud, timeout=_READ_S, write_timeout=answer_s, exclusive=True
        )
        self.decoder = wire.Decoder()
        self.states: list[State] = []
        self.sequence = self._request_sequence = 0
        self.forget_delays()

    def close(self) -> None:
        """Damp and disarm the board, and release the port; a failure is only logged.

        A board that does not receive this damps too, for want of commands.
        """
        try:
            self._answer_s = _SAFE_S
            self.request(Action.DISARM)
        except (CheckFailed, OSError) as error:
            _logger.warning("cannot disarm, the board damps by itself: %s", error)
        finally:
            self._serial.close()

    # --- frames ---------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Send bytes as they are; wait while the port takes none."""
        self._take_turn()
        self._serial.write(data)
        self._turn_s = time.monotonic()

    def forget_delays(self) -> None:
        """Begin to measure the host's delays from now on."""
        self.stalled_s = 0.0
        self._turn_s = time.monotonic()

    def _take_turn(self, waited_s: float = 0.0) -> None:
        """Record how late the host is since its last turn, without what it waited on purpose."""
        now_s = time.monotonic()
        self.stalled_s = max(self.stalled_s, now_s - self._turn_s - waited_s)
        self._turn_s = now_s

    def receive(self) -> list[wire.Message]:
        """Return the messages that arrived; wait a short time for the first."""
        self._take_turn()
        data = self._serial.read(max(1, self._serial.in_waiting))
        self._take_turn(_READ_S)
        messages = self.decoder.feed(data)
        self.states += [message for message in messages if isinstance(message, State)]
        return messages

    def listen(self, seconds: float) -> None:
        """Receive for this time."""
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            self.receive()

    def wait_state(
        self,
        matches: Callable[[State], bool],
        what: str,
        timeout_s: float = _WAIT_S,
        meanwhile: Meanwhile = None,
    ) -> State:
        """Wait for the first state from now on that matches; call ``meanwhile`` every 10 ms.

        Raises:
            CheckFailed: None did in time.
        """
        due_s = time.monotonic()
        end_s = due_s + timeout_s
        seen = "no state"
        while time.monotonic() < end_s:
            if meanwhile is not None and time.monotonic() >= due_s:
                meanwhile()
                due_s = time.monotonic() + _COMMAND_S
            for message in self.receive():
                if isinstance(message, State):
                    if matches(message):
                        return message
                    seen = describe(message)
        raise CheckFailed(f"no {what} within {timeout_s:g} s; last seen: {seen}")

    def wait_mode(
        self, mode: Mode, timeout_s: float = _WAIT_S, meanwhile: Meanwhile = None
    ) -> State:
        """Wait for the first state in this mode from now on; see :meth:`wait_state`."""
        return self.wait_state(lambda state: state.mode == mode, mode.name, timeout_s, meanwhile)

    def await_echo(self) -> State:
        """Wait for the first state that shows that the last command was taken."""
        return self.wait_state(lambda state: state.command_echo == self.sequence, "echo")

    def fresh_state(self) -> State:
        """Return a state that was made after the board received everything that was sent to it.

        Bytes arrive in their order, so a question behind them is answered after them.
        """
        self.request(_NO_ACTION)
        return self.wait_state(lambda state: True, "state")

    def let_pass(self, seconds: float) -> None:
        """Wait until this time has passed on the board's own clock."""
        begin, wait_s = self.fresh_state(), _WAIT_S + seconds
        self.wait_state(lambda state: elapsed_ms(begin, state) >= 1e3 * seconds, "time", wait_s)

    # --- requests -------------------------------------------------------------------------------

    def hello(self, protocol_hash: int = PROTOCOL_HASH, robot_hash: int = ROBOT_HASH) -> Identity:
        """Introduce this host, with whatever hashes."""
        frame = wire.encode(wire.Hello(protocol_hash, robot_hash, STATE_INTERVAL_MS, 0))
        return self._ask(frame, Identity, lambda identity: True, "hello")

    def request(self, action: int) -> Reply:
        """Request a change of mode; return the reply to just this request."""
        sequence = self._request_sequence = (self._request_sequence + 1) & 0xFFFF
        frame = wire.encode(wire.Request(sequence, action))
        what = Action(action).name if action else "a question"
        return self._ask(frame, Reply, lambda reply: reply.sequence == sequence, what)

    def demand(self, action: Action, result: Result, mode: Mode | None = None) -> Reply:
        """Request, and check the result and, if given, the mode afterwards.

        Raises:
            CheckFailed: The reply differs.
        """
        reply = self.request(action)
        if reply.result != result or (mode is not None and reply.mode != mode):
            answer = f"{Result(reply.result).name}, {describe(reply)}"
            wanted = result.name if mode is None else f"{result.name}, {mode.name}"
            raise CheckFailed(f"{action.name} was answered {answer}; not {wanted}")
        return reply

    def _ask(
        self, frame: bytes, kind: type[Answer], matches: Callable[[Answer], bool], what: str
    ) -> Answer:
        """Return the first answer, once every repetition of the question has been answered.

        A repeated request must not be acted upon later, after a newer one.
        """
        answer: Answer | None = None
        due_s = time.monotonic()
        end_s = due_s + self._answer_s
        open_questions = 0
        while time.monotonic() < end_s:
            if answer is None and time.monotonic() >= due_s:
                self.send(frame)
                open_questions += 1
                due_s = time.monotonic() + self._repeat_s
            for message in self.receive():
                if isinstance(message, kind) and matches(message):
                    open_questions -= 1
                    if answer is None:
                        answer, end_s = message, time.monotonic() + self._repeat_s
            if answer is not None and open_questions <= 0:
                return answer
        if answer is None:
            raise CheckFailed(f"no answer to {what} within {self._answer_s:g} s")
        return answer

    # --- commands and modes ---------------------------------------------------------------------

    def command(self, sequence: int | None = None) -> bytes:
        """Return the frame of the next command, or of any other number.

        It has no gains: a board that obeys it, even one that must not, applies no torque.
        """
        if sequence is None:
            sequence = self.sequence = (self.sequence + 1) & 0xFFFF
        target = MINITAUR.stance_pose_rad
        return wire.encode(wire.Command(sequence & 0xFFFF, VALID_MS, 0.0, 0.0, target))

    def send_command(self) -> None:
        """Send the next command."""
        self.send(self.command())

    def pulse(self) -> None:
        """Send one command, and receive until the next is due."""
        self.send_command()
        self.listen(_COMMAND_S)

    def stream(self, seconds: float) -> None:
        """Send commands at 100 Hz for this time."""
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            self.pulse()

    def home(self) -> Identity:
        """Introduce this host, disarm the board and clear its faults: where every check begins."""
        identity = self.hello()
        self.request(Action.DISARM)
        self.clear()
        return identity

    def clear(self) -> None:
        """Clear the board's faults as soon as no cause is there any more.

        Raises:
            CheckFailed: One stays.
        """
        end_s = time.monotonic() + _WAIT_S
        while True:
            self.request(Action.CLEAR_FAULT)
            state = self.fresh_state()
            if state.mode == Mode.DISARMED and state.fault == Fault.NONE:
                return
            if time.monotonic() > end_s:
                raise CheckFailed(f"it cannot be cleared: {describe(state)}")
            self.listen(0.02)

    def arm(self) -> None:
        """Arm the board: READY, not yet commanded."""
        self.demand(Action.ARM, Result.DONE, Mode.READY)

    def activate(self) -> None:
        """Arm and command the board until it is ACTIVE; no command has torque."""
        self.arm()
        self.wait_mode(Mode.ACTIVE, meanwhile=self.send_command)


@contextlib.contextmanager
def introduced(board: Board) -> Iterator[RawHost]:
    """Connect a raw host to a board that stands, disarmed and without a fault.

    The host is as punctual as the system permits: a command that is late trips the watchdog.

    Raises:
        CheckFailed: The board does not come to that.
    """
    with contextlib.closing(RawHost(board.port, board.baud)) as host:
        host.home()
        board.stand()
        with realtime():
            host.forget_delays()
            board.host_stalled_s = lambda: host.stalled_s
            try:
                yield host
            finally:
                board.host_stalled_s = lambda: 0.0


def describe(state: State | Reply) -> str:
    """Return mode and faults for people."""
    return f"{Mode(state.mode).name}, faults {fault_names(Fault(state.fault))}"


def elapsed_ms(earlier: State, later: State) -> float:
    """Return the time between two states by the board's own clock, which wraps."""
    return ((later.time_us - earlier.time_us) & 0xFFFFFFFF) / 1e3


def ticked_ms(earlier: State, later: State) -> float:
    """Return the time between two states by the board's ticks: it sends a state every few.

    It is less than by the board's clock where an emulation stalled and lost ticks.
    """
    return float(((later.sequence - earlier.sequence) & 0xFFFF) * STATE_INTERVAL_MS)
