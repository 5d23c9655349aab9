"""The controller: finite numbers, the last bounds of a target, and what is counted."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.states import standing

from deploy.errors import SafetyStop
from deploy.policy.contract import ActionSpec, Contract, ObservationTerm
from deploy.policy.controller import Controller, Saturations
from deploy.policy.gait import stance

CONTRACT = Contract(
    observation=(ObservationTerm("roll_pitch"),),
    action=ActionSpec(scale_rad=(0.25,) * 8, lowpass_hz=0.0, gait=stance()),
)


@pytest.fixture
def controller():
    return Controller(CONTRACT)


def limited(controller, target, last):
    controller.last_target_rad = np.asarray(last, dtype=np.float64)
    return controller.limit(np.asarray(target, dtype=np.float64))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_non_finite_numbers_never_reach_a_motor(controller, bad):
    values = np.zeros(8, np.float32)
    values[5] = bad
    with pytest.raises(SafetyStop, match=r"^non_finite_observation: value 0 of 3 of the attitude"):
        controller.observe(standing(rpy_rad=np.array((bad, 0.0, 0.0))), 0.0)
    with pytest.raises(SafetyStop, match=r"^non_finite_action: value 5 of 8"):
        controller.targets(values, 0.0)
    with pytest.raises(SafetyStop, match=r"^non_finite_target: value 5 of 8"):
        controller.limit(values.astype(np.float64))


def test_an_action_out_of_range_is_clipped_and_counted(controller):
    whole = controller.targets(np.full(8, 1.0), 0.0)
    assert controller.saturations.action_clipped == 0
    np.testing.assert_array_equal(controller.targets(np.full(8, 1.01), 0.0), whole)
    assert controller.saturations.action_clipped == 1


def test_a_target_out_of_range_is_clipped_and_counted(controller):
    wanted = [0.0, 4.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]
    sent = limited(controller, wanted, [0.3, 3.5, *[2.0] * 6])
    np.testing.assert_allclose(sent, [0.2, 3.6, *[2.0] * 6])
    assert controller.saturations == Saturations(target_clipped=1)


def test_a_jump_is_slowed_and_counted(controller):
    # 100 rad/s over 6 ms is 0.6 rad.
    sent = limited(controller, [3.0] * 8, [2.0, 2.5, 3.0, 3.5, 2.4, 2.0, 2.0, 2.0])
    np.testing.assert_allclose(sent, [2.6, 3.0, 3.0, 3.0, 3.0, 2.6, 2.6, 2.6])
    assert controller.saturations == Saturations(rate_limited=1)


def test_the_next_step_is_measured_from_what_was_sent(controller):
    np.testing.assert_allclose(controller.limit(np.full(8, 3.4)), 2.6)
    np.testing.assert_allclose(controller.limit(np.full(8, 3.4)), 3.2)
    controller.last_target_rad = np.full(8, 2.0)  # the robot bounded it further
    np.testing.assert_allclose(controller.limit(np.full(8, 3.4)), 2.6)


def test_the_rate_holds_for_the_period_of_the_run(controller):
    controller.reset(period_s=0.003)
    np.testing.assert_allclose(controller.limit(np.full(8, 3.4)), 2.3)
    controller.reset()
    np.testing.assert_allclose(controller.limit(np.full(8, 3.4)), 2.3)
    assert controller.saturations == Saturations(rate_limited=1)


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=8, max_size=8),
    st.lists(st.floats(0.2, 3.6), min_size=8, max_size=8),
)
def test_whatever_is_wanted_what_is_sent_is_in_range_and_in_reach(wanted, last):
    sent = limited(Controller(CONTRACT), wanted, last)
    assert ((sent >= 0.2 - 1e-12) & (sent <= 3.6 + 1e-12)).all()
    assert np.abs(sent - np.array(last)).max() <= 0.6 + 1e-12


def test_what_is_within_limits_is_sent_unchanged(controller):
    target = np.linspace(1.9, 2.1, 8)
    np.testing.assert_array_equal(limited(controller, target, [2.0] * 8), target)
