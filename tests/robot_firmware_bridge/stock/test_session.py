"""The conversation with the stock mainboard: which states are believed, how commands move."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_firmware_bridge.errors import RobotFaultError, WireError
from robot_firmware_bridge.geometry import leg_to_motor, motor_to_leg
from robot_firmware_bridge.messages import Fault, Mode, MotorCommand
from robot_firmware_bridge.robot import MINITAUR
from robot_firmware_bridge.stock.session import GAIN_STEP, SLEW_RAD, StockSession
from robot_firmware_bridge.stock.wire import (
    EXTENSION_RAD,
    SWING_RAD,
    StockState,
    decode_command,
    encode_kill,
    encode_state,
)

MS = 1_000_000
STANDING_RAD = np.full(8, 1.5)


def packet(t_ms, position=STANDING_RAD, **changes):
    fields = {
        "rpy_rad": np.zeros(3),
        "angular_rate_rad_s": np.zeros(3),
        "duty": np.zeros(8),
        "speed_mps": 0.0,
        "battery_v": 16.0,
        "mode": 3,
    }
    return encode_state(StockState(t_ms=t_ms, motor_position_rad=position, **{**fields, **changes}))


class Board:
    """Sends packets every 10 ms; each arrives when its last byte is through, 9 ms later."""

    def __init__(self, start_ms=0):
        self.session = StockSession(MINITAUR)
        self.start_ms = start_ms

    def send(self, t_ms, position=STANDING_RAD, **changes):
        arrives_ns = (self.start_ms + t_ms + 9) * MS
        self.session.receive(packet(t_ms, position, **changes), arrives_ns)
        return self.session.state


def command(leg_rad, kp=1.0):
    return MotorCommand(leg_to_motor(np.asarray(leg_rad)), kp, 0.015, 80 * MS)


def test_a_state_is_stamped_with_the_time_of_its_reading():
    board = Board(start_ms=500)
    state = board.send(1000)
    # 103 bytes of ten bits at 115200 baud take 8.94 ms.
    assert state.t_ns == pytest.approx((500 + 1000 + 9) * MS - 8_940_972, abs=1)
    assert state.mode is Mode.DISARMED
    assert state.fault is Fault.NONE


def test_speeds_are_differences_and_torques_those_of_the_duty_at_the_speed():
    board = Board()
    board.send(0)
    moved = STANDING_RAD + np.array((0.1, -0.05, *(0.0,) * 6))
    state = board.send(10, moved, duty=np.array((0.5, 0.0, 0.5, *(0.0,) * 5)))
    np.testing.assert_allclose(state.motor_velocity_rad_s[:3], (10.0, -5.0, 0.0), atol=1e-4)
    # (16 x 0.5 - 0.0954 x 10) / 0.186 = 37.88 A: 2.45 Nm at 30 A and 3.0 at 40 give 2.883.
    # Braking: 0.0954 x 5 / 0.186 = 2.565 A, 0.2565 Nm against the turn. At rest 43.01 A: 3.075.
    np.testing.assert_allclose(state.motor_torque_nm[:3], (2.883, 0.2565, 3.075), atol=1e-3)


def test_angles_are_in_the_turn_in_which_legs_are_commanded():
    state = Board().send(0, np.array((6.2, 0.0, 4.5, 5.0, *(1.0,) * 4)))
    turn = 2.0 * np.pi
    np.testing.assert_allclose(
        state.motor_position_rad[:4], (6.2 - turn, 0.0, 4.5, 5.0 - turn), atol=1e-6
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"position": STANDING_RAD + np.pi * (np.arange(8) == 2)},  # an encoder that glitches
        {"rpy_rad": np.array((0.5, 0.0, 0.0))},
        {"battery_v": 4.0},
    ],
)
def test_a_state_that_cannot_follow_is_dropped(changes):
    board = Board()
    board.send(0)
    last = board.send(10)
    assert board.send(20, **changes).t_ns == last.t_ns
    assert board.session.in_doubt
    assert board.send(30).t_ns > last.t_ns
    counters = board.session.counters
    assert (counters.states, counters.implausible, counters.lost) == (3, 1, 1)


def test_states_that_waited_while_this_computer_stalled_are_believed():
    board = Board()
    first = board.send(0)
    for t_ms in range(10, 160, 10):
        board.session.receive(packet(t_ms), 160 * MS)
    counters = board.session.counters
    assert (counters.states, counters.implausible, counters.late) == (16, 0, 0)
    # The newest is as old as it would be without the stall.
    assert board.session.state.t_ns - first.t_ns == pytest.approx(150 * MS, abs=MS)


def test_a_flipped_bit_of_the_time_is_no_new_time():
    board = Board()
    board.send(0)
    last = board.send(10)
    board.session.receive(packet(20 + 4096), 29 * MS)
    board.session.receive(packet(10), 30 * MS)  # an old one again
    assert board.session.state.t_ns == last.t_ns
    counters = board.session.counters
    assert (counters.implausible, counters.late) == (1, 1)


def test_a_time_that_was_off_by_some_milliseconds_is_no_new_start():
    """A bit of 16 ms turns over; what follows is behind it, and is true."""
    board = Board()
    board.send(10_000)
    board.session.receive(packet(10_010 + 16), 10_019 * MS)
    for t_ms in (10_020, 10_030, 10_040):
        state = board.send(t_ms)
    assert state.t_ns == pytest.approx(10_049 * MS - 8_940_972, abs=1)
    assert not board.session.board_reset
    assert not board.session.clock_fault


def test_an_encoder_that_jumps_and_stays_there_is_a_fault_while_the_motors_are_on():
    board = Board()
    board.send(0)
    board.session.begin()
    slipped = STANDING_RAD + 2.0 * (np.arange(8) == 5)
    for t_ms in (10, 20):
        assert board.send(t_ms, slipped).fault is Fault.NONE
    state = board.send(30, slipped)
    assert state.fault is Fault.ENCODER
    assert state.motor_position_rad[5] == pytest.approx(3.5)
    # The next run looks anew, and legs that are turned while nothing is driven are no fault.
    board.session.kill()
    for t_ms in (40, 50, 60):
        state = board.send(t_ms)
    assert state.motor_position_rad[5] == pytest.approx(1.5)
    board.session.begin()
    assert board.session.state.fault is Fault.NONE


def test_a_board_that_starts_anew_is_noticed_after_three_states():
    board = Board()
    for t_ms in (5000, 5010):
        board.send(t_ms)
    assert not board.session.board_reset
    for i, t_ms in enumerate((0, 10, 20)):
        board.session.receive(packet(t_ms), (5600 + 10 * i) * MS)
    assert board.session.board_reset
    assert board.session.counters.board_resets == 1
    assert board.session.state.t_ns == pytest.approx(5620 * MS - 8_940_972, abs=1)


def test_commands_begin_where_the_legs_are_and_go_by_steps():
    board = Board()
    board.send(0, leg_to_motor(np.array((0.1,) * 4 + (1.2,) * 4)))
    board.session.begin()
    assert board.session.state.mode is Mode.READY
    raw, sent = board.session.command(command((-0.4,) * 4 + (1.3,) * 4))
    order, legs, gains = decode_command(raw)
    assert order == 3
    # 0.3 rad at most, less what the floats of the wire are off.
    np.testing.assert_allclose(legs, (-0.192,) * 4 + (1.3,) * 4, atol=1e-3)
    np.testing.assert_allclose(gains, 0.02, rtol=1e-3)
    np.testing.assert_array_equal(motor_to_leg(sent.target_rad), legs)
    assert (sent.kp, sent.kd) == (gains[0], 0.0)
    assert board.session.state.mode is Mode.ACTIVE
    for _ in range(49):
        _, sent = board.session.command(command((-0.4,) * 4 + (1.3,) * 4))
    np.testing.assert_allclose(motor_to_leg(sent.target_rad)[:4], -0.4, atol=1e-3)
    assert sent.kp == pytest.approx(1.0, abs=0.01)
    # Damping is more than this board can do: the gain fades, and the legs follow where they are.
    _, sent = board.session.command(command((0.0,) * 4 + (2.0,) * 4, kp=0.0))
    assert sent.kp == pytest.approx(0.98, abs=0.01)
    np.testing.assert_allclose(motor_to_leg(sent.target_rad), (-0.108,) * 4 + (1.2,) * 4, atol=2e-3)


def test_a_leg_that_the_board_takes_for_another_pose_is_refused():
    board = Board()
    for swing, extension in ((0.0, 3.1), (0.0, 0.15), (1.5, 1.8), (-1.0, 1.05), (0.6, 2.8)):
        leg = np.array((0.0,) * 4 + (1.5,) * 4)
        leg[[2, 6]] = swing, extension
        board = Board()
        board.send(0, leg_to_motor(leg))
        with pytest.raises(RobotFaultError, match="front_right is at swing"):
            board.session.begin()
    board = Board()
    board.send(0, leg_to_motor(np.array((0.6,) * 4 + (2.2,) * 4)))
    board.session.begin()
    # Only a start is bound by what may be sent: the legs of a gait lag behind.
    board.session.command(command((0.0,) * 4 + (1.5,) * 4))
    board.send(10, leg_to_motor(np.array((0.6,) * 4 + (2.6,) * 4)))
    assert board.session.pose_fault() == ""


def test_a_board_that_does_not_do_what_it_is_sent_is_noticed():
    board = Board()
    board.send(0)
    board.session.begin()
    target = command((0.0,) * 4 + (1.95,) * 4)
    for tick in range(60):
        _, sent = board.session.command(target)
        duty = np.clip(sent.kp * (sent.target_rad - STANDING_RAD), -0.7, 0.7)
        board.send(10 * (tick + 1), duty=duty)
        assert not board.session.deaf
    for tick in range(60, 80):  # it holds a duty of a command long ago
        board.session.command(target)
        board.send(10 * (tick + 1), duty=np.full(8, 0.05))
    assert board.session.deaf


def test_a_kill_disarms_and_the_next_run_begins_at_no_gain():
    board = Board()
    board.send(0)
    board.session.begin()
    for _ in range(10):
        board.session.command(command((0.0,) * 4 + (1.5,) * 4))
    assert board.session.kill() == 3 * encode_kill()
    assert board.session.state.mode is Mode.DISARMED
    board.session.begin()
    _, sent = board.session.command(command((0.0,) * 4 + (1.5,) * 4))
    assert sent.kp == pytest.approx(GAIN_STEP, rel=1e-2)


def test_kills_are_due_once_after_the_link_came_back():
    session = StockSession(MINITAUR)
    assert session.due(0) == b""
    session.reconnected()
    assert session.due(0) == 3 * encode_kill()
    assert session.due(0) == b""


def test_what_must_not_be_sent_is_refused():
    session = StockSession(MINITAUR)
    with pytest.raises(RobotFaultError, match="no state has come"):
        session.begin()
    for target, kp in ((np.full(8, np.nan), 1.0), (np.ones(7), 1.0), (np.ones(8), np.inf)):
        with pytest.raises(WireError, match="eight finite angles and a gain"):
            session.command(MotorCommand(target, kp, 0.0, 80 * MS))


@given(
    st.lists(
        st.tuples(st.lists(st.floats(-10.0, 10.0), min_size=8, max_size=8), st.floats(-5.0, 5.0)),
        min_size=1,
        max_size=20,
    )
)
def test_no_command_is_farther_from_the_one_before_than_the_slew(requests):
    board = Board()
    board.send(0)
    board.session.begin()
    last_leg, last_gain = motor_to_leg(STANDING_RAD), 0.0
    for target, kp in requests:
        raw, _ = board.session.command(MotorCommand(np.array(target), kp, 0.0, 80 * MS))
        _, leg, gains = decode_command(raw)
        assert np.abs(leg - last_leg).max() <= SLEW_RAD + 1e-6
        assert np.abs(gains - last_gain).max() <= GAIN_STEP + 1e-6
        assert np.abs(leg[:4]).max() <= SWING_RAD + 1e-6
        assert leg[4:].min() >= EXTENSION_RAD[0] - 1e-6
        assert leg[4:].max() <= EXTENSION_RAD[1] + 1e-6
        last_leg, last_gain = leg, gains
