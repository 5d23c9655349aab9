"""The conditions of the transfer protocol, and the plants that only it uses."""

import json
from pathlib import Path

import numpy as np
import pytest

from sim.plant.randomization import RANDOMIZATIONS, TABLE1
from sim.plant.registry import PLANTS
from studies.transfer import conditions as transfer_conditions
from studies.transfer.conditions import CONDITIONS, Condition, chosen_conditions
from training.errors import EvaluationError


def test_the_conditions_are_the_published_ones():
    assert list(CONDITIONS) == [
        "nominal", "table1", "beyond", "push30", "push60", "push90", "push130", "push175",
        "push220", "full", "stock", "mujoco", "mujoco-table1", "emulator",
    ]  # fmt: skip
    assert (transfer_conditions.EPISODES, transfer_conditions.SECONDS) == (100, 20.0)
    assert CONDITIONS["push175"].push_n == 175.0
    assert CONDITIONS["mujoco-table1"].plant == "mujoco"
    assert CONDITIONS["mujoco-table1"].randomization == "table1"
    for condition in CONDITIONS.values():
        job = condition.job(Path("x.onnx"), 100, 20.0, 2)
        job.check()  # known plant, known ranges
        assert (job.seed, job.plant, job.push) == (0, condition.plant, condition.push_n)
        assert job.count == (5 if condition.name == "emulator" else 100)
    assert CONDITIONS["emulator"].episodes(2) == 2


def test_a_condition_is_known_by_all_that_decides_it(monkeypatch):
    keys = [json.dumps(condition.key()) for condition in CONDITIONS.values()]
    assert len(set(keys)) == len(keys)
    before = CONDITIONS["table1"].key()
    monkeypatch.setitem(RANDOMIZATIONS, "table1", {**TABLE1, "battery_v": (15.0, 16.8)})
    assert CONDITIONS["table1"].key() != before


def test_chosen_conditions_stand_in_the_tables_order():
    assert [c.name for c in chosen_conditions(("push60", "nominal"))] == ["nominal", "push60"]
    assert chosen_conditions(()) == list(CONDITIONS.values())
    with pytest.raises(EvaluationError, match=r"\['moon'\]; known: nominal, table1"):
        chosen_conditions(("moon",))


def test_full_and_stock_plants_stand_like_the_merged_one():
    heights = {}
    for name in ("pybullet", "pybullet-full", "pybullet-stock"):
        plant = PLANTS[name]("minitaur_rainbow_dash")
        plant.command(plant.robot.stance_pose_rad, plant.robot.kp, plant.robot.kd)
        plant.advance(1000)
        truth = plant.truth()
        heights[name] = truth.position_m[2]
        assert truth.tilt_rad < 0.05
        assert np.abs(plant.motor_truth()[0] - 2.0).max() < 0.25
        assert plant.mass_kg == pytest.approx(7.473, abs=0.01)
        plant.close()
    assert heights["pybullet-full"] == pytest.approx(heights["pybullet"], abs=5e-4)
    assert heights["pybullet-stock"] == pytest.approx(heights["pybullet"], abs=5e-4)


def test_a_condition_of_ones_own_is_a_value():
    own = Condition("hill", "a hill", plant="mujoco", push_n=5.0)
    assert own.key()["plant"] == "mujoco"
