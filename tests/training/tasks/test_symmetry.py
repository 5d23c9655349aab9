"""The mirror, proved where it matters: in the pipeline and on the plant."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support.states import standing

from deploy.policy.contract import ActionSpec, ObservationTerm
from deploy.policy.pipeline import TERMS, Pipeline
from robot_firmware_bridge.messages import RobotState
from training.errors import ConfigError
from training.tasks.env import LocomotionEnv, LocomotionTask
from training.tasks.gaits import TROT, WALK
from training.tasks.minitaur import (
    gallop_task,
    minitaur_task,
    plain_trot_task,
    steer_task,
    trot_task,
    walk_task,
)
from training.tasks.symmetry import mirror_of

TASKS = {
    "trot": trot_task(),
    "gallop": gallop_task(),
    "steer": steer_task(),
    "walk": walk_task(),
    "minitaur": minitaur_task(),
    "plain trot": plain_trot_task(),
    "plain trot, 12-D": plain_trot_task(motor_angles=True),
}
# Motors of a leg pair, left for right, worked out from "motor[2i] = e - side s".
MIRRORED_MOTORS = [5, 4, 7, 6, 1, 0, 3, 2]


def state(roll: float, pitch: float, rates: tuple[float, ...], motors: np.ndarray) -> RobotState:
    return standing(
        motor_position_rad=motors,
        rpy_rad=np.array((roll, pitch, 0.0)),
        angular_rate_rad_s=np.array(rates),
    )


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_the_pipeline_of_a_mirrored_world_is_the_mirrored_pipeline(task: LocomotionTask) -> None:
    """Mirrored states in: mirrored observations out. Mirrored actions in: mirrored targets out."""
    terms = (*task.contract.observation, ObservationTerm("last_action", history=2))
    contract = dataclasses.replace(task.contract, observation=terms)
    mirror, gait = mirror_of(contract), contract.action.gait
    here, there = Pipeline(contract), Pipeline(contract)
    half = 0.5 / gait.frequency_hz if gait.leg_phase[0] != gait.leg_phase[2] else 0.0
    rng = np.random.default_rng(0)
    # Past the ramp of the gait; the mirrored robot is half a cycle later.
    for pipeline, start_s in ((here, 1.0), (there, 1.0 + half)):
        pipeline.observe(state(0.0, 0.0, (0.0, 0.0, 0.0), np.full(8, 2.0)), start_s)
        pipeline.targets(np.zeros(contract.action.size), start_s)
    here.requested_velocity, there.requested_velocity = (0.6, 0.4), (0.6, -0.4)
    for step in range(1, 20):
        t_s = 1.0 + 0.006 * step
        motors, (roll, pitch, x, y, z) = rng.normal(2.0, 0.3, 8), rng.normal(0.0, 0.2, 5)
        seen = here.observe(state(roll, pitch, (x, y, z), motors), t_s)
        mirrored = state(-roll, pitch, (-x, y, -z), motors[MIRRORED_MOTORS])
        np.testing.assert_allclose(
            there.observe(mirrored, t_s + half), mirror.observation(seen), atol=1e-5
        )
        action = rng.normal(0.0, 0.7, contract.action.size).astype(np.float32)
        targets = here.targets(action, t_s)
        mirrored_targets = there.targets(mirror.action(action), t_s + half)
        np.testing.assert_allclose(mirrored_targets, targets[MIRRORED_MOTORS], atol=1e-5)


@given(hnp.arrays(float, 3, elements=st.floats(-1.5, 1.5)), st.floats(-3.0, 3.0))
def test_a_mirrored_robot_sees_its_quaternion_speeds_and_torques_mirrored(
    rpy: np.ndarray, first_yaw: float
) -> None:
    names = ("orientation", "motor_velocity", "motor_torque")
    contract = dataclasses.replace(
        trot_task().contract, observation=tuple(map(ObservationTerm, names))
    )
    here, there = Pipeline(contract), Pipeline(contract)
    flip, motors = np.array((-1.0, 1.0, -1.0)), np.arange(8.0)
    seen = []
    for pipeline, sign, order in ((here, 1.0, range(8)), (there, flip, MIRRORED_MOTORS)):
        start = state(0.0, 0.0, (0.0, 0.0, 0.0), motors)
        yawed = np.array((0.0, 0.0, first_yaw))
        pipeline.observe(dataclasses.replace(start, rpy_rad=yawed * sign), 0.0)
        later = dataclasses.replace(
            start,
            rpy_rad=(rpy + yawed) * sign,
            motor_velocity_rad_s=motors[order],
            motor_torque_nm=-2.0 * motors[order],
        )
        seen.append(pipeline.observe(later, 0.01).copy())
    np.testing.assert_allclose(mirror_of(contract).observation(seen[0]), seen[1], atol=1e-6)
    assert np.linalg.norm(seen[0][:4]) == pytest.approx(1.0, abs=1e-6)


def test_every_term_has_a_mirror_image_that_undoes_itself() -> None:
    terms = tuple(ObservationTerm(name, history=2) for name in TERMS)
    mirror = mirror_of(dataclasses.replace(steer_task().contract, observation=terms))
    rows = np.random.default_rng(0).normal(size=(3, len(mirror.observation.sign)))
    twice = mirror.observation(mirror.observation(rows.astype(np.float32)))
    np.testing.assert_array_equal(twice, rows.astype(np.float32))


def test_the_plant_is_its_own_mirror_image() -> None:
    """Short horizon: rounding and Bullet's order of contacts part the two in the end."""
    contract = dataclasses.replace(trot_task().contract, action=gallop_task().contract.action)
    free = dataclasses.replace(contract.action, asymmetry=1.0)
    task = LocomotionTask(dataclasses.replace(contract, action=free), {})
    mirror = mirror_of(task.contract)
    rows = []
    for mirrored in (False, True):
        env = LocomotionEnv(task, params={"imu_noise_std": 0.0})
        env.reset(seed=0)
        rng = np.random.default_rng(1)
        for _ in range(12):
            action = rng.normal(0.0, 0.5, 8).astype(np.float32)
            seen = env.step(mirror.action(action) if mirrored else action)[0]
        rows.append(mirror.observation(seen) if mirrored else seen)
        env.close()
    np.testing.assert_allclose(rows[0], rows[1], atol=0.02)
    assert np.abs(rows[0][:2]).max() > 1e-4


def lame(action: ActionSpec) -> ActionSpec:
    gait = dataclasses.replace(TROT, name="lame", leg_phase=(0.0, 0.5, 0.25, 0.0))
    return dataclasses.replace(action, gait=gait)


def turning_one_way(action: ActionSpec) -> ActionSpec:
    steering = dataclasses.replace(WALK.steering, per_yaw_rate_rad=(0.1, 0.1, 0.1, 0.1))
    return dataclasses.replace(action, gait=dataclasses.replace(WALK, steering=steering))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lame, "gait 'lame' is not its own mirror image"),
        (turning_one_way, "not its own mirror image: per_yaw_rate_rad"),
    ],
)
def test_what_is_not_its_own_mirror_image_is_refused(
    spoil: Callable[[ActionSpec], ActionSpec], message: str
) -> None:
    contract = steer_task().contract
    with pytest.raises(ConfigError, match=message):
        mirror_of(dataclasses.replace(contract, action=spoil(contract.action)))
