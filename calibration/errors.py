"""The errors of the calibration floor: one root, one class per kind of cause.

Every message is one line that names the cause and, where there is one, the cure.
"""

from robot_firmware_bridge.errors import MinitaurError


class CalibrationError(MinitaurError):
    """Root of every error that the calibration floor raises on purpose."""


class RecordError(CalibrationError):
    """A file is no record of a robot, or nothing in it can be used."""
