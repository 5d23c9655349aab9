"""The errors of the training floor: one root, one class per kind of cause.

Every message is one line that names the cause and, where there is one, the cure.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from robot_firmware_bridge.errors import MinitaurError

if TYPE_CHECKING:
    from training.rollout.dump import EpisodeSoFar


def replay_command(dump: Path | str) -> str:
    """Return the command that runs a dump again."""
    return f"minitaur replay {shlex.quote(str(dump))}"


class TrainingError(MinitaurError):
    """Root of every error that the training floor raises on purpose."""


class ConfigError(TrainingError):
    """A configuration is unknown, malformed or impossible."""


class RunFolderError(TrainingError):
    """A run folder is in use, belongs to another configuration or cannot be made."""


class CheckpointError(TrainingError):
    """No usable checkpoint where one is needed."""


class SamplerError(TrainingError):
    """The worker processes cannot produce episodes."""


class TrainingDivergedError(TrainingError):
    """A number that training depends on is not finite; the message names it and the update.

    Attributes:
        dump: The file that ``minitaur replay`` runs to see it again; None until there is one.
    """

    dump: Path | None = None

    @property
    def cause(self) -> str:
        """What is not finite, and where, without the way to see it again."""
        return super().__str__()

    def __str__(self) -> str:
        """Return the cause, and the command that shows it again."""
        if self.dump is None:
            return self.cause
        return f"{self.cause}; see it again: {replay_command(self.dump)}"


class EpisodeError(TrainingDivergedError):
    """An episode broke off, and will do so again: the environment or the policy is at fault.

    Args:
        what: What went wrong.
        stream: Name of the stream of randomness, ``training`` or ``evaluation``.
        index: Number of the episode in the stream; with the seed it decides the episode.
        seed: Seed of the run.
        step: Steps done before, from 0 on; -1 in ``reset``.
        so_far: The episode up to there.
    """

    def __init__(
        self, what: str, stream: str, index: int, seed: int, step: int, so_far: EpisodeSoFar
    ) -> None:
        super().__init__(what, stream, index, seed, step, so_far)  # all: so it can be pickled
        self.what, self.stream, self.index, self.seed, self.step = what, stream, index, seed, step
        self.so_far = so_far

    @property
    def cause(self) -> str:
        """What went wrong, and in which episode."""
        where = "reset" if self.step < 0 else f"step {self.step}"
        return f"{self.what} in {where} of {self.stream} episode {self.index}, seed {self.seed}"


class DumpError(TrainingError):
    """A dump cannot be read, or is of something else."""


class ExportError(TrainingError):
    """A policy cannot be exported, or the export is not what was trained."""


class EvaluationError(TrainingError):
    """The thing to evaluate does not exist or cannot be evaluated."""


class ReportError(TrainingError):
    """There is nothing of which a page can be made."""
