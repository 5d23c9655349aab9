"""The floor has no end: a robot walks as far as the longest run takes it, on either engine."""

import numpy as np
import pytest

from deploy.options import LONGEST_RUN_S
from robot_firmware_bridge.geometry import leg_to_motor
from sim.engines.mujoco import MujocoEngine
from sim.plant.params import PlantParams
from sim.plant.registry import make_plant
from training.tasks.gaits import TROT

# Faster than any policy here.
FARTHEST_M = 2.0 * LONGEST_RUN_S


def carry(plant, x_m, y_m):
    """Set the standing robot down elsewhere."""
    engine = plant.engine
    if isinstance(engine, MujocoEngine):
        engine._qpos[:2] += (x_m, y_m)
    else:
        world, robot = engine._world, engine._robot
        at, turn = world.getBasePositionAndOrientation(robot)
        world.resetBasePositionAndOrientation(robot, np.add(at, (x_m, y_m, 0.0)).tolist(), turn)
        engine._forget_contacts()
    plant.advance(200)  # it notices, and takes up its weight again


def trot(plant, seconds):
    """Trot open loop; the body's position after every tick (T, 3), and the energy in the end."""
    before_j, rows = plant.energy_j, []
    start_s = plant.t_ns * 1e-9
    for tick in range(round(seconds * 1000)):
        if tick % 6 == 0:
            plant.command(leg_to_motor(TROT.leg_targets(plant.t_ns * 1e-9 - start_s)), 1.0, 0.015)
        plant.advance(1)
        rows.append(plant.truth().position_m)
    return np.array(rows), plant.energy_j - before_j


@pytest.fixture(scope="module", params=["pybullet", "mujoco"])
def walker(request):
    """A plant, and how it walks at the origin."""
    plant = make_plant(request.param)
    carry(plant, 0.0, 0.0)
    yield plant, *trot(plant, 2.0)
    plant.close()


@pytest.mark.parametrize(
    ("x_m", "y_m"),
    [
        (97.0, 0.0),  # over the edge of Bullet's first box
        (-101.0, 0.0),
        (0.3, 150.0),
        (FARTHEST_M, 0.0),
        (-FARTHEST_M, FARTHEST_M),
    ],
)
def test_walks_anywhere_as_at_the_origin(walker, x_m, y_m):
    plant, rows, energy_j = walker
    plant.reset(PlantParams())
    carry(plant, x_m, y_m)
    start = plant.truth().position_m
    assert start[:2] == pytest.approx((x_m, y_m), abs=0.02)
    far_rows, far_energy_j = trot(plant, 2.0)
    assert far_rows[-1, 0] - start[0] == pytest.approx(rows[-1, 0], rel=0.05)
    assert far_rows[:, 2].mean() == pytest.approx(rows[:, 2].mean(), abs=5e-4)
    assert far_rows[:, 2].min() == pytest.approx(rows[:, 2].min(), abs=5e-3)
    assert far_energy_j == pytest.approx(energy_j, rel=0.05)


def test_within_a_tick_of_the_floors_move_a_robot_moves_on_as_it_would_have():
    """One of two crosses the edge of the box; both do the same up to there, to the bit."""
    paths, crossings = [], []
    for moved in (False, True):
        plant = make_plant()
        engine = plant.engine
        carry(plant, 0.0, 0.0)
        rows, _ = trot(plant, 1.0)
        if moved:  # as if the robot had come from far behind
            engine._floor_x_m = -1000.0
            engine._note_ground(-1000.0, 0.0)
        floor = engine._world.getBasePositionAndOrientation(engine._floor)[0]
        rows_after, _ = trot(plant, 0.3)
        paths.append((rows, rows_after))
        crossings.append(engine._floor_x_m != -1000.0 and floor[0] == 0.0)
        plant.close()
    assert all(crossings)
    (before, alone), (same_before, with_move) = paths
    np.testing.assert_array_equal(before, same_before)
    assert np.abs(alone[0] - with_move[0]).max() < 1e-4


def test_the_floor_goes_along_by_its_raster():
    plant = make_plant()
    engine = plant.engine

    def floor():
        return engine._world.getBasePositionAndOrientation(engine._floor)[0]

    seen = []
    for x_m, y_m in ((90.0, -90.0), (20.0, 0.0), (0.0, -20.0), (1000.0, 0.0)):
        carry(plant, x_m, y_m)
        seen.append(floor())
    assert seen == [
        (0.0, 0.0, -5.0),
        (100.0, -100.0, -5.0),
        (100.0, -100.0, -5.0),
        (1100.0, -100.0, -5.0),
    ]
    plant.reset(PlantParams())
    assert floor() == (0.0, 0.0, -5.0)
    plant.close()
