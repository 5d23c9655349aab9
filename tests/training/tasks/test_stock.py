"""The policies for the Minitaur's own mainboard fit what that board may be sent."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.policy.pipeline import Pipeline
from robot_firmware_bridge.geometry import motor_to_leg
from robot_firmware_bridge.stock.session import SLEW_RAD
from robot_firmware_bridge.stock.wire import EXTENSION_RAD, MAX_GAIN, SWING_RAD
from training.tasks.minitaur import steer_stock_task, trot_stock_task

TASKS = {"trot": trot_stock_task(), "steer": steer_stock_task()}
EXTREMES = st.sampled_from((-1.0, 1.0)) | st.floats(-1.0, 1.0)


@pytest.mark.parametrize("name", TASKS)
@given(
    actions=st.lists(st.lists(EXTREMES, min_size=8, max_size=8), min_size=2, max_size=30),
    command=st.tuples(EXTREMES, EXTREMES),
)
def test_whatever_the_policy_does_no_bound_of_the_link_moves_the_legs_otherwise(
    name, actions, command
):
    """A bound that is met would move the robot otherwise than training did.

    The legs' range is never met. The slew is where an extension's feedback turns from one end to
    the other while the gait is fastest: 0.4 rad (1 - exp(-2 pi 10 Hz 0.01 s)) from the low pass and
    0.3 rad 2 pi 6.5 Hz 0.01 s from the gait, 0.309 rad in all, of which the link sends 0.3. The
    slower steered walk has 0.187 + 0.25 rad 2 pi 4 Hz 0.01 s = 0.25 rad, and stays below.
    """
    contract = TASKS[name].contract
    pipeline = Pipeline(contract)
    if contract.velocity_command is not None:
        # Long asked for, so that the legs follow it in full.
        low, high = np.transpose(contract.velocity_command.ranges)
        pipeline.velocity_command[:] = low + (np.array(command) + 1.0) / 2.0 * (high - low)
    last = None
    for tick, action in enumerate(actions):
        leg = motor_to_leg(pipeline.targets(np.array(action, np.float32), 1.0 + tick * 0.010))
        assert np.abs(leg[:4]).max() <= SWING_RAD
        assert leg[4:].min() >= EXTENSION_RAD[0]
        assert leg[4:].max() <= EXTENSION_RAD[1]
        if last is not None:
            assert np.abs(leg - last).max() <= SLEW_RAD + (0.0095 if name == "trot" else -0.05)
        last = leg


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_the_contract_is_for_that_board(task):
    contract = task.contract
    assert (contract.board, contract.kd, contract.control_period_s) == ("stock", 0.0, 0.010)
    assert contract.kp <= MAX_GAIN
    assert task.nominal.control_step_s == 0.010
