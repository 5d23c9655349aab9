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
    PATCH_HALF_M,
    REACH_M,
    TREAD_M,
    Boxes,
    Patches,
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
    assert terrain_named("waves40+stairs20") == {"wave_height_m": 0.04, "stair_rise_m": 0.02}
    assert terrain_named("patches25") == {"patch_friction_scale": 0.25}
    assert terrain_named("slope10-down")["slope_rad"] == pytest.approx(-math.radians(10))
    diagonal = terrain_named("slope5-across+slope7-up")
    assert diagonal["cross_slope_rad"] == pytest.approx(math.radians(5))
    assert diagonal["slope_rad"] == pytest.approx(math.radians(7))


@pytest.mark.parametrize(
    "name",
    ["", "blocks", "hill", "hill20", "blocks20+", "waves20-up", "slope10-left", "blocks\u0662"],
)
def test_an_unknown_terrain_is_named_with_what_there_is(name):
    with pytest.raises(ParameterError, match=r"unknown terrain .* blocks20, sill30"):
        terrain_named(name)


@pytest.mark.parametrize("name", ["blocks300", "sill999", "stairs201", "slope45-up", "patches101"])
def test_an_impossible_terrain_is_refused(name):
    with pytest.raises(ParameterError, match=r"impossible: .* at most 200 mm, slopes at most 40"):
        terrain_named(name)
    PlantParams(**terrain_named("blocks200+sill200+waves200+stairs200+slope40-down+patches0"))


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
        across = rotation_from_quaternion(boxes.quaternions[0])[:2, :2].T @ (here[:, :2] - at).T
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


def tops(boxes, centres):
    """Where the back and the front edge of each strip's top are, ahead and up, shape (N, 2, 2)."""
    corners = []
    for half, quaternion, centre in zip(boxes.half_m, boxes.quaternions, centres, strict=True):
        ahead, _, up = (rotation_from_quaternion(quaternion) * half).T
        corners.append([centre + up - ahead, centre + up + ahead])
    return np.array(corners)[:, :, [0, 2]]


@given(places, st.floats(0.001, 0.2))
def test_waves_are_crests_between_ramps_that_end_below_the_floor(x, height):
    boxes = Boxes(PlantParams(wave_height_m=height))
    edges = tops(boxes, boxes.centres_m(x, 0.0))
    edges = edges[np.argsort(edges[:, :, 0].mean(axis=1))]
    laid = edges[edges[:, 0, 1] > -2.0]
    assert len(laid) >= 3
    for back, front in laid:
        crest = 1.2 * round(0.5 * (back[0] + front[0]) / 1.2)
        assert abs(crest) > 1.0  # none lies about the start
        for edge, other in ((back, front), (front, back)):
            if edge[1] > 0.0:
                assert edge == pytest.approx((crest + math.copysign(0.1, edge[0] - crest), height))
            else:
                rise = (other[1] - edge[1]) / abs(other[0] - edge[0])
                assert rise == pytest.approx(height / 0.4)
                assert abs(other[0] - edge[0]) == pytest.approx(0.7)


@given(places)
def test_stairs_go_up_three_steps_and_down_again(x):
    boxes = Boxes(PlantParams(stair_rise_m=0.02))
    edges = tops(boxes, boxes.centres_m(x, 0.0))
    for back, front in edges[edges[:, 0, 1] > -1.0]:
        assert front[0] - back[0] == pytest.approx(TREAD_M)
        number = round(0.5 * (back[0] + front[0]) / TREAD_M) % 8
        assert (back[1], front[1]) == pytest.approx([0.02 * (3 - abs(number - 4))] * 2)
    assert len(edges) == 8
    assert (edges[:, 0, 1] > -1.0).sum() >= 4


@given(places, places, st.floats(-3.1, 3.1))
def test_patches_lie_where_the_seed_says_wherever_the_robot_is(x, y, heading):
    params = PlantParams(patch_friction_scale=0.25, start_heading_rad=heading, seed=4)
    here, there = Patches(params), Patches(params)
    here.lay(x, y)
    there.lay(x + 0.1, y - 0.1)
    probes = [(x + u, y + v) for u in np.linspace(-0.5, 0.5, 5) for v in np.linspace(-0.5, 0.5, 5)]
    scales = [here.scale_at(*probe) for probe in probes]
    assert scales == [there.scale_at(*probe) for probe in probes]
    assert set(scales) <= {0.25, 1.0}
    assert {here.scale_at(*place[:2]) for place in here.places_m() if place[2] == 0.0} == {0.25}


def test_patches_are_seeded_and_leave_the_start_plain():
    laid = []
    for seed in range(20):
        patches = Patches(PlantParams(patch_friction_scale=0.25, seed=seed))
        patches.lay(0.0, 0.0)
        assert len(patches.middles_m) == 8
        clear = np.abs(patches.middles_m).max(axis=1) - PATCH_HALF_M
        assert clear.min() >= 0.45
        laid.append(patches.middles_m)
    assert len(np.unique(np.round(laid, 6), axis=0)) == 20
    none = Patches(PlantParams())
    none.lay(0.0, 0.0)
    assert (none.exist, none.middles_m, none.scale_at(1.0, 1.0)) == (False, [], 1.0)


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


# Where the robot stands, and how high its back and its front toes do, which are 0.24 m from there.
RESTS = [
    ({"wave_height_m": 0.04}, 1.2, 0.0263, 0.0263),  # on both sides of a crest
    ({"wave_height_m": 0.04}, 1.8, 0.0137, 0.0137),  # on both sides of a trough
    ({"wave_height_m": 0.04}, 1.5, 0.04, 0.0),  # from crest to trough
    ({"stair_rise_m": 0.02}, 1.75, 0.04, 0.06),  # on the middles of two treads
]


@pytest.mark.parametrize(("params", "x_m", "back_m", "front_m"), RESTS)
def test_on_waves_and_stairs_a_robot_rests_as_high_as_they_are(plant, params, x_m, back_m, front_m):
    stand(plant)
    flat_m = plant.base_position_m()[2]
    plant.reset(PlantParams(toe_stiffness_n_per_m=STIFF, **params))
    pose = plant.robot.stance_pose_rad
    height_m = flat_m + max(back_m, front_m)
    plant.place(pose, np.zeros(8), np.array((x_m, 0.0, height_m, 0.0, 0.0, 0.0, 1.0, *np.zeros(6))))
    plant.command(pose, 3.0, 0.03)
    plant.advance(800)
    truth = plant.truth()
    assert truth.position_m[2] == pytest.approx(flat_m + 0.5 * (back_m + front_m), abs=1.2e-3)
    assert truth.rpy_rad[1] == pytest.approx(math.atan((back_m - front_m) / 0.475), abs=0.01)


@pytest.mark.parametrize("scale", [0.1, 0.25])
def test_on_a_patch_a_robot_slides_by_its_friction(plant, scale):
    params = PlantParams(toe_stiffness_n_per_m=STIFF, patch_friction_scale=scale, seed=3)
    patches = Patches(params)
    patches.lay(0.0, 0.0)
    stand(plant)
    height_m = plant.base_position_m()[2]
    plant.reset(params)
    pose = plant.robot.stance_pose_rad
    for number in (1, 5):
        at = (*patches.places_m()[number, :2], height_m, 0.0, 0.0, 0.0, 1.0, 0.4, *np.zeros(5))
        plant.place(pose, np.zeros(8), np.array(at))
        plant.command(pose, 3.0, 0.03)
        plant.advance(80)
        lost = 0.4 - plant.truth().velocity_m_s[0]
        assert lost == pytest.approx(scale * GRAVITY_M_S2 * 0.08, rel=0.05)


def test_the_stock_contact_refuses_patches():
    engine = BulletEngine(stock_contact=True)
    with pytest.raises(ParameterError, match="the stock contact has no slippery patches"):
        engine.reset(PlantParams(patch_friction_scale=0.5))
    engine.close()


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
@pytest.mark.parametrize(
    "params",
    [
        {"block_height_m": 0.01, "sill_height_m": 0.01, "slope_rad": 0.05, "seed": 5},
        {"wave_height_m": 0.02, "stair_rise_m": 0.01, "patch_friction_scale": 0.3, "seed": 5},
    ],
)
def test_on_rough_ground_the_tick_in_c_gives_the_bits_of_the_one_in_python(make, params):
    plants = Plant(make(), compiled=False), Plant(make())
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
    params = PlantParams(
        block_height_m=0.02, sill_height_m=0.02, wave_height_m=0.02, patch_friction_scale=0.2
    )
    boxes, patches = Boxes(params), Patches(params)
    for place in ((far, 0.0), (0.0, far)):
        assert np.isfinite(boxes.centres_m(*place)).all()
        patches.lay(*place)
        assert patches.scale_at(*place) == 1.0
