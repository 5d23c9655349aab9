"""Hosts come and go: introduction, states, damaged frames, a line that is full."""

import math

import numpy as np
import pytest
from support.scripted_board import ROBOT_HASH

from robot_firmware_bridge.messages import Fault, Mode
from robot_firmware_bridge.protocol import wire
from robot_firmware_bridge.protocol.layout import PROTOCOL_HASH, Action, Result, wire_bytes


def count_states(bench, ticks):
    states = []
    for _ in range(ticks):
        bench.t_us += 1000
        bench.sensors.rpy_rad[0] += 1e-3
        bench.board.tick(bench.t_us, bench.sensors)
        states += [m for m in bench.take() if isinstance(m, wire.State)]
    return states


def test_identity(bench):
    bench.board.start(70_000, 2_000_000, b"0123456789ab-and-more")
    assert bench.hello(interval_ms=5) == wire.Identity(
        protocol_hash=PROTOCOL_HASH,
        robot_hash=ROBOT_HASH,
        state_interval_ms=5,
        boot_count=70_000 - 65_536,
        firmware_id=b"minitaur 1.0".ljust(16, b"\0"),
        board_id=b"0123456789ab",
        max_kp=4.0,
        max_kd=0.1,
        max_duty=1.0,
        max_current_a=60.0,
        max_valid_ms=200,
    )


@pytest.mark.parametrize(
    "wrong", [{"protocol_hash": PROTOCOL_HASH ^ 1}, {"robot_hash": ROBOT_HASH ^ (1 << 63)}]
)
def test_another_host_gets_the_identity_and_nothing_else(bench, wrong):
    identity = bench.hello(**wrong)
    assert (identity.protocol_hash, identity.robot_hash) == (PROTOCOL_HASH, ROBOT_HASH)
    assert count_states(bench, 20) == []
    assert bench.ask(Action.ARM) is Result.NOT_INTRODUCED
    assert bench.ask(Action.DISARM) is Result.DONE


def test_another_host_ends_the_session_before_it(bench):
    bench.hello()
    assert len(count_states(bench, 20)) == 20
    bench.hello(protocol_hash=1)
    assert count_states(bench, 20) == []
    assert bench.ask(Action.ARM) is Result.NOT_INTRODUCED
    bench.hello()
    assert bench.ask(Action.ARM) is Result.DONE


@pytest.mark.parametrize("robot_hash", [ROBOT_HASH, 7])
def test_a_hello_of_any_host_in_motion_stops_gently(bench, robot_hash):
    bench.activate()
    bench.hello(robot_hash=robot_hash)
    assert bench.drive.enabled
    bench.tick(498)
    assert bench.drive.enabled
    bench.tick()
    assert not bench.drive.enabled
    bench.hello()
    assert (bench.mode, bench.fault) == (Mode.DISARMED, Fault.NONE)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Mode.DISARMED, Mode.DISARMED),
        (Mode.READY, Mode.DISARMED),
        (Mode.ACTIVE, Mode.DAMPING),
        (Mode.DAMPING, Mode.DAMPING),
    ],
)
def test_a_hello_disarms_or_damps(bench, before, after):
    bench.lead_to(before)
    bench.hello()
    assert (bench.mode, bench.fault) == (after, Fault.NONE)


@pytest.mark.parametrize(
    ("fault", "mode"), [(Fault.COMMAND_TIMEOUT, Mode.DAMPING), (Fault.ENCODER, Mode.FAULT)]
)
def test_a_hello_after_a_fault_changes_nothing(stopped_by, fault, mode):
    bench = stopped_by(fault)
    bench.hello()
    assert (bench.mode, bench.fault) == (mode, fault)


# --- states ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("interval_ms", [1, 2, 7, 255])
def test_states_come_as_often_as_asked_for(bench, interval_ms):
    bench.hello(interval_ms=interval_ms)
    first = bench.state
    states = [first, *count_states(bench, 3 * interval_ms)]
    assert len(states) == 4
    assert np.diff([s.time_us for s in states]).tolist() == [1000 * interval_ms] * 3
    assert np.diff([s.sequence for s in states]).tolist() == [1, 1, 1]


def test_silence(bench):
    assert bench.hello(interval_ms=0).state_interval_ms == 0
    assert bench.state is None
    assert count_states(bench, 600) == []


@pytest.mark.parametrize("asked", [1, 2, 30, 255])
@pytest.mark.parametrize(
    "baud", [0, 1200, 3700, 4200, 9600, 57600, 115200, 230400, 460800, 921600, 1_000_000, 2_000_000]
)
def test_states_leave_the_line_room(bench, baud, asked):
    bench.power_on(baud=baud)
    # A tenth of the line stays free.
    least = min(255, math.ceil(10 * 1000 * wire_bytes("state") / (0.9 * baud))) if baud else 255
    assert bench.hello(interval_ms=asked).state_interval_ms == max(asked, least)


def test_a_state_tells_what_the_sensors_read(bench):
    bench.hello(interval_ms=1)
    sensors = bench.sensors
    sensors.motor_position_rad[:] = 2.0 + np.arange(8) * 0.05
    sensors.motor_velocity_rad_s[:] = np.arange(8) - 3.5
    sensors.rpy_rad[:] = (0.1, -0.2, 3.1)
    sensors.angular_rate_rad_s[:] = (1.0, -2.0, 4.0)
    sensors.battery_v = 15.5
    bench.imu_lives = False
    bench.tick()
    state = bench.state
    assert state.time_us == bench.t_us
    np.testing.assert_allclose(state.motor_position_rad, 2.0 + np.arange(8) * 0.05, atol=1.3e-4)
    np.testing.assert_allclose(state.motor_velocity_rad_s, np.arange(8) - 3.5, atol=5.1e-3)
    np.testing.assert_allclose(state.rpy_rad, (0.1, -0.2, 3.1), atol=5.1e-5)
    np.testing.assert_allclose(state.angular_rate_rad_s, (1.0, -2.0, 4.0), atol=1.1e-3)
    assert state.battery_v == pytest.approx(15.5, abs=5.1e-4)
    assert (state.motor_torque_nm == 0.0).all()
    assert (state.winding_temperature_c == 25.0).all()


def test_a_state_tells_the_torque(bench):
    bench.activate()
    bench.drive_for(1000, target=2.1)
    # 0.1 * 16 V / 0.186 ohm * 0.1 Nm/A
    np.testing.assert_allclose(bench.state.motor_torque_nm, 0.8602, atol=3e-4)


def test_numbers_past_the_wires_range_saturate(bench):
    bench.sensors.motor_position_rad[:] = 100.0
    bench.sensors.motor_velocity_rad_s[:] = -450.0
    bench.sensors.battery_v = 1e6
    bench.hello()
    assert (bench.state.motor_position_rad == 8.19175).all()
    np.testing.assert_allclose(bench.state.motor_velocity_rad_s, -327.68)
    assert bench.state.battery_v == pytest.approx(65.535)


# --- damage ---------------------------------------------------------------------------------------


def test_damaged_frames_are_counted_and_change_nothing(bench):
    bench.activate()
    frame = bytearray(wire.encode(wire.Request(1, Action.EMERGENCY_STOP)))
    frame[3] ^= 4
    bench.reply = None
    bench.board.receive(bytes(frame) + b"\x05\x06\x00")
    bench.tick()
    assert bench.reply is None
    assert bench.state.bad_frames == 2
    assert bench.mode is Mode.ACTIVE


def test_frames_for_hosts_and_plants_are_ignored(bench):
    bench.activate()
    bench.send(wire.Reply(1, Action.EMERGENCY_STOP, 0, 0, 0))
    bench.send(wire.DriveFrame(1, 1, np.ones(8)))
    bench.tick()
    assert (bench.mode, bench.fault, bench.state.bad_frames) == (Mode.ACTIVE, Fault.NONE, 0)


def test_a_frame_may_come_in_pieces(bench):
    bench.hello()
    bench.reply = None
    for byte in wire.encode(wire.Request(9, Action.ARM)):
        assert bench.reply is None
        bench.board.receive(bytes([byte]))
        bench.tick()
    assert bench.reply.result == Result.DONE


def test_a_flood_is_taken_in_portions_and_loses_what_does_not_fit(bench):
    bench.hello()
    request = wire.encode(wire.Request(1, Action.DISARM))
    # 341 requests fit the 4096 bytes of the receive buffer; the rest and its emergency stop do not.
    bench.board.receive(request * (4096 // len(request) + 1))
    bench.board.receive(wire.encode(wire.Request(2, Action.EMERGENCY_STOP)))
    bench.tick()
    assert len(bench.board.transmit()) == 0  # the bench took it all
    bench.tick(20)
    assert bench.reply.sequence == 1
    assert bench.mode is Mode.DISARMED


def test_a_full_line_loses_whole_messages_only(bench):
    bench.hello(interval_ms=1)
    for _ in range(50):
        bench.t_us += 1000
        bench.board.tick(bench.t_us, bench.sensors)
    sent = bench.board.transmit()
    assert len(sent) == 1024 // wire_bytes("state") * wire_bytes("state")
    states = bench.decoder.feed(sent)
    assert len(states) == 1024 // wire_bytes("state")
    assert (bench.decoder.crc_errors, bench.decoder.framing_errors) == (0, 0)
    # What is lost leaves a gap that the host can see.
    bench.tick()
    assert bench.state.sequence - states[-1].sequence == 51 - len(states)
