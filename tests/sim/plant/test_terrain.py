"""The ground: by hand, by properties, and in both engines alike."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_firmware_bridge.geometry import leg_to_motor, rotation_from_quaternion
from sim.engines.bullet import BulletEngine
from sim.engines.mujoco import MujocoEngine
from sim.errors import ParameterError
from sim.plant.params import GRAVITY_M_S2, PlantParams
from sim.plant.plant import Plant
from sim.plant.terrain import (
    BLOCK_M,
    REACH_M,
    Boxes,
    block_heights,
    gravity_m_s2,
    ground_turn,
    terrain_named,
)
from training.tasks.gaits import TROT

# As stiff as the toes of the calibrated robots: softer ones sink in and catch on equal blocks.
STIFF = 12_000.0
places = st.floats(-300.0, 300.0)


@pytest.fixture(scope="module", params=[BulletEngine, MujocoEngine])
def plant(request):
    made = Plant(request.param())
    yield made
    made.close()


def test_names_of_terrain():
    assert terrain_named("flat") == {}
    assert terrain_named("blocks20+sill30") == {"block_height_m": 0.02, "sill_height_m": 0.03}
    assert terrain_named("ice+blocks20") == {"contact_friction": 0.25, "block_height_m": 0.02}
    assert terrain_named("slope10-down")["slope_rad"] == pytest.approx(-math.radians(10))
    diagonal = terrain_named("slope5-across+slope7-up")
    assert diagonal["cross_slope_rad"] == pytest.approx(math.radians(5))
    assert diagonal["slope_rad"] == pytest.approx(math.radians(7))


@pytest.mark.parametrize(
    "name", ["", "blocks", "hill", "blocks20+", "slope10", "slope10-left", "blocks\u0662"]
)
def test_an_unknown_terrain_is_named_with_what_there_is(name):
    with pytest.raises(ParameterError, match=r"unknown terrain .* blocks20 or sill30"):
        terrain_named(name)


@pytest.mark.parametrize("name", ["blocks300", "sill999", "slope45-up"])
def test_an_impossible_terrain_is_refused(name):
    with pytest.raises(ParameterError, match=r"impossible: .* at most 200 mm, slopes at most 40"):
        terrain_named(name)
    PlantParams(**terrain_named("blocks200+sill200+slope40-down"))


@pytest.mark.parametrize("name", ["blocks10+blocks20", "slope5-up+slope5-down", "sill1+flat+sill1"])
def test_a_terrain_says_a_thing_once(name):
    with pytest.raises(ParameterError, match="says the same thing twice"):
        terrain_named(name)


def test_gravity_on_slopes_by_hand():
    level = PlantParams(start_heading_rad=1.0)
    assert ground_turn(level) is None
    assert gravity_m_s2(level).tolist() == [0.0, 0.0, -GRAVITY_M_S2]
    # Uphill to the north: gravity pulls back south.
    north = gravity_m_s2(PlantParams(slope_rad=0.1, start_heading_rad=math.pi / 2))
    pull, down = GRAVITY_M_S2 * math.sin(0.1), GRAVITY_M_S2 * math.cos(0.1)
    assert north == pytest.approx((0.0, -pull, -down))
    # It rises to the left of a robot that looks along x: gravity pulls to its right.
    assert gravity_m_s2(PlantParams(cross_slope_rad=0.1)) == pytest.approx((0.0, -pull, -down))


@given(st.floats(-0.7, 0.7), st.floats(-0.7, 0.7), st.floats(-3.1, 3.1))
def test_gravity_is_level_down_seen_from_the_ground(slope, cross, heading):
    params = PlantParams(slope_rad=slope, cross_slope_rad=cross, start_heading_rad=heading)
    turn = ground_turn(params)
    if turn is not None:
        level = rotation_from_quaternion(turn) @ gravity_m_s2(params)
        assert level == pytest.approx((0.0, 0.0, -GRAVITY_M_S2), abs=1e-9)


def test_blocks_have_heights_of_all_kinds_by_seed_and_place():
    i, j = (each.ravel() for each in np.meshgrid(np.arange(-50, 50), np.arange(-50, 50)))
    shares = block_heights(7, i, j)
    assert 0.0 <= shares.min() < 0.01 < 0.99 < shares.max() < 1.0
    assert shares.mean() == pytest.approx(0.5, abs=0.02)
    assert np.abs(np.corrcoef(np.reshape(shares, (100, 100)))[0, 1:]).max() < 0.5
    assert (shares == block_heights(7, i, j)).all()
    assert np.abs(shares - block_heights(8, i, j)).mean() > 0.2


@given(places, places, st.floats(-3.1, 3.1))
def test_blocks_lie_about_a_place_without_gaps_and_move_only_where_they_must(x, y, heading):
    params = PlantParams(block_height_m=0.03, seed=3, start_heading_rad=heading)
    boxes = Boxes(params)
    here, there = boxes.centres_m(x, y), boxes.centres_m(x + 0.02, y)
    assert len(boxes.half_m) == 100
    assert np.linalg.norm(here[:, :2] - (x, y), axis=1).max() < 8 * BLOCK_M
    # The place itself and all that is half a metre from it lies on a block of its own.
    for angle in np.linspace(0.0, 2 * math.pi, 8):
        at = np.array((x + 0.5 * math.cos(angle), y + 0.5 * math.sin(angle)))
        across = rotation_from_quaternion(boxes.quaternion)[:2, :2].T @ (here[:, :2] - at).T
        assert (np.abs(across).max(axis=0) <= 0.5 * BLOCK_M + 1e-9).sum() >= 1
    assert (here != there).any(axis=1).sum() <= 20
    # A block is as high wherever the robot is.
    tops = {tuple(np.round(c[:2], 6)): c[2] for c in here}
    same = [tops[key] == c[2] for c in there if (key := tuple(np.round(c[:2], 6))) in tops]
    assert len(same) >= 80
    assert all(same)


def test_the_start_is_plain():
    boxes = Boxes(PlantParams(block_height_m=0.03, sill_height_m=0.03))
    centres = boxes.centres_m(0.0, 0.0)
    laid = centres[centres[:, 2] > -1.0]
    clear = np.maximum(*(np.abs(laid[:, :2]) - boxes.half_m[centres[:, 2] > -1.0, :2]).T)
    assert clear.min() >= 0.44


@given(places)
def test_sills_lie_every_one_and_a_half_metres(x):
    boxes = Boxes(PlantParams(sill_height_m=0.03))
    centres = boxes.centres_m(x, 0.0)
    spots = sorted(centres[:, 0])
    assert np.diff(spots) == pytest.approx(1.5)
    assert spots[0] < x < spots[-1] or abs(x - spots[1]) < 0.76
    tops = centres[:, 2] + boxes.half_m[:, 2]
    assert {round(top, 9) for top in tops} <= {0.03, round(-10.0 + 0.15, 9)}


def stand(plant, **params):
    plant.reset(PlantParams(toe_stiffness_n_per_m=STIFF, **params))
    plant.command(plant.robot.stance_pose_rad, 3.0, 0.03)
    plant.advance(700)


def test_a_robot_that_stands_on_a_slope_feels_it(plant):
    for heading in (0.0, 2.0):
        stand(plant, slope_rad=0.17, start_heading_rad=heading)
        roll, pitch, _ = plant.sense().rpy_rad
        assert (roll, pitch) == pytest.approx((0.0, -0.17), abs=0.03)
        assert plant.truth().tilt_rad < 0.03
        stand(plant, cross_slope_rad=0.17, start_heading_rad=heading)
        roll, pitch, _ = plant.sense().rpy_rad
        assert (roll, pitch) == pytest.approx((0.17, 0.0), abs=0.03)


def test_too_steep_for_its_friction_a_robot_slides_by_the_law_of_the_inclined_plane(plant):
    friction, slope = 0.2, 0.5
    stand(plant, slope_rad=slope, contact_friction=friction)
    before = plant.truth().velocity_m_s[0]
    plant.advance(300)
    gained = plant.truth().velocity_m_s[0] - before
    expected = -GRAVITY_M_S2 * (math.sin(slope) - friction * math.cos(slope)) * 0.3
    assert gained == pytest.approx(expected, rel=0.03)


def test_on_blocks_all_of_one_height_a_robot_stands_as_high_as_they_are(plant, monkeypatch):
    monkeypatch.setattr("sim.plant.terrain._PLAIN_M", 0.0)
    monkeypatch.setattr("sim.plant.terrain.block_heights", lambda _, i, j: np.ones(i.shape))
    stand(plant)
    flat_m = plant.base_position_m()[2]
    plant.reset(PlantParams(toe_stiffness_n_per_m=STIFF, block_height_m=0.05))
    # It is built on the plain floor, inside of the blocks: put it on top of them.
    pose = plant.robot.stance_pose_rad
    at = np.array((0.0, 0.0, flat_m + 0.051, 0.0, 0.0, 0.0, 1.0, *np.zeros(6)))
    plant.place(pose, np.zeros(8), at)
    plant.command(pose, 3.0, 0.03)
    plant.advance(800)
    assert plant.base_position_m()[2] == pytest.approx(flat_m + 0.05, abs=5e-4)


def walk(plant, seconds, **params):
    plant.reset(PlantParams(toe_stiffness_n_per_m=STIFF, **params))
    for _ in range(round(seconds / 0.006)):
        plant.command(leg_to_motor(TROT.leg_targets(plant.t_ns * 1e-9)), 1.0, 0.015)
        plant.advance(6)
    return plant.truth()


def test_over_blocks_of_no_height_a_robot_trots_as_on_the_floor(plant, monkeypatch):
    floor = walk(plant, 3.0)
    monkeypatch.setattr("sim.plant.terrain.block_heights", lambda _, i, j: np.zeros(i.shape))
    blocks = walk(plant, 3.0, block_height_m=0.05)
    assert floor.position_m[0] > 3.0
    assert blocks.position_m[0] == pytest.approx(floor.position_m[0], rel=0.06)


def test_sills_hold_up_and_do_not_end(plant):
    """A sill that nobody can cross stops the robot in front of it, whatever way it looks."""
    for heading in (0.0, 2.5):
        truth = walk(plant, 3.0, sill_height_m=0.15, start_heading_rad=heading)
        ahead = truth.position_m[:2] @ (math.cos(heading), math.sin(heading))
        assert 0.4 < ahead < 1.5


@pytest.mark.parametrize("make", [BulletEngine, MujocoEngine])
def test_on_rough_ground_the_tick_in_c_gives_the_bits_of_the_one_in_python(make):
    plants = Plant(make(), compiled=False), Plant(make())
    params = {"block_height_m": 0.01, "sill_height_m": 0.01, "slope_rad": 0.05, "seed": 5}
    for plant in plants:
        walk(plant, 3.0, start_heading_rad=0.7, **params)
    one, two = plants
    assert two._compiled is not None
    np.testing.assert_array_equal(one._history.rows, two._history.rows)
    assert np.linalg.norm(one.base_position_m()[:2]) > 3 * REACH_M
    for plant in plants:
        plant.close()


@pytest.mark.parametrize("far", [1e300, math.inf, -math.inf, math.nan])
def test_a_simulation_that_diverges_finds_boxes_somewhere(far):
    boxes = Boxes(PlantParams(block_height_m=0.02, sill_height_m=0.02))
    assert np.isfinite(boxes.centres_m(far, 0.0)).all()
    assert np.isfinite(boxes.centres_m(0.0, far)).all()
