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


def test_the_newest_run_is_that_of_the_last_session_whatever_the_clock_said(
    tmp_path: Path, tiny_config: TrainConfig
) -> None:
    # The clock was in 2031, was set right, and in 1970 after a power cut.
    for name in ("20310101T000000-tiny", "20261128T120000-tiny", "19700101T000010-tiny"):
        folder = make(tmp_path / name, tiny_config)
        (folder.checkpoints / "checkpoint-00000010.pt").touch()
        assert newest_run(tmp_path, "tiny").path == folder.path
        assert choose_run(tmp_path, tiny_config, None).path == folder.path
    resumed = make(tmp_path / "20261128T120000-tiny", tiny_config)
    assert newest_run(tmp_path, "tiny").path == resumed.path
    assert resumed.session == 4


def test_a_run_before_its_first_update_is_not_taken(
    tmp_path: Path, tiny_config: TrainConfig
) -> None:
    for name, update in (("1-tiny", 20), ("2-tiny", 0)):
        folder = make(tmp_path / name, tiny_config)
        (folder.checkpoints / f"checkpoint-{update:08d}.pt").touch()
    assert newest_run(tmp_path, "tiny").path == tmp_path / "1-tiny"


def test_an_error_before_the_first_update_leaves_nothing_and_a_later_one_all(
    tmp_path: Path, tiny_config: TrainConfig
) -> None:
    folder = RunFolder(tmp_path / "1-tiny")
    with pytest.raises(ValueError, match="early"), folder.opened(tiny_config):
        raise ValueError("early")
    assert list(tmp_path.iterdir()) == []
    with folder.opened(tiny_config):
        (folder.checkpoints / "checkpoint-00000001.pt").touch()
    with pytest.raises(ValueError, match="late"), folder.opened(tiny_config):
        raise ValueError("late")
    assert folder.config_path.exists()
    # One that a process is at is not removed by the next, which cannot begin.
    with folder.opened(tiny_config):
        with (
            pytest.raises(RunFolderError, match="in use"),
            RunFolder(folder.path).opened(tiny_config),
        ):
            pass
        assert folder.config_path.exists()


def test_a_log_folder_that_is_a_file_is_refused(tmp_path: Path, tiny_config: TrainConfig) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(RunFolderError, match=r"--logdir .*runs is no folder"):
        choose_run(tmp_path / "runs", tiny_config, None)
    with (
        pytest.raises(
            RunFolderError, match=r"no run can be kept in .*runs/1-tiny: Not a directory"
        ),
        RunFolder(tmp_path / "runs" / "1-tiny").opened(tiny_config),
    ):
        pass


def test_the_newest_run_with_a_checkpoint(tmp_path: Path, tiny_config: TrainConfig) -> None:
    with pytest.raises(RunFolderError, match="train one first"):
        newest_run(tmp_path, "tiny")
    trained = make(tmp_path / "1-tiny", tiny_config)
    (trained.checkpoints / "checkpoint-00000001.pt").touch()
    make(tmp_path / "2-tiny", tiny_config)
    assert newest_run(tmp_path, "tiny").path == trained.path
