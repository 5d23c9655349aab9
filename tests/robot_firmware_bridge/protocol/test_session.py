"""The host's side of the conversation, on a clock that the test turns."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.scripted_board import IDENTITY, ROBOT_HASH, STATE

from robot_firmware_bridge.errors import WireError
from robot_firmware_bridge.messages import Fault, Mode, MotorCommand
from robot_firmware_bridge.protocol import wire
from robot_firmware_bridge.protocol.layout import PROTOCOL_HASH, Action
from robot_firmware_bridge.protocol.session import Counters, Session
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
    for now_ms, sequence in ((4, 500), (7, 3)):  # it went on meanwhile; it began to count anew
        session.reconnected()
        session.due(now_ms * MS)
        board.identify((now_ms + 1) * MS)
        board.send((now_ms + 2) * MS, sequence=sequence)
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
    for now_ms, sequence in enumerate((30_000, 60_000, 65_535, 0, 1), start=2):
        board.send(now_ms * MS, sequence=sequence)
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
    session.due(150 * MS)
    for i in range(3):  # the identity was lost
        assert not session.board_reset
        board.send((151 + i) * MS, boot_count=8, time_us=i * 1000, sequence=i, commands_lost=0)
    assert session.board_reset
    assert session.state.t_ns == 153 * MS
    board.send(155 * MS, boot_count=8, time_us=4000)
    assert session.board_reset
    assert session.counters.board_resets == 1
    assert session.counters.states_lost == session.counters.states_duplicated == 0
    session.board_reset = False
    board.send(157 * MS, boot_count=8, time_us=6000)
    assert not session.board_reset


def test_the_clock_of_a_board_that_started_anew_is_learned_anew(session, board):
    """By the old offset, 0, its first state would be 900 ms old."""
    session.due(999 * MS)
    board.identify(999 * MS, boot_count=8)
    board.send(1000 * MS, boot_count=8, time_us=100_000, sequence=0)
    assert session.state.t_ns == 1000 * MS


def test_an_identity_of_another_boot_is_a_reset_too(session, board):
    session.due(150 * MS)
    board.identify(151 * MS, boot_count=8)
    assert session.board_reset


def test_an_identity_that_nobody_asked_for_is_a_repeated_one(session, board):
    known = session.identity
    board.identify(5 * MS)
    board.identify(6 * MS, boot_count=6)
    assert session.identity is known
    assert not session.board_reset


@pytest.mark.parametrize("identity_lost", [False, True])
def test_a_clock_that_began_anew_is_a_reset_of_a_board_that_does_not_count(
    session, board, identity_lost
):
    board.send(9_000 * MS)
    session.due(9_150 * MS)
    if not identity_lost:
        board.identify(9_151 * MS)
    for i in range(3 if identity_lost else 1):
        board.send((9_152 + i) * MS, time_us=100_000 + i * 1000, sequence=i)
    assert session.board_reset
    assert session.counters.states_duplicated == 0
    assert session.state.t_ns == (9_154 if identity_lost else 9_152) * MS


def test_late_states_are_no_reset_whatever_the_silence(session, board):
    late = []
    for i in range(1, 200):
        board.send((1000 + i) * MS)
        late.append(board.state)
    newest = session.state
    session.due(1500 * MS)
    board.identify(1501 * MS)
    for i, state in enumerate(late[50:100]):
        session.receive(encode(state), (1502 + i) * MS)
    assert not session.board_reset
    assert session.counters.states_duplicated == 50
    assert session.state is newest
    assert session.clock_fault == ""


def test_states_of_the_start_before_the_last_one_are_late(session, board):
    """The count of starts was lost with the supply: 7 was before 1."""
    old = [board.state._replace(sequence=i, time_us=10**8 + 1000 * i) for i in range(20)]
    board.send(1000 * MS, time_us=2 * 10**8)
    session.due(1150 * MS)
    board.identify(1151 * MS, boot_count=1)
    board.send(1152 * MS, boot_count=1, time_us=100_000, sequence=0)
    assert session.counters.board_resets == 1
    newest = session.state
    session.due(1300 * MS)
    for i, state in enumerate(old):
        session.receive(encode(state), (1301 + i) * MS)
    assert session.counters.board_resets == 1
    assert session.state is newest


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


# Whatever a hub does to the order of what it passes on.


def stream(boot_count, boot_us, sequence, count):
    """States of one start of a board, 2 ms apart; ``boot_us`` on its clock the first was read."""
    return [
        STATE._replace(
            boot_count=boot_count,
            time_us=(boot_us + 2000 * i) % 2**32,
            sequence=(sequence + i) % 65536,
        )
        for i in range(count)
    ]


@st.composite
def disturbed(draw, count):
    """Indices of states as they arrive: lost, repeated and out of order, in chunks."""
    chunks, i = [], 0
    while i < count:
        size = draw(st.integers(1, 40))
        chunks.append(list(range(i, min(i + size, count))))
        i += size
    arrival = []
    for number, chunk in enumerate(chunks):
        fate = draw(st.sampled_from(["good", "good", "lost", "twice", "swapped", "again later"]))
        if fate == "lost":
            continue
        arrival.append((number, chunk))
        if fate == "twice":
            arrival.append((number, chunk))
        if fate == "swapped" and len(arrival) > 1:
            arrival[-1], arrival[-2] = arrival[-2], arrival[-1]
        if fate == "again later":
            arrival.append((number + draw(st.integers(1, 20)), chunk))
    return [index for _, chunk in sorted(arrival, key=lambda each: each[0]) for index in chunk]


def deliver(session, states, indices, begin_ns, boot_count=7):
    """Pass states on, none before it was read; meanwhile a board answers the host's hellos."""
    now_ns = begin_ns
    for index in indices:
        now_ns = max(now_ns + 100_000, begin_ns + 2 * MS * index)
        if session.due(now_ns):
            session.receive(encode(IDENTITY._replace(boot_count=boot_count)), now_ns)
        session.receive(encode(states[index]), now_ns)
    return now_ns


@settings(max_examples=50, deadline=None)
@given(
    indices=disturbed(150),
    boot_us=st.sampled_from([300_000, 10**9, 2**32 - 300_000]),
    sequence=st.sampled_from([0, 150, 65_400]),
)
def test_no_disturbance_of_the_order_is_a_reset(indices, boot_us, sequence):
    session = Session()
    session.introduce(HELLO)
    states = stream(7, boot_us, sequence, 150)
    deliver(session, states, indices, 10**12)
    assert session.counters.board_resets == 0
    assert not session.board_reset
    assert session.clock_fault == ""
    if indices:
        order = [index for index in indices if index == max(indices)]
        assert session.raw_state.sequence == states[order[0]].sequence


@settings(max_examples=50, deadline=None)
@given(
    before=disturbed(100),
    boot_count=st.sampled_from([8, 7, 1, 65_535]),
    boot_us=st.sampled_from([600_000, 10**9, 2**32 - 10**7]),
    uptime_us=st.integers(0, 100_000),
    identity_lost=st.booleans(),
)
def test_every_start_is_noticed_within_three_states(
    before, boot_count, boot_us, uptime_us, identity_lost
):
    session = Session()
    session.introduce(HELLO)
    old = stream(7, boot_us, 150, 100)
    now_ns = deliver(session, old, [0, *before], 10**12) + 101 * MS
    assert session.due(now_ns) == encode(HELLO)
    if not identity_lost:
        session.receive(encode(IDENTITY._replace(boot_count=boot_count)), now_ns)
    new = stream(boot_count, uptime_us, 0, 3)
    for i, state in enumerate(new):
        session.receive(encode(state), now_ns + 2 * MS * (i + 1))
    assert session.board_reset
    assert session.counters.board_resets == 1
    assert session.raw_state.sequence == 2
    # What is left of the start before comes late, and is none.
    deliver(session, old, before, now_ns + 10 * MS, boot_count)
    assert session.counters.board_resets == 1


def test_arrival_gaps_are_those_of_bursts(session, board):
    assert session.arrival_gap() is None
    for burst in range(1, 6):
        data = b""
        for i in range(8):
            board.state = board.state._replace(
                sequence=board.state.sequence + 1, time_us=16_000 * burst + 2000 * i
            )
            data += encode(board.state)
        session.receive(data, (1 + 16 * burst) * MS)
    gap = session.arrival_gap()
    assert (gap.count, gap.p50_us, gap.max_us) == (5, 16_000.0, 16_000.0)
    session.measure_arrivals()
    assert session.arrival_gap() is None


@pytest.mark.parametrize("step_us", [0, -1, -500_000])
def test_a_clock_that_stands_still_or_runs_back_is_named(session, board, step_us):
    board.send(1000 * MS, time_us=1_000_000)
    for i in range(3):
        assert session.clock_fault == ""
        board.send((1002 + 2 * i) * MS, time_us=1_000_000 + step_us)
    assert session.clock_fault == "stands still or ran back"
    assert not session.board_reset


def test_a_clock_that_jumps_ahead_is_named(session, board):
    board.send(10 * MS, time_us=10_000)
    board.send(12 * MS, time_us=1_012_000)
    assert session.clock_fault == "jumped ahead by 1000 ms"


def test_ticks_that_a_board_lost_are_no_jump_of_its_clock(session, board):
    board.send(10 * MS)
    board.send(500 * MS)
    assert session.clock_fault == ""


def test_states_that_wait_no_longer_are_no_jump_of_a_clock(session, board):
    """The first came 300 ms late, from a buffer."""
    board.send(400 * MS, time_us=100_000)
    for i in range(1, 151):
        board.send(401 * MS, time_us=100_000 + 2000 * i)
    board.send(403 * MS, time_us=402_000)
    assert session.clock_fault == ""
