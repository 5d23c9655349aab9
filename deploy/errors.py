"""The errors of the deploy floor: one root, one class per kind of cause.

Every message is one line that names the cause and, where there is one, the cure.
"""

from robot_firmware_bridge.errors import MinitaurError


class DeployError(MinitaurError):
    """Root of every error that the deploy floor raises on purpose."""


class ContractError(DeployError):
    """The policy file's contract is missing, malformed or does not fit this robot."""


class PolicyError(DeployError):
    """The policy file cannot be loaded or run."""


class LogError(DeployError):
    """The log of a run cannot be read, or not be used for what was asked."""


class RunError(DeployError):
    """The options of a run are impossible."""


class SafetyStop(DeployError):
    """A violation that ends the run.

    Attributes:
        name: Stable name for reports: of ``deploy.loop.safety.STOPS``, or of a reaction, such as
            battery_sit.
    """

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(f"{name}: {detail}")
        self.name = name
