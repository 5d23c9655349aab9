"""Checkpoints: all that a run needs to go on as if it had never stopped.

A file is complete or absent (written aside, synced, renamed) and explains itself: it carries its
format, the configuration, and how far the run was. Random generators need no saving, since all
randomness follows from the seed and the numbers of episode and update.
"""

from __future__ import annotations

import dataclasses
import io
import logging
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from deploy.files import write_atomically
from training.errors import CheckpointError, ConfigError
from training.learner.networks import GaussianPolicy
from training.learner.normalization import RunningMoments
from training.rollout.policy import PolicySnapshot
from training.runs.config import TrainConfig, config_from_json, config_identity, config_to_json
from training.runs.folder import RunFolder
from training.tasks.symmetry import Mirror

logger = logging.getLogger(__name__)

FORMAT, VERSION = "minitaur-training-checkpoint", 1
_PATTERN = "checkpoint-*.pt"
_KEEP = 2


@dataclass(slots=True)
class RunState:
    """Progress of a run.

    Attributes:
        update: Updates done.
        steps: Training environment steps done, those of a demonstration included.
        wall_seconds: Time spent, over all sessions.
        collect_seconds: Of these, waiting for training episodes.
        update_seconds: Of these, in updates.
        eval_seconds: Of these, in evaluations.
        env_seconds: Time inside training environments, summed over the workers.
        evaluated_update: Updates done at the latest evaluation; -1 before the first.
        last_score: Score of the latest evaluation.
        best_return: Highest return of all evaluations, at ``best_update`` updates. More return is
            better in every task; of a score that is not known.
        best_score: Score of that evaluation.
        milestone_steps: Steps at the first evaluation that crossed the milestone, after
            ``milestone_seconds`` of wall time.
    """

    update: int = 0
    steps: int = 0
    wall_seconds: float = 0.0
    collect_seconds: float = 0.0
    update_seconds: float = 0.0
    eval_seconds: float = 0.0
    env_seconds: float = 0.0
    evaluated_update: int = -1
    last_score: float | None = None
    best_return: float | None = None
    best_score: float | None = None
    best_update: int | None = None
    milestone_steps: int | None = None
    milestone_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A run at one moment; ``learner`` is what ``PPO.state`` returned."""

    config: TrainConfig
    state: RunState
    learner: dict[str, Any]


def save_checkpoint(directory: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint and remove all but the newest two.

    Raises:
        OSError: The disk is full or fails; earlier checkpoints are untouched.
    """
    path = directory / f"checkpoint-{checkpoint.state.update:08d}.pt"
    write_atomically(path, serialised(checkpoint))
    for old in sorted(directory.glob(_PATTERN))[:-_KEEP]:
        old.unlink()
    return path


def serialised(checkpoint: Checkpoint) -> bytes:
    """Return the content of a checkpoint's file."""
    buffer = io.BytesIO()
    torch.save(
        {
            "format": FORMAT,
            "version": VERSION,
            "config": config_to_json(checkpoint.config),
            "config_hash": config_identity(checkpoint.config),
            "torch": str(torch.__version__),
            "state": dataclasses.asdict(checkpoint.state),
            "learner": checkpoint.learner,
        },
        buffer,
    )
    return buffer.getvalue()


def read_checkpoint(path: Path) -> Checkpoint:
    """Read one file.

    Raises:
        CheckpointError: Absent, damaged, or not a checkpoint of this program and version.
    """
    if path.exists() and not path.is_file():  # a device may have no end
        raise CheckpointError(f"{path} is no regular file")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    return parse_checkpoint(content, str(path))


def parse_checkpoint(content: bytes, name: str) -> Checkpoint:
    """Return the checkpoint in the content of a file; ``name`` stands for it in errors.

    Raises:
        CheckpointError: Damaged, or not a checkpoint of this program and version.
    """
    file = io.BytesIO(content)
    try:
        with zipfile.ZipFile(file) as archive:  # torch itself does not verify the checksums
            if damaged := archive.testzip():
                raise CheckpointError(f"{name} is damaged in {damaged}")
        file.seek(0)
        # weights_only: a checkpoint is data, and reading one runs no code.
        data = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, zipfile.BadZipFile, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{name} cannot be read: {reason}") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise CheckpointError(f"{name} is not a checkpoint of this project")
    if data.get("version") != VERSION:
        raise CheckpointError(f"{name} has version {data.get('version')}, not {VERSION}")
    try:
        config = config_from_json(data["config"])
        return Checkpoint(config, RunState(**data["state"]), data["learner"])
    except (KeyError, TypeError, ConfigError) as error:
        raise CheckpointError(f"{name} does not fit this program: {error}") from error


def newest_checkpoint(directory: Path, config: TrainConfig | None = None) -> Checkpoint | None:
    """Return the newest usable checkpoint, or None if there is no checkpoint at all.

    A file that is damaged, or of another configuration than ``config``, is skipped with a warning.

    Raises:
        CheckpointError: There are checkpoints and none is usable.
    """
    paths = sorted(directory.glob(_PATTERN), reverse=True)
    for path in paths:
        try:
            checkpoint = read_checkpoint(path)
            if config and config_identity(checkpoint.config) != config_identity(config):
                raise CheckpointError(f"{path} is of another configuration")
        except CheckpointError as error:
            logger.warning("%s; falling back to the one before", error)
        else:
            return checkpoint
    if paths:
        raise CheckpointError(
            f"no usable checkpoint among {len(paths)} in {directory}: train anew, in another folder"
        )
    return None


class LoadedPolicy(NamedTuple):
    """A trained policy: as plain arrays, and as the network of normalised observations.

    ``provenance`` is the run, configuration and progress that it comes from, fit for JSON.
    """

    config: TrainConfig
    policy: PolicySnapshot
    network: GaussianPolicy
    provenance: dict[str, Any]

    def in_torch(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the actions of the trained network, (N, A), for raw observations, (N, O)."""
        with torch.no_grad():
            action = self.network(torch.from_numpy(self.policy.normaliser(observations)))
        return np.asarray(action.numpy())


def load_checkpoint(source: Path) -> Checkpoint:
    """Read the newest checkpoint of a run folder, or a checkpoint file.

    Raises:
        CheckpointError: There is no usable checkpoint.
    """
    if not source.is_dir():
        return read_checkpoint(source)
    checkpoint = newest_checkpoint(RunFolder(source).checkpoints)
    if checkpoint is None:
        raise CheckpointError(f"no checkpoint in {source}: has it been trained?")
    return checkpoint


def load_policy(source: Path) -> LoadedPolicy:
    """Read the policy of a run folder (its newest checkpoint) or of a checkpoint file.

    Raises:
        CheckpointError: There is no usable checkpoint.
    """
    checkpoint = load_checkpoint(source)
    config, weights = checkpoint.config, checkpoint.learner["policy"]
    moments = RunningMoments.from_state(checkpoint.learner["observation_moments"])
    sizes = len(moments.mean), len(weights["log_std"])
    state = checkpoint.learner["mirror"]
    mirror = None if state is None else Mirror.from_state(state)
    policy = GaussianPolicy(*sizes, config.network, torch.Generator(), mirror)
    policy.load_state_dict(weights)
    provenance = {
        "run": source.resolve().name,
        "config": config.name,
        "config_hash": config_identity(config),
        "seed": config.seed,
        **dataclasses.asdict(checkpoint.state),
    }
    snapshot = policy.snapshot(moments.normaliser(config.observation_clip))
    return LoadedPolicy(config, snapshot, policy, provenance)
