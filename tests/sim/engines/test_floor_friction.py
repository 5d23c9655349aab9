"""Friction knows no north: plates and robots slide alike in every direction, on both engines."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_firmware_bridge.geometry import leg_to_motor
from sim.engines.bullet import World, bullet
from sim.engines.floor_friction import (
    DAMPING_N_S_PER_M,
    STIFFNESS_N_PER_M,
    FloorFriction,
    along,
    friction_force,
)
from sim.engines.mujoco import import_mujoco
from sim.plant.params import GRAVITY_M_S2, TICK_S, PlantParams
from sim.plant.registry import make_plant
from training.tasks.gaits import TROT

HEADINGS = [math.radians(30.0 * k) for k in range(12)]
HEADINGS_OF_ROBOT = [math.radians(30.0 * k - 170.0) for k in range(12)]
HALF_M, MASS_KG = (0.2, 0.1, 0.01), 5.0
SPEED_M_S, FRICTION = 2.0, 1.0


def bullet_plate(heading):
    """Slide a plate in Bullet under our friction; displacement (3,) and turn."""
    world = World()
    world.setPhysicsEngineParameter(
        fixedTimeStep=TICK_S, numSolverIterations=10, deterministicOverlappingPairs=1
    )
    world.setGravity(0.0, 0.0, -GRAVITY_M_S2)
    box = world.createCollisionShape(bullet.GEOM_BOX, halfExtents=(100.0, 100.0, 5.0))
    floor = world.createMultiBody(0, box, basePosition=(0.0, 0.0, -5.0))
    world.changeDynamics(floor, -1, lateralFriction=0.0)
    shape = world.createCollisionShape(bullet.GEOM_BOX, halfExtents=HALF_M)
    plate = world.createMultiBody(MASS_KG, shape, basePosition=(0.0, 0.0, HALF_M[2]))
    world.changeDynamics(plate, -1, linearDamping=0.0, angularDamping=0.0)
    friction = FloorFriction(bullet, world.client, plate, range(floor, floor + 1), FRICTION)

    def pose(ticks):
        for _ in range(ticks):
            friction.apply()
            world.stepSimulation()
        at, turn = world.getBasePositionAndOrientation(plate)
        return np.array(at), bullet.getEulerFromQuaternion(turn)[2]

    start, _ = pose(100)
    velocity = (SPEED_M_S * math.cos(heading), SPEED_M_S * math.sin(heading), 0.0)
    world.resetBaseVelocity(plate, velocity, (0.0, 0.0, 0.0))
    end, turn = pose(500)
    world.close()
    return end - start, turn


def mujoco_plate(heading):
    """The same in MuJoCo, with the cone and the tick of our engine there."""
    mujoco = import_mujoco()
    size = " ".join(map(str, HALF_M))
    model = mujoco.MjModel.from_xml_string(f"""
        <mujoco><option timestep="{TICK_S}" gravity="0 0 -{GRAVITY_M_S2}" cone="elliptic"
            solver="Newton" integrator="Euler"/>
        <worldbody><geom type="plane" size="0 0 1" friction="{FRICTION}" condim="3"/>
        <body pos="0 0 {HALF_M[2]}"><freejoint/>
        <geom type="box" size="{size}" mass="{MASS_KG}" friction="{FRICTION}" condim="3"/>
        </body></worldbody></mujoco>""")
    data = mujoco.MjData(model)
    mujoco.mj_step(model, data, 200)
    start = data.qpos[:3].copy()
    data.qvel[:] = 0.0
    data.qvel[:2] = SPEED_M_S * math.cos(heading), SPEED_M_S * math.sin(heading)
    mujoco.mj_step(model, data, 500)
    w, _, _, z = data.qpos[3:7]
    return data.qpos[:3] - start, 2.0 * math.atan2(z, w)


@pytest.mark.parametrize("heading", HEADINGS)
@pytest.mark.parametrize("slide", [bullet_plate, mujoco_plate])
def test_a_plate_slides_straight_and_as_far_as_it_should(slide, heading):
    (x, y, _), turn = slide(heading)
    by_hand_m = SPEED_M_S**2 / (2.0 * FRICTION * GRAVITY_M_S2)
    assert math.hypot(x, y) == pytest.approx(by_hand_m, rel=0.02)
    off = (math.atan2(y, x) - heading + math.pi) % (2.0 * math.pi) - math.pi
    assert abs(math.degrees(off)) < 1.0
    assert abs(math.degrees(turn)) < 1.0


@pytest.fixture(scope="module", params=["pybullet", "mujoco"])
def plant(request):
    plant = make_plant(request.param)
    yield plant
    plant.close()


def in_start_frame(plant, heading, ticks, act):
    """Run ticks from a heading; the path in the frame of the start (ticks, 3) and the last yaw."""
    plant.reset(PlantParams(start_heading_rad=heading, contact_friction=0.6))
    start, path = plant.truth(), []
    for tick in range(ticks):
        act(plant, start, tick)
        plant.advance(1)
        path.append(plant.truth().seen_from(start).position_m)
    return np.array(path), plant.truth().seen_from(start).rpy_rad[2]


def shove(plant, start, tick):
    """Push the standing robot at 40 degrees to its heading, hard enough that its toes slide."""
    if tick < 60:
        yaw = start.rpy_rad[2] + math.radians(40.0)
        plant.engine.step(np.zeros(8), np.array((math.cos(yaw), math.sin(yaw), 0.0)) * 150.0)


def trot(plant, start, tick):
    if tick % 6 == 0:
        plant.command(leg_to_motor(TROT.leg_targets(tick * TICK_S)), 1.0, 0.015)


@pytest.mark.parametrize(("act", "ticks"), [(shove, 200), (trot, 900)])
def test_a_robot_slides_and_trots_alike_from_every_heading(plant, act, ticks):
    paths, turns = zip(
        *(in_start_frame(plant, heading, ticks, act) for heading in HEADINGS_OF_ROBOT), strict=True
    )
    ends = np.array([path[-1, :2] for path in paths])
    assert np.linalg.norm(ends[0]) > 0.1
    assert np.ptp(ends, axis=0).max() < 0.02 * np.linalg.norm(ends[0])
    assert np.ptp(turns) < 0.02


displacements = st.floats(-0.01, 0.01)
slips = st.floats(-10.0, 10.0)


@given(displacements, displacements, slips, slips, st.floats(0.0, 500.0), st.floats(-3.2, 3.2))
def test_the_force_is_bounded_and_turns_with_the_slip(x, y, u, v, bound_n, angle):
    (fx, fy, fz), _ = friction_force((x, y, 0.0), (u, v, 0.0), bound_n)
    assert fz == 0.0
    # The square of a force below 1e-150 N underflows, so only above that is it bounded.
    assert math.hypot(fx, fy) <= bound_n * (1.0 + 1e-12) + 1e-150
    cosine, sine = math.cos(angle), math.sin(angle)
    turned, _ = friction_force(
        (cosine * x - sine * y, sine * x + cosine * y, 0.0),
        (cosine * u - sine * v, sine * u + cosine * v, 0.0),
        bound_n,
    )
    expected = (cosine * fx - sine * fy, sine * fx + cosine * fy, 0.0)
    assert turned == pytest.approx(expected, abs=1e-9 * (1.0 + bound_n))


def test_what_is_along_a_surface_has_no_part_across_it():
    normal = (0.6, 0.0, 0.8)
    assert along(normal, (1.0, 2.0, 3.0)) == pytest.approx((-0.8, 2.0, 0.6))
    assert along((0.0, 0.0, 1.0), (1.0, 2.0, 3.0)) == (1.0, 2.0, 0.0)


def test_the_force_by_hand():
    zero = (0.0, 0.0, 0.0)
    assert friction_force(zero, zero, 10.0) == (zero, zero)
    held = -STIFFNESS_N_PER_M * 0.0004 - DAMPING_N_S_PER_M * 0.1
    (fx, fy, _), (x, y, _) = friction_force((0.0003, 0.0, 0.0), (0.1, 0.0, 0.0), 100.0)
    assert (fx, fy, x, y) == pytest.approx((held, 0.0, 0.0004, 0.0))
    # Sliding along (3, 4): the whole bound against it, and the hold follows.
    (fx, fy, _), (x, y, _) = friction_force(zero, (3.0, 4.0, 0.0), 10.0)
    assert (fx, fy) == pytest.approx((-6.0, -8.0))
    assert (x, y) == pytest.approx((6.0 / STIFFNESS_N_PER_M, 8.0 / STIFFNESS_N_PER_M))
