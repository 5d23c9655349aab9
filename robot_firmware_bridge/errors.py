"""The root of this stack's errors, and the errors of the bridge: one class per kind of cause.

Every message is one line that names the cause and, where there is one, the cure.
"""


class MinitaurError(Exception):
    """Root of every error that any floor of this stack raises on purpose."""


class BridgeError(MinitaurError):
    """Root of every error that the bridge raises on purpose."""


class RobotFaultError(BridgeError):
    """The robot refused or stopped on a fault of its own; the message names it."""


class CompileError(BridgeError):
    """C sources cannot be compiled on this computer."""


class WireError(BridgeError, ValueError):
    """A message must not go on the wire: a value is NaN, infinite or not of the field's shape."""


class LinkError(BridgeError):
    """The board cannot be reached, or does not answer as it should."""


class PortError(LinkError):
    """A serial port cannot be opened."""


class NoBoardError(LinkError):
    """Nothing on the line answers as a motor controller does."""


class MismatchError(LinkError):
    """The board has another protocol or was built for another robot."""


class LinkLostError(LinkError):
    """The port went away while it was in use."""


class MotorsOnError(LinkError):
    """Nothing says that the motors are off after they were switched off, as ``why`` explains."""

    def __init__(self, why: str) -> None:
        super().__init__(f"cut the power of the motors, which may be on: {why}")


class BoardResetError(LinkError):
    """The board started anew since it was armed."""


class BoardClockError(LinkError):
    """The board's clock drifts, stands still or jumps, so that the age of a state is not known."""


class LateStatesError(LinkError):
    """Something on the line holds states back for too long to control a robot by them."""
