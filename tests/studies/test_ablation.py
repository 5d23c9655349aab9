"""The ablation: its conditions, table and figure by hand, one training for real and again."""

import dataclasses
import json

import gymnasium
import numpy as np
import pytest

import training.tasks  # noqa: F401  registers the tasks
from sim.engines.mujoco import MujocoEngine
from sim.plant.drives import Actuators, IdealActuators
from sim.plant.randomization import TABLE1
from studies.ablation import (
    CONDITIONS,
    HELD_OUT,
    REFERENCE,
    TASK,
    Ablation,
    apart,
    gaps,
    grouped,
    summarize,
)
from studies.study import Result, conduct
from training.runs.config import config_from_json, config_to_json
from training.runs.presets import trot
from training.tasks.gaits import PLAIN_TROT


@pytest.mark.parametrize(
    ("name", "drives", "latencies", "drawn"),
    [
        ("ideal-4d", IdealActuators, (0.0, 0.0), False),
        ("actuator-12d", Actuators, (0.0, 0.0), False),
        ("latency-4d", Actuators, (0.003, 0.015), False),
        ("table1-12d", Actuators, (0.003, None), True),
    ],
)
def test_a_condition_trains_in_what_it_says(name, drives, latencies, drawn):
    condition = CONDITIONS[name]
    config = Ablation(steps=1000, workers=0).config(condition, seed=3)
    assert (config.seed, config.total_steps, config.eval_kwargs) == (3, 1000, {})
    assert config_from_json(config_to_json(config)) == config
    assert config.task_kwargs["episode_s"] == 5.0
    env = gymnasium.make(config.task, disable_env_checker=True, **config.task_kwargs)
    try:
        assert env.observation_space.shape == (condition.observation,)
        assert type(env.unwrapped.plant.drives) is drives
        first, second = (env.reset(seed=seed)[1]["params"] for seed in (0, 1))
        assert first.pd_latency_s == latencies[0]
        assert latencies[1] in (None, first.policy_latency_s)
        for parameter in TABLE1:
            differs = getattr(first, parameter) != getattr(second, parameter)
            assert differs is drawn, parameter
        assert first.push_force_high_n == 0.0
        assert drawn or first.imu_noise_std == 0.001
    finally:
        env.close()


def test_conditions_differ_in_nothing_but_simulator_and_observation():
    configs = [Ablation().config(condition, 0) for condition in CONDITIONS.values()]
    bare = {config_to_json(dataclasses.replace(c, name="", task_kwargs={})) for c in configs}
    assert len(bare) == 1
    assert len({json.dumps(c.task_kwargs, sort_keys=True) for c in configs}) == 8
    # The shipped trot's network and mirror, other noise.
    assert configs[0].network == dataclasses.replace(trot().network, init_log_std=-2.0)


def test_every_policy_is_measured_in_its_simulator_and_on_the_held_out_engine():
    for condition in CONDITIONS.values():
        found = condition.measurements(10.0)
        assert list(found) == ["simulator", "held_out", "held_out_table1"]
        own = {**Ablation().config(condition, 0).task_kwargs, "episode_s": 10.0}
        assert found["simulator"] == own
        for name, kwargs in HELD_OUT.items():
            extra = {"motor_angles": condition.observation == 12, "episode_s": 10.0}
            assert found[name] == {**kwargs, **extra}
    env = gymnasium.make(TASK, disable_env_checker=True, **HELD_OUT["held_out"])
    assert type(env.unwrapped.plant.engine) is MujocoEngine
    env.close()


def test_the_task_is_the_papers_but_for_the_gait():
    env = gymnasium.make(TASK, disable_env_checker=True)
    contract, task = env.unwrapped.contract, env.unwrapped.task
    env.close()
    assert task.reward == {"progress": 1.0, "energy": 0.008}
    assert contract.action.scale_rad == (0.25,) * 8
    assert [term.name for term in contract.observation] == ["roll_pitch", "roll_pitch_rate"]
    assert contract.action.gait == PLAIN_TROT
    # Half a period after the start of a cycle the front left leg is shortest.
    np.testing.assert_allclose(PLAIN_TROT.leg_targets(1.25)[4:], [1.35, 2.05, 2.05, 1.35])


def figures(earned, survived=2):
    return {
        "episodes": 2,
        "return": earned,
        "returns": [earned, earned],
        "survived": survived,
        "survival_rate": survived / 2,
        "speed_mps": 0.3,
        "mean_power_w": 20.0,
    }


def result(name, seed, own, held_out, survived=2, commit="abc1234"):
    measured = {
        "steps": 1000,
        "wall_seconds": 60.0,
        "simulator": figures(own),
        "held_out": figures(held_out, survived),
        "held_out_table1": figures(1.0, 1),
    }
    return Result(f"{name}.{seed}", {"condition": name}, commit, 60.0, measured)


RESULTS = [
    result("ideal-4d", 0, 5.0, 1.0),
    result("table1-4d", 0, 3.0, 2.5),
    result("latency-12d", 0, 3.5, 1.5, survived=1),
    result("ideal-4d", 1, 4.0, 0.0, survived=0),
    result("table1-4d", 1, 2.0, 2.0, commit="def5678"),
    result("latency-12d", 1, 3.5, 0.5),
]
ALONE = {"ideal": figures(3.0), "held_out": figures(0.7)}


def test_the_best_held_out_comes_first_and_overlap_is_seen():
    groups = {condition.name: own for condition, own in grouped(RESULTS)}
    assert list(groups) == ["table1-4d", "latency-12d", "ideal-4d"]
    assert gaps(groups["latency-12d"]) == [2.0, 3.0]
    # 2.0 beats 1.5; 0.5 does not beat 1.0.
    assert apart(groups["table1-4d"], groups["latency-12d"])
    assert not apart(groups["latency-12d"], groups["ideal-4d"])


def test_table_and_figure_by_hand(tmp_path):
    alone = Result(REFERENCE, {"condition": REFERENCE}, "abc1234", 1.0, ALONE)
    study = Ablation(seeds=2, steps=1000)
    study.write([alone, *RESULTS], [], tmp_path)
    page = (tmp_path / "ablation.md").read_text()
    rows = [line.split("|")[1:-1] for line in page.splitlines() if line.startswith("|")]
    rows = [[text.strip() for text in row] for row in rows[2:]]
    assert rows[0] == [
        "+ randomisation, 4-D (`table1-4d`)", "2.50 (2.00 to 3.00)", "2.25 (2.00 to 2.50)",
        "0.25 (0.00 to 0.50)", "1.00 (1.00 to 1.00)", "100 %", "50 %", "0.30", "yes",
        "abc1234, def5678",
    ]  # fmt: skip
    assert [row[5:9] for row in rows[1:]] == [
        ["75 %", "50 %", "0.30", "no"], ["50 %", "50 %", "0.30", ""],
    ]  # fmt: skip
    assert "2 seeds for at least 1,000 steps each, 6 minutes in\nall" in page
    assert page.endswith("earns 3.00 in `ideal`, 0.70 in `held_out`.\n")
    assert json.loads((tmp_path / "ablation.json").read_text())["results"][0]["figures"] == ALONE
    for name, some in (("one", RESULTS[:1]), ("none", [])):
        study.draw(some, tmp_path / f"{name}.png")
    sizes = [(tmp_path / f"{name}.png").stat().st_size for name in ("ablation", "one", "none")]
    assert sizes[0] > sizes[1] > sizes[2]


def test_what_ended_early_has_walked_its_distance_in_the_whole_time(make_episode):
    ends = {"good": (0.0, 0.0), "a fall": (1.0, 0.0), "a motor off": (0.0, 1.0)}
    episodes = [
        make_episode(
            metrics={
                "mean_power_w": 30.0,
                "return": 2.0 if end == "good" else 0.5,
                "distance_m": 4.0 if end == "good" else 1.0,
                "fell": fell,
                "overheated": off,
            }
        )
        for end, (fell, off) in ends.items()
    ]
    expected = {"return": 1.0, "returns": [2.0, 0.5, 0.5], "survived": 1, "survival_rate": 1 / 3}
    expected |= {"episodes": 3, "speed_mps": 0.2, "mean_power_w": 30.0}
    assert summarize(episodes, seconds=10.0) == expected


def test_a_short_training_for_real_and_again(tmp_path, capsys):
    small = Ablation(
        conditions=("actuator-4d",),
        seeds=1,
        steps=150,
        episodes=1,
        seconds=0.3,
        training_seconds=0.3,
        batch=2,
        workers=0,
        results=tmp_path,
    )
    assert conduct(small) == 0
    rows = json.loads((tmp_path / "ablation.json").read_text())["results"]
    alone, trained = (row["figures"] for row in rows)
    assert trained["steps"] >= 150
    assert trained["held_out"]["survived"] == 1
    # A policy that has learnt next to nothing does next to nothing: the reference gait's return.
    assert list(alone) == ["ideal", "actuator", "latency", "table1", "held_out", "held_out_table1"]
    expected = pytest.approx(alone["held_out"]["return"], abs=0.02)
    assert trained["held_out"]["return"] == expected
    assert "2/2 actuator-4d.0: simulator: return " in capsys.readouterr().err
    # A result that is lost is measured again, of the same training.
    (finished,) = tmp_path.glob("*/runs/actuator-4d.0.150x2x0.3s/finished.json")
    before = finished.stat().st_mtime_ns
    (lost,) = tmp_path.glob("*/actuator-4d.0.*.json")
    lost.unlink()
    assert conduct(small) == 0
    assert "2 results, 1 done before, 1 to go" in capsys.readouterr().err
    assert finished.stat().st_mtime_ns == before
    again = json.loads((tmp_path / "ablation.json").read_text())["results"]
    assert [row["figures"] for row in again] == [alone, trained]
