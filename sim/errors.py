"""The errors of the sim floor: one root; every message is one line with the cause and the cure."""

from robot_firmware_bridge.errors import MinitaurError


class SimError(MinitaurError):
    """Root of every error that ``sim`` raises on purpose."""


class ParameterError(SimError, ValueError):
    """A plant parameter, or a range of one, is not physically possible."""
