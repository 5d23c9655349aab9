"""A host that speaks the protocol frame by frame, as no careful host would.

The checks of the protocol have to send what the real link never sends: nothing at all, stale
numbers, damaged frames, the wrong hash. So they bring their own hands, and share only the codec.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

import serial

from hil.check import CheckFailed
from robot_firmware_bridge.messages import Fault, Mode, fault_names
from robot_firmware_bridge.protocol.layout import PROTOCOL_HASH, Action, Result
from robot_firmware_bridge.protocol.wire import (
    Command,
    Decoder,
    Hello,
    Identity,
    Message,
    Reply,
    Request,
    State,
    encode,
)
from robot_firmware_bridge.robot import MINITAUR

ROBOT_HASH = int(MINITAUR.hash()[:16], 16)
LIFE_MS = 80
STATE_INTERVAL_MS = 2
Answer = TypeVar("Answer", Identity, Reply)

# A reply takes a millisecond or two; behind 50 kB of garbage, on an emulated computer, seconds.
_ANSWER_S = 10.0
# A question is put again after this long: a board that is starting hears nothing.
_REPEAT_S = 0.5
_WAIT_S = 5.0
_READ_S = 0.01
_COMMAND_S = 0.01
# No action of the protocol: it is answered like every other, and changes nothing.
_NO_ACTION = 0


class Host:
    """The host's end of the line.

    Args:
        port: Serial port.
        baud: Bits per second.

    Attributes:
        decoder: What was received, with its counters.
        states: Every state received so far, oldest first.
        state: The newest of them.
        sequence: Number of the last command sent.
        held_up_s: The longest that this computer left the host without a turn.
    """

    def __init__(self, port: str, baud: int) -> None:
        self._serial = serial.Serial(port, baud, timeout=_READ_S, exclusive=True)
        self.decoder = Decoder()
        self.states: list[State] = []
        self.sequence = 0
        self.held_up_s = 0.0
        self._turn_s = time.monotonic()
        self._request_sequence = 0

    def __enter__(self) -> Host:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._serial.close()

    @property
    def state(self) -> State:
        """The newest state."""
        if not self.states:
            raise CheckFailed("the board sends no states")
        return self.states[-1]

    # --- frames ---------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Bytes as they are; waits while the port takes none."""
        self._take_turn()
        self._serial.write(data)
        self._turn_s = time.monotonic()

    def forget_delays(self) -> None:
        """What was before was not the host's turn."""
        self.held_up_s = 0.0
        self._turn_s = time.monotonic()

    def _take_turn(self, waited_s: float = 0.0) -> None:
        """Note how late the host is, since its last turn, beside what it waited on purpose."""
        now_s = time.monotonic()
        self.held_up_s = max(self.held_up_s, now_s - self._turn_s - waited_s)
        self._turn_s = now_s

    def receive(self) -> list[Message]:
        """What has arrived, after waiting for some of it for a short time."""
        self._take_turn()
        data = self._serial.read(max(1, self._serial.in_waiting))
        self._take_turn(_READ_S)
        messages = self.decoder.feed(data)
        self.states += [message for message in messages if isinstance(message, State)]
        return messages

    def listen(self, seconds: float) -> list[Message]:
        """Everything that arrives in this time."""
        end_s = time.monotonic() + seconds
        messages: list[Message] = []
        while time.monotonic() < end_s:
            messages += self.receive()
        return messages

    def wait_state(
        self,
        matches: Callable[[State], bool],
        what: str,
        timeout_s: float = _WAIT_S,
        meanwhile: Callable[[], object] | None = None,
    ) -> State:
        """The first state from now on that matches.

        Args:
            matches: What is waited for.
            what: The same in words.
            timeout_s: When to give up.
            meanwhile: Done every 10 ms until then.

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
        self,
        mode: Mode,
        timeout_s: float = _WAIT_S,
        meanwhile: Callable[[], object] | None = None,
    ) -> State:
        """The first state from now on in this mode; see :meth:`wait_state`."""
        return self.wait_state(lambda state: state.mode == mode, mode.name, timeout_s, meanwhile)

    def await_echo(self) -> State:
        """The first state that shows that the last command was taken."""
        return self.wait_state(
            lambda state: state.command_echo == self.sequence, "echo of the last command"
        )

    def first(self, mode: Mode) -> State:
        """The first state of the newest stretch in this mode, among all received so far."""
        found = None
        for state in reversed(self.states):
            if state.mode == mode:
                found = state
            elif found is not None:
                break
        if found is None:
            raise CheckFailed(f"it was never {mode.name}")
        return found

    def fresh_state(self) -> State:
        """A state that was made after the board has heard everything that was sent to it.

        Bytes are heard in their order, so a question behind them is answered after them.
        """
        self._reply_to(_NO_ACTION, "question")
        return self.wait_state(lambda state: True, "state")

    def let_pass(self, seconds: float) -> None:
        """Let time pass on the board, by its own clock."""
        begin = self.fresh_state()
        self.wait_state(
            lambda state: elapsed_ms(begin, state) >= 1e3 * seconds,
            "passing of the board's time",
            _WAIT_S + seconds,
        )

    # --- requests -------------------------------------------------------------------------------

    def hello(
        self,
        protocol_hash: int = PROTOCOL_HASH,
        robot_hash: int = ROBOT_HASH,
        interval_ms: int = STATE_INTERVAL_MS,
    ) -> Identity:
        """Introduce this host, with whatever hashes."""
        frame = encode(Hello(protocol_hash, robot_hash, interval_ms, 0))
        return self._ask(frame, Identity, lambda identity: True, "identity")

    def request(self, action: Action) -> Reply:
        """Ask for a change of mode; the reply to just this request."""
        return self._reply_to(action, action.name)

    def _reply_to(self, action: int, what: str) -> Reply:
        self._request_sequence = (self._request_sequence + 1) & 0xFFFF
        sequence = self._request_sequence
        frame = encode(Request(sequence, action))
        return self._ask(frame, Reply, lambda reply: reply.sequence == sequence, what)

    def demand(self, action: Action, result: Result, mode: Mode | None = None) -> Reply:
        """Ask, and check the result and, if given, the mode afterwards.

        Raises:
            CheckFailed: The reply differs.
        """
        reply = self.request(action)
        fault = fault_names(Fault(reply.fault))
        answer = f"{Result(reply.result).name}, {Mode(reply.mode).name}, faults {fault}"
        if reply.result != result or (mode is not None and reply.mode != mode):
            wanted = result.name if mode is None else f"{result.name}, {mode.name}"
            raise CheckFailed(f"{action.name} was answered {answer}; not {wanted}")
        return reply

    def _ask(
        self, frame: bytes, kind: type[Answer], matches: Callable[[Answer], bool], what: str
    ) -> Answer:
        """The first answer, once every time that it was asked for has been answered.

        A question that is put again must not be answered, and acted upon, when it is long settled.
        """
        answer: Answer | None = None
        due_s = time.monotonic()
        end_s = due_s + _ANSWER_S
        open_questions = 0
        while time.monotonic() < end_s:
            if answer is None and time.monotonic() >= due_s:
                self.send(frame)
                open_questions += 1
                due_s = time.monotonic() + _REPEAT_S
            for message in self.receive():
                if isinstance(message, kind) and matches(message):
                    open_questions -= 1
                    if answer is None:
                        answer, end_s = message, time.monotonic() + _REPEAT_S
            if answer is not None and open_questions <= 0:
                return answer
        if answer is None:
            raise CheckFailed(f"no answer to {what} within {_ANSWER_S:g} s")
        return answer

    # --- commands -------------------------------------------------------------------------------

    def command(self, sequence: int | None = None) -> bytes:
        """The frame of the next command, or of any other number.

        It has no gains, so that a board that obeys it, even one that must not, opens its bridges.
        """
        if sequence is None:
            self.sequence = (self.sequence + 1) & 0xFFFF
            sequence = self.sequence
        target = MINITAUR.stance_pose_rad
        return encode(Command(sequence & 0xFFFF, LIFE_MS, 0.0, 0.0, target))

    def send_command(self) -> None:
        """The next command."""
        self.send(self.command())

    def pulse(self) -> None:
        """One command, and what arrives until the next is due."""
        self.send_command()
        self.listen(_COMMAND_S)

    def stream(self, seconds: float) -> None:
        """Commands at 100 Hz for this time."""
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            self.pulse()

    # --- modes ----------------------------------------------------------------------------------

    def home(self) -> Identity:
        """Introduced, disarmed, no fault latched: where every check begins."""
        identity = self.hello()
        self.request(Action.DISARM)
        self.clear()
        return identity

    def clear(self) -> None:
        """Disarmed without a fault, as soon as no cause is there any more.

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
        """READY: armed, not yet commanded."""
        self.demand(Action.ARM, Result.DONE, Mode.READY)

    def activate(self) -> None:
        """ACTIVE, with open bridges."""
        self.arm()
        self.wait_mode(Mode.ACTIVE, meanwhile=self.send_command)


def describe(state: State) -> str:
    """Mode and faults for people."""
    return f"{Mode(state.mode).name}, faults {fault_names(Fault(state.fault))}"


def elapsed_ms(earlier: State, later: State) -> float:
    """Time between two states by the board's own clock, which wraps."""
    return ((later.time_us - earlier.time_us) & 0xFFFFFFFF) / 1e3


def lived_ms(earlier: State, later: State, interval_ms: int) -> float:
    """Time between two states as the board lived it: it sends one every so many of its ticks.

    Less than what passed by its clock where an emulation was held up and lost ticks.
    """
    return float(((later.sequence - earlier.sequence) & 0xFFFF) * interval_ms)
