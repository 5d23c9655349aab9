"""The errors of the bridge: one root, one class per kind of cause."""


class BridgeError(Exception):
    """Root of every error that the bridge raises on purpose."""


class RobotMismatchError(BridgeError):
    """Two sides were built for different robots; the message names the differing field."""


class RobotFaultError(BridgeError):
    """The robot refused or stopped on a fault of its own; the message names it."""
