"""The duck: it rides on a robot that stands, and is lost by one that tips over."""

from __future__ import annotations

import numpy as np
import pytest

from robot_firmware_bridge.geometry import rotation_from_quaternion
from sim.model.minitaur import MODELS
from sim.plant.params import PlantParams
from sim.plant.plant import Plant
from sim.plant.registry import make_plant


@pytest.fixture(scope="module")
def plant():
    plant = make_plant("pybullet-duck")
    yield plant
    plant.close()


@pytest.mark.parametrize("model", MODELS)
def test_stays_on_the_back_of_a_robot_that_stands(model: str) -> None:
    plant = make_plant("pybullet-duck", model)
    seat = plant.engine.load.position_m - plant.truth().position_m
    plant.advance(2000)
    assert not plant.load_lost
    assert plant.truth().tilt_rad < 0.05
    np.testing.assert_allclose(
        plant.engine.load.position_m - plant.truth().position_m, seat, atol=0.002
    )
    assert seat[2] > 0.04
    plant.close()


@pytest.mark.parametrize("heading_rad", [1.3, -2.0, 3.1])
def test_its_seat_is_the_robots_whatever_the_heading(plant: Plant, heading_rad: float) -> None:
    seats = []
    for yaw in (0.0, heading_rad):
        plant.reset(PlantParams(start_heading_rad=yaw))
        plant.advance(500)
        truth, load = plant.truth(), plant.engine.load
        own = rotation_from_quaternion(truth.quaternion).T
        seats.append(
            (
                own @ (load.position_m - truth.position_m),
                own @ rotation_from_quaternion(load.quaternion),
            )
        )
    (at, turn), (turned_at, turned_turn) = seats
    np.testing.assert_allclose(turned_at, at, atol=0.003)
    np.testing.assert_allclose(turned_turn, turn, atol=0.05)


def test_weighs_on_the_robot(plant: Plant, body: Plant) -> None:
    """The legs bear 0.1 kg more: a little lower, with a little more torque."""
    heights = []
    for one in (plant, body):
        one.reset(PlantParams())
        one.advance(1000)
        heights.append(one.truth().position_m[2])
    assert 1e-5 < heights[1] - heights[0] < 2e-3
    assert plant.engine.mass_kg == body.engine.mass_kg  # what is carried is no part of the robot


def test_is_lost_when_the_robot_tips_over(plant: Plant) -> None:
    shove = PlantParams(
        push_force_low_n=250.0, push_force_high_n=250.0, push_interval_s=0.2, seed=1
    )
    plant.reset(shove)
    assert not plant.load_lost
    plant.advance(4000)
    assert plant.load_lost
    assert plant.engine.load.position_m[2] < 0.1
    plant.reset(PlantParams())
    assert not plant.load_lost


def test_a_bare_robot_has_nothing_to_lose(body: Plant) -> None:
    assert not body.load_lost


def test_is_in_the_picture(plant: Plant) -> None:
    plant.reset(PlantParams())
    picture = plant.camera(160, 90).astype(int)
    yellow = (picture[..., 0] > 150) & (picture[..., 1] > 150) & (picture[..., 2] < 120)
    assert yellow.sum() > 20
