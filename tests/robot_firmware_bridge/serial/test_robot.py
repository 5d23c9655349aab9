"""The life of a robot behind a link, from the first hello to the last disarming."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.scripted_board import ROBOT_HASH

from robot_firmware_bridge.errors import (
    BoardClockError,
    BoardResetError,
    LateStatesError,
    LinkError,
    LinkLostError,
    MismatchError,
    NoBoardError,
    RobotFaultError,
    WireError,
)
from robot_firmware_bridge.messages import Fault, Mode, MotorCommand
from robot_firmware_bridge.protocol.layout import Action
from robot_firmware_bridge.protocol.wire import Command, Decoder, Hello, Identity, Request, encode
from robot_firmware_bridge.robot import MINITAUR
from robot_firmware_bridge.serial.robot import SerialRobot

MS = 1_000_000


def test_connecting_says_who_is_there(robot, bench):
    assert robot.description is MINITAUR
    assert robot.identity.boot_count == 7
    assert robot.identity.state_interval_ms == 2
    assert robot.identity.max_kp == pytest.approx(4.0)
    (hello,) = bench.messages
    assert hello.robot_hash == ROBOT_HASH
    assert robot.read().mode is Mode.DISARMED


def test_reading_is_current_and_takes_no_time(robot, bench):
    bench.sensors.motor_position_rad[:] = 2.25
    bench.run(3)
    before_ns = bench.now_ns()
    state = robot.read()
    assert bench.now_ns() == before_ns
    np.testing.assert_allclose(state.motor_position_rad, 2.25)
    assert state.battery_v == pytest.approx(16.0)
    assert 0 <= before_ns - state.t_ns <= 2 * MS


def test_nothing_moves_before_the_first_write(robot, bench, command):
    robot.activate()
    bench.run(100)
    assert robot.read().mode is Mode.READY
    assert not bench.drive.enabled
    robot.write(command)
    bench.run(6)
    assert robot.read().mode is Mode.ACTIVE
    assert bench.drive.enabled
    assert (bench.drive.duty > 0).all()


def test_a_robot_that_is_not_armed_is_sent_nothing(robot, bench, command):
    sent = robot.write(command)
    assert (sent.kp, sent.kd) == (0.0, 0.0)
    assert bench.received(Command) == []


def test_what_was_sent_is_returned_as_the_board_takes_it(walking, bench):
    wild = MotorCommand(np.array([9.0, -9.0, 2.0001, *[2.0] * 5]), 99.0, 1.0, 300 * MS)
    sent = walking.write(wild)
    np.testing.assert_allclose(sent.target_rad, [3.6, 0.2, 2.0, *[2.0] * 5], atol=1e-12)
    assert (sent.kp, sent.kd) == (pytest.approx(4.0), pytest.approx(0.1))
    assert sent.valid_for_ns == 200 * MS
    received = bench.received(Command)[-1]
    np.testing.assert_array_equal(received.target_rad, sent.target_rad)
    assert (received.kp, received.kd, received.valid_ms) == (sent.kp, sent.kd, 200)
    assert wild.target_rad[0] == 9.0


@pytest.mark.parametrize(
    "bad",
    [
        {"target_rad": np.array([np.nan, *[2.0] * 7])},
        {"target_rad": np.array([np.inf, *[2.0] * 7])},
        {"target_rad": np.full(7, 2.0)},
        {"kp": np.nan},
        {"kd": -np.inf},
    ],
)
def test_a_command_that_is_no_command_stays_here(walking, bench, bad, command):
    count = len(bench.received(Command))
    with pytest.raises(WireError):
        walking.write(dataclasses.replace(command, **bad))
    assert len(bench.received(Command)) == count


def test_deactivating_damps_and_then_lets_go(walking, bench):
    walking.deactivate()
    assert walking.read().mode is Mode.DAMPING
    assert walking.read().fault is Fault.NONE
    bench.run(500)
    assert walking.read().mode is Mode.DISARMED
    assert not bench.drive.enabled
    count = len(bench.messages)
    walking.deactivate()
    assert len(bench.messages) == count


def test_deactivating_insists(walking, bench):
    bench.lose(Action.DISARM, 2)
    walking.deactivate()
    assert walking.read().mode is Mode.DAMPING


def test_deactivating_never_raises_and_gives_up_in_time(walking, bench, caplog):
    bench.lose(Action.DISARM)
    before_ns = bench.now_ns()
    walking.deactivate()
    assert bench.now_ns() - before_ns <= 200 * MS
    assert "the board damps by itself" in caplog.text
    bench.run(100)
    assert walking.read().mode is Mode.DAMPING


@pytest.mark.parametrize("failure", [LinkLostError("gone"), RuntimeError("broken")])
def test_deactivating_a_robot_that_is_gone(walking, bench, caplog, failure):
    def fail(data):
        raise failure

    bench.send = fail
    walking.deactivate()
    assert "cannot disarm" in caplog.text


def test_an_interrupted_disarming_is_done_by_the_next(walking, bench):
    """The first Ctrl-C ends a tool; a second one may come while the robot is made safe."""
    send, bench.send = bench.send, interrupt
    with pytest.raises(KeyboardInterrupt):
        walking.deactivate()
    bench.send = send
    assert bench.received(Request)[-1].action == Action.ARM
    walking.close()
    assert bench.received(Request)[-1].action == Action.DISARM
    assert walking.read().mode is Mode.DAMPING


def interrupt(data):
    raise KeyboardInterrupt


def test_a_disarming_that_the_board_did_not_answer_is_tried_again(walking, bench):
    bench.lose(Action.DISARM, 3)
    walking.deactivate()
    assert bench.received(Request)[-1].action == Action.ARM
    walking.deactivate()
    assert bench.received(Request)[-1].action == Action.DISARM
    assert walking.read().mode is Mode.DAMPING


def test_a_robot_that_was_given_up_is_read_again_once_its_link_is_back(walking, bench):
    bench.cut()
    walking.deactivate()
    bench.mend()
    bench.run(200)
    assert walking.read().mode is Mode.DAMPING


def test_arming_again_waits_until_the_damping_is_over(walking, bench):
    walking.deactivate()
    walking.activate()
    assert walking.read().mode is Mode.READY


@pytest.mark.parametrize("lost", [1, 2])
def test_arming_insists_with_the_same_request(robot, bench, lost):
    bench.lose(Action.ARM, lost)
    robot.activate()
    assert robot.read().mode is Mode.READY


def test_arming_again_after_a_lost_answer_is_the_same_arming(robot, bench):
    """The board has armed, and no reply arrives before the second request."""
    bench.rewrite = lambda data: b"" if len(bench.received(Request)) == 1 else data
    robot.activate()
    first, second = bench.received(Request)
    assert first == second
    assert robot.read().mode is Mode.READY


def test_a_board_that_does_not_answer_is_not_commanded(robot, bench, command):
    bench.lose(Action.ARM)
    with pytest.raises(LinkError, match="the board on bench does not answer: arm"):
        robot.activate()
    robot.write(command)
    assert bench.received(Command) == []
    robot.deactivate()  # for all we know it is armed
    assert bench.received(Request)[-1].action == Action.DISARM


def test_a_robot_with_a_fault_is_not_armed(robot, bench):
    bench.sensors.battery_v = 11.0
    bench.run(300)
    with pytest.raises(RobotFaultError, match="stopped by UNDERVOLTAGE: look for the cause, then"):
        robot.activate()
    assert bench.received(Request) == []


def test_a_robot_that_could_not_be_armed_again_is_not_commanded_on(walking, bench):
    bench.run(100)
    with pytest.raises(RobotFaultError):
        walking.activate()
    assert bench.gets_no_command_of(walking)


def test_a_robot_whose_newest_state_is_an_old_one_is_not_armed(robot, bench):
    bench.rewrite = lambda data: b""
    with pytest.raises(LinkError, match="identifies itself, but sends no state"):
        robot.activate()
    assert bench.received(Request) == []


def test_a_fault_that_comes_with_the_arming_is_an_error(robot, bench):
    """The state was good, and the board knows better by the time that it is asked."""
    good = robot.read()
    bench.sensors.battery_v = 1.0

    def drop(message):
        if isinstance(message, Request) and message.action == Action.ARM:
            bench.run(200)
        return False

    bench.drop = drop
    with pytest.raises(RobotFaultError, match="does not arm: it is stopped by UNDERVOLTAGE"):
        robot.activate()
    assert good.fault is Fault.NONE


def test_a_robot_that_hears_nothing_damps_until_it_is_cleared(walking, bench):
    bench.run(100)
    state = walking.read()
    assert (state.mode, state.fault) == (Mode.DAMPING, Fault.COMMAND_TIMEOUT)
    bench.walk(walking, 3)
    assert walking.read().mode is Mode.DAMPING
    walking.deactivate()
    with pytest.raises(RobotFaultError, match="COMMAND_TIMEOUT"):
        walking.activate()
    walking.clear_fault()
    assert walking.read().mode is Mode.DISARMED
    walking.activate()
    bench.walk(walking, 3)
    assert walking.read().mode is Mode.ACTIVE


def test_a_cause_that_is_still_there_is_not_cleared(walking, bench):
    bench.sensors.battery_v = 1.0
    bench.walk(walking, 50)
    with pytest.raises(RobotFaultError, match="does not clear its faults: it is stopped by UNDERV"):
        walking.clear_fault()


def test_a_walking_robot_has_nothing_to_clear(walking):
    with pytest.raises(RobotFaultError, match="does not clear its faults: it is ACTIVE"):
        walking.clear_fault()


@pytest.mark.parametrize("lost", [0, 2])
def test_an_emergency_stop_holds(walking, bench, lost):
    bench.lose(Action.EMERGENCY_STOP, lost)
    walking.emergency_stop()
    state = walking.read()
    assert (state.mode, state.fault) == (Mode.DAMPING, Fault.EMERGENCY_STOP)
    assert bench.gets_no_command_of(walking)
    with pytest.raises(RobotFaultError, match="EMERGENCY_STOP"):
        walking.activate()


def test_an_emergency_stop_that_is_not_confirmed_is_an_error(walking, bench):
    bench.lose(Action.EMERGENCY_STOP)
    with pytest.raises(LinkError, match="does not confirm the emergency stop: cut its power"):
        walking.emergency_stop()


def test_an_emergency_stop_is_sent_whatever_the_link_has_to_report(walking, bench):
    send, failures = bench.send, [LinkLostError("was away")]

    def fail_once(data):
        if failures:
            raise failures.pop()
        send(data)

    bench.send = fail_once
    walking.emergency_stop()
    assert walking.read().fault is Fault.EMERGENCY_STOP


def test_closing_disarms(walking, bench):
    walking.close()
    walking.close()
    assert bench.is_closed
    assert bench.received(Request)[-1].action == Action.DISARM


def test_the_line_is_counted(walking, bench):
    bench.walk(walking, 10)
    assert walking.counters.frames > 40
    assert walking.counters.states_lost == walking.counters.crc_errors == 0
    trip = walking.round_trip
    assert trip.count == 15
    # A command arrives at the next tick, and the next state is one or two ticks away.
    assert 1000 <= trip.p50_us <= trip.max_us <= 3000


def test_what_the_board_reports_can_be_read_after_the_end(walking, bench):
    """The host stalled for 300 ms, and gave the robot up."""
    assert walking.reported_fault is Fault.NONE
    bench.run(300)
    walking.deactivate()
    assert walking.reported_fault is Fault.COMMAND_TIMEOUT
    bench.cut()
    assert walking.reported_fault is Fault.COMMAND_TIMEOUT


# Lines that hold bytes back, and clocks that are wrong.


@pytest.mark.parametrize("held_ms", [13, 16, 32])
def test_a_line_that_holds_states_back_is_refused_before_arming(robot, bench, held_ms):
    bench.held_ms = held_ms
    with pytest.raises(LateStatesError) as caught:
        robot.activate()
    assert str(caught.value) == (
        f"states arrive over bench every {held_ms} ms instead of every 2 ms: "
        "the bench holds bytes back"
    )
    assert bench.received(Request) == []
    assert robot.arrival_gap.p50_us == 1000 * held_ms


@pytest.mark.parametrize("held_ms", [1, 8, 12])
def test_a_line_that_holds_states_back_a_little_is_good_enough(robot, bench, held_ms):
    """The loop wants states of 18 ms at most: at 12 ms a state is 14 ms old before the next one."""
    bench.held_ms = held_ms
    robot.activate()
    assert robot.arrival_gap.max_us <= 1000 * held_ms + 1000


def test_one_late_state_before_arming_is_said_and_no_reason_to_refuse(robot, bench, caplog):
    lost_ns = range(bench.now_ns() + 100 * MS, bench.now_ns() + 140 * MS)
    bench.rewrite = lambda data: b"" if bench.now_ns() in lost_ns else data
    robot.activate()
    assert "a state arrived over bench 42 ms after the one before, not 2 ms: this" in caplog.text
    assert robot.read().mode is Mode.READY


def test_states_that_stop_while_they_are_watched(robot, bench):
    end_ns = bench.now_ns() + 5 * MS
    bench.rewrite = lambda data: data if bench.now_ns() < end_ns else b""
    with pytest.raises(LinkError, match="stopped sending states"):
        robot.activate()


@pytest.mark.parametrize(("rate", "fault"), [(1.2, "fast"), (0.8, "slow")])
def test_a_clock_that_is_far_off_is_refused_before_arming(robot, bench, rate, fault):
    bench.clock_rate = rate
    with pytest.raises(BoardClockError, match=rf"the board on bench runs \d+ ppm {fault}: check"):
        robot.activate()
    assert bench.received(Request) == []


@pytest.mark.parametrize(
    ("rate", "fault"),
    [(1.01, r"runs \d+ ppm fast"), (0.995, r"runs \d+ ppm slow"), (0.0, "stands still")],
)
def test_a_clock_that_goes_wrong_ends_the_run_by_its_name(walking, bench, rate, fault):
    bench.clock_rate = rate

    def walk():
        for _ in range(1000):
            bench.walk(walking, 1)
            # Three control periods of 6 ms: else the loop would end the run as stale_state.
            assert bench.now_ns() - walking.read().t_ns <= 18 * MS

    with pytest.raises(BoardClockError, match=f"the clock of the board on bench {fault}"):
        walk()
    assert bench.gets_no_command_of(walking)


def test_repeated_and_late_states_do_not_disturb_a_walk(walking, bench):
    kept = []

    def repeat(data):
        kept.append(data)
        return data + b"".join(kept[-40:-30]) + data

    bench.rewrite = repeat
    bench.walk(walking, 100)
    assert walking.read().mode is Mode.ACTIVE
    assert walking.counters.board_resets == 0
    assert walking.counters.states_duplicated > 100


# Boards that reset, links that break, and boards that are not the right one.


@pytest.mark.parametrize("call", ["read", "write"])
def test_a_board_that_started_anew_is_not_commanded(walking, bench, command, call):
    bench.boot(8)
    bench.run(200)
    with pytest.raises(BoardResetError, match="on bench started anew: check its supply"):
        walking.read() if call == "read" else walking.write(command)
    assert bench.gets_no_command_of(walking)
    walking.deactivate()
    assert walking.read().mode is Mode.DISARMED
    assert walking.counters.board_resets == 1
    walking.activate()
    bench.walk(walking, 3)
    assert walking.read().mode is Mode.ACTIVE


def test_a_reset_of_a_robot_at_rest_is_no_matter(robot, bench):
    bench.boot(8)
    bench.run(200)
    assert robot.read().mode is Mode.DISARMED
    robot.activate()


def test_a_lost_link_is_an_error_and_what_comes_back_is_not_commanded(walking, bench):
    bench.cut()
    with pytest.raises(LinkLostError):
        walking.read()
    bench.run(300)
    bench.mend()
    bench.run(50)
    assert bench.gets_no_command_of(walking)
    walking.deactivate()
    state = walking.read()
    assert (state.mode, state.fault) == (Mode.DAMPING, Fault.COMMAND_TIMEOUT)
    assert {message.action for message in bench.received(Request)} == {Action.ARM, Action.DISARM}
    assert walking.counters.reconnects == 1


@pytest.mark.parametrize("call", ["read", "write"])
def test_a_link_that_was_away_for_a_moment_is_not_commanded_as_if_nothing_were(
    walking, bench, call, command
):
    bench.cut()
    bench.mend()
    bench.run(20)
    with pytest.raises(LinkLostError, match="the board on bench was away: arm it again"):
        walking.read() if call == "read" else walking.write(command)
    assert bench.gets_no_command_of(walking)


def test_a_write_into_a_cut_link(walking, bench, command):
    bench.cut()
    with pytest.raises(LinkLostError):
        walking.write(command)
    walking.deactivate()


def test_a_robot_whose_board_was_swapped_is_not_armed(robot, bench):
    bench.rewrite = identities(robot_hash=5)
    bench.session.reconnected()
    with pytest.raises(MismatchError):
        robot.activate()
    assert bench.received(Request) == []


def identities(**changes):
    """A rewrite that changes the identity of the board."""
    decoder = Decoder()

    def rewrite(data):
        messages = decoder.feed(data)
        return b"".join(
            encode(m._replace(**changes) if isinstance(m, Identity) else m) for m in messages
        )

    return rewrite


def test_a_board_of_another_protocol_is_refused(bench):
    bench.rewrite = identities(protocol_hash=5)
    with pytest.raises(MismatchError, match=r"has protocol 0000000000000005, .*reflash") as caught:
        SerialRobot(bench)
    assert "\n" not in str(caught.value)
    assert bench.is_closed


def test_a_board_of_another_robot_is_refused(bench):
    other = dataclasses.replace(MINITAUR, name="rainbow")
    with pytest.raises(MismatchError, match=r"not for rainbow .*: reflash the board"):
        SerialRobot(bench, other)
    assert bench.is_closed


def test_nothing_at_all_on_the_line(bench):
    bench.rewrite = lambda data: b""
    with pytest.raises(NoBoardError, match="no board answers on bench, not a byte came: is it pow"):
        SerialRobot(bench)
    assert bench.is_closed
    assert len(bench.received(Hello)) == 10


def test_something_else_on_the_line(bench):
    bench.rewrite = lambda data: b"$GPGGA,\x00" if bench.now_ns() < 10 * MS else b""
    with pytest.raises(
        NoBoardError, match="72 bytes came, with 0 good frames; is this the board's"
    ):
        SerialRobot(bench)


def test_a_board_that_sends_no_states(bench):
    with pytest.raises(NoBoardError, match="identifies itself, but sends no state"):
        SerialRobot(bench, state_interval_ms=0)
