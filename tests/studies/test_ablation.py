"""The ablation: its conditions, one of them for real and again, its report by hand."""

import dataclasses
import io
import json
import signal
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from rich.console import Console

import training.tasks  # noqa: F401  registers the tasks
from sim.engines.mujoco import MujocoEngine
from sim.plant.drives import Actuators, IdealActuators
from sim.plant.randomization import TABLE1
from studies.ablation import ablation
from studies.ablation import cells as ablation_cells
from studies.ablation import conditions as ablation_conditions
from studies.ablation.ablation import Ablation, load, run, tasks
from studies.ablation.cells import summarize
from studies.ablation.conditions import CONDITIONS, TASK, TWINS, chosen_conditions
from studies.ablation.report import Cell, apart, as_json, draw, grouped, page, write_report
from training.errors import EvaluationError
from training.runs.config import config_from_json, config_to_json
from training.tasks.gaits import PLAIN_TROT, TROT


def test_four_simulators_by_two_observations():
    assert list(CONDITIONS) == [
        "ideal-4d", "actuator-4d", "latency-4d", "table1-4d",
        "ideal-12d", "actuator-12d", "latency-12d", "table1-12d",
    ]  # fmt: skip
    assert [c.name for c in chosen_conditions(("table1-4d", "ideal-4d"))] == [
        "ideal-4d",
        "table1-4d",
    ]
    with pytest.raises(EvaluationError, match=r"\['moon'\]; known: ideal-4d, actuator-4d"):
        chosen_conditions(("moon",))


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
    config = condition.config(seed=3, steps=1000, workers=0)
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
    configs = [c.config(0, 1000, 0) for c in CONDITIONS.values()]
    bare = {config_to_json(dataclasses.replace(c, name="", task_kwargs={})) for c in configs}
    assert len(bare) == 1
    assert len({json.dumps(c.task_kwargs, sort_keys=True) for c in configs}) == 8
    # The shipped trot's network and mirror, other noise.
    assert configs[0].network == dataclasses.replace(TROT.network, init_log_std=-2.0)


def test_every_policy_is_measured_in_its_simulator_and_on_the_same_twins():
    for condition in CONDITIONS.values():
        found = condition.measurements(10.0)
        assert list(found) == ["simulator", "twin", "twin_table1"]
        own = {**condition.config(0, 1, 0).task_kwargs, "episode_s": 10.0}
        assert found["simulator"] == own
        for name, kwargs in TWINS.items():
            extra = {"motor_angles": condition.observation == 12, "episode_s": 10.0}
            assert found[name] == {**kwargs, **extra}
    env = gymnasium.make(TASK, disable_env_checker=True, **TWINS["twin"])
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


def figures(earned, survived=2, speed=0.3):
    return {
        "episodes": 2,
        "return": earned,
        "returns": [earned, earned],
        "survived": survived,
        "survival_rate": survived / 2,
        "speed_mps": speed,
        "mean_power_w": 20.0,
    }


def cell(name, seed, own, twin, table1=1.0, survived=2):
    measured = {
        "simulator": figures(own),
        "twin": figures(twin, survived),
        "twin_table1": figures(table1, 1),
    }
    return Cell(CONDITIONS[name], seed, 1000, 60.0, measured)


CELLS = [
    cell("ideal-4d", 0, 5.0, 1.0),
    cell("table1-4d", 0, 3.0, 2.5),
    cell("latency-12d", 0, 3.5, 1.5, survived=1),
    cell("ideal-4d", 1, 4.0, 0.0, survived=0),
    cell("table1-4d", 1, 2.0, 2.0),
    cell("latency-12d", 1, 3.5, 0.5),
]
ALONE = {"ideal": figures(3.0), "twin": figures(0.7)}


def test_the_best_on_the_twin_comes_first_and_overlap_is_said():
    groups = {condition.name: own for condition, own in grouped(CELLS)}
    assert list(groups) == ["table1-4d", "latency-12d", "ideal-4d"]
    # 2.0 beats 1.5; 0.5 does not beat 1.0.
    assert apart(groups["table1-4d"], groups["latency-12d"])
    assert not apart(groups["latency-12d"], groups["ideal-4d"])


def test_table_by_hand():
    text = page(CELLS, ALONE)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 3
    assert rows[2] == (
        "| + randomisation (`table1-4d`) | 4-D | 2.50 (2.00 to 3.00) | 2.25 (2.00 to 2.50) "
        "| 0.25 (0.00 to 0.50) | 1.00 (1.00 to 1.00) | 100 % | 50 % | 0.30 | yes |"
    )
    assert rows[3].endswith("| 75 % | 50 % | 0.30 | no |")
    assert rows[4].endswith("| 50 % | 50 % | 0.30 |  |")
    assert "2 seeds for 1,000 steps" in text
    assert "6 minutes" in text
    assert "earns 3.00 in `ideal`, 0.70 in `twin`." in text


def test_json_has_every_seed():
    data = as_json(CELLS, ALONE)
    assert data["order_on_the_twin"] == ["table1-4d", "latency-12d", "ideal-4d"]
    assert [(c["condition"], c["seed"]) for c in data["cells"]][3] == ("ideal-4d", 1)
    assert data["cells"][0]["simulator"]["returns"] == [5.0, 5.0]
    assert data["reference_alone"] == ALONE
    assert data["versions"]["mujoco"]
    json.dumps(data, allow_nan=False)


def test_figure_is_drawn_even_of_little(tmp_path):
    sizes = []
    for name, cells, alone in (("all", CELLS, ALONE), ("one", CELLS[:1], {}), ("none", [], {})):
        draw(cells, alone, tmp_path / f"{name}.png")
        data = (tmp_path / f"{name}.png").read_bytes()
        assert data.startswith(b"\x89PNG")
        sizes.append(len(data))
    assert sizes[0] > sizes[1] > sizes[2]


def test_a_fall_has_walked_its_distance_in_the_whole_time(make_episode):
    metrics = {"mean_power_w": 30.0}
    episodes = [
        make_episode(metrics={**metrics, "return": 2.0, "distance_m": 4.0, "fell": 0.0}),
        make_episode(metrics={**metrics, "return": 1.0, "distance_m": 1.0, "fell": 1.0}),
    ]
    assert summarize(episodes, seconds=10.0) == {
        "episodes": 2,
        "return": 1.5,
        "returns": [2.0, 1.0],
        "survived": 1,
        "survival_rate": 0.5,
        "speed_mps": 0.25,
        "mean_power_w": 30.0,
    }


def test_only_the_whole_ablation_goes_where_it_is_published():
    assert Ablation().folder == Path("docs/results")
    for change in ({"conditions": ("ideal-4d",)}, {"seeds": 2}, {"steps": 9}, {"episodes": 1}):
        assert dataclasses.replace(Ablation(), **change).folder == Path("build/ablation")
    assert dataclasses.replace(Ablation(), seeds=1, out=Path("x")).folder == Path("x")


def quiet():
    return Console(file=io.StringIO(), width=200)


def test_a_short_run_for_real_and_again(tmp_path, monkeypatch):
    monkeypatch.setattr(ablation_conditions, "TRAINING_S", 0.3)
    monkeypatch.setattr(ablation_conditions, "BATCH", 2)
    small = Ablation(
        conditions=("actuator-4d",),
        seeds=1,
        steps=150,
        episodes=1,
        seconds=0.3,
        workers=0,
        cells=tmp_path,
    )
    console = quiet()
    cells, alone = run(small, console)
    assert [(c.condition.name, c.seed) for c in cells] == [("actuator-4d", 0)]
    assert cells[0].steps >= 150
    assert cells[0].measured["twin"]["survived"] == 1
    # A policy that has learnt next to nothing does next to nothing: the reference gait's return.
    assert list(alone) == ["ideal", "actuator", "latency", "table1", "twin", "twin_table1"]
    assert cells[0].earned("twin") == pytest.approx(alone["twin"]["return"], abs=0.02)
    assert "1/1 actuator-4d seed 0" in console.file.getvalue()
    (task,) = tasks(small)
    finished = task.run / "finished.json"
    trained = finished.stat().st_mtime_ns

    console = quiet()
    assert run(small, console) == (cells, alone)
    assert "1 of them done before" in console.file.getvalue()
    assert "seed 0" not in console.file.getvalue()

    # A damaged cell is measured again, of the same training.
    task.path.write_text(task.path.read_text()[:100])
    assert load(task) is None
    assert run(small, quiet()) == (cells, alone)
    assert finished.stat().st_mtime_ns == trained
    paths = write_report(cells, alone, small.folder)
    assert [path.name for path in paths] == ["ablation.md", "ablation.json", "ablation.png"]

    # Another length is another training; another physics too, under the same names.
    assert not any(load(other) for other in tasks(dataclasses.replace(small, steps=151)))
    ablation_cells._probe.cache_clear()
    monkeypatch.setattr("sim.engines.bullet._SOLVER_ITERATIONS", 3)
    (other,) = tasks(small)
    assert load(other) is None
    assert other.run != task.run
    ablation_cells._probe.cache_clear()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--conditions", "no"], "unknown conditions ['no']"),
        (["--seeds", "0"], "seeds, steps, episodes and seconds must be positive"),
        (["--workers", "-1"], "workers=-1"),
    ],
)
def test_bad_input_is_one_line(options, message, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["ablation", *options, "--cells", str(tmp_path)])
    handler = signal.getsignal(signal.SIGTERM)
    try:
        assert ablation.main() == 2
    finally:
        signal.signal(signal.SIGTERM, handler)
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
