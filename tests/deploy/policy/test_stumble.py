"""The reflex of a leg that has caught an obstacle, by hand and in the pipeline."""

import dataclasses

import numpy as np
import pytest
from support.states import standing

from deploy.policy.pipeline import Pipeline
from deploy.policy.stumble import StumbleReflex
from robot_firmware_bridge.geometry import leg_to_motor, motor_to_leg
from training.tasks.minitaur import rough_task

REFLEX = StumbleReflex(swing_rad=0.8, give_rad=0.4, extension_rad=0.7)


def test_a_leg_that_trails_gives_way_and_folds():
    leg = np.array((-0.5, -0.5, 0.5, 0.5, 1.3, 1.2, 1.1, 0.6))
    at = np.array((0.0, 1.0, 0.79, -0.9, 1.0, 2.0, 1.0, 1.0))
    free = REFLEX.free(leg, at)
    # The second leg trails, so it is told 1.0 - 0.4; the last is ahead: -0.9 + 0.4.
    np.testing.assert_allclose(free[:4], (-0.5, 0.6, 0.5, -0.5))
    np.testing.assert_allclose(free[4:], (1.3, 0.7, 1.1, 0.6))


def test_legs_within_a_gaits_reach_are_left_alone():
    rng = np.random.default_rng(0)
    leg = rng.uniform(-1.0, 2.0, 8)
    at = np.concatenate((rng.uniform(-0.8, 0.8, 4), rng.uniform(0.5, 3.0, 4)))
    assert REFLEX.free(leg, at) is leg


@pytest.mark.parametrize("caught", [False, True])
def test_the_pipeline_frees_the_leg_that_it_saw_last(caught):
    contract = rough_task().contract
    still = np.zeros(contract.action.size, np.float32)
    leg = np.array((0.0,) * 4 + (1.5,) * 4)
    if caught:
        leg[2], leg[6] = 1.2, 2.2
    state = dataclasses.replace(standing(), motor_position_rad=leg_to_motor(leg))
    freed, plain = (
        Pipeline(dataclasses.replace(contract, action=action))
        for action in (contract.action, dataclasses.replace(contract.action, stumble=None))
    )
    targets = []
    for pipeline in (freed, plain):
        pipeline.observe(state, 1.0)
        targets.append(motor_to_leg(pipeline.targets(still, 1.0)))
    if not caught:
        np.testing.assert_array_equal(*targets)
        return
    assert targets[0][2] == pytest.approx(0.8)
    assert targets[0][6] == pytest.approx(0.7)
    others = [0, 1, 3, 4, 5, 7]
    np.testing.assert_allclose(targets[0][others], targets[1][others])
    for pipeline in (freed, plain):  # nothing was seen yet
        pipeline.reset()
    np.testing.assert_array_equal(freed.targets(still, 1.0), plain.targets(still, 1.0))
