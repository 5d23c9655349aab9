"""ROBOT=emulator: the firmware in a process of its own, on real physics."""

from __future__ import annotations

import json

import pytest
from support.plants import write_plant

from deploy import run as command
from deploy.options import Options
from deploy.record.flight_log import FlightLog
from deploy.robots import open_emulator
from sim.board import process as emulator
from sim.plant import registry


@pytest.fixture
def call(write_policy, quick_and_patient, tmp_path):
    """Calls the command; its exit code and its report."""
    policy = write_policy()
    report = tmp_path / "run.json"

    def call(*arguments):
        code = command.main(
            [
                *("--policy", str(policy), "--robot", "emulator", "--seconds", "0.4"),
                *("--no-plot", "--report", str(report), *arguments),
            ]
        )
        return code, json.loads(report.read_text()) if report.exists() else None

    return call


@pytest.fixture
def opened(monkeypatch):
    """Return the list of the boards that were started."""
    boards = []

    class Remembered(emulator.BoardProcess):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            boards.append(self)

    monkeypatch.setattr(emulator, "BoardProcess", Remembered)
    return boards


def test_a_good_run_knows_where_it_went_and_leaves_nothing(call, opened):
    code, data = call("--randomization", "table1", "--seed", "3")
    assert (code, data["faults"]) == (0, [])
    assert data["speed_mps"] is not None
    assert data["setup"]["randomization"] == "table1"
    assert data["setup"]["board"]["firmware_id"].startswith("minitaur")
    assert data["link"]["states"] > 50
    assert data["link"]["round_trip_us"]["p50"] > 0.0
    assert data["period_s"] == 0.006
    (board,) = opened
    assert board.died()


def test_the_board_may_live_on_the_second_engine_and_be_shoved(call):
    code, data = call("--plant", "mujoco", "--push", "30")
    assert (code, data["faults"]) == (0, [])
    assert (data["setup"]["engine"], data["setup"]["push_n"]) == ("mujoco", 30.0)
    assert data["speed_mps"] is not None


def test_the_board_may_be_on_a_calibrated_robot(call, tmp_path):
    path = write_plant(tmp_path / "icy.json", {"contact_friction": 0.4, "battery_v": 13.5})
    code, data = call("--params", str(path), "--randomization", "measured")
    assert (code, data["faults"]) == (0, [])
    assert data["setup"]["params"]["file"] == str(path)
    assert data["setup"]["randomization"] == "measured"
    # The board measures the voltage of this robot's battery.
    log = FlightLog.load(tmp_path / "run.npz")
    assert log.battery_v[log.run] == pytest.approx(13.5, abs=0.2)


def test_a_board_that_dies_in_the_run_is_told_with_its_last_words(call, opened, monkeypatch):
    infer, seen = command.OnnxPolicy.__call__, []

    def kill_at_third(policy, observation):
        seen.extend([1] * len(opened))  # those before are of its loading
        if len(seen) == 3:
            opened[0]._process.kill()
        return infer(policy, observation)

    monkeypatch.setattr(command.OnnxPolicy, "__call__", kill_at_third)
    code, data = call()
    assert (code, data["faults"]) == (1, ["robot_link"])
    assert "sim.board stopped (exit -9)" in data["fault_details"][0]


def test_where_the_simulator_is_not_installed_it_says_so_in_one_line(call, monkeypatch, capsys):
    monkeypatch.setattr(registry, "_ENGINES", ("no_such_engine",))
    code, _ = call("--plant", "mujoco")
    assert code == 2
    assert capsys.readouterr().err == (
        "error: the emulated board needs a simulator, and no physics engine is installed: "
        "pip install '.[sim]'\n"
    )


def test_a_board_that_cannot_be_talked_to_is_stopped(opened, monkeypatch):
    def refuse(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("deploy.robots.SerialRobot", refuse)
    with pytest.raises(KeyboardInterrupt):
        open_emulator(Options(robot="emulator"))
    (board,) = opened
    assert board.died()
