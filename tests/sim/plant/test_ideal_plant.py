"""Ideal motors: torque by hand, and a robot that does as it is told."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_firmware_bridge.robot import MINITAUR
from sim.plant.ideal_plant import IdealBulletPlant, ideal_torque
from sim.plant.params import PlantParams
from sim.plant.plant import BulletPlant
from sim.plant.registry import PLANTS

STILL = np.zeros(8)


def eight(value: float) -> np.ndarray:
    return np.full(8, value)


def test_torque_by_hand():
    # 0.1 rad of 100 Nm/rad, less 4 rad/s of 1 Nm s/rad.
    torque = ideal_torque(eight(2.1), eight(2.0), eight(4.0), MINITAUR.kp, MINITAUR.kd)
    assert torque == pytest.approx(eight(10.0 - 4.0))


def test_gains_scale_and_nothing_saturates():
    # The real drive ends at 3.5 Nm.
    assert ideal_torque(eight(3.0), eight(2.0), STILL, 1.0, 0.0) == pytest.approx(eight(100.0))
    assert ideal_torque(eight(3.0), eight(2.0), STILL, 0.5, 0.0) == pytest.approx(eight(50.0))
    damped = ideal_torque(eight(3.0), eight(2.0), eight(2.0), 0.0, 2.0 * MINITAUR.kd)
    assert damped == pytest.approx(eight(-4.0))


@given(error=st.floats(-3.0, 3.0), speed=st.floats(-100.0, 100.0), factor=st.floats(0.1, 10.0))
def test_torque_is_linear(error: float, speed: float, factor: float):
    once = ideal_torque(eight(error), STILL, eight(speed), 1.0, 0.015)
    more = ideal_torque(eight(factor * error), STILL, eight(factor * speed), 1.0, 0.015)
    assert more == pytest.approx(factor * once, abs=1e-9)


def error_after_a_step(plant: BulletPlant) -> np.ndarray:
    """How far the legs are from the stance after they were told to shift by 0.1 rad."""
    plant.reset(PlantParams(pd_latency_s=0.0))
    target = plant.robot.stance_pose_rad + 0.1
    plant.command(target, plant.robot.kp, plant.robot.kd)
    plant.advance(200)
    error: np.ndarray = np.abs(plant.motor_truth()[0] - target)
    plant.close()
    return error


def test_ideal_motors_hold_what_real_ones_only_lean_towards():
    ideal, real = error_after_a_step(PLANTS["pybullet-ideal"]()), error_after_a_step(BulletPlant())
    # A stance asks for about 1 Nm: a hundredth of a rad, and a tenth.
    assert ideal.max() < 0.02
    assert real.max() > 0.08


def test_battery_strength_and_heat_are_nothing_to_ideal_motors():
    weak = PlantParams(battery_v=1.0, motor_strength_scale=0.1, motor_viscous_nm_s_per_rad=0.5)
    poses = []
    for params in (PlantParams(), weak):
        plant = IdealBulletPlant()
        plant.reset(params)
        plant.command(plant.robot.stance_pose_rad - 0.3, plant.robot.kp, plant.robot.kd)
        plant.advance(300)
        poses.append(plant.motor_truth())
        assert plant.sense().fault == 0
        plant.close()
    np.testing.assert_array_equal(poses[0], poses[1])


def test_open_bridges_are_open_here_too():
    plant = IdealBulletPlant()
    plant.command(plant.robot.stance_pose_rad, 0.0, 0.0)
    plant.advance(1)
    np.testing.assert_array_equal(plant.motor_truth()[2], STILL)
    plant.close()
