"""The errors of the bridge: one root, one class per kind of cause."""


class BridgeError(Exception):
    """Root of every error that the bridge raises on purpose."""


class RobotFaultError(BridgeError):
    """The robot refused or stopped on a fault of its own; the message names it."""
