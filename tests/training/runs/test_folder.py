from dataclasses import replace
from pathlib import Path

import pytest

from training.errors import ConfigError, RunFolderError
from training.runs.config import TrainConfig, config_to_json
from training.runs.folder import RunFolder, choose_run, newest_run
from training.runs.presets import trot


def make(path: Path, config: TrainConfig) -> RunFolder:
    folder = RunFolder(path)
    with folder.opened(config):
        pass
    return folder


def test_a_new_folder_carries_time_and_name(tmp_path: Path, tiny_config: TrainConfig) -> None:
    first = choose_run(tmp_path / "runs", tiny_config, None)
    second = choose_run(tmp_path / "runs", tiny_config, None)  # no config.json in the first yet
    assert first.path.name.endswith("-tiny")
    assert first.path != second.path


def test_the_newest_unfinished_run_is_resumed(tmp_path: Path, tiny_config: TrainConfig) -> None:
    make(tmp_path / "1-tiny", tiny_config)
    newer = make(tmp_path / "2-tiny", replace(tiny_config, workers=4))
    make(tmp_path / "3-tiny", tiny_config).finished.write_text("{}")
    make(tmp_path / "4-tiny", replace(tiny_config, seed=1))
    (tmp_path / "5-tiny").mkdir()
    (tmp_path / "6-tiny").mkdir()
    (tmp_path / "6-tiny" / "config.json").write_text("{")
    assert choose_run(tmp_path, tiny_config, None).path == newer.path


def test_a_run_that_a_process_is_at_is_left_alone(tmp_path: Path, tiny_config: TrainConfig) -> None:
    folder = make(tmp_path / "1-tiny", tiny_config)
    with folder.opened(tiny_config):
        assert choose_run(tmp_path, tiny_config, None).path != folder.path
        with (
            pytest.raises(RunFolderError, match="in use by another process"),
            RunFolder(folder.path).opened(tiny_config),
        ):
            pass
    assert choose_run(tmp_path, tiny_config, None).path == folder.path


def test_a_timestamp_names_the_folder(tmp_path: Path, tiny_config: TrainConfig) -> None:
    assert choose_run(tmp_path, tiny_config, "now").path == tmp_path / "now-tiny"
    make(tmp_path / "now-tiny", tiny_config)
    assert choose_run(tmp_path, tiny_config, "now").path == tmp_path / "now-tiny"
    with pytest.raises(RunFolderError, match="now is a run of another config: now-tiny"):
        choose_run(tmp_path, trot(), "now")


def test_a_folder_of_another_configuration_says_what_differs(
    tmp_path: Path, tiny_config: TrainConfig
) -> None:
    folder = make(tmp_path / "1-tiny", tiny_config)
    with (
        pytest.raises(RunFolderError, match="another configuration: seed: 3, not 0"),
        folder.opened(replace(tiny_config, seed=3)),
    ):
        pass


def test_a_malformed_config_is_named(tmp_path: Path, tiny_config: TrainConfig) -> None:
    folder = make(tmp_path / "1-tiny", tiny_config)
    text = config_to_json(tiny_config).replace('"seed"', '"sed"')
    folder.config_path.write_text(text)
    with pytest.raises(ConfigError, match=r"1-tiny/config.json: config has unknown fields: sed"):
        folder.config()


def test_the_newest_run_with_a_checkpoint(tmp_path: Path, tiny_config: TrainConfig) -> None:
    with pytest.raises(RunFolderError, match="train one first"):
        newest_run(tmp_path, "tiny")
    trained = make(tmp_path / "1-tiny", tiny_config)
    (trained.checkpoints / "checkpoint-00000001.pt").touch()
    make(tmp_path / "2-tiny", tiny_config)
    assert newest_run(tmp_path, "tiny").path == trained.path
