"""The host's side of the conversation with a board: no I/O, and time is an argument.

A link feeds it the bytes that arrive and sends the bytes that it makes. One thread may feed while
another commands: what passes between them is single assignments of values that never change.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from robot_firmware_bridge.messages import Fault, Mode, MotorCommand, RobotState
from robot_firmware_bridge.protocol import wire
from robot_firmware_bridge.protocol.board_clock import JUMP_NS, BoardClock, ahead
from robot_firmware_bridge.protocol.layout import Action
from robot_firmware_bridge.protocol.wire import Hello, Identity, Reply, Request, State

Array = NDArray[np.float64]

HELLO_PERIOD_NS = 100_000_000
"""A board that is silent for this long gets another hello."""

_NS_PER_MS = 1_000_000
_U16 = 0xFFFF
_SENT = 256  # commands whose time of sending is kept; a power of two
_ROUND_TRIPS = 4096
_GAPS = 4096
# Where no identity says it, so many states in a row must show that the board started anew.
_PROOF = 3
# A clock that runs fast by as much still counts as one that began after the last state.
_FASTEST = 1.25


@dataclass(slots=True)
class Counters:
    """How the line did since the session began.

    Attributes:
        bytes_received: Bytes, good or bad.
        frames: Good frames received.
        crc_errors: Frames received with a wrong CRC-32.
        framing_errors: Other damage received.
        states_lost: Gaps in the sequence of states.
        states_duplicated: States that came again, or after a newer one; they were dropped.
        commands_lost: Gaps in the sequence of commands, as the board counts them.
        board_bad_frames: Damaged frames that the board received.
        reconnects: Times that the link came back.
        board_resets: Times that the board started anew.
    """

    bytes_received: int = 0
    frames: int = 0
    crc_errors: int = 0
    framing_errors: int = 0
    states_lost: int = 0
    states_duplicated: int = 0
    commands_lost: int = 0
    board_bad_frames: int = 0
    reconnects: int = 0
    board_resets: int = 0


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Distribution of a time over the newest samples."""

    count: int
    p50_us: float
    p99_us: float
    max_us: float


class Session:
    """One host's conversation with one board.

    Args:
        line_ns: Time that a state is on the wire at least; 0 if it is not known.

    A hub or driver may repeat bytes, or deliver them late and out of order. So a state that does
    not follow the newest one is late and is dropped, until it is proved that the board started
    anew. Such a board sends nothing before a hello. Its boot count is a newer one, or its clock has
    run for no longer than the host has waited since the newest state. An identity that answers a
    hello, or ``_PROOF`` states in a row, must say so. The board is disarmed and ignores commands
    until then, so that the proof costs nothing.

    Attributes:
        identity: Who the board is; None until it has answered since the last (re)connection.
        state: Newest state, stamped with the host's time of its reading; None before the first.
        raw_state: The same as it was received.
        board_reset: The board started anew since this was last set to False.
    """

    def __init__(self, line_ns: int = 0) -> None:
        self._decoder = wire.Decoder()
        self._clock = BoardClock(line_ns)
        self._hello: Hello | None = None
        self._hello_ns: int | None = None
        self._unanswered = 0  # hellos
        self._received_ns = 0
        self._boot_count: int | None = None
        self._past_boots: set[int] = set()
        self._first_state = True
        self._state_ns = 0  # when the newest state came
        # The newest state that does not follow, and how many of its kind came in a row.
        self._doubted: tuple[State, int] | None = None
        self._news_ns: int | None = None
        self._gaps_ns: deque[int] = deque(maxlen=_GAPS)
        self._reply: Reply | None = None
        self._request_sequence = 0
        self._command_sequence = 0
        # Of the newest commands: sequence and time of sending, at the sequence modulo _SENT.
        self._sent = [(-1, 0)] * _SENT
        self._round_trips_ns: deque[int] = deque(maxlen=_ROUND_TRIPS)
        self._counters = Counters()
        self.identity: Identity | None = None
        self.state: RobotState | None = None
        self.raw_state: State | None = None
        self.board_reset = False

    @property
    def counters(self) -> Counters:
        """A copy of the counters so far."""
        decoder = self._decoder
        return replace(
            self._counters,
            frames=decoder.frames,
            crc_errors=decoder.crc_errors,
            framing_errors=decoder.framing_errors,
        )

    @property
    def clock_fault(self) -> str:
        """What is wrong with the board's clock, as the rest of a sentence; "" if nothing is."""
        return self._clock.fault

    def round_trip(self) -> Quantiles | None:
        """Return the time from a command to the first state that echoes it, over the newest.

        None if none was echoed.
        """
        return _quantiles(self._round_trips_ns)

    def arrival_gap(self) -> Quantiles | None:
        """Return the time between two arrivals of new states; None before the second.

        On a good line it is the interval of states. Where something holds bytes back, several
        states arrive at once, after a longer time.
        """
        return _quantiles(self._gaps_ns)

    def measure_arrivals(self) -> None:
        """Measure the arrivals anew, from now on."""
        self._news_ns = None
        self._gaps_ns.clear()

    def introduce(self, hello: Hello) -> None:
        """Send a hello with the next :meth:`due`, and again whenever the board falls silent."""
        self._hello, self._hello_ns = hello, None
        self.identity = None

    def reconnected(self) -> None:
        """Start anew after the link came back: the board must identify itself again."""
        self._decoder.reset()
        self._counters.reconnects += 1
        self.identity, self._hello_ns, self._news_ns = None, None, None

    def due(self, now_ns: int) -> bytes:
        """Return what must be sent now so that states arrive: a hello or nothing.

        A board that was reset does not know its host and sends nothing. So a board that is silent
        for :data:`HELLO_PERIOD_NS` gets another hello. A hello arms no board: a board that still
        runs damps, as it would for lack of commands.
        """
        if self._hello is None or (self.identity is not None and not self._is_silent(now_ns)):
            return b""
        if self._hello_ns is not None and now_ns - self._hello_ns < HELLO_PERIOD_NS:
            return b""
        self._hello_ns = now_ns
        self._unanswered += 1
        return wire.encode(self._hello)

    def request(self, action: Action) -> Request:
        """Return a new request; encode it, and send it again unchanged if no reply comes."""
        self._request_sequence = (self._request_sequence + 1) & _U16
        return Request(self._request_sequence, action)

    def reply_to(self, request: Request) -> Reply | None:
        """Return the board's reply to this request; None if it did not come."""
        reply = self._reply
        if reply is None or (reply.sequence, reply.action) != (request.sequence, request.action):
            return None
        return reply

    def command(self, command: MotorCommand, now_ns: int) -> tuple[bytes, MotorCommand]:
        """Return the frame of a new command, and the command that the board will read in it.

        Its life is rounded down to whole ms, so that the board never moves for longer.

        Raises:
            WireError: A value is NaN, infinite or of the wrong shape.
        """
        sequence = (self._command_sequence + 1) & _U16
        valid_ms = min(max(command.valid_for_ns // _NS_PER_MS, 0), _U16)
        frame, sent = wire.encode_command(
            wire.Command(sequence, valid_ms, command.kp, command.kd, command.target_rad)
        )
        self._command_sequence = sequence
        self._sent[sequence % _SENT] = (sequence, now_ns)
        life_ns = sent.valid_ms * _NS_PER_MS
        return frame, MotorCommand(sent.target_rad, sent.kp, sent.kd, life_ns)

    def receive(self, data: bytes, now_ns: int) -> None:
        """Take bytes that arrived; never raises, whatever they are."""
        self._counters.bytes_received += len(data)
        before = self.raw_state
        for message in self._decoder.feed(data):
            if isinstance(message, State):
                self._on_state(message, now_ns)
            elif isinstance(message, Identity):
                self._on_identity(message, now_ns)
            elif isinstance(message, Reply):
                self._reply = message
        if self.raw_state is not before:
            if self._news_ns is not None:
                self._gaps_ns.append(now_ns - self._news_ns)
            self._news_ns = now_ns

    def _is_silent(self, now_ns: int) -> bool:
        """Return whether a board that should send states sends none."""
        identity, hello = self.identity, self._hello
        if identity is None or hello is None or identity.state_interval_ms == 0:
            return False
        if (identity.protocol_hash, identity.robot_hash) != (hello.protocol_hash, hello.robot_hash):
            return False  # it refuses this host, after however many hellos
        patience_ns = max(HELLO_PERIOD_NS, 5 * _NS_PER_MS * identity.state_interval_ms)
        return now_ns - self._received_ns > patience_ns

    def _on_identity(self, identity: Identity, now_ns: int) -> None:
        if self._unanswered == 0:
            return  # a repeated one: nobody asked
        self._unanswered -= 1
        if self._boot_count not in (None, identity.boot_count):
            self._begin_anew(identity.boot_count)
        self._boot_count = identity.boot_count
        self.identity, self._received_ns, self._first_state = identity, now_ns, True

    def _on_state(self, state: State, now_ns: int) -> None:
        last = self.raw_state
        news = 0 if last is None else ahead(state.sequence, last.sequence, _U16)
        if not self._follows(state, news, now_ns) and not self._prove_anew(state, news, now_ns):
            self._counters.states_duplicated += 1
            return
        expected_us = None
        if last is not None and not self._first_state:
            self._counters.states_lost += news - 1
            self._counters.commands_lost += (state.commands_lost - last.commands_lost) & _U16
            self._counters.board_bad_frames += (state.bad_frames - last.bad_frames) & _U16
            sequence, sent_ns = self._sent[state.command_echo % _SENT]
            if sequence == state.command_echo != last.command_echo:
                self._round_trips_ns.append(now_ns - sent_ns)
            if self.identity is not None:
                expected_us = 1000 * news * self.identity.state_interval_ms
        self._first_state, self._doubted = False, None
        self._received_ns = self._state_ns = now_ns
        self._boot_count, self.raw_state = state.boot_count, state
        self.state = _robot_state(state, self._clock.to_host_ns(state.time_us, now_ns, expected_us))

    def _follows(self, state: State, news: int, now_ns: int) -> bool:
        """Return whether a state continues what the board has sent before, and is newer."""
        if self._boot_count not in (None, state.boot_count):
            return False
        advanced_us = self._clock.ahead_us(state.time_us, now_ns)
        if advanced_us is not None and self.state is not None:
            # A clock near its wrap that began anew seems to have run far ahead.
            leapt = 1000 * advanced_us > now_ns - self.state.t_ns + JUMP_NS
            if advanced_us <= 0 or (leapt and self._may_be_anew(state, now_ns)):
                return False
        return self._first_state or news > 0

    def _prove_anew(self, state: State, news: int, now_ns: int) -> bool:
        """Return whether a state that does not follow proves that the board started anew."""
        doubted, count = self._doubted or (state, 0)
        in_a_row = doubted.boot_count == state.boot_count and (
            count == 0 or ahead(state.sequence, doubted.sequence, _U16) > 0
        )
        count = count + 1 if in_a_row else 1
        self._doubted = state, count
        introduced = self._first_state and state.boot_count == self._boot_count
        if count < (1 if introduced else _PROOF):
            return False
        if self._may_be_anew(state, now_ns):
            self._begin_anew(state.boot_count)
            self._counters.states_duplicated -= count - 1
            return True
        if state.boot_count == self._boot_count and news > 0:
            self._clock.note_standstill()  # late states are older by their numbers, too
        return False

    def _may_be_anew(self, state: State, now_ns: int) -> bool:
        """Return whether a board that started anew since the newest state could have sent this."""
        if self.state is None:
            return True
        if self._hello_ns is None or self._hello_ns < self._state_ns:
            return False
        known = state.boot_count if self._boot_count is None else self._boot_count
        is_newer = ahead(state.boot_count, known, _U16) > 0
        if is_newer and state.boot_count not in self._past_boots:
            return True
        return 1000 * state.time_us <= _FASTEST * (now_ns - self.state.t_ns)

    def _begin_anew(self, boot_count: int) -> None:
        """Take note that the board started anew, and that what it sent before is past."""
        if self._boot_count is not None:
            self._past_boots.add(self._boot_count)
        self._past_boots.discard(boot_count)
        self._counters.board_resets += 1
        self.board_reset = self._first_state = True
        self._news_ns = None
        self._clock.restart()


def _quantiles(times_ns: deque[int]) -> Quantiles | None:
    times_us = np.array(list(times_ns), np.float64) / 1e3
    if times_us.size == 0:
        return None
    p50, p99 = np.percentile(times_us, [50, 99])
    return Quantiles(times_us.size, float(p50), float(p99), float(times_us.max()))


def _robot_state(state: State, t_ns: int) -> RobotState:
    # An unknown mode is none in which this host may move the robot.
    mode = Mode(state.mode) if state.mode in _MODES else Mode.FAULT
    return RobotState(
        t_ns,
        state.motor_position_rad,
        state.motor_velocity_rad_s,
        state.motor_torque_nm,
        state.rpy_rad,
        state.angular_rate_rad_s,
        state.battery_v,
        mode,
        Fault(state.fault),
        state.winding_temperature_c,
    )


_MODES = frozenset(mode.value for mode in Mode)
