import gymnasium
import numpy as np
import pytest
from support.training import assert_same_episodes

import training.tasks  # noqa: F401
from training.rollout.episode import Episode, Stream, mean_metrics, run_episode, seed_sequence
from training.rollout.policy import PolicySnapshot


@pytest.fixture
def env() -> gymnasium.Env:
    with gymnasium.make("MinitaurStack/InvertedPendulum-v0", max_steps=50) as env:
        yield env


def test_an_episode_is_a_function_of_seed_stream_index_and_policy(
    env: gymnasium.Env, balancing_snapshot: PolicySnapshot
) -> None:
    first = run_episode(env, balancing_snapshot, 0, Stream.TRAINING, 4)
    other = run_episode(env, balancing_snapshot, 0, Stream.TRAINING, 5)
    again = run_episode(env, balancing_snapshot, 0, Stream.TRAINING, 4)
    assert_same_episodes([first], [again])
    assert not np.array_equal(first.observations[0], other.observations[0])
    elsewhere = run_episode(env, balancing_snapshot, 1, Stream.TRAINING, 4)
    assert not np.array_equal(first.observations[0], elsewhere.observations[0])


def test_streams_share_no_randomness() -> None:
    states = {tuple(seed_sequence(0, stream, 1).generate_state(4)) for stream in Stream}
    assert len(states) == len(Stream)


def test_shapes_and_time_out(env: gymnasium.Env, balancing_snapshot: PolicySnapshot) -> None:
    episode = run_episode(env, balancing_snapshot, 0, Stream.TRAINING, 0)
    assert episode.observations.shape == (50, 5)
    assert episode.actions.shape == (50, 1)
    assert episode.observations.dtype == episode.actions.dtype == np.float32
    assert not episode.terminated
    assert episode.metrics == {"fell": 0.0, "return": 50.0, "length": 50.0}
    assert not np.array_equal(episode.final_observation, episode.observations[-1])


def noise_of(episode: Episode, snapshot: PolicySnapshot) -> np.ndarray:
    means = np.tanh(episode.observations @ snapshot.layers[0][0][0])
    return episode.actions[:, 0] - means


def test_evaluation_acts_by_the_mean(
    env: gymnasium.Env, balancing_snapshot: PolicySnapshot
) -> None:
    episode = run_episode(env, balancing_snapshot, 0, Stream.EVALUATION, 0)
    np.testing.assert_allclose(noise_of(episode, balancing_snapshot), 0.0, atol=1e-6)
    noisy = run_episode(env, balancing_snapshot, 0, Stream.TRAINING, 0)
    assert 0.03 < np.std(noise_of(noisy, balancing_snapshot)) < 0.08


def test_exploration_may_last_without_growing(
    env: gymnasium.Env, balancing_snapshot: PolicySnapshot
) -> None:
    for memory in (0.0, 0.8):
        noise = []
        for index in range(40):
            episode = run_episode(
                env, balancing_snapshot, 0, Stream.TRAINING, index, noise_memory=memory
            )
            noise.append(noise_of(episode, balancing_snapshot) / balancing_snapshot.action_std)
        assert np.std(np.concatenate(noise)) == pytest.approx(1.0, abs=0.12)
        both = np.concatenate([np.stack((x[:-1], x[1:])) for x in noise], axis=1)
        assert np.corrcoef(both)[0, 1] == pytest.approx(memory, abs=0.06)


class ReusedBuffer(gymnasium.Env):
    """Hands out the same array at every step, which Gymnasium does not forbid."""

    observation_space = gymnasium.spaces.Box(-1, 1, (5,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):  # type: ignore[no-untyped-def]
        self.buffer = np.zeros(5, np.float32)
        return self.buffer, {}

    def step(self, action):  # type: ignore[no-untyped-def]
        self.buffer += 0.1
        action[:] = 99.0
        return self.buffer, 0.0, self.buffer[0] > 0.25, False, {}


def test_neither_observations_nor_actions_are_overwritten_by_the_environment(
    balancing_snapshot: PolicySnapshot,
) -> None:
    episode = run_episode(ReusedBuffer(), balancing_snapshot, 0, Stream.TRAINING, 0)
    np.testing.assert_allclose(episode.observations[:, 0], [0.0, 0.1, 0.2], atol=1e-6)
    assert np.abs(episode.actions).max() < 2.0
    assert episode.terminated


def test_metrics_are_averaged_over_the_episodes_that_have_them(make_episode) -> None:  # type: ignore[no-untyped-def]
    episodes = [make_episode(metrics={"b": 1.0}), make_episode(metrics={"b": 3.0, "a": 5.0})]
    assert mean_metrics(episodes) == {"a": 5.0, "b": 2.0}
