"""The named configurations of training.

Each is a function in ``CONFIGS`` that starts from ``default()`` or another one and replaces what
differs; to add one, write such a function and list it there. The fields of a configuration are in
``training.runs.config``. Imports neither torch nor an environment, so that reading one is instant.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import replace

from sim.plant.randomization import TABLE1, Ranges
from training.errors import ConfigError
from training.runs.config import ClipObjective, PPOConfig, TrainConfig
from training.tasks import rewards


def default() -> TrainConfig:
    """The algorithm and values of the original Minitaur training, on the pendulum task."""
    return TrainConfig(
        name="default",
        task="MinitaurStack/InvertedPendulum-v0",
        task_kwargs={"max_steps": 200},
    )


def pendulum() -> TrainConfig:
    """Pendulum: balance one on a cart; shows that all works; 39 k steps, a minute, with seed 0."""
    base = default()
    return replace(
        base,
        name="pendulum",
        network=replace(base.network, policy_layers=(64, 32), value_layers=(64, 32)),
        ppo=replace(
            base.ppo,
            policy_epochs=20,
            value_epochs=20,
            policy_learning_rate=1e-3,
            value_learning_rate=1e-3,
        ),
        total_steps=200_000,
        episodes_per_update=20,
        eval_every_updates=5,
        eval_episodes=20,
        score_milestone=200.0,
        score_target=200.0,
    )


def trot() -> TrainConfig:
    """Trot: feedback on top of a sine reference; network sizes of Tan et al. 2018."""
    base = default()
    return replace(
        base,
        name="trot",
        task="MinitaurStack/Trot-v0",
        # Pushes are no part of Table I: the reference rides out 130 N, so more than that teaches.
        # Table I is drawn about each robot, and what it makes of one with weak motors is often too
        # weak to learn from: so a share of the episodes is on the robots as they are.
        task_kwargs={
            "randomization": "table1",
            "params": {"push_force_high_n": 180.0},
            "reward": rewards.TROT,
            "nominal_share": 0.4,
        },
        eval_kwargs={"randomization": "none", "params": {}},
        # The first policy is nothing but the reference: random feedback spoils a gait that walks.
        network=replace(
            base.network,
            policy_layers=(125, 89),
            value_layers=(125, 89),
            init_mean_factor=1e-3,
            init_log_std=-1.2,
            mirror=True,
        ),
        ppo=PPOConfig(
            objective=ClipObjective(stop_kl=0.06),
            discount=0.99,
            gae_lambda=0.95,
            policy_epochs=10,
            value_epochs=10,
            minibatch_size=1024,
            policy_learning_rate=1.5e-4,
            value_learning_rate=5e-4,
            schedule="kl_adaptive",
            schedule_kl=0.02,
            max_grad_norm=1.0,
            privileged_value=True,
        ),
        noise_memory=0.8,
        total_steps=200_000,
        episodes_per_update=12,
        eval_every_updates=5,
        eval_episodes=4,
        score_metric="speed_mps",
        score_milestone=0.5,
        workers=2,
        torch_threads=1,
    )


def trot_stock() -> TrainConfig:
    """Trot for the Minitaur's own mainboard: no damping, a step of 10 ms."""
    return replace(trot(), name="trot_stock", task="MinitaurStack/TrotStock-v0")


def demo() -> TrainConfig:
    """Demo: a trot of short steps learns to stride, within minutes; for `make demo`."""
    base = trot()
    return replace(
        base,
        name="demo",
        task="MinitaurStack/Demo-v0",
        task_kwargs={"randomization": "table1", "reward": rewards.DEMO},
        # Evaluated as long as the trot is.
        eval_kwargs={"randomization": "none", "episode_s": 6.0},
        network=replace(base.network, init_log_std=-0.8),
        noise_memory=0.9,
        # Small batches and large updates, as for minitaur: there is far to go.
        ppo=replace(
            base.ppo,
            objective=ClipObjective(stop_kl=0.1),
            schedule_kl=0.03,
            discount=0.98,
            policy_learning_rate=5e-4,
        ),
        episodes_per_update=8,
        total_steps=100_000,
        eval_every_updates=4,
    )


# Those of the gallop of Tan et al. 2018 (arXiv 1804.10332).
_GALLOP_LAYERS = (185, 95)


def gallop() -> TrainConfig:
    """Gallop: no reference, the network alone moves; network sizes of Tan et al. 2018."""
    base = trot()
    return replace(
        base,
        name="gallop",
        task="MinitaurStack/Gallop-v0",
        task_kwargs={**base.task_kwargs, "reward": rewards.GALLOP},
        network=replace(
            base.network,
            policy_layers=_GALLOP_LAYERS,
            value_layers=_GALLOP_LAYERS,
            init_mean_factor=0.1,
            init_log_std=-1.8,
        ),
        first_gait="bound",
        ppo=replace(base.ppo, discount=0.995, policy_learning_rate=1e-4),
        total_steps=800_000,
        score_milestone=1.34,
    )


def gallop_sure() -> TrainConfig:
    """Gallop, second stage: start from a run of gallop; sure-footed."""
    base = gallop()
    return replace(
        base,
        name="gallop_sure",
        # A gait learned under Table I holds there, and not always on another engine: so train
        # beyond Table I.
        task_kwargs={
            **base.task_kwargs,
            "randomization": "beyond",
            "reward": rewards.GALLOP_SURE,
        },
        network=replace(base.network, init_log_std=-2.2),
        first_gait="",
        total_steps=400_000,
    )


def steer() -> TrainConfig:
    """Steer: a walk that follows a requested speed and yaw rate."""
    base = trot()
    return replace(
        base,
        name="steer",
        task="MinitaurStack/Steer-v0",
        # Who is shoved harder than this cannot follow a command meanwhile.
        task_kwargs={
            **base.task_kwargs,
            "params": {"push_force_high_n": 100.0},
            "reward": rewards.STEER,
        },
        total_steps=500_000,
        eval_episodes=8,
        score_metric="return",
        score_milestone=None,
    )


def steer_stock() -> TrainConfig:
    """Steer for the Minitaur's own mainboard: no damping, a step of 10 ms, half the speed."""
    base = steer()
    return replace(
        base,
        name="steer_stock",
        task="MinitaurStack/SteerStock-v0",
        task_kwargs={**base.task_kwargs, "reward": rewards.STEER_STOCK},
    )


# Where the steered trot is trained: one of these in each episode.
_SCENES: tuple[Ranges, ...] = (
    {},
    {"push_force_low_n": (60.0, 130.0), "push_force_high_n": (130.0, 200.0)},
    {"block_height_m": (0.0, 0.02)},
    {"block_height_m": (0.02, 0.045)},
    {"sill_height_m": (0.0, 0.035)},
    {"slope_rad": (-0.2, 0.2), "cross_slope_rad": (-0.2, 0.2)},
)


def walk() -> TrainConfig:
    """Walk: a steered trot over rough ground that moves the generator of its gait."""
    base = trot()
    return replace(
        base,
        name="walk",
        task="MinitaurStack/Walk-v0",
        # MuJoCo runs twice as fast as PyBullet, which is left to judge the result. The toes of the
        # robot's file are soft, those of the calibrated robots stiff.
        task_kwargs={
            "plant": "mujoco",
            "randomization": {**TABLE1, "toe_stiffness_n_per_m": (3000.0, 20000.0)},
            "reward": rewards.WALK,
            "nominal_share": 0.3,
            "scenes": _SCENES,
        },
        eval_kwargs={"params": {}},
        network=replace(
            base.network, policy_layers=(128, 64), value_layers=(128, 64), init_log_std=-0.7
        ),
        # Small batches of exploration that is nearly white: what moves the generator passes a low
        # pass anyway. With larger batches, or noise that lasts, it learns several times slower.
        ppo=replace(
            base.ppo,
            objective=ClipObjective(stop_kl=0.1),
            schedule_kl=0.03,
            gae_lambda=0.96,
            policy_epochs=6,
            value_epochs=6,
            minibatch_size=512,
            policy_learning_rate=3e-4,
        ),
        noise_memory=0.5,
        total_steps=1_365_000,
        episodes_per_update=6,
        eval_every_updates=20,
        eval_episodes=18,
        score_metric="return",
        score_milestone=None,
    )


def walk_sure() -> TrainConfig:
    """Walk, second stage: start from a run of walk; sure-footed, and with less power."""
    base = walk()
    return replace(
        base,
        name="walk_sure",
        # The plain floor counts twice: there is what people do most.
        task_kwargs={**base.task_kwargs, "reward": rewards.WALK_SURE, "scenes": ({}, *_SCENES)},
        # Less noise: a policy that has to bear much walks otherwise without it.
        network=replace(base.network, init_log_std=-1.5),
        ppo=replace(base.ppo, minibatch_size=1024),
        total_steps=809_000,
        episodes_per_update=12,
        eval_every_updates=10,
        eval_episodes=21,
    )


def minitaur() -> TrainConfig:
    """The original Minitaur: 28-D observation, its leg model and randomiser, no reference gait."""
    base = trot()
    return replace(
        base,
        name="minitaur",
        task="MinitaurStack/Minitaur-v0",
        task_kwargs={"randomization": "original", "reward": rewards.ORIGINAL},
        # No reference to spoil here: a first policy that moves, with noise that moves it more.
        network=replace(
            base.network,
            policy_layers=_GALLOP_LAYERS,
            value_layers=_GALLOP_LAYERS,
            init_mean_factor=1.0,
            init_log_std=-0.7,
        ),
        noise_memory=0.9,
        # Small batches and large updates: from standing still there is far to go.
        ppo=replace(
            base.ppo,
            objective=ClipObjective(stop_kl=0.1),
            schedule_kl=0.03,
            policy_learning_rate=2e-4,
        ),
        episodes_per_update=8,
        total_steps=400_000,
        # Not the speed: what falls early may have been fast.
        score_metric="distance_m",
        score_milestone=3.0,
    )


def duck() -> TrainConfig:
    """The original Minitaur with a duck on its back, which it must not lose."""
    return replace(minitaur(), name="duck", task="MinitaurStack/Duck-v0")


CONFIGS: dict[str, Callable[[], TrainConfig]] = {
    config.__name__: config
    for config in (
        default,
        pendulum,
        demo,
        trot,
        trot_stock,
        walk,
        walk_sure,
        steer,
        steer_stock,
        gallop,
        gallop_sure,
        minitaur,
        duck,
    )
}


def describe_configs() -> str:
    """Return one line per named configuration: its name and what it is for."""
    width = max(map(len, CONFIGS))
    return "\n".join(
        f"{name:{width}}  {(make.__doc__ or '').splitlines()[0]}" for name, make in CONFIGS.items()
    )


def get_config(name: str) -> TrainConfig:
    """Return the configuration called ``name``.

    Raises:
        ConfigError: There is none; the message names the nearest.
    """
    if name not in CONFIGS:
        nearest = difflib.get_close_matches(name, CONFIGS, n=1)
        hint = f"did you mean {nearest[0]}? " if nearest else ""
        raise ConfigError(f"no config {name!r}: {hint}there are {', '.join(CONFIGS)}")
    return CONFIGS[name]()
