"""The emulated stock mainboard: its firmware by hand, and the control loop on it in lockstep."""

import dataclasses
import struct

import numpy as np
import pytest

from deploy.loop.loop import ControlLoop
from deploy.loop.modes import Durations, LoopMode
from deploy.policy.controller import Controller
from robot_firmware_bridge.errors import (
    BoardResetError,
    LinkError,
    LinkLostError,
    NoBoardError,
    RobotFaultError,
)
from robot_firmware_bridge.firmware.library import Sensors
from robot_firmware_bridge.geometry import leg_to_motor
from robot_firmware_bridge.messages import Mode, MotorCommand
from robot_firmware_bridge.serial.stock import StockRobot
from robot_firmware_bridge.stock.session import SLEW_RAD, StockSession
from robot_firmware_bridge.stock.wire import (
    COMMAND_BYTES,
    StateScanner,
    encode_kill,
    encode_position,
)
from sim.board.lockstep import StockMemoryLink, stock_lockstep
from sim.board.stock import StockFirmware
from sim.plant.params import PlantParams
from sim.plant.registry import make_plant
from training.tasks.minitaur import trot_stock_task

STANDING = np.array((0.0,) * 4 + (1.5,) * 4)


def sensors(position=1.5):
    read = Sensors()
    read.motor_position_rad[:] = position
    read.battery_v = 16.0
    return read


def test_duty_is_the_gain_times_the_leg_error_bounded_at_seven_tenths():
    firmware = StockFirmware()
    assert not firmware.tick(0, sensors()).enabled
    legs = np.array((0.1, 0.0, 0.2, 0.0, 1.7, 1.4, 1.5, 0.6))
    firmware.receive(encode_position(legs, 0.5))
    drive = firmware.tick(1000, sensors())
    assert drive.enabled
    # In motor space extension minus and plus swing on the left legs, plus and minus on the right.
    expected = 0.5 * (leg_to_motor(legs) - 1.5)
    np.testing.assert_allclose(expected[:2], (0.5 * (0.2 - 0.1), 0.5 * (0.2 + 0.1)))
    np.testing.assert_allclose(drive.duty, expected, atol=1e-6)
    firmware.receive(encode_position(legs, 1.0))
    assert firmware.tick(2000, sensors()).duty[6] == pytest.approx(-0.7)
    firmware.receive(encode_kill())
    drive = firmware.tick(3000, sensors())
    assert not drive.enabled
    assert not drive.duty.any()


def test_a_command_holds_for_ever():
    firmware = StockFirmware()
    firmware.receive(encode_position(STANDING, 1.0))
    for tick in range(5000):
        assert firmware.tick(1000 * tick, sensors(1.4)).enabled
    assert firmware.packets == 1


def test_a_stalled_motor_is_off_for_a_millisecond_only():
    firmware = StockFirmware()
    firmware.receive(encode_position(STANDING, 1.0))
    enabled = [firmware.tick(1000 * tick, sensors(0.9)).enabled for tick in range(3000)]
    assert enabled.count(False) == 2


def test_a_state_comes_every_ten_milliseconds_with_the_duty_in_it():
    firmware, scanner, states = StockFirmware(), StateScanner(), []
    firmware.receive(encode_position(STANDING, 1.0))
    for tick in range(35):
        firmware.tick(1000 * (tick + 7), sensors(1.3))
        states += scanner.feed(firmware.transmit())
    assert [state.t_ms for state in states] == [7, 17, 27, 37]
    np.testing.assert_allclose(states[1].duty, 0.2, atol=1e-6)
    np.testing.assert_allclose(states[1].motor_position_rad, 1.3, atol=1e-6)


def test_after_a_lost_byte_every_packet_is_made_of_two():
    firmware = StockFirmware()
    first, second, third = (
        encode_position(np.array((0.0,) * 4 + (extension,) * 4), 1.0)
        for extension in (1.0, 1.25, 1.5)
    )
    firmware.receive(first)
    firmware.receive(second[:-1])  # the last byte, of the sum, is lost
    np.testing.assert_array_equal(firmware.leg_rad[4:], 1.0)
    firmware.receive(third[:1])  # its head completes the ring
    np.testing.assert_array_equal(firmware.leg_rad[4:], 1.25)
    firmware.receive(third[1:])
    np.testing.assert_array_equal(firmware.leg_rad[4:], 1.25)  # one byte is missing yet
    # A host that lost ten bytes: the beginning of each packet completes the end of the one before.
    firmware.start(0)
    firmware.receive(first[10:] + second + third)
    extension = firmware.leg_rad[4:]
    assert extension[0] == 1.5
    np.testing.assert_array_equal(extension[1:], 1.25)


def test_bytes_without_a_head_are_no_packet_and_any_with_one_are():
    firmware = StockFirmware()
    firmware.receive(b"\0" * COMMAND_BYTES)
    assert firmware.packets == 0
    firmware.receive(b"\xaa\xbb\x03" + struct.pack("<16f", *(np.nan,) * 16) + b"\0\0")
    drive = firmware.tick(0, sensors())
    assert drive.enabled
    assert not drive.duty.any()


@pytest.fixture
def plant():
    plant = make_plant()
    plant.reset(PlantParams(control_step_s=0.01))
    yield plant
    plant.close()


def loop_on(stack, seconds, observers=()):
    """Return the control loop with a network of zeros on the trot."""
    controller = Controller(trot_stock_task().contract, lambda observation: np.zeros(8, np.float32))
    return ControlLoop(
        stack.robot,
        stack.clock,
        controller,
        Durations(run_s=seconds, stand_up_s=1.0),
        odometry=stack.odometry,
        observers=observers,
    )


def test_the_loop_walks_on_it_and_ends_with_the_drivers_off(plant):
    stack = stock_lockstep(plant)
    loop = loop_on(stack, 3.0)
    loop.run()
    assert loop.faults == []
    log = loop.log()
    walked = log.base_position_m[log.run.stop - 1, 0] - log.base_position_m[log.run.start, 0]
    assert walked > 2.0
    # The gain rises and falls by steps, and never is the command far from the one before.
    assert np.abs(np.diff(log.kp)).max() <= 0.02 + 1e-3
    assert log.kp[-1] < 0.02  # nothing is left to kill
    sent = log.target_rad[log.kp > 0.0]  # in motor space a step of both coordinates adds up
    np.testing.assert_array_less(np.abs(np.diff(sent, axis=0)), 2.0 * SLEW_RAD + 1e-6)
    drivers = [event.fields for event in stack.events if event.name == "drivers"]
    assert [fields["on"] for fields in drivers] == [True, False]
    assert drivers[-1]["most_step_rad"] <= SLEW_RAD
    assert stack.robot.counters.implausible == 0


@pytest.mark.parametrize(("fault", "seed"), [("flip", 1), ("drop", 2), ("duplicate", 3)])
def test_a_damaged_line_never_leaves_the_drivers_on(plant, fault, seed):
    plant.reset(dataclasses.replace(plant.params, seed=seed))
    stack = stock_lockstep(plant)
    setattr(stack.board.line.faults, fault, 1e-4)
    loop_on(stack, 3.0).run()
    setattr(stack.board.line.faults, fault, 0.0)
    stack.robot.close()
    stack.clock.sleep_until_ns(stack.clock.now_ns() + 50_000_000)
    drivers = [event.fields["on"] for event in stack.events if event.name == "drivers"]
    assert drivers[-1] is False


def test_arming_needs_states_in_time_and_a_live_board(plant):
    stack = stock_lockstep(plant)
    stack.board.line.faults.drop = 0.01
    with pytest.raises(LinkError, match=r"of 50 states came .* damaged ones: look at the cable"):
        stack.robot.activate()
    assert stack.robot.read().mode is Mode.DISARMED
    stack.board.line.faults.drop = 0.0
    stack.board.line.faults.hold_ns = 40_000_000  # every state is there in the end, in bursts
    with pytest.raises(
        LinkError, match=r"overdue for \d\d% of the time: its line holds bytes back"
    ):
        stack.robot.activate()
    stack.board.line.faults.hold_ns = 16_000_000  # an adapter's timer does no harm to so few
    stack.robot.activate()
    assert stack.robot.deactivate() == ""
    stack.board.line.faults.hold_ns = 0
    stack.board.line.stall(10**18)
    silent = StockMemoryLink(stack.board.line, stack.clock, StockSession(plant.robot))
    with pytest.raises(NoBoardError, match="not a byte came: is it powered"):
        StockRobot(silent)


def drive(stack, ticks, gain=0.6):
    """Command the stance for some control periods."""
    command = MotorCommand(stack.robot.description.stance_pose_rad, gain, 0.0, 80_000_000)
    for _ in range(ticks):
        stack.robot.read()
        stack.robot.write(command)
        stack.clock.sleep_until_ns(stack.clock.now_ns() + 10_000_000)


def is_on(stack):
    return [event.fields["on"] for event in stack.events if event.name == "drivers"][-1]


def test_a_damping_loop_lets_the_legs_follow_where_they_are(plant):
    """The loop damps towards the stance; no leg may be thrown there while the gain fades."""
    stack = stock_lockstep(plant)
    loop = loop_on(stack, 2.0, [lambda tick: tick.ticks in (201, 202) and loop.request_stop()])
    loop.run()
    log = loop.log()
    damp = (log.mode == LoopMode.DAMP) & (log.kp > 0.0)
    assert damp.any()
    astray = np.abs(log.target_rad - log.motor_position_rad).max(axis=1)
    assert astray[damp].max() < astray[log.mode == LoopMode.RUN].max()
    assert astray[damp].max() < 0.6
    assert not is_on(stack)


def test_a_kill_that_could_not_be_sent_is_sent_when_the_link_is_back(plant):
    stack = stock_lockstep(plant)
    stack.robot.activate()
    drive(stack, 40)

    def gone(data):
        raise LinkLostError("gone")

    send, stack.link.send = stack.link.send, gone
    assert stack.robot.deactivate() == "the kill could not be sent: gone"
    assert is_on(stack)
    stack.link.send = send
    stack.clock.sleep_until_ns(stack.clock.now_ns() + 50_000_000)
    assert not is_on(stack)
    stack.robot.close()


def test_a_board_that_hears_nothing_ends_the_run_and_is_named(plant, caplog):
    stack = stock_lockstep(plant)
    stack.robot.activate()
    drive(stack, 40)
    stack.link.send = lambda data: None
    with pytest.raises(LinkLostError, match="look at the wire to its RX"):
        drive(stack, 200, gain=0.2)  # the board holds 0.6
    assert "drives motors after 3 kills" in stack.robot.deactivate()
    assert "cut the power of the motors, which may be on: the board" in caplog.text


def test_a_kill_is_confirmed_by_states_that_were_made_after_it(plant):
    stack = stock_lockstep(plant)
    stack.robot.activate()
    drive(stack, 1)  # no state shows its duty yet
    stack.link.send = lambda data: None
    assert "drives motors after 3 kills" in stack.robot.deactivate()
    stack.board.line.stall(10**18)
    assert "no state of the board" in stack.robot.deactivate()


def test_a_run_whose_kills_are_not_heard_is_no_good_run(plant):
    stack = stock_lockstep(plant)

    def cut(tick):
        if tick.mode is LoopMode.RUN and tick.ticks >= 250:
            stack.link.send = lambda data: None
            loop.request_stop()
            loop.request_stop()

    loop = loop_on(stack, 2.0, [cut])
    loop.run()
    assert is_on(stack)
    assert loop.faults[-1].name == "motors_on"
    assert "cut the power of the motors, which may be on: the board" in loop.faults[-1].detail


@pytest.mark.parametrize(("extension_rad", "jumps"), [(2.2, False), (2.4, True), (2.8, True)])
def test_no_run_begins_farther_from_the_first_packet_than_the_slew(plant, extension_rad, jumps):
    stack = stock_lockstep(plant)
    for motor in range(8):
        stack.board.plant.slip_encoder(motor, extension_rad - 2.0)
    stack.clock.sleep_until_ns(stack.clock.now_ns() + 100_000_000)
    if jumps:
        with pytest.raises(RobotFaultError, match=r"would jump by .* put its toe below its hip"):
            stack.robot.activate()
        return
    stack.robot.activate()
    sent = stack.robot.write(MotorCommand(np.full(8, extension_rad), 0.5, 0.0, 80_000_000))
    assert np.abs(sent.target_rad - stack.robot.read().motor_position_rad).max() <= SLEW_RAD


def test_a_board_that_starts_anew_is_sent_nothing_until_that_is_known(plant):
    stack = stock_lockstep(plant)
    stack.clock.sleep_until_ns(3_000_000_000)
    stack.robot.activate()
    drive(stack, 40)
    stack.board.reset()
    before = stack.board._firmware.packets
    with pytest.raises(BoardResetError, match="started anew"):
        drive(stack, 20)
    # The packet that was on its way, at most.
    assert stack.board._firmware.packets - before <= 2


def test_a_robot_that_hangs_with_stretched_legs_is_not_armed(plant):
    stack = stock_lockstep(plant)
    for motor in range(8):
        stack.board.plant.slip_encoder(motor, 1.15)  # from 2.0 to beyond pi
    stack.clock.sleep_until_ns(stack.clock.now_ns() + 100_000_000)
    with pytest.raises(RobotFaultError, match="takes for another pose: put its toe below its hip"):
        stack.robot.activate()
