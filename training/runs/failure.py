"""What broke a run off, remembered in its folder, so that it is not repeated in silence.

A training follows from its configuration. So a number that is not finite, or an error of the
environment, comes again whenever the run is resumed. Imports no torch until it replays.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import traceback
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from deploy.files import write_json
from robot_firmware_bridge.json_values import JsonValueError, decode, parse
from training.errors import EpisodeError, RunFolderError, TrainingDivergedError
from training.rollout.episode import Stream, run_episode
from training.rollout.samplers import EpisodeRunner, RolloutSpec
from training.runs.folder import RunFolder

logger = logging.getLogger(__name__)

# Steps that a replay shows before the one that broke the episode off.
_SHOWN_STEPS = 5


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


def remember(folder: RunFolder, error: TrainingDivergedError, update: int) -> None:
    """Write what broke a run off into its folder; a disk that refuses it costs a warning."""
    stream = index = step = None
    if isinstance(error, EpisodeError):
        stream, index, step = error.stream, error.index, error.step
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    version = importlib.metadata.version("minitaur-sim-to-real")
    failure = Failure(str(error), update, stream, index, step, now, version)
    try:
        write_json(folder.failure, asdict(failure))
    except OSError as problem:
        logger.warning("the failure is not remembered: %s", problem)


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
        raise RunFolderError(
            f"{folder.path} broke off at update {failure.update}, and would again: {failure.what}; "
            f"see it with --replay {folder.path}; once it is mended, go on with --retry"
        )


class _Recorder(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Keeps the last steps of an episode as text."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self.lines: deque[str] = deque(maxlen=_SHOWN_STEPS + 1)
        self._steps = 0

    def reset(self, **kwargs: Any) -> Any:
        """Reset, and keep what was observed."""
        observation, info = self.env.reset(**kwargs)
        self.lines.append(f"reset: observation {_text(observation)}")
        return observation, info

    def step(self, action: Any) -> Any:
        """Step, and keep what went in and came out."""
        line = f"step {self._steps}: action {_text(action)}"
        self._steps += 1
        self.lines.append(f"{line}, no answer")
        observation, reward, *rest = self.env.step(action)
        self.lines[-1] = f"{line}, reward {reward:.6g}, observation {_text(observation)}"
        return observation, reward, *rest


def _text(values: Any) -> str:
    return np.array2string(np.asarray(values), precision=4, max_line_width=10**9, threshold=64)


def replay(path: Path) -> Iterator[str]:
    """Run the episode that broke a run off once more; yield its last steps and its error as lines.

    Raises:
        RunFolderError: The run did not break off in an episode.
        CheckpointError: The policy of that moment is not there any more.
    """
    from training.runs.checkpoint import load_policy  # torch comes with it

    folder = RunFolder(path)
    failure = known_failure(folder)
    if failure is None:
        raise RunFolderError(f"{path} did not break off: there is nothing to replay")
    if failure.stream is None or failure.index is None:
        raise RunFolderError(
            f"{path} did not break off in an episode but in an update: {failure.what}; --retry "
            "runs it again from the last checkpoint"
        )
    loaded = load_policy(path)
    if loaded.provenance["update"] != failure.update:
        raise RunFolderError(
            f"{path} has no checkpoint of update {failure.update}, which ran the episode"
        )
    spec, stream = RolloutSpec.of(loaded.config), Stream[failure.stream.upper()]
    with contextlib.closing(EpisodeRunner(spec)) as runner:
        env = _Recorder(runner.env(stream))
        try:
            run_episode(env, loaded.policy, spec.seed, stream, failure.index, spec.noise_memory)
        except EpisodeError as error:
            yield from env.lines
            if error.__cause__ is not None:
                yield "".join(traceback.format_exception(error.__cause__)).rstrip()
            yield f"again: {error}"
            return
    yield f"no longer: {failure.what}; --retry goes on"
