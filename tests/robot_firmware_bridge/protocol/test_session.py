"""The host's side of the conversation, on a clock that the test turns."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.scripted_board import IDENTITY, ROBOT_HASH, STATE

from robot_firmware_bridge.errors import WireError
from robot_firmware_bridge.messages import Fault, Mode, MotorCommand
from robot_firmware_bridge.protocol import wire
from robot_firmware_bridge.protocol.layout import PROTOCOL_HASH, Action
from robot_firmware_bridge.protocol.session import BoardClock, Counters, Session
from robot_firmware_bridge.protocol.wire import Hello, Reply, encode

MS = 1_000_000
HELLO = Hello(PROTOCOL_HASH, ROBOT_HASH, state_interval_ms=2, compensate_battery=0)
COMMAND = MotorCommand(np.full(8, 2.0), 1.0, 0.015, 80 * MS)


class Board:
    """A board as far as its messages go; one state a call."""

    def __init__(self, session):
        self.session = session
        self.state = STATE

    def identify(self, now_ns, **changes):
        self.session.receive(encode(IDENTITY._replace(**changes)), now_ns)

    def send(self, now_ns, **changes):
        """Send a state of this time, the next in sequence unless changed."""
        sequence = (self.state.sequence + 1) % 65536
        news = {"sequence": sequence, "time_us": now_ns // 1000 % 2**32, **changes}
        self.state = self.state._replace(**news)
        self.session.receive(encode(self.state), now_ns)


@pytest.fixture
def session():
    session = Session()
    session.introduce(HELLO)
    return session


@pytest.fixture
def board(session):
    assert session.due(0) == encode(HELLO)
    board = Board(session)
    board.identify(0)
    board.send(1 * MS)
    return board


def test_a_hello_is_due_at_once_and_again_every_100_ms_until_it_is_answered(session):
    assert session.due(5) == encode(HELLO)
    assert session.due(100 * MS + 4) == b""
    assert session.due(100 * MS + 5) == encode(HELLO)
    Board(session).identify(150 * MS)
    assert session.identity.boot_count == 7
    assert session.due(200 * MS + 5) == b""


def test_nothing_is_due_before_an_introduction():
    assert Session().due(10**12) == b""


def test_a_board_that_falls_silent_is_greeted_again(session, board):
    board.send(50 * MS)
    assert session.due(150 * MS) == b""
    assert session.due(150 * MS + 1) == encode(HELLO)
    assert session.due(151 * MS) == b""
    board.identify(152 * MS)
    board.send(154 * MS)
    assert session.due(250 * MS) == b""


def test_a_board_on_a_slow_line_is_given_five_intervals(session):
    session.due(0)
    Board(session).identify(0, state_interval_ms=40)
    assert session.due(200 * MS) == b""
    assert session.due(200 * MS + 1) == encode(HELLO)


@pytest.mark.parametrize(
    "changes", [{"protocol_hash": 9}, {"robot_hash": 9}, {"state_interval_ms": 0}]
)
def test_a_board_that_will_not_send_states_is_not_pestered(session, changes):
    session.due(0)
    Board(session).identify(0, **changes)
    assert session.due(10**12) == b""


def test_after_a_reconnection_whoever_is_there_must_say_who_it_is(session, board):
    session.receive(encode(STATE)[:20], 2 * MS)  # the beginning of a frame that never ends
    session.reconnected()
    assert session.identity is None
    assert session.due(3 * MS) == encode(HELLO)
    board.identify(4 * MS)
    board.send(5 * MS)
    assert session.counters == Counters(
        bytes_received=session.counters.bytes_received, frames=4, reconnects=1
    )


def test_states_of_the_time_without_a_link_are_not_counted_as_lost(session, board):
    for sequence in (500, 3):  # it went on meanwhile; it began to count anew
        session.reconnected()
        board.identify(4 * MS)
        board.send(5 * MS, sequence=sequence)
        assert session.raw_state.sequence == sequence
    assert session.counters.states_lost == session.counters.states_duplicated == 0


def test_a_state_arrives_as_the_robots_state(session, board):
    position = np.linspace(1.0, 2.75, 8)
    board.send(
        4 * MS, mode=Mode.DAMPING, fault=Fault.STALL, motor_position_rad=position, battery_v=15.5
    )
    state = session.state
    np.testing.assert_allclose(state.motor_position_rad, position)
    assert (state.winding_temperature_c == 25.0).all()
    assert (state.mode, state.fault, state.battery_v) == (Mode.DAMPING, Fault.STALL, 15.5)
    assert state.t_ns == 4 * MS


def test_a_mode_and_a_fault_of_a_newer_board_stop_this_host(session, board):
    board.send(2 * MS, mode=17, fault=0x4000)
    assert session.state.mode is Mode.FAULT
    assert session.state.fault == 0x4000


def test_lost_and_repeated_states_are_counted(session, board):
    board.send(3 * MS, sequence=65534)  # far behind: late
    assert session.counters.states_duplicated == 1
    board.state = board.state._replace(sequence=1)
    board.send(5 * MS, sequence=5)
    assert session.counters.states_lost == 3
    newest = session.state
    board.send(5 * MS, sequence=5, battery_v=1.0)
    assert session.counters.states_duplicated == 2
    assert session.state is newest


def test_the_sequence_of_states_wraps(session, board):
    for sequence in (30_000, 60_000, 65_535, 0, 1):
        board.send(2 * MS, sequence=sequence)
    assert session.counters.states_duplicated == 0
    assert session.counters.states_lost == 29_998 + 29_999 + 5_534


def test_what_the_board_lost_is_counted_from_when_we_came(session):
    board = Board(session)
    board.identify(0)
    board.send(1 * MS, commands_lost=65_530, bad_frames=10)
    assert session.counters.commands_lost == 0
    board.send(2 * MS, commands_lost=4, bad_frames=12)
    assert (session.counters.commands_lost, session.counters.board_bad_frames) == (10, 2)


def test_another_boot_count_is_a_reset_until_it_is_forgotten(session, board):
    assert not session.board_reset
    board.send(10 * MS, boot_count=8, time_us=0, sequence=0, commands_lost=0)
    assert session.board_reset
    board.send(12 * MS, boot_count=8, time_us=2000)
    assert session.board_reset
    assert session.counters.board_resets == 1
    assert session.counters.states_lost == session.counters.states_duplicated == 0
    session.board_reset = False
    board.send(14 * MS, boot_count=8, time_us=4000)
    assert not session.board_reset


def test_the_clock_of_a_board_that_started_anew_is_learned_anew(session, board):
    """By the old offset, 0, its first state would be 900 ms old."""
    board.send(1000 * MS, boot_count=8, time_us=100_000, sequence=0)
    assert session.state.t_ns == 1000 * MS


def test_an_identity_of_another_boot_is_a_reset_too(session, board):
    board.identify(5 * MS, boot_count=8)
    assert session.board_reset


def test_a_clock_that_goes_back_is_a_reset_of_a_board_that_does_not_count(session, board):
    board.send(10 * MS, time_us=9_000_000)
    board.send(12 * MS, time_us=500, sequence=0)
    assert session.board_reset
    assert session.state.t_ns == 12 * MS


def test_a_clock_that_wraps_is_no_reset(session, board):
    board.send(2 * MS, time_us=2**31)
    board.send(3 * MS, time_us=2**32 - 1000)
    board.send(5 * MS, time_us=1000)
    assert not session.board_reset
    assert session.state.t_ns == 5 * MS


def test_commands_count_up_and_are_returned_as_the_board_reads_them(session):
    frame, sent = session.command(
        MotorCommand(np.full(8, 2.0001), 1.00003, 0.015, 80_900_000), now_ns=0
    )
    (first,) = wire.Decoder().feed(frame)
    (second,) = wire.Decoder().feed(session.command(COMMAND, 0)[0])
    assert second.sequence == first.sequence + 1
    assert first.valid_ms == 80  # cut, never rounded up
    assert sent.valid_for_ns == 80 * MS
    assert (sent.kp, sent.kd) == (pytest.approx(1.0), pytest.approx(0.015))
    np.testing.assert_allclose(sent.target_rad, 2.0)


@pytest.mark.parametrize(("life_ns", "valid_ms"), [(-5, 0), (999_999, 0), (10**15, 65_535)])
def test_lives_that_no_field_holds(session, life_ns, valid_ms):
    frame, sent = session.command(dataclasses.replace(COMMAND, valid_for_ns=life_ns), 0)
    (command,) = wire.Decoder().feed(frame)
    assert command.valid_ms == valid_ms
    assert sent.valid_for_ns == valid_ms * MS


def test_a_refused_command_uses_no_sequence(session):
    with pytest.raises(WireError):
        session.command(dataclasses.replace(COMMAND, kp=float("nan")), 0)
    (command,) = wire.Decoder().feed(session.command(COMMAND, 0)[0])
    assert command.sequence == 1


def test_round_trips_end_with_the_first_echo(session, board):
    assert session.round_trip() is None
    for i, echo_ms in enumerate([12, 23, 38], start=1):
        session.command(COMMAND, i * 10 * MS)
        board.send(echo_ms * MS, command_echo=i)
        board.send((echo_ms + 1) * MS)
    trip = session.round_trip()
    assert trip.count == 3
    assert (trip.p50_us, trip.max_us) == (3000.0, 8000.0)
    assert trip.p99_us == pytest.approx(3000 + 0.98 * 5000)


def test_an_echo_of_what_was_never_sent_is_no_round_trip(session, board):
    board.send(5 * MS, command_echo=100)
    assert session.round_trip() is None


def test_replies_find_their_request(session, board):
    first, second = session.request(Action.ARM), session.request(Action.ARM)
    assert first.sequence != second.sequence
    session.receive(encode(Reply(first.sequence, Action.ARM, 0, Mode.READY, 0)), 0)
    assert session.reply_to(second) is None
    assert session.reply_to(first).mode == Mode.READY
    session.receive(encode(Reply(second.sequence, Action.DISARM, 0, Mode.READY, 0)), 0)
    assert session.reply_to(second) is None


@given(st.binary(max_size=300))
def test_no_bytes_can_make_it_raise(data):
    session = Session()
    session.introduce(HELLO)
    session.receive(data, 0)
    session.due(1)
    assert session.counters.bytes_received == len(data)


def test_stamps_are_as_good_as_the_fastest_arrival():
    """Delays of 0.3 to 5.3 ms: soon every stamp is 0.3 ms late, less the time on the line."""
    rng = np.random.default_rng(0)
    clock = BoardClock(line_ns=200_000)
    errors = []
    for i in range(500):
        read_ns = i * 2 * MS
        delay_ns = 300_000 + (0 if i % 50 == 49 else int(rng.uniform(0, 5 * MS)))
        board_us = (read_ns // 1000 + 4_294_000_000) % 2**32  # wraps on the way
        errors.append(clock.to_host_ns(board_us, 10**15 + read_ns + delay_ns) - 10**15 - read_ns)
    # Between two fastest arrivals, 100 ms apart, the estimate is let up by 20 us at most.
    assert min(errors[100:]) >= 100_000
    assert max(errors[100:]) <= 121_000


@pytest.mark.parametrize("drift_ppm", [-150, 150])
def test_a_clock_that_drifts_is_followed(drift_ppm):
    clock = BoardClock(line_ns=0)
    for i in range(50_000):  # 100 s, after which the clocks are 15 ms apart
        read_ns = i * 2 * MS
        t_ns = clock.to_host_ns(int(read_ns * (1 - drift_ppm * 1e-6)) // 1000, read_ns)
    assert abs(t_ns - read_ns) < 2_000


def test_stamps_never_go_back_nor_beyond_the_arrival():
    clock = BoardClock(line_ns=0)
    stamps = [
        clock.to_host_ns(2000 * i, arrival) for i, arrival in enumerate([9 * MS, 9 * MS, 9 * MS])
    ]
    assert stamps == sorted(stamps)
    assert max(stamps) <= 9 * MS


def test_a_backlog_is_stamped_with_when_it_was_read():
    clock = BoardClock(line_ns=0)
    for i in range(10):
        clock.to_host_ns(2000 * i, 2 * MS * i)
    late = [clock.to_host_ns(2000 * i, 1000 * MS) for i in range(10, 20)]
    expected = [2 * MS * i for i in range(10, 20)]
    np.testing.assert_allclose(late, expected, atol=200_000)  # 1 s at 200 ppm


def test_after_an_hour_of_silence_the_clock_is_learned_anew():
    clock = BoardClock(line_ns=0)
    clock.to_host_ns(0, 0)
    hour_ns = 3600 * 1000 * MS
    assert not clock.went_back(2**31 + 5, hour_ns)
    # 75 minutes are more than a wrap: by the old offset this reading would be 71 minutes old.
    now_ns = 75 * 60 * 1000 * MS
    assert clock.to_host_ns(now_ns // 1000 % 2**32, now_ns) == now_ns
