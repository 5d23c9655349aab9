"""The named configurations of training.

Each is a function in ``CONFIGS`` that starts from ``default()`` or another one and says what
differs; to add one, write such a function and list it there. What a configuration is made of is in
``training.config``. Imports neither torch nor an environment, so that reading one is instant.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import replace

from training.config import (
    ClipObjective,
    KlPenaltyObjective,
    NetworkConfig,
    PPOConfig,
    TrainConfig,
)
from training.errors import ConfigError

__all__ = [
    "CONFIGS",
    "ClipObjective",
    "KlPenaltyObjective",
    "NetworkConfig",
    "PPOConfig",
    "TrainConfig",
    "describe_configs",
    "get_config",
]


def default() -> TrainConfig:
    """The algorithm and values of the original Minitaur training, on the pendulum task."""
    return TrainConfig(
        name="default",
        task="MinitaurStack/InvertedPendulum-v0",
        task_kwargs={"max_steps": 200},
    )


def pendulum() -> TrainConfig:
    """Balance an inverted pendulum: solved in well under a minute; shows that all works."""
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
        # Pushes are no part of Table I: the reference rides out 60 N, so more than that teaches.
        # A plane trips toes up that a box, the floor of every evaluation, would let pass.
        task_kwargs={
            "randomization": "table1",
            "params": {"push_force_high_n": 120.0},
            "plant": "pybullet-plane",
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


def gallop() -> TrainConfig:
    """Gallop: no reference, the policy finds the gait; network sizes of Tan et al. 2018."""
    base = trot()
    return replace(
        base,
        name="gallop",
        task="MinitaurStack/Gallop-v0",
        task_kwargs={
            "randomization": "table1",
            "params": {"push_force_high_n": 60.0},
            "plant": "pybullet",
            "reward": {"fall": 2.0, "tilt": 1.0, "haste": 3.0, "turn": 0.5, "energy": 0.001},
            "top_speed_mps": 1.6,
        },
        # Nothing to spoil here: a first policy that moves, with noise that moves it more.
        network=replace(
            base.network,
            policy_layers=(185, 95),
            value_layers=(185, 95),
            init_mean_factor=1.0,
            init_log_std=-0.7,
        ),
        noise_memory=0.9,
        # Small batches and long strides: from standing still there is far to go.
        ppo=replace(
            base.ppo,
            objective=ClipObjective(stop_kl=0.1),
            schedule_kl=0.03,
            policy_learning_rate=2e-4,
        ),
        episodes_per_update=8,
        # A gait is found sooner on one robot than on all of Table I at once.
        curriculum_episodes=1200,
        total_steps=1_305_000,
        score_milestone=1.0,
    )


def gallop_steady() -> TrainConfig:
    """Gallop, second course: start from a run of gallop; falls are dear."""
    base = gallop()
    return replace(
        base,
        name="gallop_steady",
        # At the first course's prices a fall costs no more than two metres, which are run in less
        # than two seconds.
        task_kwargs={
            **base.task_kwargs,
            "params": {"push_force_high_n": 90.0},
            "reward": {"fall": 8.0, "tilt": 2.0, "haste": 3.0, "turn": 1.0, "energy": 0.001},
            "top_speed_mps": 1.55,
            "episode_s": 6.0,
            # The identified robot lies at an edge of Table I, with no friction in its motors: there
            # the gait is at its fastest, and falls most.
            "nominal_share": 0.2,
        },
        # With much exploration it runs slower than it will without, and never learns what happens
        # at the speed of the mean action.
        network=replace(base.network, init_log_std=-2.0),
        ppo=replace(
            base.ppo,
            objective=ClipObjective(stop_kl=0.08),
            discount=0.995,
            schedule_kl=0.03,
            policy_learning_rate=1e-4,
        ),
        episodes_per_update=16,
        curriculum_episodes=0,
        total_steps=1_490_000,
    )


# Half the second course's price on tilt and on power: a bound pitches, and that made it timid.
_SWIFT_REWARD = {"fall": 8.0, "tilt": 1.0, "haste": 3.0, "turn": 1.5, "energy": 0.0005}


def gallop_swift() -> TrainConfig:
    """Gallop, third course: start from a run of gallop_steady; faster, and straight ahead."""
    base = gallop_steady()
    return replace(
        base,
        name="gallop_swift",
        task_kwargs={**base.task_kwargs, "reward": _SWIFT_REWARD, "top_speed_mps": 1.8},
        network=replace(base.network, init_log_std=-2.3),
        total_steps=1_200_000,
    )


def gallop_sure() -> TrainConfig:
    """Gallop, fourth course: start from a run of gallop_swift; sure-footed."""
    base = gallop_swift()
    return replace(
        base,
        name="gallop_sure",
        # As fast as before, and a fall costs what sixteen metres bring.
        task_kwargs={**base.task_kwargs, "reward": {**_SWIFT_REWARD, "fall": 16.0}},
        network=replace(base.network, init_log_std=-2.7),
        total_steps=1_400_000,
    )


def steer() -> TrainConfig:
    """Steer: a walk that follows a commanded speed and yaw rate."""
    base = trot()
    return replace(
        base,
        name="steer",
        task="MinitaurStack/Steer-v0",
        task_kwargs={**base.task_kwargs, "params": {"push_force_high_n": 60.0}},
        total_steps=400_000,
        eval_episodes=8,
        score_metric="return",
        score_milestone=None,
    )


def minitaur() -> TrainConfig:
    """The original Minitaur: 28-D observation, its leg model and randomiser, no reference gait."""
    base = gallop()
    return replace(
        base,
        name="minitaur",
        task="MinitaurStack/Minitaur-v0",
        task_kwargs={"randomization": "original"},
        # Its ranges are narrow; there is nothing to grow into.
        curriculum_episodes=0,
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
        trot,
        steer,
        gallop,
        gallop_steady,
        gallop_swift,
        gallop_sure,
        minitaur,
        duck,
    )
}


def describe_configs() -> str:
    """One line per named configuration: its name and what it is for."""
    width = max(map(len, CONFIGS))
    return "\n".join(
        f"{name:{width}}  {(make.__doc__ or '').splitlines()[0]}" for name, make in CONFIGS.items()
    )


def get_config(name: str) -> TrainConfig:
    """The configuration called ``name``.

    Raises:
        ConfigError: There is none; the message names the nearest.
    """
    if name not in CONFIGS:
        nearest = difflib.get_close_matches(name, CONFIGS, n=1)
        hint = f"did you mean {nearest[0]}? " if nearest else ""
        raise ConfigError(f"no config {name!r}: {hint}there are {', '.join(CONFIGS)}")
    return CONFIGS[name]()
