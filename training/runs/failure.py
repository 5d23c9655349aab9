"""What broke a run off, remembered in its folder, so that it is not repeated in silence.

A training follows from its configuration. So a number that is not finite, or an error of the
environment, comes again whenever the run is resumed. Beside what happened, the folder gets a dump
of the episode or the update, which ``training.replay`` runs again. Imports no torch.
"""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

import numpy as np

from deploy.files import write_json
from robot_firmware_bridge.json_values import JsonValueError, decode, parse
from training.errors import EpisodeError, RunFolderError, TrainingDivergedError, replay_command
from training.rollout.dump import Dump, new_dump, policy_arrays, so_far_arrays, write_dump
from training.rollout.episode import Episode
from training.rollout.policy import PolicySnapshot
from training.runs.config import TrainConfig
from training.runs.folder import RunFolder

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a run broke off, and where.

    Attributes:
        what: The error's text.
        update: Updates done before.
        stream: Stream of the episode that broke off; None if it was no episode.
        index: Number of that episode.
        step: Steps of it that were done.
        time: When, ISO 8601.
        version: Version of this project.
    """

    what: str
    update: int
    stream: str | None
    index: int | None
    step: int | None
    time: str
    version: str


def episode_dump(config: TrainConfig, policy: PolicySnapshot, error: EpisodeError) -> Dump:
    """Return the dump of an episode that broke off, in whatever process it ran."""
    facts = {
        "what": error.what,
        "cause": error.cause,
        "seed": error.seed,
        "stream": error.stream,
        "index": error.index,
        "step": error.step,
        "config": asdict(config),
        **error.so_far.drawn,
    }
    return new_dump("episode", facts, {**policy_arrays(policy), **so_far_arrays(error.so_far)})


def update_dump(
    config: TrainConfig,
    checkpoint: bytes,
    update: int,
    done: float,
    episodes: Sequence[Episode],
    error: TrainingDivergedError,
) -> Dump:
    """Return the dump of an update.

    Args:
        config: Of the run.
        checkpoint: The learner before the update, as ``training.runs.checkpoint`` writes it.
        update: Number of the update, from 0.
        done: Fraction of the run that was over.
        episodes: The batch.
        error: What came of it.
    """
    facts = {
        "what": error.cause,
        "cause": error.cause,
        "seed": config.seed,
        "stream": "training",
        "index": [episode.index for episode in episodes],
        "update": update,
        "done": done,
        "config": asdict(config),
    }
    arrays = {
        "checkpoint": np.frombuffer(checkpoint, np.uint8),
        "lengths": np.array([len(episode) for episode in episodes]),
        "terminated": np.array([episode.terminated for episode in episodes]),
        "final_observations": np.stack([episode.final_observation for episode in episodes]),
        "final_privileged": np.stack([episode.final_privileged for episode in episodes]),
    }
    for name in ("observations", "actions", "rewards", "privileged"):
        arrays[name] = np.concatenate([getattr(episode, name) for episode in episodes])
    return new_dump("update", facts, arrays)


def remember(
    folder: RunFolder, error: TrainingDivergedError, update: int, dump: Dump | None
) -> None:
    """Write what broke a run off into its folder, and tell the error where its dump is.

    A disk that refuses it costs a warning.
    """
    stream = index = step = None
    if isinstance(error, EpisodeError):
        stream, index, step = error.stream, error.index, error.step
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    version = importlib.metadata.version("minitaur-sim-to-real")
    failure = Failure(error.cause, update, stream, index, step, now, version)
    try:
        folder.dump.unlink(missing_ok=True)
        if dump is not None:
            write_dump(folder.dump, dump)
            error.dump = folder.dump
        write_json(folder.failure, asdict(failure))
    except OSError as problem:
        logger.warning("the failure is not remembered: %s", problem)


def forget(folder: RunFolder) -> None:
    """Remove what is remembered, so that the run may go on."""
    folder.failure.unlink(missing_ok=True)
    folder.dump.unlink(missing_ok=True)


def known_failure(folder: RunFolder) -> Failure | None:
    """Read what broke a run off; None if nothing did.

    Raises:
        RunFolderError: The file is damaged.
    """
    if not folder.failure.exists():
        return None
    try:
        failure: Failure = decode(Failure, parse(folder.failure.read_text(), "failure"), "failure")
    except (JsonValueError, UnicodeDecodeError) as error:
        raise RunFolderError(f"{folder.failure} is damaged ({error}): remove it") from error
    return failure


def refuse_to_repeat(folder: RunFolder) -> None:
    """Refuse a run that broke off and would do so again.

    Raises:
        RunFolderError: Says what happened, how to see it again, and how to go on.
    """
    failure = known_failure(folder)
    if failure is not None:
        again = f"; see it again: {replay_command(folder.dump)}" if folder.dump.exists() else ""
        raise RunFolderError(
            f"{folder.path} broke off at update {failure.update}, and would again: {failure.what}"
            f"{again}; once it is mended, go on with --retry"
        )
