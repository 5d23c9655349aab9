"""The drives against numbers worked out by hand; ideal motors, alone and on a robot."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_firmware_bridge.robot import MINITAUR
from sim.plant.drives import Actuators, IdealActuators, pd_duty
from sim.plant.params import PlantParams
from sim.plant.plant import Plant
from sim.plant.registry import make_plant

STILL = np.zeros(8)


def duties(value: float) -> np.ndarray:
    return np.full(8, value)


def test_pd_duty_by_hand():
    duty = pd_duty(duties(2.1), duties(2.0), duties(4.0), kp=1.0, kd=0.015)
    assert duty == pytest.approx(duties(0.1 - 0.06))


def test_pd_duty_saturates_both_ways():
    assert (pd_duty(duties(9.0), STILL, STILL, 1.0, 0.0) == 1.0).all()
    assert (pd_duty(duties(-9.0), STILL, STILL, 1.0, 0.0) == -1.0).all()


@pytest.mark.parametrize(
    ("duty", "speed", "torque"),
    [
        # Stalled: 0.1 of 16 V over 0.186 ohm is 8.602 A; the curve begins with 0.1 Nm per A.
        (0.1, 0.0, 1.6 / 0.186 * 0.1),
        # 16 V / 0.186 ohm = 86 A, past the last measured point of 60 A.
        (-1.0, 0.0, -3.5),
        # The back-EMF stops a motor at its no-load speed.
        (0.5, 0.5 * 16.0 / 0.0954, 0.0),
    ],
)
def test_torque_by_hand(duty, speed, torque):
    found = Actuators().torque(duties(duty), duties(speed))
    assert found == pytest.approx(duties(torque), rel=1e-6, abs=1e-9)


def test_battery_strength_and_viscous_friction():
    actuators = Actuators()
    actuators.reset(
        PlantParams(battery_v=14.0, motor_strength_scale=0.8, motor_viscous_nm_s_per_rad=0.01)
    )
    current = (0.1 * 14.0 - 0.0954 * 2.0) / 0.186
    assert actuators.torque(duties(0.1), duties(2.0)) == pytest.approx(
        duties(0.8 * 0.1 * current - 0.02)
    )


def test_a_motor_that_pushes_too_long_is_stalled_and_then_switched_off_for_good():
    actuators = Actuators()
    duty = duties(0.1)
    duty[3] = 1.0
    torques, stalled = [], []
    for _ in range(1010):
        torques.append(actuators.torque(duty, STILL)[3])
        stalled.append(actuators.stalled)
    assert torques[:999] == pytest.approx([3.5] * 999)
    assert torques[1001] == 0.0
    assert list(actuators.enabled) == [True, True, True, False, True, True, True, True]
    assert 199 <= stalled.index(True) <= 201  # 0.2 s of ticks that no float sums up exactly
    assert all(stalled[201:])
    assert actuators.torque(duties(0.1), STILL)[3] == 0.0
    assert actuators.stalled  # off
    actuators.reset(PlantParams())
    assert not actuators.stalled
    assert actuators.torque(duties(0.1), STILL)[3] > 0.8


def test_a_pause_cools_a_motor():
    actuators = Actuators()
    for _ in range(5):
        for _ in range(900):
            actuators.torque(duties(1.0), STILL)
        actuators.torque(duties(0.1), STILL)
    assert actuators.enabled.all()


@given(
    duty=st.floats(-1.0, 1.0),
    speed=st.floats(-150.0, 150.0),
    battery=st.floats(10.0, 20.0),
)
def test_torque_is_odd_and_bounded(duty: float, speed: float, battery: float):
    actuators = Actuators()
    actuators.reset(dataclasses.replace(PlantParams(), battery_v=battery))
    torque = actuators.torque(duties(duty), duties(speed))
    mirrored = actuators.torque(duties(-duty), duties(-speed))
    assert torque == pytest.approx(-mirrored)
    assert np.abs(torque).max() <= 3.5


# Ideal motors.


def ideal_torque(target, position, velocity, kp, kd):
    # The true speed is one that no ideal motor depends on.
    return IdealActuators().follow(target, position, velocity, kp, kd, duties(77.0))


def test_ideal_torque_by_hand():
    # 0.1 rad of 100 Nm/rad, less 4 rad/s of 1 Nm s/rad.
    torque = ideal_torque(duties(2.1), duties(2.0), duties(4.0), MINITAUR.kp, MINITAUR.kd)
    assert torque == pytest.approx(duties(10.0 - 4.0))


def test_gains_scale_and_nothing_saturates():
    # The real drive ends at 3.5 Nm.
    assert ideal_torque(duties(3.0), duties(2.0), STILL, 1.0, 0.0) == pytest.approx(duties(100.0))
    assert ideal_torque(duties(3.0), duties(2.0), STILL, 0.5, 0.0) == pytest.approx(duties(50.0))
    damped = ideal_torque(duties(3.0), duties(2.0), duties(2.0), 0.0, 2.0 * MINITAUR.kd)
    assert damped == pytest.approx(duties(-4.0))


@given(error=st.floats(-3.0, 3.0), speed=st.floats(-100.0, 100.0), factor=st.floats(0.1, 10.0))
def test_ideal_torque_is_linear(error: float, speed: float, factor: float):
    once = ideal_torque(duties(error), STILL, duties(speed), 1.0, 0.015)
    more = ideal_torque(duties(factor * error), STILL, duties(factor * speed), 1.0, 0.015)
    assert more == pytest.approx(factor * once, abs=1e-9)


def error_after_a_step(plant: Plant) -> np.ndarray:
    """How far the legs are from the stance after a command to shift by 0.1 rad."""
    plant.reset(PlantParams(pd_latency_s=0.0))
    target = plant.robot.stance_pose_rad + 0.1
    plant.command(target, plant.robot.kp, plant.robot.kd)
    plant.advance(200)
    error: np.ndarray = np.abs(plant.motor_truth()[0] - target)
    plant.close()
    return error


def test_ideal_motors_hold_what_real_ones_only_lean_towards():
    ideal, real = error_after_a_step(make_plant("pybullet-ideal")), error_after_a_step(make_plant())
    # A stance asks for about 1 Nm: a hundredth of a rad, and a tenth.
    assert ideal.max() < 0.02
    assert real.max() > 0.08


def test_battery_strength_and_heat_are_nothing_to_ideal_motors():
    weak = PlantParams(battery_v=1.0, motor_strength_scale=0.1, motor_viscous_nm_s_per_rad=0.5)
    poses = []
    for params in (PlantParams(), weak):
        plant = make_plant("pybullet-ideal")
        plant.reset(params)
        plant.command(plant.robot.stance_pose_rad - 0.3, plant.robot.kp, plant.robot.kd)
        plant.advance(300)
        poses.append(plant.motor_truth())
        assert plant.sense().fault == 0
        plant.close()
    np.testing.assert_array_equal(poses[0], poses[1])


def test_open_bridges_are_open_here_too():
    plant = make_plant("pybullet-ideal")
    plant.command(plant.robot.stance_pose_rad, 0.0, 0.0)
    plant.advance(1)
    np.testing.assert_array_equal(plant.motor_truth()[2], STILL)
    plant.close()


# What a calibration may find different.


def test_resistance_and_torque_constant_by_hand():
    """Half the constant: half the back-EMF, and half of the measured 0.1 Nm/A."""
    actuators = Actuators()
    actuators.reset(PlantParams(winding_resistance_ohm=0.4, torque_constant_nm_per_a=0.0477))
    current = (0.1 * 16.0 - 0.0477 * 2.0) / 0.4
    assert actuators.torque(duties(0.1), duties(2.0)) == pytest.approx(duties(0.05 * current))
    # The whole curve is scaled, where it saturates too.
    actuators.reset(PlantParams(winding_resistance_ohm=0.1, torque_constant_nm_per_a=0.0477))
    assert actuators.torque(duties(1.0), STILL) == pytest.approx(duties(1.75))


def test_a_battery_sags_by_hand():
    """V = 16 - 0.186 (8 x 0.1 I) and I = 0.1 V / 0.186, so V = 16 / (1 + 8 x 0.1^2)."""
    actuators = Actuators()
    actuators.reset(PlantParams(battery_resistance_ohm=0.186))
    torque = actuators.torque(duties(0.1), STILL)
    assert actuators.battery_v == pytest.approx(16.0 / 1.08)
    assert torque == pytest.approx(duties(0.1 * 0.1 * 16.0 / 1.08 / 0.186))
    actuators.open()
    assert actuators.battery_v == 16.0
    assert not actuators.open().any()


def test_braking_charges_the_battery_and_nothing_turns_its_voltage_round():
    actuators = Actuators()
    actuators.reset(PlantParams(battery_resistance_ohm=0.186))
    actuators.torque(duties(0.1), duties(50.0))  # back-EMF of 4.77 V against 1.6 V
    assert actuators.battery_v == pytest.approx((16.0 + 8 * 0.1 * 4.77) / 1.08)
    # Full duty against a fast turn: eight motors ask for more than the battery has.
    torque = actuators.torque(duties(1.0), duties(-100.0))
    assert actuators.battery_v == 0.0
    assert (torque > 0.0).all()  # shorted windings brake


def test_a_motor_that_is_off_takes_no_current():
    actuators = Actuators()
    actuators.reset(PlantParams(battery_resistance_ohm=0.01))
    duty = duties(0.0)
    duty[3] = 1.0
    for _ in range(1002):
        actuators.torque(duty, STILL)
        if actuators.enabled.all():
            assert actuators.battery_v == pytest.approx(16.0 / (1.0 + 0.01 / 0.186))
    assert not actuators.enabled[3]
    assert actuators.battery_v == 16.0


eight = st.lists(st.floats(-1.0, 1.0), min_size=8, max_size=8).map(np.array)


@given(duty=eight, speed=eight, resistance=st.floats(1e-3, 1.0))
def test_sagging_voltage_and_currents_agree_with_each_other(duty, speed, resistance):
    speed = 60.0 * speed
    actuators = Actuators()
    actuators.reset(PlantParams(battery_resistance_ohm=resistance))
    actuators.torque(duty, speed)
    voltage = actuators.battery_v
    current = (duty * voltage - 0.0954 * speed) / 0.186
    open_v = voltage + resistance * float(duty @ current)
    assert open_v == pytest.approx(16.0) if voltage > 0.0 else open_v >= 16.0 - 1e-9


def test_ideal_motors_load_no_battery():
    actuators = IdealActuators()
    actuators.reset(PlantParams(battery_resistance_ohm=0.5))
    actuators.follow(duties(3.0), duties(2.0), STILL, 1.0, 0.0, STILL)
    assert actuators.battery_v == 16.0
