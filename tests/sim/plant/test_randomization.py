"""Parameters: sampled from a seed, bounded, replayable; pushes that follow from them."""

import dataclasses
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.errors import ParameterError
from sim.plant.params import NAMES, VECTORS, PlantParams, entries
from sim.plant.params_file import CalibratedPlant, Provenance
from sim.plant.plant import Pushes
from sim.plant.randomization import (
    HAPPENED,
    ORIGINAL,
    RANDOMIZATION_NAMES,
    RANDOMIZATIONS,
    TABLE1,
    UNMODELLED,
    Randomization,
    drawn,
    measured_ranges,
    pushed,
    randomization_named,
    ranges_about,
    sample,
    widened,
)
from sim.plant.registry import make_plant
from training.runs.presets import CONFIGS


def test_every_field_has_bounds():
    assert {field.name for field in dataclasses.fields(PlantParams)} == NAMES


def test_table1_is_the_papers():
    assert TABLE1["control_step_s"] == (0.003, 0.020)
    assert TABLE1["policy_latency_s"] == (0.0, 0.040)
    assert TABLE1["battery_v"] == (14.0, 16.8)
    assert TABLE1["contact_friction"] == (0.5, 1.25)
    assert TABLE1["motor_coulomb_nm"] == (0.0, 0.05)


def test_original_is_the_first_environments():
    assert RANDOMIZATIONS["original"] is ORIGINAL
    assert ORIGINAL == {
        "base_mass_scale": (0.8, 1.2),
        "leg_mass_scale": (0.8, 1.2),
        "battery_v": (14.8, 16.8),
        "motor_viscous_nm_s_per_rad": (0.0, 0.01),
        "contact_friction": (0.8, 1.5),
    }
    drawn = [sample(ORIGINAL, np.random.default_rng(k)) for k in range(300)]
    for name, (low, high) in ORIGINAL.items():
        values = [getattr(params, name) for params in drawn]
        assert low <= min(values) < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < max(values) <= high


@given(st.integers(0, 2**32))
def test_sample_is_within_its_ranges_and_repeatable(seed):
    params = sample(TABLE1, np.random.default_rng(seed))
    assert params == sample(TABLE1, np.random.default_rng(seed))
    for name, (low, high) in TABLE1.items():
        assert low <= getattr(params, name) <= high
    assert params.pd_latency_s == PlantParams().pd_latency_s


def test_order_of_the_ranges_does_not_matter():
    backwards = dict(reversed(TABLE1.items()))
    assert sample(TABLE1, np.random.default_rng(3)) == sample(backwards, np.random.default_rng(3))


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ({"battery_v": (16.0, 14.0)}, "range of battery_v is reversed"),
        ({"batery_v": (14.0, 16.0)}, "unknown plant parameter 'batery_v'"),
        ({"contact_friction": (-0.1, 1.0)}, "contact_friction = -0.1 is impossible"),
        ({"policy_latency_s": (0.0, math.nan)}, "policy_latency_s = nan is impossible"),
        ({"policy_latency_s": ("0", 1)}, "policy_latency_s = '0' must be a number"),
        ({"battery_v": 15.0}, "range of battery_v must be two numbers, got 15.0"),
        ({"battery_v": (14.0, 15.0, 16.0)}, "range of battery_v must be two numbers"),
    ],
)
def test_impossible_ranges_are_refused(ranges, message):
    with pytest.raises(ParameterError, match=message):
        sample(ranges, np.random.default_rng(0))


def test_impossible_values_are_refused():
    with pytest.raises(ParameterError, match="base_mass_scale = -1"):
        PlantParams(base_mass_scale=-1.0)
    with pytest.raises(ParameterError, match="exceeds"):
        PlantParams(push_force_low_n=2.0, push_force_high_n=1.0)


@pytest.mark.parametrize("number", [np.float64, np.float32, np.int64, int, Fraction, float])
def test_numbers_of_any_kind_become_pythons(number):
    params = PlantParams(base_mass_scale=number(2), seed=np.uint8(7))
    assert params == PlantParams(base_mass_scale=2.0, seed=7)
    assert repr(params) == repr(PlantParams(base_mass_scale=2.0, seed=7))
    assert {type(getattr(params, name)) for name in NAMES - VECTORS - {"seed"}} == {float}
    assert type(params.seed) is int


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (math.nan, "= nan is impossible"),
        (np.float32(math.inf), "= inf is impossible"),
        (True, "= True must be a number"),
        (np.True_, "must be a number"),
        ("1.1", "= '1.1' must be a number"),
        (None, "= None must be a number"),
        (1j, "must be a number"),
        (np.ones(1), "must be a number"),
    ],
)
def test_what_is_no_number_is_refused(value, message):
    with pytest.raises(ParameterError, match=f"battery_v {message}|battery_v .*{message}"):
        PlantParams(battery_v=value)


@pytest.mark.parametrize("seed", [1.0, np.float64(1), True, "1", None])
def test_a_seed_is_an_integer(seed):
    with pytest.raises(ParameterError, match="must be an integer"):
        PlantParams(seed=seed)


def test_widened_by_half_goes_both_ways_where_there_is_room():
    assert widened({"contact_friction": (0.5, 1.25)}, 0.5) == {"contact_friction": (0.3125, 1.4375)}
    # No negative latency: the upper end takes what the lower one cannot.
    assert widened({"policy_latency_s": (0.0, 0.04)}, 0.5) == {"policy_latency_s": (0.0, 0.06)}
    # A full pack has no more than 16.8 V, and under 12.7 V the robot does not run.
    assert widened({"battery_v": (14.0, 16.8)}, 0.25) == {"battery_v": (13.3, 16.8)}
    assert widened({"battery_v": (14.0, 16.8)}, 0.5) == {"battery_v": (12.7, 16.8)}
    assert widened(TABLE1, 0.0) == TABLE1


def test_beyond_table1_contains_it_and_is_possible():
    beyond = RANDOMIZATIONS["beyond"]
    assert set(beyond) == set(TABLE1)
    for name, (low, high) in TABLE1.items():
        wide_low, wide_high = beyond[name]
        assert wide_low <= low
        assert wide_high >= high
        grown = (wide_high - wide_low) / (high - low)
        assert grown == pytest.approx(1.5) if name != "battery_v" else 1.4 < grown < 1.5
    for seed in range(200):
        sample(beyond, np.random.default_rng(seed))


def test_what_cannot_be_widened_is_refused():
    with pytest.raises(ParameterError, match="base_mass_scale = -4"):
        widened({"base_mass_scale": (0.5, 1.5)}, 9.0)


TABLE_PLANT = drawn("table1", 5)
PUSHED = PlantParams(push_force_low_n=130.0, push_force_high_n=220.0, seed=4)


def test_pushes_last_their_duration_at_their_interval():
    pushes = Pushes(PUSHED)
    ticks = [k for k in range(4000) if pushes.force_n(k * 1e-3) is not None]
    assert ticks == [k for start in (1200, 2400, 3600) for k in range(start, start + 60)]


def test_pushes_are_horizontal_sized_and_differ():
    pushes = Pushes(PUSHED)
    forces = np.array([pushes.force_n(1.2 * k) for k in range(1, 200)])
    sizes = np.linalg.norm(forces, axis=1)
    assert (forces[:, 2] == 0.0).all()
    assert sizes.min() >= 130.0
    assert sizes.max() <= 220.0
    # Uniform directions leave no preferred side.
    assert np.abs((forces / sizes[:, None]).mean(axis=0)).max() < 0.15


def test_pushes_do_not_depend_on_how_often_one_asks():
    often, seldom = Pushes(PUSHED), Pushes(PUSHED)
    for k in range(5000):
        latest = often.force_n(k * 1e-3)
    assert latest is None
    assert (often.force_n(6.0) == seldom.force_n(6.0)).all()


def test_no_force_no_push():
    pushes = Pushes(PlantParams())
    assert all(pushes.force_n(k * 1e-3) is None for k in range(3000))


def test_a_name_and_a_seed_are_a_plant():
    for name, ranges in RANDOMIZATIONS.items():
        assert drawn(name, 5) == sample(ranges, np.random.default_rng(5))
        assert drawn(name, 5) != drawn(name, 6)


def test_pushed_by_a_force_is_pushed_by_that_force_alone():
    params = pushed(TABLE_PLANT, 130.0)
    forces = [Pushes(params).force_n(1.2 * k) for k in range(1, 5)]
    assert [float(np.linalg.norm(force)) for force in forces] == pytest.approx([130.0] * 4)
    assert dataclasses.replace(params, push_force_low_n=0, push_force_high_n=0) == TABLE_PLANT
    assert pushed(TABLE_PLANT, 0.0) == TABLE_PLANT
    with pytest.raises(ParameterError, match=r"a push must be in \[0, 2000\] N, is -1"):
        pushed(TABLE_PLANT, -1.0)


# A number for each motor.


def test_each_motor_is_drawn_from_its_own_range():
    lows = tuple(0.1 * motor for motor in range(8))
    ranges = {"encoder_offset_rad": (lows, tuple(low + 0.05 for low in lows))}
    drawn = np.array(
        [sample(ranges, np.random.default_rng(k)).encoder_offset_rad for k in range(300)]
    )
    assert drawn.min(axis=0) == pytest.approx(lows, abs=2e-3)
    assert drawn.max(axis=0) == pytest.approx(np.add(lows, 0.05), abs=2e-3)
    # Each by itself.
    assert np.abs(np.corrcoef(drawn.T) - np.eye(8)).max() < 0.25


def test_one_pair_of_numbers_is_the_range_of_every_motor():
    pair, eights = (
        {"encoder_offset_rad": (-0.1, 0.2)},
        {"encoder_offset_rad": ((-0.1,) * 8, (0.2,) * 8)},
    )
    one = sample(pair, np.random.default_rng(7))
    assert one == sample(eights, np.random.default_rng(7))
    assert len(set(one.encoder_offset_rad)) == 8
    assert widened(pair, 1.0) == widened(eights, 1.0)
    assert widened(pair, 1.0) == {"encoder_offset_rad": ((-0.25,) * 8, (0.35,) * 8)}


# About a calibrated plant.

CALIBRATED = CalibratedPlant(
    name="measured robot",
    params=PlantParams(battery_v=15.0, knee_coulomb_nm=0.03, contact_friction=0.7),
    intervals={"battery_v": (14.8, 15.3), "encoder_offset_rad": ((-0.01,) * 8, (0.02,) * 8)},
    unknown=("contact_friction", "toe_stiffness_n_per_m"),
    provenance=Provenance({}, "mujoco", "minitaur calibrate", "2026-11-28", {}),
)


def test_measured_ranges_are_the_intervals_and_table1_where_nothing_is_told():
    assert measured_ranges(CALIBRATED) == {
        "battery_v": (14.8, 15.3),
        "encoder_offset_rad": ((-0.01,) * 8, (0.02,) * 8),
        "contact_friction": (0.5, 1.25),
    }


def test_measured_plants_differ_within_what_is_open_and_keep_the_rest():
    for seed in range(50):
        params = drawn("measured", seed, CALIBRATED)
        assert 14.8 <= params.battery_v <= 15.3
        assert 0.5 <= params.contact_friction <= 1.25
        assert all(-0.01 <= offset <= 0.02 for offset in params.encoder_offset_rad)
        settled = dataclasses.replace(
            params,
            battery_v=15.0,
            contact_friction=0.7,
            encoder_offset_rad=(0.0,) * 8,
            start_heading_rad=0.0,
            seed=0,
        )
        assert settled == CALIBRATED.params
    assert drawn("measured", 1, CALIBRATED) != drawn("measured", 2, CALIBRATED)


def test_every_randomization_can_be_about_a_calibrated_plant():
    plain = drawn("none", 3, CALIBRATED)
    assert plain == dataclasses.replace(
        CALIBRATED.params, seed=plain.seed, start_heading_rad=plain.start_heading_rad
    )
    # Table I holds this battery and this friction, and says nothing of knees.
    table1 = drawn("table1", 3, CALIBRATED)
    assert table1 == dataclasses.replace(drawn("table1", 3), knee_coulomb_nm=0.03)
    for name, ranges in RANDOMIZATIONS.items():
        assert randomization_named(name) == Randomization(ranges)
        about = randomization_named(name, CALIBRATED)
        assert about.nominal == CALIBRATED.params
        # "original" has a friction of 0.8 at least; this robot's floor has 0.7.
        stretched = {"contact_friction": (0.7, 1.5)} if name == "original" else {}
        assert about.ranges == {**ranges, **stretched}


def test_ranges_about_another_robot_by_hand():
    robot = PlantParams(
        base_mass_scale=0.85,
        base_inertia_scale=2.0,
        motor_strength_scale=1.1,
        imu_pitch_bias_rad=0.02,
        motor_coulomb_nm=0.08,
        contact_friction=0.4,
        policy_latency_s=0.05,
    )
    about = ranges_about(TABLE1, robot)
    expected = {
        "base_mass_scale": (0.68, 1.02),
        "leg_mass_scale": (0.8, 1.2),
        "base_inertia_scale": (1.0, 3.0),
        "motor_strength_scale": (0.88, 1.32),
        "imu_roll_bias_rad": (-0.05, 0.05),
        "imu_pitch_bias_rad": (-0.03, 0.07),
        "motor_coulomb_nm": (0.0, 0.08),
        "contact_friction": (0.4, 1.25),
        "policy_latency_s": (0.0, 0.05),
        "battery_v": (14.0, 16.8),
        "control_step_s": (0.003, 0.020),
    }
    for name, ends in expected.items():
        assert about[name] == pytest.approx(ends, abs=1e-12), name
    assert set(about) == set(TABLE1)


def test_a_load_of_2_kg_weighs_2_kg():
    plant = make_plant()
    nominal_kg = plant.engine.mass_kg
    plant.reset(drawn("load2", 0))
    assert plant.engine.mass_kg - nominal_kg == pytest.approx(2.0, abs=1e-3)
    plant.close()


def test_no_training_draws_what_is_not_modelled():
    names = {name for each in UNMODELLED.values() for name in each} - {"toe_stiffness_n_per_m"}
    for make in CONFIGS.values():
        config = make()
        drawn_names = set(TABLE1)
        for kwargs in (config.task_kwargs, *config.task_kwargs.get("scenes", ())):
            ranges = kwargs.get("randomization", {})
            drawn_names |= set() if isinstance(ranges, str) else set(ranges)
            drawn_names |= set(kwargs)
        assert not names & drawn_names, config.name


@given(st.data())
def test_ranges_about_a_robot_hold_it(data):
    """Whatever the robot; and about the nominal one they are themselves."""
    values = {
        name: data.draw(st.floats(low, high))
        for name, (low, high) in RANDOMIZATIONS["beyond"].items()
    }
    robot = PlantParams(**values)
    for key, ranges in RANDOMIZATIONS.items():
        for name, (low, high) in ranges_about(ranges, robot).items():
            values = zip(*map(entries, (low, getattr(robot, name), high)), strict=True)
            assert key in HAPPENED or all(a <= b <= c for a, b, c in values)
        assert ranges_about(ranges, PlantParams()) == ranges


def test_ranges_of_every_motor_are_stretched_one_by_one():
    offsets = (0.3, *(0.0,) * 6, -0.2)
    about = ranges_about(
        {"encoder_offset_rad": (-0.1, 0.1)}, PlantParams(encoder_offset_rad=offsets)
    )
    low, high = about["encoder_offset_rad"]
    assert low == (*(-0.1,) * 7, -0.2)
    assert high == (0.3, *(0.1,) * 7)


def test_a_range_that_would_be_impossible_about_a_robot_is_refused():
    with pytest.raises(ParameterError, match=r"base_mass_scale = 21\.6 is impossible"):
        ranges_about(TABLE1, PlantParams(base_mass_scale=18.0))


def test_a_calibration_decides_neither_control_step_nor_heading():
    plant = dataclasses.replace(
        CALIBRATED,
        params=PlantParams(control_step_s=0.01, start_heading_rad=1.0),
        intervals={"battery_v": (15.0, 16.5), "start_heading_rad": (0.9, 1.1)},
        unknown=("control_step_s",),
    )
    for name in ("none", "measured"):
        found = randomization_named(name, plant)
        assert found.nominal == PlantParams()
    assert found.ranges == {"battery_v": (15.0, 16.5)}
    assert drawn("measured", 0, plant).control_step_s == PlantParams().control_step_s


def test_what_cannot_be_told_has_table1_about_the_plant():
    plant = dataclasses.replace(
        CALIBRATED,
        params=PlantParams(base_mass_scale=0.5),
        intervals={},
        unknown=("base_mass_scale",),
    )
    assert measured_ranges(plant) == {"base_mass_scale": (0.4, 0.6)}


def test_measured_without_a_calibrated_plant_is_refused():
    assert (*RANDOMIZATIONS, "measured") == RANDOMIZATION_NAMES
    with pytest.raises(ParameterError, match="'measured' needs a calibrated plant: name one"):
        drawn("measured", 0)
    with pytest.raises(ParameterError, match=r"'moon'; known: none, .*, measured"):
        drawn("moon", 0, CALIBRATED)
