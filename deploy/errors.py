"""The errors of the deploy floor: one root, one class per kind of cause.

Every message is one line that names the cause and, where there is one, the cure.
"""


class DeployError(Exception):
    """Root of every error that the deploy floor raises on purpose."""


class ContractError(DeployError):
    """The policy file's contract is missing, malformed or does not fit this robot."""


class PolicyError(DeployError):
    """The policy file cannot be loaded or run."""


class RunError(DeployError):
    """A run was asked for in a way that cannot be done."""
