"""The mode machine: when it moves on, and the motions it makes."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.errors import RunError
from deploy.loop.modes import STAND_UP_SPEED_RAD_S, Durations, LoopMode, ModeMachine, minimum_jerk

STANCE = np.full(8, 2.0)
MS = 1_000_000


def machine(pose=STANCE, **durations):
    lengths = {"run_s": 0.4, "stand_up_s": 0.2, "finish_s": 0.1, "damp_s": 0.1, **durations}
    modes = ModeMachine(Durations(**lengths), STANCE)
    modes.begin(0, pose)
    return modes


@pytest.mark.parametrize("at_ms", [100, 300, 650])
def test_a_fault_damps_from_everywhere_and_for_its_full_time(at_ms):
    modes = machine()
    for t in range(0, at_ms, 50):
        modes.update(t * MS, 0)
    modes.damp(at_ms * MS)
    assert modes.update((at_ms + 50) * MS, 0) is LoopMode.DAMP
    modes.damp((at_ms + 50) * MS)  # a second fault does not prolong it
    assert modes.update((at_ms + 100) * MS, 0) is LoopMode.DONE


def test_standing_up_begins_at_the_measured_pose_and_ends_in_the_stance():
    pose = np.linspace(1.7, 2.1, 8)
    modes = machine(pose)
    target, gain = modes.stand_up(0)
    np.testing.assert_array_equal(target, pose)
    assert gain == pytest.approx(0.2)
    np.testing.assert_allclose(modes.stand_up(100 * MS)[0], (pose + STANCE) / 2)
    target, gain = modes.stand_up(200 * MS)
    np.testing.assert_allclose(target, STANCE)
    assert gain == 1.0


def test_a_far_pose_is_stood_up_from_slowly():
    pose = np.full(8, 0.5)
    modes = machine(pose)
    times = np.arange(0, 2_000, 2) * MS
    targets = np.array([modes.stand_up(int(t))[0][0] for t in times])
    assert np.abs(np.diff(targets)).max() / 0.002 <= STAND_UP_SPEED_RAD_S
    # 1.5 rad at a peak of 1.875 times the mean speed of 4 rad/s takes 0.703 s.
    assert modes.update(700 * MS, 0) is LoopMode.STAND_UP
    assert modes.update(704 * MS, 0) is LoopMode.RUN


def test_finishing_fades_the_policys_targets_into_the_stance():
    modes = machine()
    wanted = np.linspace(1.5, 2.5, 8)
    modes.update(200 * MS, 0)
    modes.update(600 * MS, 0)
    np.testing.assert_array_equal(modes.fade(wanted, 600 * MS), wanted)
    np.testing.assert_allclose(modes.fade(wanted, 650 * MS), (wanted + STANCE) / 2)
    np.testing.assert_allclose(modes.fade(wanted, 700 * MS), STANCE)


@given(st.floats(0.0, 1.0))
def test_minimum_jerk_rises_from_zero_to_one(x):
    assert 0.0 <= minimum_jerk(x) <= 1.0 + 1e-12
    assert minimum_jerk(x) + minimum_jerk(1.0 - x) == pytest.approx(1.0)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("name", ["run_s", "stand_up_s", "finish_s", "damp_s"])
def test_an_impossible_time_is_refused(name, value):
    with pytest.raises(RunError, match=name):
        Durations(**{"run_s": 1.0, name: value})
