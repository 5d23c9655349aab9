"""Runs of a scripted robot with a black box."""

import dataclasses
import json

import numpy as np
import pytest

from deploy.loop.modes import Durations
from deploy.record.black_box import BlackBox
from deploy.record.tick_row import TickRow
from robot_firmware_bridge.robot import MINITAUR
from training.tasks.gaits import TROT


def swaying(n, state):
    """A reading that differs in every value from every other."""
    rng = np.random.default_rng(n)
    return dataclasses.replace(
        state,
        rpy_rad=0.1 * rng.normal(size=3),
        angular_rate_rad_s=rng.normal(size=3),
        motor_velocity_rad_s=rng.normal(size=8),
        motor_torque_nm=rng.normal(size=8),
    )


def about(contract, **facts):
    """What a black box is told of a run."""
    return {
        "contract": contract.to_json(),
        "also": "[]",
        "robot": MINITAUR.to_json(),
        "period_s": "0.006",
        "facts": json.dumps(facts),
    }


@pytest.fixture
def box(contract):
    """A black box for the contract; its ring has room for 200 ticks."""
    box = BlackBox(TickRow.of(4, contract.action.size), 0.1)
    yield box
    box.close()


@pytest.fixture
def fly(bench, contract):
    """Runs a policy that reacts on a scripted robot that sways."""

    def fly(run_s=0.060, **options):
        gains = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
        action = dataclasses.replace(contract.action, gait=TROT, lowpass_hz=8.0)
        moving = dataclasses.replace(contract, action=action)
        durations = Durations(run_s, stand_up_s=0.030, finish_s=0.012, damp_s=0.018)
        b = bench(lambda observation: gains @ observation, moving, durations, **options)
        b.robot.reading = swaying
        b.loop.run()
        return b

    return fly
