"""The file of one robot: its name, its motor zeros, and what the last checks of it found.

JSON, one file a robot. ``minitaur zero`` makes it, ``wiggle`` and ``latency`` add to it, and every
command that opens the robot takes it by ``--robot-file``.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from deploy.errors import RunError
from deploy.files import write_json
from robot_firmware_bridge import json_values
from robot_firmware_bridge.json_values import Length, Within
from robot_firmware_bridge.robot import MINITAUR, NUM_MOTORS
from robot_firmware_bridge.zeroed import MOST_ZERO_RAD

_Zero = Annotated[
    float,
    Within(-MOST_ZERO_RAD, MOST_ZERO_RAD, "a larger one must be set in the motor controller"),
]
_Milliseconds = Annotated[float, Within(0.0, 1e4)]
_Text = Annotated[str, Length(0, 400)]


@dataclass(frozen=True, slots=True)
class WiggleRecord:
    """What ``minitaur wiggle`` found.

    Attributes:
        date: When.
        ok: Whether all eight motors were nudged, and are wired rightly.
        seen: Whether a person watched.
        motors: One line for each motor.
    """

    date: _Text
    ok: bool
    seen: bool
    motors: Annotated[tuple[_Text, ...], Length(NUM_MOTORS, NUM_MOTORS)]


@dataclass(frozen=True, slots=True)
class LatencyRecord:
    """What ``minitaur latency`` measured.

    Attributes:
        date: When.
        delay_ms: From a command to the motion that it starts, by the time of the states.
        spread_ms: Standard deviation of single measurements of that.
        state_age_ms: Mean age of the newest state.
        loop_ms: Both together: what a policy sees of its own commands comes so late.
    """

    date: _Text
    delay_ms: _Milliseconds
    spread_ms: _Milliseconds
    state_age_ms: _Milliseconds
    loop_ms: _Milliseconds


@dataclass(frozen=True, slots=True)
class RobotFile:
    """What is known of one robot.

    Attributes:
        name: For people.
        motor_zeros_rad: What each motor reads at angle 0, shape (8,).
        zeroed: When that was measured; None if it was not.
        wiggle: The last one; None before it.
        latency: The last one; None before it.
    """

    name: Annotated[str, Length(1, 64)] = MINITAUR.name
    motor_zeros_rad: Annotated[tuple[_Zero, ...], Length(NUM_MOTORS, NUM_MOTORS)] = (
        0.0,
    ) * NUM_MOTORS
    zeroed: str | None = None
    wiggle: WiggleRecord | None = None
    latency: LatencyRecord | None = None

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all.

        Raises:
            OSError: It cannot be written.
        """
        write_json(path, json.loads(json.dumps(dataclasses.asdict(self))))


def read_robot_file(path: Path | None) -> RobotFile:
    """Return the robot of a file; one of zeros of 0 where there is no file yet.

    Raises:
        RunError: The file is malformed; names the field and the file.
        OSError: It cannot be read.
    """
    if path is None or not path.exists():
        return RobotFile()
    try:
        data = json_values.parse(path.read_text(encoding="utf-8"), "robot file")
        robot: RobotFile = json_values.decode(RobotFile, data, "robot file")
    except ValueError as error:  # not UTF-8, too
        raise RunError(f"{path}: {error}: mend it, or remove it and run `minitaur zero`") from error
    return robot
