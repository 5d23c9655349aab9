import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.training import files_limited_to

from training.errors import CheckpointError
from training.learner.ppo import PPO
from training.rollout.episode import Episode
from training.runs.checkpoint import (
    FORMAT,
    Checkpoint,
    RunState,
    load_policy,
    newest_checkpoint,
    read_checkpoint,
    save_checkpoint,
)
from training.runs.config import TrainConfig


@pytest.fixture
def learner(tiny_config: TrainConfig, make_episode: Callable[..., Episode]) -> PPO:
    learner = PPO(tiny_config, 5, 1)
    learner.update([make_episode()], 0, 0.0)
    return learner


@pytest.fixture
def directory(tmp_path: Path, tiny_config: TrainConfig, learner: PPO) -> Path:
    """Checkpoints of updates 1 and 2 of three that were saved."""
    for update in range(3):
        state = RunState(update=update, steps=10 * update, best_update=0)
        save_checkpoint(tmp_path, Checkpoint(tiny_config, state, learner.state()))
    return tmp_path


def test_the_newest_two_are_kept(directory: Path) -> None:
    names = sorted(path.name for path in directory.iterdir())
    assert names == ["checkpoint-00000001.pt", "checkpoint-00000002.pt"]


def test_a_round_trip_loses_nothing(
    directory: Path, tiny_config: TrainConfig, learner: PPO, make_episode: Callable[..., Episode]
) -> None:
    checkpoint = newest_checkpoint(directory, tiny_config)
    assert checkpoint is not None
    assert checkpoint.config == tiny_config
    assert checkpoint.state == RunState(update=2, steps=20, best_update=0)
    restored = PPO(tiny_config, 5, 1)
    restored.load_state(checkpoint.learner)
    first, second = (each.update([make_episode(1)], 1, 0.5) for each in (learner, restored))
    assert first == second
    for mine, theirs in zip(learner.policy.parameters(), restored.policy.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def one_bit_flipped(data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:  # in a tensor, not in the padding
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
        content = archive.read(largest)
    middle = data.index(content) + len(content) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


DAMAGES = {
    "cut short": lambda data: data[: len(data) // 2],
    "one bit flipped": one_bit_flipped,
    "emptied": lambda data: b"",
    "foreign": lambda data: b"not a checkpoint at all" * 100,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_newest_falls_back_to_the_one_before(
    directory: Path, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    newest = directory / "checkpoint-00000002.pt"
    newest.write_bytes(damage(newest.read_bytes()))
    checkpoint = newest_checkpoint(directory)
    assert checkpoint is not None
    assert checkpoint.state.update == 1
    (record,) = caplog.records
    assert "checkpoint-00000002.pt" in record.getMessage()
    assert "falling back" in record.getMessage()
    assert "\n" not in record.getMessage()


def test_a_checkpoint_of_another_configuration_is_passed_over(
    directory: Path, tiny_config: TrainConfig, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(CheckpointError, match="no usable checkpoint among 2"):
        newest_checkpoint(directory, replace(tiny_config, seed=5))
    assert "another configuration" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": torch.zeros(3)}, "not a checkpoint of this project"),
        ({"format": Path}, "cannot be read"),  # reading it would run code
        ({"format": FORMAT, "version": 99}, "has version 99, not 1"),
        ({"format": FORMAT, "version": 1, "config": "{}"}, "does not fit this program"),
    ],
)
def test_torch_files_of_others_are_refused(tmp_path: Path, content: object, message: str) -> None:
    path = tmp_path / "checkpoint-00000000.pt"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(path)


def test_an_empty_folder_has_no_checkpoint(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) is None
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(CheckpointError, match="has it been trained"):
        load_policy(tmp_path)


def test_a_full_disk_leaves_the_previous_checkpoints(
    directory: Path, tiny_config: TrainConfig, learner: PPO
) -> None:
    before = {path: path.read_bytes() for path in directory.iterdir()}
    checkpoint = Checkpoint(tiny_config, RunState(update=3), learner.state())
    with files_limited_to(1000), pytest.raises(OSError, match="File too large"):
        save_checkpoint(directory, checkpoint)
    assert {path: path.read_bytes() for path in directory.iterdir()} == before


def test_the_loaded_policy_acts_as_the_workers_did(directory: Path, learner: PPO) -> None:
    config, policy, _, provenance = load_policy(directory / "checkpoint-00000002.pt")
    assert (config.name, provenance["steps"], provenance["seed"]) == ("tiny", 20, 0)
    expected = learner.snapshot()
    for (mine, _), (theirs, _) in zip(policy.layers, expected.layers, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(policy.normaliser.std, expected.normaliser.std)
    np.testing.assert_array_equal(policy.action_std, expected.action_std)
