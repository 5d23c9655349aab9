"""The predicted time to a thermal limit, against the firmware's own model and by hand."""

import math

import numpy as np
import pytest

from deploy.record.thermal import (
    LONGEST_S,
    WindingEstimate,
    bearable_s,
    heat_of_torque_w,
    in_words,
)
from robot_firmware_bridge.firmware.library import build_library, load
from robot_firmware_bridge.limits import LIMITS


def test_heat_by_hand():
    # Of the measured curve: 1.9 Nm are 20 A, 2.45 Nm are 30 A, whichever way.
    torque = np.array(((1.9, 0.0), (-2.45, 0.0)))
    heat_w = heat_of_torque_w(torque)
    assert heat_w == pytest.approx((0.186 * (20.0**2 + 30.0**2) / 2.0, 0.0))


def test_the_firmware_stops_at_the_predicted_time():
    """Its model takes steps of 100 ms: a second before, and a second after."""
    current_a = 22.0
    predicted_s = bearable_s(np.full(8, 0.186 * current_a**2))
    currents, no_sensor = (np.full(8, value, np.float32) for value in (current_a, math.nan))
    out = np.empty(16, np.float32)
    library, hot = load(build_library()), []
    for seconds in (predicted_s - 1.0, predicted_s + 1.0):
        library.probe_thermal(
            currents.ctypes.data, no_sensor.ctypes.data, round(1e3 * seconds), out.ctypes.data
        )
        hot.append(
            bool(out[:8].max() > LIMITS.max_winding_c or out[8:].max() > LIMITS.max_housing_c)
        )
    assert hot == [False, True]


def test_the_hottest_motor_decides_and_a_cool_one_bears_it_for_ever():
    # All of the heat passes from the housing to the air: 55 W hold it at 80 degC.
    assert bearable_s(np.full(8, 54.9)) == LONGEST_S
    assert 600.0 < bearable_s(np.full(8, 60.0)) < LONGEST_S
    assert bearable_s(np.array((0.0, 90.0))) == bearable_s(np.array((90.0, 90.0)))
    assert bearable_s(np.array((math.nan, 0.0))) == 0.0


def test_words():
    assert in_words(LONGEST_S) == "which the motors bear for an hour or more"
    assert in_words(272.0) == "which the motors bear for 5 min"
    assert in_words(100.2) == "which the motors bear for 100 s"


@pytest.mark.parametrize("torque_nm", [1.9, 2.45, 3.5])
def test_the_running_estimate_is_at_its_limit_when_the_solved_model_says_so(torque_nm):
    torques = torque_nm * np.eye(8)[3]
    estimate, dt_s = WindingEstimate(), 0.006
    for _ in range(round(bearable_s(heat_of_torque_w(torques[None])) / dt_s)):
        estimate.update(torques, dt_s)
    nearest = (
        LIMITS.max_winding_c - estimate.winding_c[3],
        LIMITS.max_housing_c - (estimate.housing_c[3]),
    )
    assert min(nearest) == pytest.approx(0.0, abs=1.0)
    assert estimate.winding_c[0] == LIMITS.ambient_c
