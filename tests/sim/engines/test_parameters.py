"""Parameters that a calibration may find different: by hand, and alike in both engines."""

import mujoco
import numpy as np
import pytest

from robot_firmware_bridge.geometry import leg_to_motor
from robot_firmware_bridge.robot import MINITAUR
from sim.engines.bullet import bullet
from sim.engines.five_bar import Legs
from sim.engines.mujoco import MujocoEngine
from sim.model.minitaur import DEFAULT_MODEL, MODELS, load_tree
from sim.plant.params import GRAVITY_M_S2, PlantParams
from sim.plant.plant import Plant
from sim.plant.registry import make_plant

PLANTS = ("pybullet", "mujoco")
TREE, MODEL = load_tree(DEFAULT_MODEL, merged=True), MODELS[DEFAULT_MODEL]
HIGH = np.array((0.0, 0.0, 3.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0))
POSE = leg_to_motor(np.array((0.1, -0.2, 0.0, 0.3, 1.8, 2.0, 1.6, 1.9)))
SPEED = np.array((8.0, 8.0, -6.0, -6.0, 5.0, 3.0, -4.0, 7.0))
NO_TORQUE = np.zeros(8)


def knee_rates() -> tuple[np.ndarray, np.ndarray]:
    """Knee speeds at ``POSE`` and ``SPEED``, and knee speeds per motor speed, (8, 8); joints."""
    legs, directions = Legs(TREE, MODEL), MINITAUR.directions
    at = POSE * directions
    per_motor = np.array([legs.close(at, unit)[1] for unit in np.diag(directions)])
    return legs.close(at, SPEED * directions)[1], per_motor


def gained(plant: Plant, params: PlantParams, torque: np.ndarray) -> np.ndarray:
    """What one tick in the air makes of ``SPEED``."""
    plant.reset(params)
    plant.place(POSE, SPEED, HIGH)
    plant.engine.step(torque, None)
    speed = np.zeros(8)
    plant.engine.measure(np.zeros(8), speed, np.zeros(13))
    return speed - SPEED


@pytest.mark.parametrize("name", PLANTS)
@pytest.mark.parametrize("kind", ["viscous", "coulomb"])
def test_friction_in_the_knees_is_what_virtual_work_says(plants, name, kind):
    """Friction torques t of the knees act on the motors as the torques J^T t."""
    speeds, per_motor = knee_rates()
    if kind == "viscous":
        params, friction = PlantParams(knee_viscous_nm_s_per_rad=0.01), -0.01 * speeds
    else:
        params, friction = PlantParams(knee_coulomb_nm=0.05), -0.05 * np.sign(speeds)
    free = gained(plants[name], PlantParams(), NO_TORQUE)
    rubbed = gained(plants[name], params, NO_TORQUE) - free
    as_torque = gained(plants[name], PlantParams(), per_motor @ friction) - free
    assert np.abs(as_torque).max() > 0.05
    assert rubbed == pytest.approx(as_torque, abs=0.03 * float(np.abs(as_torque).max()))


@pytest.mark.parametrize("name", PLANTS)
def test_dry_knees_hold_a_leg_up_to_their_bound(plants, name):
    """Stretching a leg by two motors of t each costs 2 t, and the knees bear c for each radian."""
    plant = plants[name]
    _, per_motor = knee_rates()
    bound = 0.1
    legs = (per_motor.reshape(4, 2, 8).sum(axis=1) * MINITAUR.directions).reshape(4, 8)
    limit = 0.5 * bound * np.abs(legs).sum(axis=1)
    assert limit.min() > 0.05
    moved = []
    for share in (0.9, 1.3):
        plant.reset(PlantParams(knee_coulomb_nm=bound))
        plant.place(POSE, NO_TORQUE, HIGH)
        for _ in range(20):
            plant.engine.step(share * np.repeat(limit, 2), None)
        speed = np.zeros(8)
        plant.engine.measure(np.zeros(8), speed, np.zeros(13))
        moved.append(np.abs(speed))
    assert moved[0].max() < 0.01
    assert moved[1].min() > 0.1


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"knee_viscous_nm_s_per_rad": 0.005},
        {"knee_viscous_nm_s_per_rad": 0.05},
        {"knee_coulomb_nm": 0.03},
        {"knee_coulomb_nm": 0.2},
        {"motor_coulomb_nm": 0.05},
        {"base_com_x_m": 0.05},
    ],
)
def test_a_leg_in_the_air_comes_to_rest_alike_in_both_engines(plants, change):
    rows = []
    for plant in plants.values():
        plant.reset(PlantParams(**change))
        plant.place(POSE, SPEED, HIGH)
        row = []
        for _ in range(60):
            plant.drive(None)
            row.append(np.concatenate((*plant.motor_truth()[:2], plant.truth().rpy_rad)))
        rows.append(np.array(row))
    assert rows[1][:, :8] == pytest.approx(rows[0][:, :8], abs=1e-3)
    assert rows[1][:, 8:16] == pytest.approx(rows[0][:, 8:16], abs=0.05)
    assert rows[1][:, 16:] == pytest.approx(rows[0][:, 16:], abs=2e-4)


def test_the_unmerged_robot_has_the_same_body(plants):
    scales = {"base_mass_scale": 1.2, "leg_mass_scale": 0.9}
    full = make_plant("pybullet-full")
    for params in (PlantParams(**scales), PlantParams(base_com_x_m=0.02)):
        centres = []
        for plant in (plants["pybullet"], full):
            plant.reset(params)
            centres.append(centre_of_mass_x_m(plant))
        assert full.engine.mass_kg == pytest.approx(plants["pybullet"].engine.mass_kg, abs=1e-6)
        assert centres[1] == pytest.approx(centres[0], abs=2e-4)
    full.close()


def centre_of_mass_x_m(plant):
    """Where a robot of Bullet that has just been reset has its centre of mass."""
    engine, moment, mass = plant.engine, 0.0, 0.0
    for link in engine._link_ids.values():
        own = bullet.getDynamicsInfo(engine._robot, link, engine._client)[0]
        if link == -1:
            centre = bullet.getBasePositionAndOrientation(engine._robot, engine._client)[0]
        else:
            centre = bullet.getLinkState(engine._robot, link, 0, 1, engine._client)[0]
        moment, mass = moment + own * centre[0], mass + own
    return moment / mass


@pytest.mark.parametrize("stiffness", [1000.0, 3000.0, 30000.0])
def test_a_standing_robot_sinks_in_by_its_weight(plants, stiffness):
    """The longer lower leg of each leg stands on the two corners of its edge: eight springs."""
    depths = []
    for plant in plants.values():
        plant.reset(PlantParams(toe_stiffness_n_per_m=stiffness))
        plant.advance(600)
        depth = []
        for _ in range(20):
            plant.advance(10)
            truth = plant.truth()
            touching = plant.engine.touching_height_m(plant.motor_truth()[0], truth.quaternion)
            depth.append(touching - truth.position_m[2])
        depths.append(float(np.mean(depth)))
    by_hand = plant.engine.mass_kg * GRAVITY_M_S2 / (8 * stiffness)
    # The pins, which are soft too, share in it by some hundredths of a millimetre.
    assert depths == pytest.approx([by_hand] * 2, rel=0.06, abs=3e-5)
    assert depths[1] == pytest.approx(depths[0], rel=0.02, abs=1e-5)


@pytest.mark.parametrize(("stiffness", "damping"), [(1500.0, 40.0), (10000.0, 120.0)])
def test_a_toe_of_another_kind_presses_as_its_numbers_say(plants, stiffness, damping):
    plant = plants["mujoco"]
    plant.reset(PlantParams(toe_stiffness_n_per_m=stiffness, toe_damping_n_s_per_m=damping))
    plant.advance(100)
    data = plant.engine._data
    bearing = 0
    for _ in range(30):
        plant.advance(1)
        rows = data.contact.efc_address
        force = -(stiffness * data.efc_pos[rows] + damping * data.efc_vel[rows])
        assert data.efc_force[rows] == pytest.approx(np.maximum(force, 0.0), abs=1.0)
        bearing += int((data.efc_force[rows] > 3.0).sum())
    assert bearing > 100


def test_more_damping_stops_a_fall_sooner_in_both_engines(plants):
    """Dropped by 5 cm, touching after 101 ms: how deep the toes go, at 170 to 200 ms."""
    deepest = []
    for plant in plants.values():
        for damping in (20.0, 140.0):
            plant.reset(PlantParams(toe_damping_n_s_per_m=damping))
            height = plant.engine.touching_height_m(np.full(8, 2.0), HIGH[3:7])
            plant.place(np.full(8, 2.0), NO_TORQUE, np.append((0.0, 0.0, height + 0.05), HIGH[3:]))
            plant.command(np.full(8, 2.0), 1.0, 0.015)
            depth = 0.0
            for _ in range(250):
                plant.advance(1)
                truth = plant.truth()
                touching = plant.engine.touching_height_m(plant.motor_truth()[0], truth.quaternion)
                depth = max(depth, touching - truth.position_m[2])
            deepest.append(depth)
    assert deepest[1] < 0.8 * deepest[0]
    assert deepest[3] < 0.8 * deepest[2]
    assert deepest[2:] == pytest.approx(deepest[:2], rel=0.06)


def test_the_bodys_centre_of_mass_moves_by_hand():
    engine = MujocoEngine()
    centres = []
    for shift in (0.0, 0.06):
        engine.reset(PlantParams(base_com_x_m=shift))
        mujoco.mj_forward(engine._compiled, engine._data)
        centres.append(engine._data.subtree_com[0].copy())
    share = TREE.link(TREE.root).mass / engine.mass_kg
    assert centres[1] - centres[0] == pytest.approx((0.06 * share, 0.0, 0.0), abs=1e-9)


@pytest.mark.parametrize("name", PLANTS)
def test_what_the_base_measures_is_the_same_wherever_its_centre_is(plants, name):
    """Position and speed are those of the link's origin."""
    plant = plants[name]
    heights = []
    for shift in (0.0, 0.1):
        plant.reset(PlantParams(base_com_x_m=shift))
        heights.append(plant.engine.touching_height_m(POSE, HIGH[3:7]))
        origin = HIGH.copy()
        origin[7:] = (1.0, 2.0, 3.0, 0.5, -0.6, 0.7)
        plant.place(POSE, SPEED, origin)
        truth = plant.truth()
        motion = np.concatenate((truth.velocity_m_s, truth.angular_velocity_rad_s))
        assert truth.position_m == pytest.approx(origin[:3], abs=1e-12)
        assert motion == pytest.approx(origin[7:], abs=1e-12)
    assert heights[0] == heights[1]
