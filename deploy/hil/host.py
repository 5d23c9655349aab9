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

from deploy.hil.check import CheckFailed
from robot_firmware_bridge.messages import Fault, Mode, fault_names
from robot_firmware_bridge.protocol import PROTOCOL_HASH, Action, Result
from robot_firmware_bridge.robot import MINITAUR
from robot_firmware_bridge.wire import (
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

ROBOT_HASH = int(MINITAUR.hash()[:16], 16)
LIFE_MS = 80
STATE_INTERVAL_MS = 2
Answer = TypeVar("Answer", Identity, Reply)

# A reply takes a millisecond or two; an emulated computer on a busy machine a hundred times that.
_ANSWER_S = 1.0
_TRIES = 3
_READ_S = 0.01


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
    """

    def __init__(self, port: str, baud: int) -> None:
        self._serial = serial.Serial(port, baud, timeout=_READ_S, exclusive=True)
        self.decoder = Decoder()
        self.states: list[State] = []
        self.sequence = 0
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
        """Bytes as they are."""
        self._serial.write(data)

    def receive(self) -> list[Message]:
        """What has arrived, after waiting for some of it for a short time."""
        data = self._serial.read(max(1, self._serial.in_waiting))
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

    def wait_state(self, matches: Callable[[State], bool], timeout_s: float, what: str) -> State:
        """The first state from now on that matches.

        Raises:
            CheckFailed: None did in time; ``what`` says what was waited for.
        """
        end_s = time.monotonic() + timeout_s
        seen = "no state"
        while time.monotonic() < end_s:
            for message in self.receive():
                if isinstance(message, State):
                    if matches(message):
                        return message
                    seen = describe(message)
        raise CheckFailed(f"no {what} within {timeout_s:g} s; last seen: {seen}")

    def wait_mode(self, mode: Mode, timeout_s: float = 1.0) -> State:
        """The first state from now on in this mode; raises like :meth:`wait_state`."""
        return self.wait_state(lambda state: state.mode == mode, timeout_s, mode.name)

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
        """A state that was sent after everything that is in flight now."""
        self.receive()
        self.listen(0.02)
        return self.wait_state(lambda state: True, 1.0, "state")

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
        self._request_sequence = (self._request_sequence + 1) & 0xFFFF
        sequence = self._request_sequence
        frame = encode(Request(sequence, action))
        return self._ask(frame, Reply, lambda reply: reply.sequence == sequence, action.name)

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
        for _ in range(_TRIES):
            self.send(frame)
            end_s = time.monotonic() + _ANSWER_S / _TRIES
            while time.monotonic() < end_s:
                for message in self.receive():
                    if isinstance(message, kind) and matches(message):
                        return message
        raise CheckFailed(f"no answer to {what} within {_ANSWER_S:g} s")

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

    def stream(self, seconds: float) -> None:
        """Commands at 100 Hz for this time."""
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            self.send(self.command())
            self.listen(0.01)

    # --- modes ----------------------------------------------------------------------------------

    def home(self) -> Identity:
        """Introduced, disarmed, no fault latched: where every check begins."""
        identity = self.hello()
        self.request(Action.DISARM)
        self.request(Action.CLEAR_FAULT)
        state = self.wait_mode(Mode.DISARMED, 3.0)
        if state.fault != Fault.NONE:
            raise CheckFailed(f"the board reports {fault_names(Fault(state.fault))}")
        return identity

    def arm(self) -> None:
        """READY: armed, not yet commanded."""
        self.demand(Action.ARM, Result.DONE, Mode.READY)

    def activate(self) -> None:
        """ACTIVE, with open bridges."""
        self.arm()
        self.stream(0.1)
        if self.state.mode != Mode.ACTIVE:
            raise CheckFailed(f"after commands: {describe(self.state)}")


def describe(state: State) -> str:
    """Mode and faults for people."""
    return f"{Mode(state.mode).name}, faults {fault_names(Fault(state.fault))}"


def elapsed_ms(earlier: State, later: State) -> float:
    """Time between two states by the board's own clock, which wraps."""
    return ((later.time_us - earlier.time_us) & 0xFFFFFFFF) / 1e3
