from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from training.errors import TrainingDivergedError
from training.learner.ppo import PPO, clipped_surrogate, discounted_sums, gae, kl_penalised
from training.rollout.episode import Episode
from training.rollout.policy import NumpyPolicy
from training.runs.config import KlPenaltyObjective, PPOConfig, TrainConfig
from training.tasks.symmetry import Mirror, Reflection

MakeEpisode = Callable[..., Episode]
REWARDS = np.array([1.0, 2.0, 3.0])
VALUES = np.array([0.5, 1.0, 1.5])


def test_termination_and_time_out_by_hand() -> None:
    # discount 0.5, lambda 0.5; nothing follows the last step:
    # d2 = 3 + 0 - 1.5 = 1.5, d1 = 2 + 0.75 - 1 = 1.75, d0 = 1 + 0.5 - 0.5 = 1
    # A2 = 1.5, A1 = 1.75 + 0.25 * 1.5 = 2.125, A0 = 1 + 0.25 * 2.125 = 1.53125
    got = gae(REWARDS, VALUES, final_value=0.0, discount=0.5, gae_lambda=0.5)
    np.testing.assert_array_equal(got, [1.53125, 2.125, 1.5])
    # The final observation is worth 2, so d2 = 3 + 0.5 * 2 - 1.5 = 2.5; the rest follows.
    # A1 = 1.75 + 0.25 * 2.5 = 2.375, A0 = 1 + 0.25 * 2.375 = 1.59375
    got = gae(REWARDS, VALUES, final_value=2.0, discount=0.5, gae_lambda=0.5)
    np.testing.assert_array_equal(got, [1.59375, 2.375, 2.5])


def test_lambda_one_is_return_minus_value() -> None:
    got = gae(REWARDS, VALUES, final_value=4.0, discount=0.9, gae_lambda=1.0)
    returns = discounted_sums(np.append(REWARDS, 4.0), 0.9)[:-1]
    np.testing.assert_allclose(got + VALUES, returns, rtol=1e-15)
    np.testing.assert_allclose(returns[0], 1 + 0.9 * 2 + 0.81 * 3 + 0.729 * 4, rtol=1e-15)


def test_lambda_zero_is_one_step() -> None:
    got = gae(REWARDS, VALUES, final_value=4.0, discount=0.9, gae_lambda=0.0)
    np.testing.assert_allclose(got, [1 + 0.9 - 0.5, 2 + 1.35 - 1.0, 3 + 3.6 - 1.5], rtol=1e-15)


def test_clipped_surrogate_by_hand() -> None:
    ratio = torch.tensor([1.5, 1.5, 0.5, 0.5, 1.1])
    advantages = torch.tensor([1.0, -1.0, 1.0, -1.0, 2.0])
    # gains: 1.2 (clipped), -1.5 (not), 0.5 (not), -0.8 (clipped), 2.2
    loss = clipped_surrogate(ratio.log(), advantages, 0.2)
    assert loss.item() == pytest.approx(-(1.2 - 1.5 + 0.5 - 0.8 + 2.2) / 5, rel=1e-6)


@pytest.mark.parametrize(("kl", "beyond"), [(0.015, 0.0), (0.05, 1000.0 * 0.03**2)])
def test_kl_penalty_by_hand(kl: float, beyond: float) -> None:
    log_ratio = torch.tensor([2.0, 0.5]).log()
    advantages = torch.tensor([1.0, -1.0])
    # -(2 - 0.5) / 2 = -0.75, penalty 3 * kl, and 1000 * (kl - 0.02)^2 beyond the cutoff of 0.02
    loss = kl_penalised(log_ratio, advantages, torch.tensor(kl), 3.0, KlPenaltyObjective())
    assert loss.item() == pytest.approx(-0.75 + 3.0 * kl + beyond, rel=1e-5)


@pytest.mark.parametrize(("rate", "expected"), [(1e-9, 1.0 / 1.5), (0.1, 1.5)])
def test_the_penalty_follows_the_kl(
    tiny_config: TrainConfig, make_episode: MakeEpisode, rate: float, expected: float
) -> None:
    ppo = PPOConfig(policy_learning_rate=rate, policy_epochs=3, value_epochs=1)
    learner = PPO(replace(tiny_config, ppo=ppo), 5, 1)
    learner.update([make_episode()], 0, 0.0)
    assert learner.state()["penalty"] == pytest.approx(expected)


def test_an_adaptive_rate_follows_the_kl(
    tiny_config: TrainConfig, make_episode: MakeEpisode
) -> None:
    ppo = replace(tiny_config.ppo, schedule="kl_adaptive", policy_learning_rate=1e-4)
    learner = PPO(replace(tiny_config, ppo=ppo), 5, 1)
    first = learner.update([make_episode()], 0, 0.0)
    second = learner.update([make_episode()], 1, 0.0)
    assert first["kl"] < 0.005
    assert second["learning_rate"] == pytest.approx(1.5e-4)


def test_a_linear_rate_reaches_zero(tiny_config: TrainConfig, make_episode: MakeEpisode) -> None:
    learner = PPO(tiny_config, 5, 1)
    learner.update([make_episode()], 0, done=0.0)
    assert learner.update([make_episode()], 1, done=1.0)["kl"] == pytest.approx(0.0, abs=1e-9)


def test_early_stop_and_floor(tiny_config: TrainConfig, make_episode: MakeEpisode) -> None:
    network = replace(tiny_config.network, min_log_std=-0.5)
    ppo = replace(tiny_config.ppo, policy_epochs=50, policy_learning_rate=0.05)
    learner = PPO(replace(tiny_config, ppo=ppo, network=network), 5, 1)
    diagnostics = learner.update([make_episode()], 0, 0.0)
    assert diagnostics["policy_epochs"] < 50
    assert learner.policy.log_std.item() >= -0.5


def test_statistics_learn_of_the_batch_only_after_the_update(
    tiny_config: TrainConfig, make_episode: MakeEpisode
) -> None:
    learner = PPO(tiny_config, 5, 1)
    episodes = [make_episode(0), make_episode(1, steps=7)]
    assert learner.state()["observation_moments"]["count"] == 0
    learner.update(episodes, 0, 0.0)
    seen = np.concatenate([episode.observations for episode in episodes])
    normaliser = learner.snapshot().normaliser
    np.testing.assert_allclose(normaliser.mean, seen.mean(axis=0), atol=1e-6)


def test_values_learn_what_episodes_return(
    tiny_config: TrainConfig, make_episode: MakeEpisode
) -> None:
    ppo = replace(tiny_config.ppo, value_epochs=200, value_learning_rate=1e-2, discount=0.0)
    learner = PPO(replace(tiny_config, ppo=ppo), 5, 1)
    observations = np.random.default_rng(0).standard_normal((64, 5)).astype(np.float32)
    # Metres per step are thousandths; the scale of returns takes care of that.
    rewards = 0.005 * observations[:, 0].astype(np.float64)
    episode = make_episode(observations=observations, rewards=rewards, actions=np.zeros((64, 1)))
    learner.update([episode], 0, 0.0)
    assert learner.update([episode], 1, 0.0)["explained_variance"] > 0.9


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"rewards": np.array([0.0, np.nan])}, "a reward"),
        ({"observations": np.full((2, 5), np.inf, np.float32)}, "an observation"),
        ({"final_observation": np.full(5, np.nan, np.float32)}, "an observation"),
        ({"actions": np.full((2, 1), np.nan, np.float32)}, "the policy loss"),
    ],
)
def test_what_is_not_finite_is_named(
    tiny_config: TrainConfig, make_episode: MakeEpisode, fields: dict[str, np.ndarray], what: str
) -> None:
    learner = PPO(tiny_config, 5, 1)
    with pytest.raises(TrainingDivergedError, match=f"{what} is (nan|inf) in update 17"):
        learner.update([make_episode(steps=2, **fields)], 17, 0.0)


SWAP = Reflection(np.array([1, 0, 2, 3, 4]), np.array([1, 1, -1, 1, 1], np.float32))
FLIP = Reflection(np.array([1, 0]), np.array([1, 1], np.float32))


def test_with_a_mirror_the_policy_stays_its_own_mirror_image(
    tiny_config: TrainConfig, make_episode: MakeEpisode
) -> None:
    """Learning from episodes that only ever lean to one side."""
    learner = PPO(tiny_config, 5, 2, mirror=Mirror(SWAP, FLIP))
    for update in range(3):
        seen = np.random.default_rng(update).uniform(0.0, 2.0, (50, 5)).astype(np.float32)
        actions = np.random.default_rng(9 + update).standard_normal((50, 2)).astype(np.float32)
        fields = {"observations": seen, "actions": actions, "rewards": actions[:, 0] * seen[:, 2]}
        learner.update([make_episode(steps=50, **fields)], update, 0.0)
    snapshot = learner.snapshot()
    assert snapshot.action_std[0] == snapshot.action_std[1]
    policy = NumpyPolicy(snapshot)
    rows = np.random.default_rng(0).normal(1.0, 2.0, (50, 5)).astype(np.float32)
    here = np.stack([policy.mean(row).copy() for row in rows])
    there = np.stack([policy.mean(row).copy() for row in SWAP(rows)])
    np.testing.assert_allclose(there, FLIP(here), atol=1e-5)
    assert np.abs(here[:, 0] - here[:, 1]).max() > 0.01


def test_a_privileged_value_explains_what_observations_cannot(
    tiny_config: TrainConfig, make_episode: MakeEpisode
) -> None:
    ppo = replace(tiny_config.ppo, value_epochs=200, value_learning_rate=1e-2, discount=0.0)
    explained = {}
    for size in (0, 1):
        learner = PPO(replace(tiny_config, ppo=ppo), 5, 1, privileged_size=size)
        secret = np.random.default_rng(0).standard_normal((64, 1)).astype(np.float32)
        episode = make_episode(
            steps=64,
            rewards=secret[:, 0].astype(np.float64),
            privileged=secret[:, :size] if size else secret,
            final_privileged=np.zeros(1, np.float32),
        )
        learner.update([episode], 0, 0.0)
        explained[size] = learner.update([episode], 1, 0.0)["explained_variance"]
        again = PPO(replace(tiny_config, ppo=ppo), 5, 1, privileged_size=size)
        again.load_state(learner.state())
        assert again.update([episode], 2, 0.0) == learner.update([episode], 2, 0.0)
    assert explained[1] > 0.9 > explained[0]
