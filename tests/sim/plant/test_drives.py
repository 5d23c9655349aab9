"""The drives against numbers worked out by hand from the published motor constants."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.plant.drives import Actuators, pd_duty
from sim.plant.params import PlantParams

STILL = np.zeros(8)


def duties(value: float) -> np.ndarray:
    return np.full(8, value)


def test_pd_duty_by_hand():
    duty = pd_duty(duties(2.1), duties(2.0), duties(4.0), kp=1.0, kd=0.015)
    assert duty == pytest.approx(duties(0.1 - 0.06))


def test_pd_duty_saturates_both_ways():
    assert (pd_duty(duties(9.0), STILL, STILL, 1.0, 0.0) == 1.0).all()
    assert (pd_duty(duties(-9.0), STILL, STILL, 1.0, 0.0) == -1.0).all()


def test_stall_torque_by_hand():
    # 0.1 of 16 V over 0.186 ohm is 8.602 A; the curve's first segment is 0.1 Nm per A.
    actuators = Actuators()
    assert actuators.torque(duties(0.1), STILL, 1e-3) == pytest.approx(duties(1.6 / 0.186 * 0.1))


def test_torque_saturates_at_the_end_of_the_curve():
    # 16 V / 0.186 ohm = 86 A, past the last measured point of 60 A.
    assert Actuators().torque(duties(-1.0), STILL, 1e-3) == pytest.approx(duties(-3.5))


def test_back_emf_stops_a_motor_at_its_no_load_speed():
    no_load = 0.5 * 16.0 / 0.0954
    assert Actuators().torque(duties(0.5), duties(no_load), 1e-3) == pytest.approx(STILL, abs=1e-9)


def test_battery_strength_and_viscous_friction():
    actuators = Actuators()
    actuators.reset(
        PlantParams(battery_v=14.0, motor_strength_scale=0.8, motor_viscous_nm_s_per_rad=0.01)
    )
    current = (0.1 * 14.0 - 0.0954 * 2.0) / 0.186
    assert actuators.torque(duties(0.1), duties(2.0), 1e-3) == pytest.approx(
        duties(0.8 * 0.1 * current - 0.02)
    )


def test_overheat_switches_one_motor_off_for_good():
    actuators = Actuators()
    duty = duties(0.1)
    duty[3] = 1.0
    for _ in range(999):
        assert actuators.torque(duty, STILL, 1e-3)[3] == pytest.approx(3.5)
    for _ in range(3):
        torque = actuators.torque(duty, STILL, 1e-3)
    assert torque[3] == 0.0
    assert list(actuators.enabled) == [True, True, True, False, True, True, True, True]
    assert actuators.torque(duties(0.1), STILL, 1e-3)[3] == 0.0
    actuators.reset(PlantParams())
    assert actuators.torque(duties(0.1), STILL, 1e-3)[3] > 0.8


def test_a_motor_is_stalled_from_a_fifth_of_a_second_on_and_for_good_once_it_is_off():
    actuators = Actuators()
    duty = duties(0.1)
    duty[3] = 1.0
    seen = []
    for _ in range(1010):
        actuators.torque(duty, STILL, 1e-3)
        seen.append(actuators.stalled)
    assert 199 <= seen.index(True) <= 201  # 0.2 s of ticks that no float sums up exactly
    assert all(seen[201:])
    actuators.torque(duties(0.1), STILL, 1e-3)
    assert actuators.stalled  # off
    actuators.reset(PlantParams())
    assert not actuators.stalled


def test_a_pause_cools_a_motor():
    actuators = Actuators()
    for _ in range(5):
        for _ in range(900):
            actuators.torque(duties(1.0), STILL, 1e-3)
        actuators.torque(duties(0.1), STILL, 1e-3)
    assert actuators.enabled.all()


@given(
    duty=st.floats(-1.0, 1.0),
    speed=st.floats(-150.0, 150.0),
    battery=st.floats(10.0, 20.0),
)
def test_torque_is_odd_and_bounded(duty: float, speed: float, battery: float):
    actuators = Actuators()
    actuators.reset(dataclasses.replace(PlantParams(), battery_v=battery))
    torque = actuators.torque(duties(duty), duties(speed), 1e-3)
    mirrored = actuators.torque(duties(-duty), duties(-speed), 1e-3)
    assert torque == pytest.approx(-mirrored)
    assert np.abs(torque).max() <= 3.5
