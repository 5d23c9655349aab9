"""A first policy that moves like a gait: what it is shown, and what it makes of it."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch

import training.tasks  # noqa: F401  registers the tasks
from deploy.policy.pipeline import Pipeline
from robot_firmware_bridge.geometry import leg_to_motor
from training.errors import ConfigError
from training.learner.imitation import action_of, demonstrate
from training.rollout.policy import NumpyPolicy
from training.runs.folder import RunFolder
from training.runs.presets import get_config
from training.runs.trainer import Trainer, make_learner
from training.tasks.gaits import BOUND
from training.tasks.minitaur import gallop_task


def short_gallop(**changes):
    config = get_config("gallop")
    return replace(config, task_kwargs={**config.task_kwargs, "episode_s": 0.5}, **changes)


@pytest.mark.parametrize("step_s", [0.003, 0.006])
def test_the_actions_run_the_gait_through_the_pipelines_low_pass(step_s):
    contract, gait = gallop_task().contract, BOUND
    pipeline = Pipeline(contract)
    worst = 0.0
    for tick in range(1, 400):
        t_s = tick * step_s
        action = action_of(contract, gait, gait.phase_rad(t_s))
        targets = pipeline.targets(action, t_s)
        if t_s > 0.6:  # the ramp and the filter's own start are over
            worst = max(worst, np.abs(targets - leg_to_motor(gait.leg_targets(t_s))).max())
    # A filter in steps leads the continuous one by half a step. The fastest that a motor moves is
    # when swing and extension add up.
    most_rad = gait.swing_amplitude_rad + gait.extension_amplitude_rad
    assert worst < 1.1 * most_rad * 2.0 * np.pi * gait.frequency_hz * step_s / 2.0


def test_without_a_low_pass_it_is_the_gaits_offset_in_units_of_the_scale():
    contract, gait = gallop_task().contract, BOUND
    contract = replace(contract, action=replace(contract.action, lowpass_hz=0.0))
    # At phase 0 a front leg is at its longest, and its swing at A sin(2 pi lead).
    action = action_of(contract, gait, 0.0)
    scale = contract.action.scale_rad
    swing = gait.swing_amplitude_rad * np.sin(2.0 * np.pi * gait.swing_lead)
    np.testing.assert_allclose(action[[0, 2]], swing / scale[0], rtol=1e-6)
    np.testing.assert_allclose(action[[4, 6]], gait.extension_amplitude_rad / scale[4], rtol=1e-6)
    assert action[1] == action[3] != pytest.approx(action[0])


def test_the_first_policy_runs_by_the_clock_and_by_nothing_else():
    torch.set_num_threads(1)
    config = short_gallop()
    learner = make_learner(config)
    with gymnasium.make(config.task, **config.task_kwargs) as env:
        shown, again = demonstrate(env, "bound", seed=3), demonstrate(env, "bound", seed=3)
        other = demonstrate(env, "bound", seed=4)
    assert learner.imitate(shown) < 0.08
    policy = NumpyPolicy(learner.snapshot())
    # Whatever it senses: the clocks of the demonstration beside senses of other times.
    rng = np.random.default_rng(0)
    rows = rng.choice(len(shown.situations), 200)
    errors = [policy.mean(shown.situations[i]) - shown.actions[i] for i in rows]
    assert np.sqrt(np.square(errors).mean()) < 0.1
    assert np.abs(shown.actions).max() > 0.5
    # The demonstration is a function of the seed.
    np.testing.assert_array_equal(shown.situations, again.situations)
    assert not np.array_equal(shown.situations, other.situations)


def test_a_run_counts_the_steps_that_showed_the_gait_and_explores_by_its_own_measure(tmp_path):
    config = short_gallop(total_steps=1, workers=0, eval_episodes=1)
    folder = RunFolder(tmp_path / "run")
    with folder.opened(config):
        trainer = Trainer(config, folder, None)
        shown = trainer._state.steps
        log_std = trainer._learner.policy.log_std.detach()
        torch.testing.assert_close(log_std, torch.full_like(log_std, config.network.init_log_std))
        trainer._sampler.close()
    # Eight episodes of half a second in control steps of 3 to 20 ms.
    assert 8 * 25 <= shown <= 8 * 167


def test_what_cannot_be_imitated_is_refused():
    refused = [
        ("MinitaurStack/Gallop-v0", "pronk", "unknown first_gait 'pronk'; known: bound"),
        ("MinitaurStack/Trot-v0", "bound", r"'bound' has 7.95 Hz, the task's clock 6.5 Hz"),
        ("MinitaurStack/PlainTrot-v0", "bound", "no gait_clock"),
        ("MinitaurStack/InvertedPendulum-v0", "bound", "no gait_clock"),
    ]
    for task, gait, message in refused:
        with gymnasium.make(task) as env, pytest.raises(ConfigError, match=message):
            demonstrate(env, gait, seed=0)
