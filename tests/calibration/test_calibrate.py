"""`minitaur calibrate` as a user meets it."""

import json
import re

import pytest

from calibration import calibrate
from calibration.calibrate import _named, main
from calibration.record import Board, Record, Source
from sim.plant.params_file import read_params


@pytest.fixture
def log(tmp_path, mujoco_log):
    path = tmp_path / "run.npz"
    mujoco_log.save(path)
    path.with_suffix(".json").write_text(json.dumps({"robot": "sim"}))
    return path


def test_a_log_becomes_a_plant_that_other_commands_read(log, tmp_path, capsys, monkeypatch):
    out = tmp_path / "robot.json"
    # Friction of the knees by two laws: such a short log cannot tell the one from the other.
    knees = ("knee_viscous_nm_s_per_rad", "knee_coulomb_nm")
    only = ("policy_latency_s", *knees)
    monkeypatch.setattr(calibrate, "_TELL_EVERY_S", 0.0)
    options = ["--windows", "10", "--evaluations", "10", "--workers", "0", "--only", *only]
    options += ["--known", "base_mass_scale=1.1", "contact_friction=0.9"]
    assert main(["--log", str(log), "--out", str(out), *options]) == 0
    plant = read_params(out)
    assert plant.name == "robot"
    assert plant.params.base_mass_scale == 1.1
    assert plant.params.contact_friction == 0.9
    low, high = plant.intervals["policy_latency_s"]
    assert low <= plant.params.policy_latency_s <= high
    assert plant.params.policy_latency_s == pytest.approx(0.015, abs=0.001)
    assert plant.unknown == knees
    assert list(plant.provenance.records) == [f"{tmp_path.name}/run.npz"]
    assert plant.provenance.command.startswith(f"minitaur calibrate --log {log} --out {out} ")
    shown, told = capsys.readouterr()
    assert re.search(r"^\d+ of about \d+ simulations, errors \d+ % of the first$", told, re.M)
    assert "policy_latency_s" in shown
    assert "the records cannot tell" in shown
    assert f"wrote {out}" in shown


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "no record is named: minitaur calibrate --log FILE"),
        (["--log", "no.npz"], "no.npz"),
        (["--log", "LOG", "--out", "robot.txt"], "must end in .json"),
        (["--log", "LOG", "--only", "seed"], "'seed' cannot be fitted; known: "),
        (["--log", "LOG", "--known", "base_mass_scale"], "takes NAME=VALUE"),
        (["--log", "LOG", "LOG"], "a record is named twice"),
        (["--log", "LOG", "--known", "base_mass_scale=1", "base_mass_scale=2"], "twice: name it"),
        (["--log", "LOG", "--plant", "pybullet-duck"], "known: pybullet, mujoco, pybullet-full"),
        (["--log", "LOG", "--known", "mass=1"], "unknown plant parameter 'mass'"),
        (["--log", "LOG", "--known", "base_mass_scale=-1"], "is impossible"),
        (["--log", "LOG", "--plant", "moon"], "unknown plant 'moon'; known: pybullet"),
        (["--log", "LOG", "--windows", "1"], r"--windows must be in [10, 5000], is 1"),
        (["--log", "LOG", "--only", "battery_v", "--also", "battery_v"], "--only names all"),
        (["--log", "LOG", "--params", "nobody"], "unknown calibrated plant 'nobody'"),
    ],
)
def test_bad_input_is_one_line(log, tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.chdir(tmp_path)
    assert main([str(log) if each == "LOG" else each for each in options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "params.json").exists()


def test_records_of_one_name_are_told_apart_in_the_file():
    logs = [Record(Source.of("robot.log", data, Board.MAINBOARD)) for data in (b"1", b"2", b"3")]
    named = _named([logs[0], Record(Source.of("walk.npz", b"4", Board.MAINBOARD)), *logs[1:]])
    assert list(named) == ["robot.log", "walk.npz", "robot.log (2)", "robot.log (3)"]
    assert [named[key] for key in ("robot.log", "robot.log (3)")] == [
        logs[0].source.sha256,
        logs[2].source.sha256,
    ]
