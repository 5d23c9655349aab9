"""The original environments: leg model and observation by hand, the duck, and a whole run."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support.states import standing

import training.tasks  # noqa: F401  registers the tasks
from deploy import run
from deploy.policy.pipeline import Pipeline
from robot_firmware_bridge.robot import MINITAUR
from sim.engines.duck import DuckEngine
from training.evaluate import evaluate
from training.evaluation.job import Evaluation
from training.export import export
from training.runs.presets import get_config
from training.tasks.minitaur import make_duck, make_minitaur, minitaur_task
from training.train import train

# The runs are too short for every term to vary.
pytestmark = pytest.mark.filterwarnings("ignore:observation term .* hardly varied")

UNFILTERED = dataclasses.replace(
    minitaur_task().contract,
    action=dataclasses.replace(minitaur_task().contract.action, lowpass_hz=0.0),
)


@given(hnp.arrays(float, 8, elements=st.floats(-1.0, 1.0)))
def test_the_leg_model_is_the_published_formula_and_never_meets_a_limit(
    action: np.ndarray,
) -> None:
    """pi - pi/4 (a[4 + i // 2] + 1.5) +- pi/4 a[i // 2], + for the first motor on the left."""
    quarter = math.pi / 4.0
    expected = [
        math.pi
        - quarter * (action[4 + i // 2] + 1.5)
        + (-1.0) ** i * (1.0 if i < 4 else -1.0) * quarter * action[i // 2]
        for i in range(8)
    ]
    np.testing.assert_allclose(Pipeline(UNFILTERED).targets(action, 0.0), expected, atol=1e-12)


def test_no_step_of_the_policy_is_too_great_for_the_loop() -> None:
    """The greatest jump that the low pass leaves is one that the loop's rate limit lets through."""
    pipeline, extreme = Pipeline(minitaur_task().contract), np.ones(8)
    step_s = minitaur_task().contract.control_period_s
    for k in range(200):  # until the filter has settled
        before = pipeline.targets(extreme, k * step_s)
    worst = np.abs(pipeline.targets(-extreme, 200 * step_s) - before)
    expected = math.pi * (1.0 - math.exp(-2.0 * math.pi * 5.0 * step_s))
    assert worst.max() == pytest.approx(expected, rel=1e-6)
    assert worst.max() < MINITAUR.target_rate_limit_rad_s * step_s


def test_the_observation_by_hand() -> None:
    """28 values: motor angles from the stance, speeds, torques, the quaternion (x, y, z, w)."""
    state = standing(
        motor_position_rad=2.0 + np.arange(8.0),
        motor_velocity_rad_s=10.0 + np.arange(8.0),
        motor_torque_nm=20.0 + np.arange(8.0),
        rpy_rad=np.array((2.0 * math.asin(0.6), 0.0, 1.7)),
    )
    seen = Pipeline(minitaur_task().contract).observe(state, 0.0)
    legs = np.arange(8.0)
    expected = [*legs, *(10.0 + legs), *(20.0 + legs), 0.6, 0.0, 0.0, 0.8]
    np.testing.assert_allclose(seen, expected, atol=1e-6)


def test_a_robot_that_stands_is_cut_off_at_the_end() -> None:
    task = minitaur_task()
    assert task.episode_s / task.contract.control_period_s == pytest.approx(1000.0)
    env = make_minitaur(episode_s=0.4)
    env.reset(seed=0)
    for step in range(1, 41):
        _, _, terminated, truncated, info = env.step(np.zeros(8, dtype=np.float32))
        assert not terminated
        assert truncated == (step == 40)
    assert info["metrics"]["fell"] == info["metrics"]["dropped"] == 0.0
    env.close()


def test_the_reward_is_progress_less_energy() -> None:
    env = make_minitaur()
    env.reset(seed=0)
    start = env.plant.truth()
    earned = 0.0
    for step in range(60):
        earned += env.step(np.full(8, math.sin(0.3 * step), dtype=np.float32))[1]
    walked_m = env.plant.truth().seen_from(start).position_m[0]
    assert earned == pytest.approx(walked_m - 0.005 * env.plant.energy_j, abs=1e-9)
    assert env.plant.energy_j > 5.0
    env.close()


def test_a_lost_duck_ends_the_episode_of_a_robot_that_has_not_fallen() -> None:
    env = make_duck()
    assert isinstance(env.plant.engine, DuckEngine)
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(300):
        shaking = rng.choice((-1.0, 1.0), 8).astype(np.float32)
        _, _, terminated, truncated, info = env.step(shaking)
        if terminated:
            break
    assert (terminated, truncated) == (True, False)
    assert (info["metrics"]["dropped"], info["metrics"]["fell"]) == (1.0, 0.0)
    env.close()


@pytest.fixture(scope="module", params=["minitaur", "duck"])
def policy(request, tmp_path_factory) -> Path:  # type: ignore[no-untyped-def]
    """A policy file out of a tiny run of the configuration itself."""
    folder = tmp_path_factory.mktemp("runs") / f"tiny-{request.param}"
    config = get_config(request.param)
    config = dataclasses.replace(
        config,
        total_steps=120,
        episodes_per_update=2,
        eval_episodes=1,
        task_kwargs={**config.task_kwargs, "episode_s": 0.5},
        workers=0,
    )
    assert list(train(config, folder))
    return export(folder, folder / "policy.onnx").path


def test_the_config_trains_exports_and_is_evaluated(policy: Path) -> None:
    job = Evaluation(
        policy=policy,
        plant="pybullet-duck",
        randomization="original",
        episodes=1,
        seconds=0.5,
        workers=0,
    )
    (result,) = evaluate(job)
    assert result.params["control_step_s"] == 0.01  # the contract's, not the trot's
    assert 14.8 <= result.params["battery_v"] <= 16.8


def test_the_loop_runs_the_policy(policy: Path, tmp_path: Path) -> None:
    report = tmp_path / "run.json"
    words = ["--robot", "sim", "--no-realtime", "--no-plot", "--seconds", "0.5"]
    code = run.main(["--policy", str(policy), *words, "--report", str(report)])
    assert code in (0, 1)  # an untrained policy may fall
    data = json.loads(report.read_text())
    assert data["period_s"] == 0.01
    assert data["ticks"] > 10
