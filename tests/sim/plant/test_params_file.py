"""Calibrated plants as files: exact both ways, and one clear line for every bad one."""

import dataclasses
import hashlib
import json
import os
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.plants import write_plant

from sim.errors import ParameterError
from sim.plant.params import PlantParams
from sim.plant.params_file import (
    CalibratedPlant,
    Provenance,
    names,
    params_text,
    read_params,
    read_plant_file,
)

OFFSETS = (0.1, -0.1, 0.0, 0.02, 0.0, 0.0, 0.0, -0.3)
PROVENANCE = Provenance(
    records={"bound.log": "0123456789abcdef" * 4},
    engine="mujoco",
    command="minitaur calibrate bound.log",
    date="2026-11-28",
    fit={"motor_rms_rad": 0.031, "windows": 79.0},
)
PLANT = CalibratedPlant(
    name="bounder",
    params=PlantParams(battery_v=14.8, encoder_offset_rad=OFFSETS, knee_coulomb_nm=0.02),
    intervals={
        "battery_v": (14.5, 15.0),
        "encoder_offset_rad": (tuple(x - 0.01 for x in OFFSETS), tuple(x + 0.02 for x in OFFSETS)),
        "motor_strength_scale": (0.9, 1.1),
    },
    unknown=("contact_friction", "toe_stiffness_n_per_m", "imu_noise_std"),
    provenance=PROVENANCE,
)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "plant.json"


def edited(file, path, value):
    """Write ``PLANT`` with one field changed, or left out for a value of None."""
    data = json.loads(params_text(PLANT))
    *above, last = path.split("/")
    place = data
    for name in above:
        place = place[name]
    if value is None:
        del place[last]
    else:
        place[last] = value
    file.write_text(json.dumps(data))


def test_what_is_written_is_read_back_exactly(file):
    file.write_text(params_text(PLANT))
    assert read_params(file) == PLANT
    assert read_params(str(file)) == PLANT
    assert params_text(read_params(file)) == file.read_text()


def test_only_values_that_are_not_nominal_are_written():
    assert json.loads(params_text(PLANT))["params"] == {
        "knee_coulomb_nm": 0.02,
        "encoder_offset_rad": list(OFFSETS),
        "battery_v": 14.8,
    }
    assert PLANT.overrides == {
        "knee_coulomb_nm": 0.02,
        "encoder_offset_rad": OFFSETS,
        "battery_v": 14.8,
    }


def test_nominal_values_may_stand_in_a_file_and_integers_are_numbers(file):
    edited(file, "params/contact_friction", 1)
    assert read_params(file) == PLANT


@given(
    battery_v=st.floats(12.7, 16.8),
    below=st.floats(0.0, 1.0),
    above=st.floats(0.0, 1.0),
    offsets=st.lists(st.floats(-0.5, 0.5), min_size=8, max_size=8),
)
def test_any_numbers_keep_every_bit(tmp_path_factory, battery_v, below, above, offsets):
    plant = dataclasses.replace(
        PLANT,
        params=PlantParams(battery_v=battery_v, encoder_offset_rad=offsets),
        intervals={"battery_v": (battery_v - below, battery_v + above)},
    )
    file = tmp_path_factory.getbasetemp() / "any.json"
    file.write_text(params_text(plant))
    assert read_params(file) == plant


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("version", 2, "it has version 2, this program reads version 1: calibrate anew"),
        ("version", None, "it has version None"),
        ("format", "elephant", "plant.format must be one of minitaur calibrated plant"),
        ("name", None, "plant lacks fields: name"),
        ("colour", "red", "plant has unknown fields: colour"),
        ("name", "", "plant.name must have 1 to 100 characters"),
        ("params", [], "plant.params must be an object, is list"),
        ("params/batery_v", 15.0, "'batery_v'; did you mean battery_v?"),
        ("params/battery_v", 99.0, "battery_v = 99.0 is impossible: it must lie in [0.0, 50.0]"),
        ("params/battery_v", "15", "battery_v = '15' must be a number"),
        ("params/battery_v", True, "battery_v = True must be a number"),
        ("params/encoder_offset_rad", 0.1, "encoder_offset_rad = 0.1 must be 8 numbers"),
        ("params/seed", 3, "seed is of an episode, not of a robot"),
        ("params/push_force_high_n", 50.0, "push_force_high_n is of an episode"),
        ("intervals/battery_v", [15.0, 14.5], "range of battery_v is reversed: [15.0, 14.5]"),
        ("intervals/battery_v", [15.0, 15.5], "battery_v = 14.8 lies outside its interval [15.0, "),
        ("intervals/battery_v", [14.0], "range of battery_v must be two numbers"),
        ("intervals/battery_v", {}, "range of battery_v must be two numbers"),
        ("intervals/encoder_offset_rad", [0.0, 0.2], "encoder_offset_rad = -0.1 lies outside"),
        ("intervals/knee_coulom_nm", [0, 1], "'knee_coulom_nm'; did you mean knee_coulomb_nm"),
        ("intervals/contact_friction", [0.5, 1.5], "contact_friction has an interval and is unk"),
        ("unknown", ["friction"], "'friction'; did you mean contact_friction"),
        ("unknown", ["seed"], "seed is of an episode"),
        ("unknown", [3], "plant.unknown[0] must be str, is int"),
        ("provenance/date", "28 November", "date '28 November' must be a day, YYYY-MM-DD"),
        ("provenance/records", {"a.log": "12"}, "record 'a.log' needs a SHA-256 of 64"),
        ("provenance/fit", {"rms": "low"}, "plant.provenance.fit.rms must be float, is str"),
        ("provenance/engine", None, "plant.provenance lacks fields: engine"),
    ],
)
def test_a_bad_file_is_one_line_that_names_it_and_what_is_wrong(file, path, value, message):
    edited(file, path, value)
    with pytest.raises(ParameterError, match=re.escape(message)) as caught:
        read_params(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"[]", "plant must be an object, is list"),
        (b'{"a": NaN}', "must be finite"),
        (b"\xff\xfe\x00", "not a calibrated plant: it is not text"),
        (b'{"name": "a", "name": "b"}', "is there twice"),
    ],
)
def test_what_is_no_plant_at_all_is_refused(file, content, message):
    file.write_bytes(content)
    with pytest.raises(ParameterError, match=message):
        read_params(file)


def test_a_missing_file_and_an_unknown_name(tmp_path):
    with pytest.raises(ParameterError, match=r"none\.json: cannot be read: No such file"):
        read_params(tmp_path / "none.json")
    with pytest.raises(ParameterError, match="a folder or a device, and a file is needed"):
        read_params(tmp_path)
    os.mkfifo(tmp_path / "pipe.json")  # nobody will ever write into it
    with pytest.raises(ParameterError, match="a folder or a device, and a file is needed"):
        read_params(tmp_path / "pipe.json")
    with pytest.raises(ParameterError, match=r"unknown calibrated plant 'moon'; .*; a file needs"):
        read_params("moon")


def test_a_file_without_its_suffix_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_plant(tmp_path / "mine.json", {"contact_friction": 0.4})
    with pytest.raises(ParameterError, match=r"'mine'; did you mean the file mine\.json\?"):
        read_params("mine")


def test_the_nearest_plant_that_ships_is_named(shipped_plants):
    for name in ("bound-2018", "walk-2019"):
        write_plant(shipped_plants / f"{name}.json", {"contact_friction": 0.4})
    assert names() == ("bound-2018", "walk-2019")
    with pytest.raises(ParameterError) as failed:
        read_params("walk-2018")
    assert str(failed.value) == (
        "unknown calibrated plant 'walk-2018'; did you mean walk-2019? these ship: bound-2018, "
        "walk-2019; a file needs its suffix, e.g. robot.json"
    )


def test_what_was_read_is_told_from_other_files(shipped_plants):
    path = write_plant(shipped_plants / "dry.json", {"contact_friction": 0.4})
    by_file, by_name = read_plant_file(path), read_plant_file("dry")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert by_file.facts == {"file": str(path), "name": "dry", "sha256": digest}
    assert by_name.facts == {"file": "dry", "name": "dry", "sha256": digest}
    assert by_name.plant == by_file.plant == read_params("dry")
    path.write_text(path.read_text() + "\n")
    assert read_plant_file("dry").sha256 != digest


def test_plants_that_ship_are_read_by_their_own_names():
    for name in names():
        assert read_params(name).name == name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"records": {"a": "A" * 64}}, "needs a SHA-256"),
        ({"date": "2026-13-01"}, "must be a day"),
        ({"fit": {"rms": float("nan")}}, "figure 'rms' of the fit is nan: it must be finite"),
    ],
)
def test_provenance_is_checked_when_it_is_made(change, message):
    with pytest.raises(ParameterError, match=message):
        dataclasses.replace(PROVENANCE, **change)


def test_figures_of_numpy_are_written(file):
    fitted = dataclasses.replace(PROVENANCE, fit={"rms": np.float64(0.5)})
    file.write_text(params_text(dataclasses.replace(PLANT, provenance=fitted)))
    assert read_params(file).provenance.fit == {"rms": 0.5}
