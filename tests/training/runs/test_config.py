from dataclasses import replace
from typing import Any

import pytest
from support.edits import edited

from training.errors import ConfigError
from training.runs.config import (
    ClipObjective,
    PPOConfig,
    config_differences,
    config_from_json,
    config_identity,
    config_to_json,
)
from training.runs.presets import default


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (("total_steps", -1), "total_steps must be positive, got -1"),
        (("seed", -1), "seed must be 0 or more, got -1"),
        (("seed", 2**63), "seed must be at most 9223372036854775807, got 9223372036854775808"),
        (("total_steps", 10**18), "total_steps must be at most 1000000000000, got 10{18}"),
        (("total_steps", 0), "total_steps must be positive, got 0"),
        (("workers", -2), "workers must be 0 or more"),
        (("eval_episodes", 0), "eval_episodes must be positive"),
        (("noise_memory", 1.0), r"noise_memory must be in \[0, 1\), got 1.0"),
        (("ppo", "discount", 1.1), r"ppo.discount must be in \[0, 1\], got 1.1"),
        (("ppo", "gae_lambda", -0.1), "ppo.gae_lambda"),
        (("ppo", "policy_learning_rate", 0.0), "ppo.policy_learning_rate must be positive"),
        (("ppo", "minibatch_size", 0), "ppo.minibatch_size must be positive or null"),
        (("ppo", "entropy_coef", -1.0), "ppo.entropy_coef must be 0 or more"),
        (("sed", 1), "config has unknown fields: sed"),
        (("ppo", "discount", ...), "config.ppo lacks fields: discount"),
        (("ppo", "discount", "0.99"), "config.ppo.discount must be float, is str"),
        (("network", "policy_layers", [64, 3.5]), r"config.network.policy_layers\[1\] must be int"),
        (("ppo", "objective", "kind", "trpo"), "objective.kind must be one of kl_penalty, clip"),
    ],
)
def test_impossible_values_are_named(edit: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_from_json(edited(config_to_json(default()), *edit))


def test_what_is_no_json_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="config is not JSON"):
        config_from_json("{")


def test_identity_ignores_where_the_work_is_done_and_nothing_else() -> None:
    config = default()
    assert config_identity(replace(config, workers=7, device="cuda")) == config_identity(config)
    assert config_identity(replace(config, seed=1)) != config_identity(config)


def test_differences_name_the_field_and_both_values() -> None:
    other = replace(default(), seed=3, workers=5, task_kwargs={"max_steps": 9})
    assert config_differences(default(), other) == [
        "task_kwargs.max_steps: 200, not 9",
        "seed: 0, not 3",
    ]
    clipped = replace(default(), ppo=PPOConfig(objective=ClipObjective()))
    assert "ppo.objective.kind: 'kl_penalty', not 'clip'" in config_differences(default(), clipped)
