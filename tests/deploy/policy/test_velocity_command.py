"""Commands within their bounds, and errors against them, by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.policy.velocity_command import STOP, VelocityCommandSpec
from deploy.record.metrics import forward_steps, moving_rates, tracking, turn_steps

SPEC = VelocityCommandSpec((-0.2, 0.8), (-0.5, 0.5), speed_slew_mps2=0.8, yaw_rate_slew_rad_s2=1.0)
anything = st.floats(-10.0, 10.0)


@pytest.mark.parametrize(
    ("requested", "command"),
    [
        ((0.3, -0.4), (0.3, -0.4)),
        ((2.0, 0.7), (0.8, 0.5)),
        ((-1.0, -0.7), (-0.2, -0.5)),
        (STOP, STOP),
    ],
)
def test_a_request_is_clipped_to_the_ranges(requested, command):
    assert SPEC.clip(*requested) == command


def test_a_command_follows_by_steps_and_arrives_exactly():
    command = np.zeros(2)
    SPEC.follow(command, (0.1, -9.0), 0.05)
    np.testing.assert_allclose(command, (0.04, -0.05))
    for _ in range(20):
        SPEC.follow(command, (0.1, -9.0), 0.05)
    assert tuple(command) == (0.1, -0.5)


@given(st.lists(st.tuples(anything, anything, st.floats(0.0, 0.1)), max_size=20))
def test_no_request_makes_a_command_jump_or_leave_its_ranges(requests):
    command = np.zeros(2)
    for speed_mps, yaw_rate_rad_s, dt_s in requests:
        before = command.copy()
        SPEC.follow(command, (speed_mps, yaw_rate_rad_s), dt_s)
        assert (np.abs(command - before) <= np.array((0.8, 1.0)) * dt_s + 1e-12).all()
        assert SPEC.clip(*command) == tuple(command)


def test_steps_are_along_the_heading():
    position = np.array([(0.0, 0.0), (0.1, 0.0), (0.1, 0.2), (0.0, 0.2)])
    yaw = np.array([0.0, math.pi / 2, math.pi / 2, 0.0])
    np.testing.assert_allclose(forward_steps(position, yaw), (0.1, 0.2, 0.0), atol=1e-15)


def test_a_turn_through_the_seam_is_a_short_one():
    np.testing.assert_allclose(turn_steps(np.array([3.1, -3.1])), [2.0 * math.pi - 6.2])
    np.testing.assert_allclose(turn_steps(np.array([-3.1, 3.1])), [6.2 - 2.0 * math.pi])


def test_a_strides_mean_by_hand():
    # Strides of 0.2 s: two steps of 0.1 s.
    steps = np.array([0.1, 0.3, 0.1])
    np.testing.assert_allclose(moving_rates(steps, np.full(3, 0.1), 0.2), [2.0, 2.0])
    np.testing.assert_allclose(moving_rates(steps, steps, 0.2), [1.0, 1.0])
    np.testing.assert_allclose(moving_rates(steps[:1], steps[:1], 0.2), [1.0])


def test_errors_by_hand_and_a_wobble_within_a_stride_is_none():
    t_s = np.arange(9) * 0.1
    # 1 m/s on average, 2 and 0 in turn; requested 0.9. It turns by 0.2 rad/s; requested 0.5.
    position = np.zeros((9, 2))
    position[:, 0] = np.repeat(np.arange(5) * 0.2, 2)[1:]
    command = np.tile((0.9, 0.5), (8, 1))
    straight = tracking(t_s, position, np.zeros(9), command, 0.2)
    assert straight.speed_error_mps == pytest.approx(0.1)
    turning = tracking(t_s, position, 0.2 * t_s, command, 0.2)
    assert turning.yaw_rate_error_rad_s == pytest.approx(0.3)
    blind = tracking(t_s, np.full((9, 2), np.nan), 0.2 * t_s, command, 0.2)
    assert (blind.speed_error_mps, blind.yaw_rate_error_rad_s) == (None, pytest.approx(0.3))
