"""Parameters with a number for each motor, ranges of them, and where a model's file holds."""

import dataclasses
import json
import math

import numpy as np
import pytest

from sim.errors import ParameterError
from sim.plant.params import (
    NAMES,
    VECTORS,
    PlantParams,
    checked_range,
    checked_value,
    differing,
    entries,
    toe_contact,
)

OFFSETS = (0.1, -0.1, 0.0, 0.02, 0.0, 0.0, 0.0, -0.3)


@pytest.mark.parametrize("kind", [tuple, list, np.array])
def test_a_number_for_each_motor_becomes_a_tuple_of_pythons(kind):
    params = PlantParams(encoder_offset_rad=kind(OFFSETS))
    assert params.encoder_offset_rad == OFFSETS
    assert {type(number) for number in params.encoder_offset_rad} == {float}
    assert params == PlantParams(encoder_offset_rad=OFFSETS)
    assert len({params, PlantParams(encoder_offset_rad=OFFSETS), PlantParams()}) == 2


def test_every_parameter_survives_json():
    params = PlantParams(encoder_offset_rad=OFFSETS, seed=3, winding_resistance_ohm=0.2)
    assert PlantParams(**json.loads(json.dumps(dataclasses.asdict(params)))) == params


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0.1, r"encoder_offset_rad = 0\.1 must be 8 numbers, one for each motor"),
        ((0.1,) * 7, "must be 8 numbers"),
        ("12345678", "must be 8 numbers"),
        (None, "must be 8 numbers"),
        (np.zeros((8, 2)), r"encoder_offset_rad\[0\] = \[0\.0, 0\.0\] must be a number"),
        ((0.0,) * 7 + (math.nan,), r"encoder_offset_rad\[7\] = nan is impossible"),
        ((0.0, 4.0) + (0.0,) * 6, r"encoder_offset_rad\[1\] = 4\.0 is impossible"),
        ((True,) + (0.0,) * 7, r"encoder_offset_rad\[0\] = True must be a number"),
    ],
)
def test_what_is_not_eight_numbers_is_refused(value, message):
    with pytest.raises(ParameterError, match=message):
        PlantParams(encoder_offset_rad=value)


def test_an_unknown_name_is_told_its_nearest():
    with pytest.raises(ParameterError, match=r"'batery_v'; did you mean battery_v\?"):
        checked_value("batery_v", 1.0)
    with pytest.raises(ParameterError, match=r"'zzz'; known: \['base_com_x_m'"):
        checked_value("zzz", 1.0)


def test_a_range_of_one_number_for_all_motors_is_that_of_each():
    each = ((-0.1,) * 8, (0.1,) * 8)
    assert checked_range("encoder_offset_rad", (-0.1, 0.1)) == each
    assert checked_range("encoder_offset_rad", [-0.1, [0.1] * 8]) == each
    assert checked_range("battery_v", [14, 16]) == (14.0, 16.0)


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ((0.1, -0.1), "range of encoder_offset_rad is reversed"),
        (((0.0,) * 8, (0.1,) * 7 + (-0.1,)), "range of encoder_offset_rad is reversed"),
        ((-4.0, 0.0), r"encoder_offset_rad\[0\] = -4\.0 is impossible"),
        ((0.0,) * 8, "range of encoder_offset_rad must be two"),
        ("01", "range of encoder_offset_rad must be two"),
    ],
)
def test_impossible_ranges_of_eight_are_refused(bounds, message):
    with pytest.raises(ParameterError, match=message):
        checked_range("encoder_offset_rad", bounds)


def test_only_what_differs_is_listed():
    assert differing(PlantParams()) == {}
    params = PlantParams(encoder_offset_rad=OFFSETS, battery_v=15.0)
    assert differing(params) == {"encoder_offset_rad": OFFSETS, "battery_v": 15.0}


def test_entries_of_every_nominal_value():
    lengths = {name: len(entries(getattr(PlantParams(), name))) for name in NAMES}
    assert {name for name, length in lengths.items() if length == 8} == VECTORS
    assert {lengths[name] for name in NAMES - VECTORS} == {1}


def test_the_models_file_holds_where_a_toe_is_nominal():
    described = {"stiffness": 10000.0, "damping": 10.0, "friction_anchor": None}
    assert toe_contact(PlantParams(), described) == (10000.0, 10.0)
    assert toe_contact(PlantParams(toe_stiffness_n_per_m=2000.0), described) == (2000.0, 10.0)
    assert toe_contact(PlantParams(toe_damping_n_s_per_m=50.0), described) == (10000.0, 50.0)
    assert toe_contact(PlantParams(), {}) == (3000.0, 100.0)
