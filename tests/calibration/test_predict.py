"""A plant that predicts a record of its own: near exact, and only with its own parameters."""

import dataclasses

import numpy as np
import pytest
from support.driven_plant import driven_record

from calibration.predict import errors_of, predict, starting_states, with_battery
from calibration.record import BatterySeries, Board, MotionCapture
from calibration.stimulus import stimulus_of
from calibration.windows import HORIZONS_MS, Track, Windows, cut
from sim.engines.bullet import BulletEngine
from sim.engines.mujoco import MujocoEngine
from sim.plant.params import GRAVITY_M_S2, PlantParams
from sim.plant.plant import Plant

TRUTH = PlantParams(contact_friction=0.7, motor_strength_scale=1.1)
AT_50_MS = HORIZONS_MS.index(50)


@pytest.fixture(scope="module", params=[MujocoEngine, BulletEngine])
def plant(request):
    plant = Plant(request.param())
    yield plant
    plant.close()


@pytest.fixture(scope="module")
def record(plant):
    return driven_record(plant, TRUTH)


def rms_at_50_ms(plant, record, windows=10, **changes):
    plant.reset(dataclasses.replace(TRUTH, **changes))
    used = cut(record, windows)
    return errors_of(used, *predict(plant, stimulus_of(record), used)).rms_position_rad[AT_50_MS]


def where_the_floor_is_known(record):
    """The record as one of this stack's own, whose heights are those above the floor."""
    return dataclasses.replace(
        record, source=dataclasses.replace(record.source, board=Board.OWN, robot="emulator")
    )


def test_its_own_record_is_predicted_nearly_exactly(plant, record):
    """What is left is that the body's velocity is the mean of that over 20 ms."""
    assert rms_at_50_ms(plant, where_the_floor_is_known(record)) < 0.012
    # By toes that sink in as they do on average, heights are less exact.
    assert rms_at_50_ms(plant, record) < 0.015


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("contact_friction", 0.2),
        ("motor_strength_scale", 0.85),
        ("pd_latency_s", 0.012),
        ("base_mass_scale", 1.5),
    ],
)
def test_a_wrong_parameter_shows(plant, record, name, value):
    assert rms_at_50_ms(plant, record, **{name: value}) > 2.0 * rms_at_50_ms(plant, record)


def test_without_motion_capture_the_guessed_velocity_and_height_still_tell_the_plant(plant, record):
    blind = dataclasses.replace(record, mocap=None)
    used = cut(blind, 16)
    held = errors_of(used, *used.held()).rms_position_rad[AT_50_MS]
    assert rms_at_50_ms(plant, blind) < 0.6 * held


def test_angles_that_are_said_to_be_older_start_earlier(plant, record):
    late = 0.01
    motors, attitude = record.motors, record.attitude
    # The same samples with stamps that are 10 ms late: duties and odometry stay where they were.
    t_s = motors.t_s + late
    duty = np.stack([np.interp(t_s, motors.t_s, each) for each in motors.duty.T], axis=1)
    made = dataclasses.replace(
        record,
        motors=dataclasses.replace(motors, t_s=t_s, duty=duty),
        attitude=dataclasses.replace(attitude, t_s=t_s),
    )
    plant.reset(TRUTH)
    used = cut(made, 16)
    now, older, oldest = (
        errors_of(used, *predict(plant, stimulus_of(made), used, older_s))
        for older_s in (0.0, late, 2.0 * late)
    )
    assert older.rms_position_rad[AT_50_MS] < 0.015
    assert now.rms_position_rad[AT_50_MS] > 2.0 * older.rms_position_rad[AT_50_MS]
    assert oldest.rms_position_rad[AT_50_MS] > 2.0 * older.rms_position_rad[AT_50_MS]


def test_odometry_is_taken_at_the_time_at_which_the_state_was_true(plant, record):
    """States come with their age behind them; where the body was is known without delay."""
    t_s = np.arange(-0.1, 1.5, 0.01)
    where = np.stack((0.4 * t_s, 0.0 * t_s, 0.25 + t_s**2), axis=1)
    made = where_the_floor_is_known(dataclasses.replace(record, mocap=MotionCapture(t_s, where)))
    windows = cut(made, 5)
    plant.reset(TRUTH)
    states = starting_states(plant, windows, 0.02)
    true_s = windows.t_s - 0.02
    np.testing.assert_allclose(states[:, 2], 0.25 + true_s**2, atol=1e-4)
    np.testing.assert_allclose(states[:, 7], 0.4, atol=1e-9)
    np.testing.assert_allclose(states[:, 9], 2.0 * true_s, atol=1e-9)


def test_a_prediction_starts_where_the_body_was_at_the_age_that_its_reader_knows(plant, record):
    """In the air nothing but gravity moves the body, so that its fall tells its start."""
    t_s, fall = 0.01 * np.arange(121), 2.0
    up = np.stack((0.0 * t_s, 0.0 * t_s, 5.0 + fall * t_s), axis=1)
    made = where_the_floor_is_known(dataclasses.replace(record, mocap=MotionCapture(t_s, up)))
    windows = cut(made, 1)
    plant.reset(dataclasses.replace(TRUTH, pd_latency_s=0.006))
    predict(plant, stimulus_of(made), windows, 0.004)
    # The plant is left where the last horizon found it, 100 ms after the state was true.
    begun_m = 5.0 + fall * (windows.t_s[0] - 0.01)
    height_m = begun_m + 0.1 * fall - 0.5 * GRAVITY_M_S2 * 0.1**2
    assert plant.truth().position_m[2] == pytest.approx(height_m, abs=3e-3)


def test_encoder_offsets_and_the_imus_bias_are_taken_out_and_put_back(plant, record):
    offset, bias = np.linspace(-0.05, 0.05, 8), np.array((0.03, -0.04))
    straight = cut(record, 4)
    used = dataclasses.replace(
        straight,
        position_rad=straight.position_rad + offset,
        rpy_rad=straight.rpy_rad + np.append(bias, 0.0),
    )
    plant.reset(
        dataclasses.replace(
            TRUTH,
            encoder_offset_rad=tuple(offset),
            imu_roll_bias_rad=0.03,
            imu_pitch_bias_rad=-0.04,
        )
    )
    states = starting_states(plant, used, 0.003)
    angles, tilts = predict(plant, stimulus_of(record), used)
    plant.reset(TRUTH)
    np.testing.assert_allclose(states, starting_states(plant, straight, 0.003), atol=1e-6)
    expected, upright = predict(plant, stimulus_of(record), straight)
    np.testing.assert_allclose(angles, expected + offset, atol=1e-4)
    np.testing.assert_allclose(tilts, upright + bias, atol=1e-4)


def test_a_leg_that_the_plant_cannot_have_predicts_that_nothing_moves(plant, record):
    windows = cut(record, 3)
    angles = windows.position_rad.copy()
    angles[1, :2] += np.pi - angles[1, :2].mean()  # stretched flat
    windows = dataclasses.replace(windows, position_rad=angles)
    plant.reset(TRUTH)
    counted = []
    ours, tilts = predict(plant, stimulus_of(record), windows, ticked=lambda: counted.append(None))
    held, upright = windows.held()
    np.testing.assert_array_equal(ours[1], held[1])
    np.testing.assert_array_equal(tilts[1], upright[1])
    assert np.abs(ours[0] - held[0]).max() > 0.01
    assert len(counted) == 2


def test_a_height_above_another_level_counts_from_where_a_loaded_toe_is(plant, record):
    windows = dataclasses.replace(cut(record, 11), track=None)
    plant.reset(TRUTH)
    touching = starting_states(plant, windows, 0.0)

    def seen(height_m, level_known=False):
        track = Track(windows.t_s, height_m, np.zeros((11, 3)), level_known)
        return starting_states(plant, dataclasses.replace(windows, track=track), 0.0)

    # Markers half a metre above the link; the lowest toes 0 to 10 mm above the least, in a shuffled
    # order. The third lowest of eleven is at the 20th percentile.
    above = 1e-3 * np.array((7, 2, 10, 0, 5, 3, 8, 1, 9, 4, 6))
    sunk = plant.engine.mass_kg * 9.81 / (4.0 * TRUTH.toe_stiffness_n_per_m)
    expected = touching[:, 2] + above - 0.002 - sunk
    assert 0.002 < sunk < 0.02
    found = seen(touching[:, 2] + 0.5 + above)
    np.testing.assert_allclose(found[:, 2], expected, atol=1e-5)
    # Heights of the link origin above the floor are taken as they are.
    known = seen(touching[:, 2] - 0.004 + above, level_known=True)
    np.testing.assert_allclose(known[:, 2], touching[:, 2] - 0.004 + above, atol=1e-12)


def test_a_leg_that_the_plant_cannot_have_has_no_state_and_no_say_about_the_level(plant, record):
    windows = cut(record, 3)
    plant.reset(TRUTH)
    track = Track(windows.t_s, np.array((0.3, 9.0, 0.3)), np.zeros((3, 3)), level_known=False)
    angles = windows.position_rad.copy()
    angles[1, :2] += np.pi - angles[1, :2].mean()  # stretched flat
    whole = dataclasses.replace(windows, track=track)
    found = starting_states(plant, dataclasses.replace(whole, position_rad=angles), 0.0)
    assert np.isnan(found[1, 2])
    rest = starting_states(plant, whole.chosen(np.array((0, 2))), 0.0)
    np.testing.assert_allclose(found[[0, 2]], rest)


def test_turn_rates_about_the_bodys_axes_are_turned_into_the_world(plant, record):
    tilt, heading = 0.5, 0.7
    windows = dataclasses.replace(
        cut(record, 1),
        rpy_rad=np.array([[tilt, 0.0, heading]]),
        rate_rad_s=np.array([[0.0, 1.0, 0.0]]),
        velocity_m_s=np.array([[0.1, 0.2, 0.3]]),
        track=None,
    )
    plant.reset(TRUTH)
    (state,) = starting_states(plant, windows, 0.0)
    # The body's y axis, rolled out of the horizontal, then turned to its heading.
    y_axis = -np.cos(tilt) * np.sin(heading), np.cos(tilt) * np.cos(heading), np.sin(tilt)
    np.testing.assert_allclose(state[10:13], y_axis, atol=1e-12)
    np.testing.assert_array_equal(state[7:10], (0.1, 0.2, 0.3))


def test_errors_are_predicted_less_measured():
    windows = cut_of_two()
    angles = windows.later_position_rad + np.array((0.3, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -0.4))
    found = errors_of(windows, angles, windows.later_rp_rad - 0.1)
    # sqrt((0.3^2 + 0.4^2) / 8)
    assert found.rms_position_rad.tolist() == pytest.approx([0.5 / np.sqrt(8.0)])
    assert found.rms_rp_rad.tolist() == [pytest.approx([0.1, 0.1])]


def cut_of_two():
    zeros = np.zeros
    return Windows(
        zeros(2),
        zeros((2, 8)),
        zeros((2, 8)),
        zeros((2, 3)),
        zeros((2, 3)),
        zeros((2, 3)),
        zeros((2, 1, 8)),
        zeros((2, 1, 2)),
        np.array([50]),
        None,
    )


def test_the_battery_of_a_record_is_taken_where_it_hardly_sags(record):
    params = PlantParams(battery_v=14.0, contact_friction=0.6)
    assert with_battery(params, record) == params
    voltage = np.linspace(15.0, 16.0, 101)
    ok = np.ones(101, bool)
    reported = dataclasses.replace(record, battery=BatterySeries(np.arange(101.0), ok, voltage))
    assert with_battery(params, reported) == dataclasses.replace(params, battery_v=15.95)
    silent = BatterySeries(np.arange(101.0), ~ok, np.full(101, np.nan))
    assert with_battery(params, dataclasses.replace(record, battery=silent)) == params
