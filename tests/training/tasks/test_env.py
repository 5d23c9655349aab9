"""The Minitaur tasks: Gymnasium's contract, determinism, and the identity of train and deploy."""

import contextlib
import dataclasses
import itertools
import math

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import training.tasks  # noqa: F401  registers the tasks
from deploy.loop.loop import ControlLoop
from deploy.loop.modes import Durations
from deploy.loop.safety import LOOK_STATES
from deploy.policy.controller import Controller
from sim.engines.mujoco import MujocoEngine
from sim.errors import SimError
from sim.plant.params import PlantParams
from sim.plant.plant import control_ticks
from sim.plant.randomization import TABLE1
from sim.plant.registry import make_plant
from sim.robot import SimClock, SimRobot
from training.errors import ConfigError
from training.tasks.env import LocomotionEnv
from training.tasks.minitaur import make_gallop, make_trot, trot_task
from training.tasks.rewards import TERMS, StepMotion, weighted

STILL = np.zeros(8, dtype=np.float32)


@pytest.fixture(scope="module")
def trot():
    env = make_trot(randomization="table1")
    yield env
    env.close()


@pytest.mark.parametrize("name", ["Trot", "Gallop", "Steer", "Minitaur", "Duck"])
def test_passes_gymnasiums_own_check(name, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)  # without one it has no render mode "human"
    randomization = "original" if name in ("Minitaur", "Duck") else "table1"
    env = gymnasium.make(f"MinitaurStack/{name}-v0", randomization=randomization)
    check_env(env.unwrapped)
    env.close()


def test_a_window_that_cannot_be_opened_is_one_error_and_not_the_end_of_the_process(monkeypatch):
    """With PyTorch loaded, the exit of Bullet's C code would never end."""
    monkeypatch.setenv("DISPLAY", ":4077")
    with pytest.raises(SimError, match="no window can be opened on :4077: cannot connect"):
        make_trot(render_mode="human")
    monkeypatch.delenv("DISPLAY")
    with pytest.raises(SimError, match="DISPLAY is not set"):
        make_trot(render_mode="human")


@pytest.fixture
def made():
    """Makes environments that are closed after the test."""
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        yield lambda make=make_trot, **kwargs: enter(contextlib.closing(make(**kwargs)))


def test_the_plant_is_a_choice(made):
    env = made(plant="mujoco")
    assert isinstance(env.plant.engine, MujocoEngine)
    _, rows, rewards = rollout(env, 3, steps=10)
    assert np.isfinite(rows).all()
    assert np.isfinite(rewards).all()
    with pytest.raises(ConfigError, match="unknown plant 'moon'; known: pybullet, mujoco"):
        make_trot(plant="moon")


def rollout(env, seed, steps=40, **options):
    rng = np.random.default_rng(seed)
    observation, info = env.reset(seed=seed, options=options)
    rows, rewards = [observation], []
    for _ in range(steps):
        action = rng.normal(0.0, 0.5, 8).astype(np.float32)
        observation, reward, terminated, truncated, _ = env.step(action)
        rows.append(observation)
        rewards.append(reward)
        if terminated or truncated:
            break
    return info["params"], np.array(rows), np.array(rewards)


def last_step(env):
    """Step with zero feedback to the end of the episode; the last step, and their number."""
    for steps in itertools.count(1):
        step = env.step(STILL)
        if step[2] or step[3]:
            return step, steps


def test_seed_decides_the_episode(trot):
    params, rows, rewards = rollout(trot, 5)
    rollout(trot, 6)
    params_again, rows_again, rewards_again = rollout(trot, 5)
    assert params == params_again
    assert (rows == rows_again).all()
    assert (rewards == rewards_again).all()


def test_logged_params_replay_the_episode(trot, made):
    params, rows, _ = rollout(trot, 8)
    _, replayed, _ = rollout(made(), 8, params=params)
    assert (replayed == rows).all()


def test_control_step_is_the_drawn_one_and_the_callers_action_is_left_alone(trot):
    action = np.full(8, 3.0, dtype=np.float32)
    for seed in range(5):
        _, info = trot.reset(seed=seed)
        trot.step(action)
        assert trot.plant.t_ns == round(info["params"].control_step_s * 1e3) * 1_000_000
        assert (action == 3.0).all()


def test_times_out_and_reports_its_metrics(made):
    env = made(episode_s=0.12)
    env.reset(seed=0)
    (_, _, terminated, truncated, info), steps = last_step(env)
    assert (steps, terminated, truncated) == (20, False, True)
    metrics = info["metrics"]
    assert metrics["seconds"] == pytest.approx(0.12)
    assert metrics["speed_mps"] == pytest.approx(metrics["distance_m"] / 0.12)
    assert metrics["fell"] == 0.0
    assert metrics["mean_power_w"] > 0.0


def test_the_terms_of_the_reward_add_up_to_the_return(made):
    env = made(episode_s=0.12)
    env.reset(seed=0)
    total, over = 0.0, False
    while not over:
        _, reward, _, over, info = env.step(np.zeros(8, np.float32))
        total += reward
    terms = {name: info["metrics"][f"reward_{name}"] for name in env.task.reward}
    assert sum(terms.values()) == pytest.approx(total)
    # Its weight is 1, and the body stands within 2 mm of the world's origin at the start.
    assert terms["progress"] == pytest.approx(info["metrics"]["distance_m"], abs=0.002)
    assert terms["energy"] < 0.0


def test_a_fall_terminates(made):
    env = made(params={"push_force_low_n": 400, "push_force_high_n": 400})
    _, info = env.reset(seed=1)
    assert info["params"].push_force_high_n == 400
    (_, _, terminated, truncated, info), steps = last_step(env)
    assert (terminated, truncated, info["metrics"]["fell"]) == (True, False, 1.0)
    assert steps < 1000


def test_a_motor_that_is_switched_off_ends_the_episode_as_a_fall_does(made):
    env = made(reward={"fall": 5.0, "alive": 1.0})
    env.reset(seed=1)
    _, reward, terminated, _, _ = env.step(STILL)
    assert (reward, terminated) == (pytest.approx(env.plant.t_ns * 1e-9), False)
    env.plant.drives.enabled[3] = False
    _, reward, terminated, truncated, info = env.step(STILL)
    assert (terminated, truncated) == (True, False)
    assert reward < -4.9
    assert (info["metrics"]["overheated"], info["metrics"]["fell"]) == (1.0, 0.0)


@pytest.mark.parametrize("control_step_s", [0.006, 0.011])
def test_the_real_loop_and_the_environment_run_the_same_policy(control_step_s):
    """Observations, actions and targets are equal bit for bit, to the last clip."""
    task = trot_task()
    # Wide and unfiltered feedback, so that every bound of a target acts.
    action_spec = dataclasses.replace(task.contract.action, scale_rad=(1.5,) * 8, lowpass_hz=0.0)
    contract = dataclasses.replace(task.contract, action=action_spec)
    params = PlantParams(imu_noise_std=0.01, seed=9, control_step_s=control_step_s)
    steps = 60
    rng = np.random.default_rng(3)
    actions = rng.normal(0.0, 0.7, (steps, 8)).astype(np.float32)
    actions[0] = 0.0  # the hand-over itself is no jump

    plant = make_plant()
    plant.reset(params)
    clock = SimClock(plant)
    script = iter(actions)
    durations = Durations(run_s=steps * control_step_s, stand_up_s=1e-9, finish_s=1e-9, damp_s=1e-9)
    controller = Controller(contract, lambda observation: next(script, actions[-1]))
    robot = SimRobot(plant, clock)
    loop = ControlLoop(robot, clock, controller, durations, period_s=control_step_s)
    loop.run()
    plant.close()
    log, run = loop.log(), loop.log().run
    assert run.stop - run.start == steps
    assert loop.saturations.rate_limited > 5
    assert loop.saturations.action_clipped > 5

    env = LocomotionEnv(dataclasses.replace(task, contract=contract))
    plant, stand = env.plant, env.plant.reset

    def reset_and_stand_up(params):
        """Hand the plant over as the loop does: after the same standing up."""
        stand(params)
        plant.sense()  # the loop looks before it arms, for some ticks
        for _ in range(LOOK_STATES - 1):
            plant.command(np.zeros(8), 0.0, 0.0)
            plant.advance(control_ticks(params))
            plant.sense()
        for tick in range(run.start):
            plant.sense()
            plant.command(log.target_rad[tick], log.kp[tick], log.kd[tick])
            plant.advance(control_ticks(params))
        plant.t_ns = 0

    plant.reset = reset_and_stand_up
    observation, _ = env.reset(options={"params": params})
    targets, command = [], plant.command

    def remember(target_rad, kp, kd):
        targets.append(target_rad.copy())
        command(target_rad, kp, kd)

    plant.command = remember
    trained = [observation, *(env.step(action)[0] for action in actions)]
    env.close()
    np.testing.assert_array_equal(log.observation[run], trained[:-1])
    np.testing.assert_array_equal(log.action[run], actions)
    np.testing.assert_array_equal(log.target_rad[run], targets)


def test_reward_terms_by_hand():
    motion = StepMotion(
        dt_s=0.01,
        forward_m=0.006,
        too_fast_m=0.001,
        sideways_m=0.002,
        energy_j=0.3,
        turn_rad=-0.01,
        tilt_rad=0.2,
        fell=True,
        stalled=True,
        speed_error_mps=-0.3,
        yaw_rate_error_rad_s=0.5,
        heading_error_rad=-0.25,
    )
    expected = {
        "progress": 0.006,
        "energy": -0.3,
        "over_speed": -0.001,
        "drift": -0.002,
        "turn": 0.01,
        "tilt": -0.01 * 0.04,
        "alive": 0.01,
        "fall": -1.0,
        "stall": -0.01,
        "speed_error": -0.003,
        "yaw_rate_error": -0.005,
        "heading_error": -0.0025,
    }
    assert {name: term(motion) for name, term in TERMS.items()} == pytest.approx(expected)
    # The paper's reward: progress less 0.008 times the energy.
    terms = weighted({"progress": 1.0, "energy": 0.008}, motion)
    assert terms == pytest.approx({"progress": 0.006, "energy": -0.0024})


def walked_m(env):
    """The distance along the heading at the start, which is anywhere."""
    x, y, _ = env.plant.truth().position_m
    heading = env.plant.params.start_heading_rad
    return math.cos(heading) * x + math.sin(heading) * y


def test_an_episode_is_the_same_whatever_its_heading(made):
    """Rewards and privileged values are relative to the start; an IMU's yaw is not."""
    env = made(LocomotionEnv, task=trot_task())
    rows = []
    for heading in (0.0, 1.0, -2.5):
        env.reset(options={"params": PlantParams(start_heading_rad=heading)})
        steps = [env.step(STILL) for _ in range(60)]
        rows.append([(reward, *info["privileged"]) for _, reward, _, _, info in steps])
        assert env.plant.sense().rpy_rad[2] == pytest.approx(heading, abs=0.1)
    spread = np.ptp(np.array(rows), axis=0).max(axis=0)
    assert spread[0] < 1e-4  # rewards
    assert spread[1:9].max() < 5e-3  # place, attitude, speed


def test_only_what_goes_beyond_the_top_speed_is_over_speed(made):
    task = dataclasses.replace(trot_task(), reward={"over_speed": 1.0}, top_speed_mps=0.2)
    env = made(LocomotionEnv, task=task)
    env.reset(seed=0)
    over_m = 0.0
    for _ in range(100):
        before_m = walked_m(env)
        _, reward, *_ = env.step(STILL)
        step_m = walked_m(env) - before_m
        assert reward == pytest.approx(-max(0.0, step_m - 0.2 * 0.006))
        over_m -= reward
    assert over_m > 0.01


def test_what_is_overridden_is_drawn_and_not_used(made):
    ranges = {"contact_friction": (0.5, 1.0), "battery_v": (14.0, 16.0)}
    scene = {"push_force_high_n": (50.0, 90.0)}
    fixed = {"contact_friction": 0.25, "push_force_high_n": 9.0}
    drawn, overridden = (
        made(randomization=ranges, scenes=[scene], params=params).reset(seed=3)[1]["params"]
        for params in ({}, fixed)
    )
    assert overridden == dataclasses.replace(drawn, **fixed)
    assert drawn.contact_friction >= 0.5
    shoves = {"push_force_low_n": (60.0, 130.0), "push_force_high_n": (130.0, 200.0)}
    with pytest.raises(ConfigError, match="exceeds push_force_high_n"):
        made(scenes=[{}, shoves], params={"push_force_high_n": 100.0})


def test_a_share_of_the_episodes_is_on_the_nominal_plant(made):
    env = made(randomization="table1", nominal_share=0.3, params={"push_force_high_n": 9.0})
    plants = [env.reset(seed=seed)[1]["params"] for seed in range(60)]
    nominal = [params for params in plants if params.battery_v == 16.0]
    assert 10 <= len(nominal) <= 26
    for params in nominal:
        drawn = {"seed": params.seed, "start_heading_rad": params.start_heading_rad}
        plain = dataclasses.replace(PlantParams(), push_force_high_n=9.0, **drawn)
        assert params == plain
    assert len({params.battery_v for params in plants}) == 61 - len(nominal)


def test_an_episode_is_on_one_of_the_scenes_whatever_its_robot(made):
    scenes = ({}, {"block_height_m": (0.01, 0.02)}, {"sill_height_m": (0.03, 0.03)})
    env = made(randomization="table1", nominal_share=0.5, scenes=scenes)
    plants = [env.reset(seed=seed)[1]["params"] for seed in range(60)]
    blocks = [params for params in plants if params.block_height_m > 0.0]
    sills = [params for params in plants if params.sill_height_m > 0.0]
    assert all(10 <= len(some) <= 30 for some in (blocks, sills))
    assert len(blocks) + len(sills) < 55
    assert all(0.01 <= params.block_height_m <= 0.02 for params in blocks)
    assert all(params.sill_height_m == 0.03 for params in sills)
    assert not set(map(id, blocks)) & set(map(id, sills))
    for some in (blocks, sills):  # nominal robots and drawn ones
        assert len({params.battery_v == 16.0 for params in some}) == 2


def test_the_value_function_is_told_all_that_is_drawn(made):
    plain, rough = (
        made(randomization="table1", scenes=scenes)
        for scenes in ((), ({"block_height_m": (0.01, 0.02)},))
    )
    _, info = rough.reset(seed=0)
    assert np.float32(info["params"].block_height_m) in info["privileged"]
    assert len(info["privileged"]) == len(plain.reset(seed=0)[1]["privileged"]) + 1


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"scenes": [{"block_height": (0.0, 0.1)}]}, "block_height"),
        ({"nominal_share": 1.5}, r"nominal_share must be in \[0, 1\], got 1.5"),
        ({"randomization": "table2"}, "unknown randomization 'table2'; known: .*table1"),
        ({"randomization": {"battery_v": (17.0, 14.0)}}, "range of battery_v is reversed"),
        ({"params": {"contact_friction": -1.0}}, "contact_friction = -1.0 is impossible"),
        ({"params": {"contact_friction": "high"}}, "contact_friction = 'high' must be a number"),
        ({"reward": {"style": 1.0}}, "unknown reward terms"),
        ({"reward": {"alive": math.nan}}, "the weight of alive must be finite"),
        ({"episode_s": math.nan}, "episode_s and top_speed_mps must be positive"),
        ({"episode_s": 0.0}, "episode_s and top_speed_mps must be positive"),
        ({"top_speed_mps": -1.0}, "episode_s and top_speed_mps must be positive"),
        ({"render_mode": "humen"}, "unknown render_mode 'humen'; known: human, rgb_array"),
    ],
)
def test_bad_arguments_are_refused(kwargs, message):
    with pytest.raises(ConfigError, match=message):
        make_gallop(**kwargs)


def test_only_a_plant_can_be_replayed(trot):
    with pytest.raises(ConfigError, match="must be PlantParams, not 'light'"):
        trot.reset(options={"params": "light"})


def test_renders_the_robot(made):
    env = made(render_mode="rgb_array")
    env.reset(seed=0)
    picture = env.render()
    assert picture is not None
    assert picture.shape == (270, 480, 3)
    assert picture.std() > 15.0


def test_privileged_values_come_at_every_step_and_are_kept_from_the_policy(trot):
    for seed in range(2):
        _, info = trot.reset(seed=seed)
        privileged = [info["privileged"], *(trot.step(STILL)[4]["privileged"] for _ in range(3))]
        drawn = [getattr(info["params"], name) for name in sorted(TABLE1)]
        for row in privileged:
            np.testing.assert_allclose(row[-len(drawn) :], drawn, rtol=1e-6)
        speed = np.linalg.norm(trot.plant.truth().velocity_m_s)
        assert np.linalg.norm(privileged[-1][5:8]) == pytest.approx(speed, rel=1e-6)
        assert not np.array_equal(privileged[0], privileged[1])
    assert trot.observation_space.shape == (16,)
