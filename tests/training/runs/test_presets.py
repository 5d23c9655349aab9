import pytest

from training.errors import ConfigError
from training.runs.config import config_from_json, config_to_json
from training.runs.presets import CONFIGS, describe_configs, get_config


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_is_named_described_and_survives_json(name: str) -> None:
    config = get_config(name)
    assert config.name == name
    assert f"\n{name} " in "\n" + describe_configs()
    assert config_from_json(config_to_json(config)) == config


def test_a_misspelt_config_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean gallop"):
        get_config("galop")
