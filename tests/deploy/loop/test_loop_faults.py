"""The loop's faults, by name: from that very tick on it only damps, and then lets go."""

import dataclasses
import math

import numpy as np
import pytest

from deploy.errors import PolicyError
from deploy.loop.safety import TILT_TICKS
from robot_firmware_bridge.messages import Fault, Mode

# Ticks of a whole run on the bench, see its fixture: standing up, RUN, DAMP.
STAND_UP, RUN, DAMP = 5, 10, 3


def damped_and_released(b, ticks_before):
    """Commands up to a tick drive the motors, from it on they only damp, and then it is over."""
    kp = [command.kp for command in b.robot.sent]
    assert len(kp) == ticks_before + DAMP
    assert min(kp[:ticks_before], default=1.0) > 0.0
    assert kp[ticks_before:] == [0.0] * DAMP
    assert all(command.kd > 0.0 for command in b.robot.sent[ticks_before:])
    assert b.robot.events[-1] == "deactivate"


def test_a_policy_that_yields_nan_damps_in_that_very_tick(bench):
    calls = []

    def policy(observation):
        calls.append(1)
        return np.full(8, np.nan if len(calls) == 4 else 0.0, np.float32)

    b = bench(policy)
    b.loop.run()
    assert b.fault_names == ["non_finite_action"]
    damped_and_released(b, STAND_UP + 3)
    assert len(calls) == 4  # it is not asked again
    assert np.isnan(b.log.action[STAND_UP + 3]).all()


def test_a_policy_that_fails_damps_in_that_very_tick(bench):
    def policy(observation):
        raise PolicyError("inference failed: out of memory")

    b = bench(policy)
    b.loop.run()
    assert b.fault_names == ["policy_error"]
    assert b.loop.faults[0].detail == "policy_error: inference failed: out of memory"
    damped_and_released(b, STAND_UP)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("non_finite_state", {"rpy_rad": np.array([math.nan, 0.0, 0.0])}),
        ("robot_fault", {"fault": Fault.OVERHEAT}),
        ("robot_mode", {"mode": Mode.DAMPING}),
        ("stale_state", {"t_ns": 0}),
    ],
)
@pytest.mark.parametrize("tick", [1, STAND_UP + 3, STAND_UP + RUN + 1])
def test_a_bad_state_damps_whatever_the_mode(bench, name, change, tick):
    b = bench()
    # The reading before arming is number 0.
    b.robot.reading = lambda n, state: dataclasses.replace(state, **change) if n > tick else state
    b.loop.run()
    assert b.fault_names == [name]
    damped_and_released(b, tick)


def test_a_fall_damps(bench):
    b = bench()
    fallen = np.array([0.6, 0.0, 0.0])
    b.robot.reading = lambda n, state: (
        dataclasses.replace(state, rpy_rad=fallen) if n > STAND_UP else state
    )
    b.loop.run()
    assert b.fault_names == ["tilt"]
    damped_and_released(b, STAND_UP + TILT_TICKS - 1)


def test_an_observation_that_overflows_damps(bench, contract):
    terms = (dataclasses.replace(contract.observation[0], scale=1e300),)
    b = bench(contract=dataclasses.replace(contract, observation=terms))
    tilt = np.array([1e-3, 0.0, 0.0])
    b.robot.reading = lambda n, state: dataclasses.replace(state, rpy_rad=tilt)
    with np.errstate(over="ignore"):
        b.loop.run()
    assert b.fault_names == ["non_finite_observation"]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("robot_fault", {"fault": Fault.UNDERVOLTAGE}),
        ("non_finite_state", {"battery_v": math.nan}),
        ("pose_out_of_range", {"motor_position_rad": np.full(8, 9.0)}),
    ],
)
def test_a_robot_unfit_to_move_is_never_armed(bench, name, change):
    b = bench()
    b.robot.reading = lambda n, state: dataclasses.replace(state, **change)
    b.loop.run()
    assert b.fault_names == [name]
    assert b.robot.events == ["deactivate"]


def test_a_jump_of_the_policy_is_slowed_from_what_was_really_sent(bench, contract):
    far = dataclasses.replace(contract.action, scale_rad=(0.0,) * 4 + (0.8,) * 4)
    b = bench(lambda observation: np.ones(8, np.float32), dataclasses.replace(contract, action=far))
    b.loop.run()
    targets = b.log.target_rad[b.log.run][:, 0]
    np.testing.assert_allclose(targets[:2], [2.6, 2.8])
    assert b.loop.saturations.rate_limited == 1
