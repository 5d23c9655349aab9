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


class ExportError(TrainingError):
    """A policy cannot be exported, or the export is not what was trained."""


class EvaluationError(TrainingError):
    """The thing to evaluate does not exist or cannot be evaluated."""
