"""The lowest point of the robot, against the distances that MuJoCo measures."""

import math

import numpy as np
import pytest

from robot_firmware_bridge.geometry import leg_to_motor
from robot_firmware_bridge.robot import MINITAUR
from sim.engines.lowest_point import LowestPoint
from sim.engines.mujoco import MujocoEngine
from sim.model.minitaur import MODELS, load_tree
from sim.plant.params import PlantParams

UPRIGHT = np.array((0.0, 0.0, 0.0, 1.0))


def test_as_far_as_mujoco_measures_at_any_attitude(name):
    engine = MujocoEngine(name)
    engine.reset(PlantParams())
    rng = np.random.default_rng(3)
    for _ in range(20):
        leg = np.concatenate((rng.uniform(-0.8, 0.8, 4), rng.uniform(0.7, 2.7, 4)))
        quaternion = rng.normal(size=4)
        quaternion /= np.linalg.norm(quaternion)
        origin = np.concatenate(((0.1, 0.2, 0.4), quaternion, np.zeros(6)))
        engine.place(leg_to_motor(leg), np.zeros(8), origin)
        depth_m = engine.touching_height_m(leg_to_motor(leg), quaternion)
        assert 0.4 - engine._lowest_m() == pytest.approx(depth_m, abs=1e-12)


def test_of_a_standing_leg_by_hand():
    """Upper links apart by 180 degrees: the knees are 0.202 m apart, the pin 0.2 and 0.208 m away.

    The longer lower leg is a box that goes on to 0.24 m, 17 mm thick.
    """
    name = "minitaur_rainbow_dash"
    model = MODELS[name]
    lowest = LowestPoint(load_tree(name, merged=True), model)
    motors, knees = 0.5 * math.pi * MINITAUR.directions, np.array(model.start_knees_rad)
    cosine = (0.208**2 + 0.202**2 - 0.2**2) / (2 * 0.208 * 0.202)
    hand_m = 0.0185 + 0.24 * math.sqrt(1 - cosine**2) + 0.0085 * cosine
    assert lowest.depth_m(motors, knees, UPRIGHT) == pytest.approx(hand_m, abs=1e-5)
    # On its back the robot lies on the box that it carries: 0.08 m wide, its middle 0.08 m up.
    over = np.array((1.0, 0.0, 0.0, 0.0))
    assert lowest.depth_m(motors, knees, over) == pytest.approx(0.12, abs=1e-9)
