"""What an environment refuses, all tasks alike: bad actions, and calls out of order."""

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ClosedEnvironmentError, InvalidAction, ResetNeeded

import training.tasks  # noqa: F401  registers the tasks

NAMES = sorted(name for name in gymnasium.registry if name.startswith("MinitaurStack/"))


def make(name, **kwargs):
    """Make a task without Gymnasium's wrappers, as the samplers and the evaluation use it."""
    return gymnasium.make(name, **kwargs).unwrapped


@pytest.fixture(scope="module", params=[*NAMES, "mujoco"])
def env(request):
    mujoco = request.param == "mujoco"
    env = make("MinitaurStack/Trot-v0", plant="mujoco") if mujoco else make(request.param)
    yield env
    env.close()


def zeros(env):
    return np.zeros(env.action_space.shape, np.float32)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_action_that_is_not_finite_is_refused_by_index_and_value(env, value):
    env.reset(seed=0)
    action = zeros(env)
    action[-1] = value
    with pytest.raises(InvalidAction, match=rf"action\[{len(action) - 1}\] is {value}"):
        env.step(action)


@pytest.mark.parametrize(
    "action",
    [0.0, [], np.zeros(3), np.zeros((1, 8)), np.zeros((8, 1)), np.zeros(9)],
    ids=lambda action: str(np.shape(action)),
)
def test_an_action_of_another_shape_is_refused(env, action):
    env.reset(seed=0)
    with pytest.raises(InvalidAction, match=r"an action has the shape \((8|19|1),\), not"):
        env.step(action)


@pytest.mark.parametrize("value", ["0.1", None, True, 1j])
def test_an_action_that_is_not_made_of_numbers_is_refused(env, value):
    env.reset(seed=0)
    with pytest.raises(InvalidAction, match="made of numbers"):
        env.step(np.full(env.action_space.shape, value))


def test_what_was_refused_leaves_the_episode_as_it_was(env):
    rows = []
    for refused in (False, True):
        env.reset(seed=3)
        for bad in (np.full_like(zeros(env), np.nan), np.zeros(77)) if refused else ():
            with pytest.raises(InvalidAction):
                env.step(bad)
        rows.append(env.step(0.5 + zeros(env))[0].copy())
    np.testing.assert_array_equal(*rows)


def test_steps_need_a_running_episode():
    env = make("MinitaurStack/InvertedPendulum-v0", max_steps=2)
    with pytest.raises(ResetNeeded, match="call reset first"):
        env.step(zeros(env))
    for _ in range(2):
        env.reset(seed=0)
        assert [env.step(zeros(env))[3] for _ in range(2)] == [False, True]
        with pytest.raises(ResetNeeded, match="no episode runs"):
            env.step(zeros(env))
    env.close()


def test_a_robot_that_has_fallen_needs_a_reset():
    shove = {"push_force_low_n": 400, "push_force_high_n": 400}
    env = make("MinitaurStack/Trot-v0", params=shove)
    env.reset(seed=1)
    while not env.step(zeros(env))[2]:
        pass
    with pytest.raises(ResetNeeded):
        env.step(zeros(env))
    env.close()


@pytest.mark.parametrize("name", ["MinitaurStack/Trot-v0", "MinitaurStack/InvertedPendulum-v0"])
def test_a_closed_environment_says_so(name):
    env = make(name)
    env.reset(seed=0)
    env.close()
    env.close()
    for act in (env.reset, lambda: env.step(zeros(env))):
        with pytest.raises(ClosedEnvironmentError, match="is closed; make a new one"):
            act()


def test_a_step_that_failed_ends_the_episode():
    """Half of a step has happened, and nobody knows which half."""
    env = make("MinitaurStack/Trot-v0")
    env.reset(seed=0)
    env.plant.close()  # the plant goes away under it
    with pytest.raises(Exception, match=r"(?i)connect"):
        env.step(zeros(env))
    with pytest.raises(ResetNeeded):
        env.step(zeros(env))
