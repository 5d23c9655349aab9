import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import training.tasks  # noqa: F401

ID = "MinitaurStack/InvertedPendulum-v0"
BALANCE = np.array([0.3, 0.3, 0.0, 3.0, 0.5])


def play(env: gymnasium.Env, seed: int, gains: np.ndarray) -> tuple[np.ndarray, bool, bool, dict]:
    observation, _ = env.reset(seed=seed)
    seen = [observation]
    while True:
        action = np.array([gains @ observation], dtype=np.float32)
        observation, _, terminated, truncated, info = env.step(action)
        seen.append(observation)
        if terminated or truncated:
            return np.stack(seen), terminated, truncated, info


@pytest.fixture
def env() -> gymnasium.Env:
    with gymnasium.make(ID, max_steps=200) as env:
        yield env


def test_gymnasium_finds_no_fault(env: gymnasium.Env) -> None:
    check_env(env.unwrapped)


def test_it_ends_by_a_time_out_or_by_a_fall(env: gymnasium.Env) -> None:
    seen, terminated, truncated, info = play(env, 0, BALANCE)
    assert (len(seen), terminated, truncated) == (201, False, True)
    assert info["metrics"] == {"fell": 0.0}
    seen, terminated, truncated, info = play(env, 0, -BALANCE)
    assert (terminated, truncated) == (True, False)
    assert info["metrics"] == {"fell": 1.0}
    assert abs(np.arctan2(seen[-1][3], seen[-1][2])) >= 0.2


def test_the_seed_alone_decides_the_episode(env: gymnasium.Env) -> None:
    """Whatever came before, and whatever another environment of this process does."""
    first, *_ = play(env, 3, BALANCE / 4)
    play(env, 8, -BALANCE)
    with gymnasium.make(ID, max_steps=200) as other:
        play(other, 5, BALANCE)
        again, *_ = play(env, 3, BALANCE / 4)
        beside, *_ = play(other, 3, BALANCE / 4)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, beside)


def test_the_action_is_clipped_and_not_touched(env: gymnasium.Env) -> None:
    outcomes = []
    for force in (1.0, 50.0):
        env.reset(seed=1)
        action = np.array([force], dtype=np.float32)
        outcomes.append(env.step(action)[0])
        assert action[0] == force
    np.testing.assert_array_equal(*outcomes)
