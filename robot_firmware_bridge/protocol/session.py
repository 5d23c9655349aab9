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
from robot_firmware_bridge.protocol.layout import Action
from robot_firmware_bridge.protocol.wire import Hello, Identity, Reply, Request, State

Array = NDArray[np.float64]

HELLO_PERIOD_NS = 100_000_000
"""A board that is silent for this long gets another hello."""

_NS_PER_MS = 1_000_000
_U16, _U32 = 0xFFFF, 0xFFFFFFFF
_SENT = 256  # commands whose time of sending is kept; a power of two
_ROUND_TRIPS = 4096
# Two quartz clocks part by at most this; the estimate of their offset must not lag behind.
_MAX_DRIFT = 200e-6
# After a longer silence the board's clock may have wrapped unseen: nothing follows from it then.
_CLOCK_MEMORY_NS = 600_000_000_000


@dataclass(slots=True)
class Counters:
    """How the line did since the session began.

    Attributes:
        bytes_received: Bytes, good or bad.
        frames: Good frames received.
        crc_errors: Frames received with a wrong CRC-32.
        framing_errors: Other damage received.
        states_lost: Gaps in the sequence of states.
        states_duplicated: States that came again, or after a newer one.
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
class RoundTrip:
    """Time from sending a command to the first state that echoes it, over the newest commands."""

    count: int
    p50_us: float
    p99_us: float
    max_us: float


class BoardClock:
    """Maps the board's clock to the host's.

    Every state arrives later than it was read, by a delay that is never negative and at times very
    small. So the least difference between arrival and reading so far is the offset of the clocks,
    plus that least delay. A board's clock that runs slow makes the differences grow, and a plain
    minimum would never follow: it grows with time by as much as two clocks may drift apart.

    Args:
        line_ns: Time that a state is on the wire at least, known from its length and the baud rate.
    """

    def __init__(self, line_ns: int) -> None:
        self._line_ns = line_ns
        self._board_us = 0
        self._offset_ns: int | None = None
        self._updated_ns = 0

    def restart(self) -> None:
        """Forget the offset: the board's clock began anew."""
        self._offset_ns = None

    def went_back(self, time_us: int, received_ns: int) -> bool:
        """Return whether the board's time is before the last one, without a wrap."""
        return self._is_known(received_ns) and _ahead(time_us, self._board_us, _U32) < 0

    def to_host_ns(self, time_us: int, received_ns: int) -> int:
        """Return the host time of ``time_us``, at most ``received_ns``; it never goes back."""
        self._board_us += (time_us - self._board_us) & _U32
        offset_ns = received_ns - 1000 * self._board_us
        if self._offset_ns is not None and self._is_known(received_ns):
            drift_ns = int((received_ns - self._updated_ns) * _MAX_DRIFT)
            offset_ns = min(offset_ns, self._offset_ns + drift_ns)
        self._offset_ns, self._updated_ns = offset_ns, received_ns
        return 1000 * self._board_us + offset_ns - self._line_ns

    def _is_known(self, now_ns: int) -> bool:
        return self._offset_ns is not None and now_ns - self._updated_ns < _CLOCK_MEMORY_NS


class Session:
    """One host's conversation with one board.

    Args:
        line_ns: Time that a state is on the wire at least; 0 if it is not known.

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
        self._received_ns = 0
        self._boot_count: int | None = None
        self._first_state = True
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

    def round_trip(self) -> RoundTrip | None:
        """Return the round-trip times of the newest commands; None if none was echoed."""
        times_us = np.array(list(self._round_trips_ns), np.float64) / 1e3
        if times_us.size == 0:
            return None
        p50, p99 = np.percentile(times_us, [50, 99])
        return RoundTrip(times_us.size, float(p50), float(p99), float(times_us.max()))

    def introduce(self, hello: Hello) -> None:
        """Send a hello with the next :meth:`due`, and again whenever the board falls silent."""
        self._hello, self._hello_ns = hello, None
        self.identity = None

    def reconnected(self) -> None:
        """Start anew after the link came back: the board must identify itself again."""
        self._decoder.reset()
        self._counters.reconnects += 1
        self.identity, self._hello_ns = None, None

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
        for message in self._decoder.feed(data):
            if isinstance(message, State):
                self._on_state(message, now_ns)
            elif isinstance(message, Identity):
                self._on_identity(message, now_ns)
            elif isinstance(message, Reply):
                self._reply = message

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
        self._note_boot(identity.boot_count, went_back=False)
        self.identity, self._received_ns, self._first_state = identity, now_ns, True

    def _on_state(self, state: State, now_ns: int) -> None:
        self._note_boot(state.boot_count, self._clock.went_back(state.time_us, now_ns))
        last = self.raw_state
        if last is not None and not self._first_state:
            news = _ahead(state.sequence, last.sequence, _U16)
            if news <= 0:
                self._counters.states_duplicated += 1
                return
            self._counters.states_lost += news - 1
            self._counters.commands_lost += (state.commands_lost - last.commands_lost) & _U16
            self._counters.board_bad_frames += (state.bad_frames - last.bad_frames) & _U16
            sequence, sent_ns = self._sent[state.command_echo % _SENT]
            if sequence == state.command_echo != last.command_echo:
                self._round_trips_ns.append(now_ns - sent_ns)
        self._first_state = False
        self._received_ns = now_ns
        self.raw_state = state
        self.state = _robot_state(state, self._clock.to_host_ns(state.time_us, now_ns))

    def _note_boot(self, boot_count: int, went_back: bool) -> None:
        """Detect a board that started anew by its boot count or, without one, its clock."""
        known, self._boot_count = self._boot_count, boot_count
        if known is None or (known == boot_count and not went_back):
            return
        self._counters.board_resets += 1
        self.board_reset = self._first_state = True
        self._clock.restart()


def _ahead(newer: int, older: int, mask: int) -> int:
    """Return how far a wrapping counter is ahead of another; negative if behind."""
    half = (mask + 1) // 2
    return ((newer - older + half) & mask) - half


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
