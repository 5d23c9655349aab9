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
        (("total_steps", -1), r"total_steps must be in \[1, 1e\+12\], is -1"),
        (("total_steps", 10**300), r"total_steps must be in \[1, 1e\+12\], is 1e\+300"),
        (("seed", -1), "seed must be in .*, is -1"),
        (("workers", -2), r"workers must be in \[0, 1024\], is -2"),
        (("eval_episodes", 0), r"eval_episodes must be in \[1, 1e\+06\], is 0"),
        (("network", "policy_layers", [10**9]), r"policy_layers\[0\] must be in \[1, 4096\]"),
        (("network", "value_layers", [8] * 11), "value_layers must have 0 to 10 values, has 11"),
        (("noise_memory", 1.0), r"noise_memory must be in \[0, 1\), got 1.0"),
        (("ppo", "discount", 1.1), r"ppo.discount must be in \[0, 1\], is 1.1"),
        (("ppo", "gae_lambda", -0.1), "ppo.gae_lambda"),
        (("ppo", "policy_learning_rate", 0.0), "ppo.policy_learning_rate must be positive"),
        (("ppo", "minibatch_size", 0), r"ppo.minibatch_size must be in \[1, 1e\+12\], is 0"),
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


def test_options_have_the_bounds_of_a_file() -> None:
    for change in ({"workers": 10**9}, {"seed": -1}, {"total_steps": 0}):
        (name,) = change
        with pytest.raises(ConfigError, match=f"^{name} must be in"):
            replace(default(), **change)
    with pytest.raises(ConfigError, match=r"^network.policy_layers\[1\] must be in \[1, 4096\]"):
        replace(default().network, policy_layers=(8, 0))
    with pytest.raises(ConfigError, match=r"^ppo.minibatch_size must be in"):
        replace(default().ppo, minibatch_size=0)
    assert replace(default().ppo, minibatch_size=None).minibatch_size is None


def test_what_is_no_json_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="config is not JSON"):
        config_from_json("{")


def test_identity_ignores_where_the_work_is_done_and_nothing_else() -> None:
    config = default()
    elsewhere = replace(config, workers=7, device="cuda", sampler="ray", address="head:6379")
    assert config_identity(elsewhere) == config_identity(config)
    assert config_identity(replace(config, seed=1)) != config_identity(config)


def test_a_configuration_without_a_sampler_is_one_of_processes() -> None:
    text = config_to_json(default())
    assert config_from_json(edited(edited(text, "sampler", ...), "address", ...)) == default()


def test_differences_name_the_field_and_both_values() -> None:
    other = replace(default(), seed=3, workers=5, task_kwargs={"max_steps": 9})
    assert config_differences(default(), other) == [
        "task_kwargs.max_steps: 200, not 9",
        "seed: 0, not 3",
    ]
    clipped = replace(default(), ppo=PPOConfig(objective=ClipObjective()))
    assert "ppo.objective.kind: 'kl_penalty', not 'clip'" in config_differences(default(), clipped)
