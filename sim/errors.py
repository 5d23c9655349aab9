"""The errors of the sim floor: one root; every message is one line with the cause and the cure."""


class SimError(Exception):
    """Root of every error that the sim floor raises on purpose."""


class ParameterError(SimError, ValueError):
    """A plant parameter, or a range of one, is not physically possible."""
