"""The errors of the training floor: one root, one class per kind of cause.

Every message is one line that names the cause and, where there is one, the cure.
"""

from robot_firmware_bridge.errors import MinitaurError


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
    """A number that training depends on is not finite; the message names it and the update."""


class EpisodeError(TrainingDivergedError):
    """An episode broke off, and will do so again: the environment or the policy is at fault.

    Args:
        what: What went wrong.
        stream: Name of the stream of randomness, ``training`` or ``evaluation``.
        index: Number of the episode in the stream; with the seed it decides the episode.
        seed: Seed of the run.
        step: Steps done before, from 0 on; -1 in ``reset``.
    """

    def __init__(self, what: str, stream: str, index: int, seed: int, step: int) -> None:
        super().__init__(what, stream, index, seed, step)  # all of them: so it can be pickled
        self.what, self.stream, self.index, self.seed, self.step = what, stream, index, seed, step

    def __str__(self) -> str:
        """Return what, and in which episode."""
        where = "reset" if self.step < 0 else f"step {self.step}"
        return f"{self.what} in {where} of {self.stream} episode {self.index}, seed {self.seed}"


class ExportError(TrainingError):
    """A policy cannot be exported, or the export is not what was trained."""


class EvaluationError(TrainingError):
    """The thing to evaluate does not exist or cannot be evaluated."""


class ReportError(TrainingError):
    """There is nothing of which a page can be made."""
