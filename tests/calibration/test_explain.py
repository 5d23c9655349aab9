"""``minitaur explain``: what it prints and writes, and what it refuses."""

import dataclasses
import json

import numpy as np
import pytest
from support.driven_plant import driven_record, foot_commands

from calibration.closed_loop import ClosedLoop, Motion
from calibration.explain import Explain, Explanation, check_record, main, verdict
from calibration.open_loop import HORIZONS_MS, OLDER_MS, Errors, OpenLoop
from calibration.record import Board, Flag, Reason, Record, Source
from robot_firmware_bridge.json_values import decode
from robot_firmware_bridge.robot import MINITAUR
from sim.engines.mujoco import MujocoEngine
from sim.plant.params import PlantParams
from sim.plant.plant import Plant

QUICK = ["--plant", "mujoco", "--windows", "10"]


@pytest.fixture
def run_folder(tmp_path, sim_log):
    """The folder of a run of this stack on the simulated robot."""
    folder = tmp_path / "trot"
    folder.mkdir()
    sim_log.save(folder / "run.npz")
    (folder / "run.json").write_text(json.dumps({"robot": "sim"}))
    return folder


def test_a_run_on_rough_ground_is_refused(run_folder, capsys):
    report = {"robot": "sim", "setup": {"terrain": "blocks20"}}
    (run_folder / "run.json").write_text(json.dumps(report))
    assert main(["--log", str(run_folder), *QUICK]) == 2
    line = capsys.readouterr().err
    assert "trot/run.npz: the robot walked on blocks20, and records are compared with" in line


def test_a_run_is_explained_on_screen_in_json_and_in_a_picture(run_folder, tmp_path, capsys):
    out = tmp_path / "judged"
    assert main(["--log", str(run_folder), "--out", str(out), *QUICK]) == 0
    printed = capsys.readouterr().out
    first, second = printed.splitlines()[:2]
    assert first.startswith("The simulator predicts the motors 50 ms ahead to 0.0")
    assert second.startswith("Under the recorded commands of 0.9 s the simulated robot goes 0.")
    assert f"wrote {out / 'explain.json'}" in printed
    assert (out / "explain.png").read_bytes().startswith(b"\x89PNG")
    written = json.loads((out / "explain.json").read_text())
    found = decode(Explanation, written, "explanation")
    assert found.verdict == (first, second)
    assert found.plant == "mujoco"
    assert found.open_loop.windows == 10
    assert len(found.closed_loop.angles_rms_by_motor_rad) == 8
    assert found.sha256 in json.dumps(written)
    # The table has what the report has.
    assert f"{found.open_loop.simulator.angles_rad[3]:.3f}" in printed
    assert f"{found.closed_loop.robot.power_w:.1f}" in printed
    for motor in MINITAUR.motor_names:
        assert motor in printed


def test_foot_commands_are_replayed_with_the_parameters_of_a_file(
    tmp_path, walk_arrays, monkeypatch, capsys
):
    # A second of the walk: its commands stand.
    walk = {
        name: values[: len(values) // 4] if name.startswith("command") else values
        for name, values in walk_arrays.items()
    }
    np.savez(tmp_path / "walk.npz", **walk)
    params = {
        "format": "minitaur calibrated plant",
        "version": 1,
        "name": "slippery",
        "params": {"contact_friction": 0.4},
        "intervals": {},
        "unknown": [],
        "provenance": {
            "records": {},
            "engine": "mujoco",
            "command": "by hand",
            "date": "2026-01-02",
            "fit": {},
        },
    }
    (tmp_path / "slippery.json").write_text(json.dumps(params))
    monkeypatch.chdir(tmp_path)
    assert main(["--log", "walk.npz", "--params", "slippery.json", *QUICK]) == 0
    report = json.loads((tmp_path / "build/explain/walk/explain.json").read_text())
    assert report["params"] == {"contact_friction": 0.4}
    assert report["params_from"] == "slippery.json"
    assert report["open_loop"] is None
    assert report["closed_loop"]["robot"]["current_a"] == pytest.approx([1, 2, 3, 4, 5, 6, 7, 8])
    assert "mean |current|, front_leftL, A" in capsys.readouterr().out


def test_every_record_has_a_folder_of_its_own(tmp_path):
    logs = (tmp_path / "a" / "robot.log", tmp_path / "b" / "robot.log", tmp_path / "c" / "run.npz")
    names = [str(each) for each in Explain(log=logs).folders()]
    assert names == ["build/explain/robot", "build/explain/robot-2", "build/explain/c"]
    assert Explain(log=logs[:1], out=tmp_path).folders() == [tmp_path]
    assert Explain(log=logs[1:], out=tmp_path).folders() == [tmp_path / "robot", tmp_path / "c"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no record is named: minitaur explain --log FILE"),
        (["--log", "gone.log"], "cannot read gone.log: No such file or directory"),
        (["--log", "trot", "--plant", "ode"], "unknown plant 'ode'"),
        (["--log", "trot", "--windows", "3"], "--windows must be in [10, 100000], is 3"),
        (["--log", "trot", "--params", "nobody"], "unknown calibrated plant 'nobody'"),
        (["--log", "trot", "--params", "old.json"], "it has version 0, this program reads"),
        (["--log", "text.log"], "text.log is no record of a robot"),
        (["--log", "trot", "--out", "text.log"], "text.log"),
    ],
)
def test_bad_input_is_one_line(
    arguments, message, run_folder, tmp_path, monkeypatch, capsys, error_line
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.log").write_text("hello\n")
    (tmp_path / "old.json").write_text('{"format": "minitaur calibrated plant", "version": 0}')
    assert main(arguments) == 2
    assert message in error_line()
    assert not (tmp_path / "build").exists()


def test_a_record_of_another_robot_is_refused(tmp_path):
    robot = dataclasses.replace(MINITAUR, upper_link_m=0.12)
    record = Record(Source.of("run.npz", b"", Board.OWN), commands=foot_commands(), robot=robot)
    with pytest.raises(Exception, match=r"another robot: its upper_link_m is 0\.12, the"):
        check_record(record)


def test_a_record_without_attitude_or_commands_is_refused():
    plant = Plant(MujocoEngine())
    record = driven_record(plant, PlantParams(), 0.1)
    plant.close()
    check_record(record)
    with pytest.raises(Exception, match="it lacks attitude and commands"):
        check_record(dataclasses.replace(record, attitude=None))


def open_loop(simulator, holding=0.4, findings=()):
    def errors(at_50_ms):
        values = tuple(at_50_ms * each / 50.0 for each in HORIZONS_MS)
        return Errors(values, values, values, (at_50_ms,) * 8)

    return OpenLoop(
        "recorded duties",
        HORIZONS_MS,
        100,
        0,
        errors(simulator),
        errors(holding),
        errors(0.5),
        (),
        OLDER_MS,
        (0.1,) * len(OLDER_MS),
        findings,
    )


@pytest.mark.parametrize(
    ("simulator", "begins"),
    [
        (
            0.1,
            "The simulator predicts the motors 50 ms ahead to 0.100 rad, 4.0 times better than",
        ),
        (0.3, "The simulator hardly knows this robot: it predicts the motors 50 ms ahead to 0.300"),
        (0.6, "This robot is at odds with the simulator, which predicts the motors 50 ms ahead to"),
    ],
)
def test_the_verdict_says_how_well_the_robot_is_known(simulator, begins):
    record = Record(Source.of("robot.log", b"", Board.MAINBOARD))
    (sentence,) = verdict(record, open_loop(simulator), None)
    assert sentence.startswith(begins)


def test_the_verdict_tells_findings_falls_and_jumps_of_the_clock():
    record = Record(
        Source.of("robot.log", b"", Board.MAINBOARD), flags=(Flag(Reason.CLOCK_RESET, 2),)
    )
    nothing = Motion(*(None,) * 10)
    fell = ClosedLoop("law", 3.0, nothing, nothing, None, None, 1.25)
    sentences = verdict(record, open_loop(0.6, findings=("Motor x moves as y should.",)), fell)
    assert sentences[1:] == (
        "Motor x moves as y should.",
        "Under the recorded commands the simulated robot falls after 1.2 of 3.0 s.",
        "The record's clock jumps 2 times; nothing is predicted across a jump.",
    )


@pytest.mark.parametrize(("apart_rad", "is_told"), [(0.22, False), (0.63, True), (None, False)])
def test_the_verdict_tells_that_the_simulated_legs_do_something_else(apart_rad, is_told):
    record = Record(Source.of("walk.npz", b"", Board.FOOT_COMMANDS))
    motion = Motion(1.2, None, 0.1, *(None,) * 7)
    walked = ClosedLoop("law", 12.0, motion, motion, apart_rad, None, None)
    (sentence,) = verdict(record, None, walked)
    assert sentence.endswith("the motor angles are 0.63 rad apart.") == is_told
