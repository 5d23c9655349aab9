"""The thermal model against numbers worked out by hand."""

import math

import numpy as np
import pytest

from robot_firmware_bridge.firmware.library import load
from robot_firmware_bridge.limits import LIMITS
from robot_firmware_bridge.messages import Fault, Mode

NO_SENSOR = np.full(8, np.nan)


@pytest.fixture(scope="session")
def thermal(library):
    """``thermal(currents, seconds, housing sensors) -> windings, housings``, degC, from cold."""

    def run(current_a, seconds, measured_c=NO_SENSOR):
        current = np.array(current_a, np.float32)
        measured = np.array(measured_c, np.float32)
        out = np.empty(16, np.float32)
        load(library).probe_thermal(
            current.ctypes.data, measured.ctypes.data, round(seconds * 1000), out.ctypes.data
        )
        return out[:8], out[8:]

    return run


# Air to housing, housing to winding, and the time constant of a winding on a cold housing.
OUTER, INNER = LIMITS.housing_k_per_w, LIMITS.winding_k_per_w
TAU_S = INNER * LIMITS.winding_j_per_k


@pytest.mark.parametrize(
    "power_w",
    [
        8.0**2 * 0.186,
        1.0,  # a float32 model that is stepped every millisecond would lose most of it
    ],
)
def test_steady_state(thermal, power_w):
    """All of the power has to pass both resistances."""
    settled_s = 12 * (INNER + OUTER) * (LIMITS.housing_j_per_k + LIMITS.winding_j_per_k)
    windings, housings = thermal([math.sqrt(power_w / 0.186)] * 8, settled_s)
    np.testing.assert_allclose(housings, 25.0 + OUTER * power_w, atol=0.01)
    np.testing.assert_allclose(windings, 25.0 + (OUTER + INNER) * power_w, atol=0.01)


@pytest.mark.parametrize("taus", [0.5, 1.0, 2.0])
def test_time_constant_of_the_winding(thermal, taus):
    power_w = 20.0**2 * 0.186
    windings, housings = thermal([20.0] * 8, taus * TAU_S, np.full(8, 25.0))
    np.testing.assert_allclose(housings, 25.0)
    np.testing.assert_allclose(windings - 25.0, power_w * INNER * (1 - math.exp(-taus)), rtol=5e-3)


def test_heat_goes_nowhere_but_into_the_two_nodes_at_first(thermal):
    windings, housings = thermal([10.0] * 8, 1.0)
    energy_j = (windings - 25.0) * LIMITS.winding_j_per_k
    energy_j += (housings - 25.0) * LIMITS.housing_j_per_k
    np.testing.assert_allclose(energy_j, 10.0**2 * 0.186 * 1.0, rtol=2e-3)


def test_motors_are_independent_and_sign_does_not_matter(thermal):
    windings, _ = thermal([0, 10, -10, 0, 20, 0, 0, -20], 30)
    assert windings[0] == windings[3] == 25.0
    assert windings[1] == windings[2] > 25.0
    assert windings[4] == windings[7] > windings[1]


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf, -273.0])
def test_the_model_stands_in_for_a_broken_sensor(thermal, broken):
    modelled = thermal([8.0] * 8, 60)
    np.testing.assert_array_equal(thermal([8.0] * 8, 60, np.full(8, broken)), modelled)


def test_a_hot_winding_stops_the_robot(bench):
    # A duty of 0.3 at rest is 25.8 A, 123.9 W and 2.2 Nm: nothing but heat speaks against it. Above
    # a housing of 79 degC the winding goes from 25 degC towards 79 + 123.9 INNER.
    end_c = 79.0 + (0.3 * 16.0 / 0.186) ** 2 * 0.186 * INNER
    trip_ms = 1000 * TAU_S * math.log((end_c - 25.0) / (end_c - LIMITS.max_winding_c))
    bench.sensors.housing_temperature_c[0] = 79.0
    bench.sensors.motor_position_rad[0] = 1.75
    bench.activate(interval_ms=100)
    bench.drive_for(round(trip_ms - 300), target=2.05)
    assert (bench.mode, bench.fault) == (Mode.ACTIVE, Fault.NONE)
    bench.drive_for(1000, target=2.05)  # the soft start took off some
    assert (bench.mode, bench.fault) == (Mode.DAMPING, Fault.OVERHEAT)
    assert bench.state.winding_temperature_c[0] == pytest.approx(LIMITS.max_winding_c, abs=1.0)
    assert bench.state.winding_temperature_c[1] < 60.0


def test_a_hot_housing_stops_and_blocks_until_it_cools(bench):
    bench.activate()
    bench.sensors.housing_temperature_c[5] = 79.9
    bench.drive_for(300)
    assert (bench.mode, bench.fault) == (Mode.ACTIVE, Fault.NONE)
    bench.sensors.housing_temperature_c[5] = 80.1
    bench.drive_for(100)
    assert (bench.mode, bench.fault) == (Mode.DAMPING, Fault.OVERHEAT)
    bench.tick(1000)
    assert bench.ask(3) == 3
    bench.sensors.housing_temperature_c[5] = 70.0
    bench.tick(100)
    assert bench.fault is Fault.OVERHEAT  # latched, though it is gone
    assert bench.ask(3) == 0
    assert (bench.mode, bench.fault) == (Mode.DISARMED, Fault.NONE)


def test_heat_is_reported_before_arming(bench):
    bench.sensors.housing_temperature_c[:] = 90.0
    bench.hello()
    bench.tick(100)
    assert (bench.mode, bench.fault) == (Mode.DISARMED, Fault.OVERHEAT)
    assert bench.ask(1) == 3
    assert bench.mode is Mode.DISARMED
