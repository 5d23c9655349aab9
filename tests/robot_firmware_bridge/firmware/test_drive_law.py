"""The control law: equal to the simulator's, and within every limit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_firmware_bridge.firmware.library import load
from robot_firmware_bridge.limits import LIMITS
from robot_firmware_bridge.robot import MINITAUR
from sim.plant.drives import Actuators, pd_duty
from sim.plant.params import PlantParams

KT, R = MINITAUR.motor.torque_constant_nm_per_a, MINITAUR.motor.resistance_ohm
ONES = np.ones(8)


@pytest.fixture(scope="session")
def law(library):
    """The drive law as a function: to duty, current and torque of eight motors."""
    probe = load(library)

    def run(target, position, velocity, kp, kd, battery=16.0, scale=1.0, bound=1.0):
        motors = np.concatenate([target, position, velocity]).astype(np.float32)
        numbers = np.array([kp, kd, battery, scale, bound], np.float32)
        out = np.empty(24, np.float32)
        probe.probe_drive_law(motors.ctypes.data, numbers.ctypes.data, out.ctypes.data)
        return out[:8], out[8:16], out[16:]

    return run


def single(low, high):
    """Numbers that float32 has, so that both sides compute from the same ones."""
    return st.floats(low, high).map(lambda number: float(np.float32(number)))


def eight(low, high):
    return st.lists(single(low, high), min_size=8, max_size=8).map(np.array)


@given(
    target=eight(0.2, 3.6),
    position=eight(-1.0, 5.0),
    velocity=eight(-150.0, 150.0),
    kp=single(0.0, 4.0),
    kd=single(0.0, 0.1),
    battery=single(12.0, 17.0),
)
def test_duty_and_torque_equal_the_simulators(law, target, position, velocity, kp, kd, battery):
    duty, current, torque = law(target, position, velocity, kp, kd, battery)
    free = pd_duty(target, position, velocity, kp, kd)
    drives = Actuators()
    drives.reset(PlantParams(battery_v=battery))

    # The simulator knows no current limit; where that does not bind, the duties are equal. The
    # torque is equal everywhere, for the torque curve is flat from the limit on.
    bound = np.abs(free * battery - KT * velocity) / R > LIMITS.max_current_a - 1e-3
    np.testing.assert_allclose(duty[~bound], free[~bound], atol=2e-6)
    np.testing.assert_allclose(torque, drives.torque(free, velocity), atol=2e-4)
    np.testing.assert_allclose(current, (duty * battery - KT * velocity) / R, atol=1e-2)


@given(
    error=eight(-3.0, 3.0),
    velocity=eight(-500.0, 500.0),
    battery=single(0.0, 60.0),
    scale=single(0.5, 1.3),
    bound=single(0.0, 1.0),
)
def test_limits_hold_whatever_is_asked(law, error, velocity, battery, scale, bound):
    duty, current, torque = law(error, 0 * ONES, velocity, 4.0, 0.1, battery, scale, bound)
    assert (np.abs(duty) <= LIMITS.max_duty).all()
    # Past the current limit only where the whole duty does not suffice against the back-EMF, and
    # then all of it works against the current.
    over = np.abs(current) > LIMITS.max_current_a * (1 + 1e-5)
    against = -np.sign(current) * LIMITS.max_duty if battery > 0.0 else duty
    np.testing.assert_array_equal(duty[over], (against * ONES)[over])
    assert (np.abs(torque) <= 3.5).all()


def test_duty_by_hand(law):
    duty, current, torque = law(2.1 * ONES, 2.0 * ONES, 4.0 * ONES, kp=1.0, kd=0.015)
    # 0.1 - 0.06 = 0.04; (0.04 * 16 - 0.0954 * 4) / 0.186 = 1.3892 A; 0.1 Nm/A at first.
    np.testing.assert_allclose(duty, 0.04, atol=1e-6)
    np.testing.assert_allclose(current, 1.3892, atol=1e-3)
    np.testing.assert_allclose(torque, 0.13892, atol=1e-4)


def test_current_limit_by_hand(law):
    # At rest 60 A * 0.186 ohm = 11.16 V of 16 V is all that a duty may give.
    duty, current, torque = law(5.0 * ONES, 2.0 * ONES, 0.0 * ONES, kp=4.0, kd=0.0)
    np.testing.assert_allclose(duty, 11.16 / 16.0, rtol=1e-6)
    np.testing.assert_allclose(current, 60.0, rtol=1e-6)
    np.testing.assert_allclose(torque, 3.5, rtol=1e-6)
    # Turning forward at 50 rad/s the back-EMF of 4.77 V is added: 15.93 V.
    duty, _, _ = law(5.0 * ONES, 2.0 * ONES, 50.0 * ONES, kp=4.0, kd=0.0)
    np.testing.assert_allclose(duty, 15.93 / 16.0, rtol=1e-6)


def test_the_duty_bound_yields_to_the_current_limit(law):
    # At 200 rad/s the back-EMF is 19.08 V: a duty of 0.495 at least keeps the current at 60 A.
    duty, current, _ = law(0 * ONES, 0 * ONES, 200.0 * ONES, 0.0, 0.015, bound=0.01)
    np.testing.assert_allclose(duty, (19.08 - 11.16) / 16.0, rtol=1e-5)
    np.testing.assert_allclose(current, -60.0, rtol=1e-5)


def test_no_battery_no_division(law):
    duty, current, _ = law(3.0 * ONES, 2.0 * ONES, 0.0 * ONES, 1.0, 0.0, battery=0.0)
    assert (duty == 1.0).all()
    assert (current == 0.0).all()


def test_soft_start(bench):
    """The bound on the duty grows evenly over a second from the first command on."""
    bench.activate()
    for ms in range(2, 1100):
        if ms % 50 == 2:
            bench.command(target=3.6, kp=4.0)  # asks for 6.4 times all there is
        bound = min(1.0, ms / 1000.0)
        bench.sensors.motor_velocity_rad_s[:] = bound * 16.0 / KT  # runs free: no current, no fault
        np.testing.assert_allclose(bench.tick().duty, bound, rtol=1e-6)


def test_soft_start_begins_anew_after_every_arming(bench):
    bench.activate()
    assert bench.drive_for(1200, target=2.3).duty == pytest.approx(0.3 * ONES, rel=1e-4)
    bench.ask(2)
    bench.tick(500)
    bench.activate()
    assert bench.drive_for(1, target=2.3).duty == pytest.approx(0.002 * ONES, rel=1e-4)


def test_soft_start_begins_anew_after_a_while_without_torque(bench):
    """A host that lets go of the motors and takes hold again must not make them jump."""
    bench.activate()
    assert bench.drive_for(1200, target=2.3).duty == pytest.approx(0.3 * ONES, rel=1e-4)
    assert not bench.drive_for(1, target=2.3, kp=0.0, kd=0.0).enabled
    assert bench.drive_for(1, target=2.3).duty == pytest.approx(0.001 * ONES, rel=1e-4)


def test_battery_compensation(bench):
    bench.sensors.battery_v = 14.0
    bench.activate(compensate=0)
    assert bench.drive_for(1200, target=2.2).duty == pytest.approx(0.2 * ONES, rel=1e-4)
    bench.power_on()
    bench.sensors.battery_v = 14.0
    bench.activate(compensate=1)
    assert bench.drive_for(1200, target=2.2).duty == pytest.approx(0.2 * 16 / 14 * ONES, rel=1e-4)
    # It follows the filtered voltage: a filter of 100 ms has done 1 - 0.99^100 of a step by then.
    bench.sensors.battery_v = 16.0
    volts = 14.0 + 2.0 * (1.0 - 0.99**100)
    assert bench.drive_for(100, target=2.2).duty == pytest.approx(0.2 * 16 / volts * ONES, rel=1e-4)


def test_damping_brakes_in_proportion_to_speed(bench):
    bench.activate(compensate=1)
    bench.drive_for(1100, kd=0.015)
    bench.ask(4)
    bench.sensors.motor_velocity_rad_s[:] = [0, 1, -1, 10, -10, 20, -20, 30]
    drive = bench.tick()
    assert drive.enabled
    assert drive.duty == pytest.approx(-0.015 * bench.sensors.motor_velocity_rad_s, rel=1e-6)
    bench.sensors.motor_velocity_rad_s[:] = 130.0  # -1.95 is past the bound, and past 60 A
    assert bench.tick().duty == pytest.approx((130 * KT - 60 * R) / 16.0 * ONES, rel=1e-5)


def test_gains_and_targets_are_bounded(bench):
    bench.activate()
    bench.drive_for(1000, target=2.0)
    for target, kp, kd, speed, duty in (
        (2.05, 6.0, 0.0, 0.0, 4.0 * 0.05),
        (2.0, 0.0, 0.5, 1.0, -0.1),
        (8.0, 0.1, 0.0, 0.0, 0.1 * (3.6 - 2.0)),
        (-8.0, 0.1, 0.0, 0.0, 0.1 * (0.2 - 2.0)),
    ):
        bench.sensors.motor_velocity_rad_s[:] = speed
        drive = bench.drive_for(1, target=target, kp=kp, kd=kd)
        assert drive.duty == pytest.approx(duty * ONES, rel=1e-4)


def test_no_gains_open_the_bridges(bench):
    bench.activate()
    bench.sensors.motor_velocity_rad_s[:] = 3.0
    bench.command(kp=0.0, kd=0.0)
    drive = bench.tick()
    assert not drive.enabled
    assert (drive.duty == 0.0).all()
    assert (bench.state.motor_torque_nm == 0.0).all()
    assert bench.drive_for(1, kp=0.0, kd=0.01).enabled


def test_every_motor_gets_its_own_duty(bench):
    bench.activate()
    bench.drive_for(1000, target=2.0)
    bench.sensors.motor_position_rad[:] = np.linspace(1.9, 2.1, 8)
    duty = bench.tick().duty
    assert duty == pytest.approx(2.0 - np.linspace(1.9, 2.1, 8), abs=1e-6)
