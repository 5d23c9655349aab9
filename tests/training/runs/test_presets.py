from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from training.runs.config_json import (
    config_differences,
    config_from_json,
    config_identity,
    config_to_json,
)
from training.runs.presets import (
    CONFIGS,
    ClipObjective,
    PPOConfig,
    default,
    describe_configs,
    get_config,
)
from training.errors import ConfigError


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_is_named_described_and_survives_json(name: str) -> None:
    config = get_config(name)
    assert config.name == name
    assert f"\n{name} " in "\n" + describe_configs()
    assert config_from_json(config_to_json(config)) == config


def test_a_misspelt_config_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean gallop"):
        get_config("galop")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"total_steps": -1}, "total_steps must be positive, got -1"),
        ({"seed": -1}, "seed must be 0 or more, got -1"),
        ({"workers": -2}, "workers must be 0 or more"),
        ({"eval_episodes": 0}, "eval_episodes must be positive"),
    ],
)
def test_impossible_run_values(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(default(), **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"discount": 1.1}, r"ppo.discount must be in \[0, 1\], got 1.1"),
        ({"gae_lambda": -0.1}, "ppo.gae_lambda"),
        ({"policy_learning_rate": 0.0}, "ppo.policy_learning_rate must be positive"),
        ({"minibatch_size": 0}, "ppo.minibatch_size must be positive or null"),
        ({"entropy_coef": -1.0}, "ppo.entropy_coef must be 0 or more"),
        ({"discount": float("nan")}, "ppo.discount"),
    ],
)
def test_impossible_ppo_values(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PPOConfig(**change)


def edited(**changes: Any) -> str:
    data = json.loads(config_to_json(default()))
    for path, value in changes.items():
        *parents, name = path.split("__")
        target = data
        for parent in parents:
            target = target[parent]
        if value is ...:
            del target[name]
        else:
            target[name] = value
    return json.dumps(data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "config must be an object"),
        (edited(sed=1), "config has unknown fields: sed"),
        (edited(ppo__discount=...), "config.ppo lacks fields: discount"),
        (edited(ppo__discount="0.99"), "config.ppo.discount has the wrong type: '0.99'"),
        (edited(ppo__discount=2), "ppo.discount must be in"),
        (edited(seed=True), "config.seed has the wrong type"),
        (edited(network__policy_layers=[64, 3.5]), r"config.network.policy_layers\[1\]"),
        (edited(network__activation="gelu"), "network.activation must be one of relu, tanh"),
        (edited(ppo__objective__kind="trpo"), "objective.kind must be one of kl_penalty, clip"),
    ],
)
def test_json_is_read_strictly(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_from_json(text)


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
