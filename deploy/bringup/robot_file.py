"""The file of one robot: its name, its motor zeros, and what the last checks of it found.

JSON, one file a robot. ``minitaur zero`` makes it, ``wiggle`` and ``latency`` add to it, and every
command that opens the robot takes it by ``--robot-file``. A file belongs to the board that it was
made with, if that board says who it is.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from deploy.errors import RunError
from deploy.files import write_json
from robot_firmware_bridge import json_values
from robot_firmware_bridge.json_values import Added, Length, Within
from robot_firmware_bridge.robot import MINITAUR, NUM_MOTORS
from robot_firmware_bridge.zeroed import MOST_ZERO_RAD

OK, NOT_TRIED = "ok", "not tried"
"""How the line of a motor ends that is wired rightly, and of one that was not nudged."""

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

    @property
    def right(self) -> int:
        """How many motors are wired rightly."""
        return sum(line.endswith(f": {OK}") for line in self.motors)

    @property
    def untried(self) -> int:
        """How many motors were not nudged."""
        return sum(line.endswith(f": {NOT_TRIED}") for line in self.motors)


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
        board_id: Number of its board, in hex; "" if no board of a known number was seen.
        wiggle: The last one; None before it.
        latency: The last one; None before it.
    """

    name: Annotated[str, Length(1, 64)] = MINITAUR.name
    motor_zeros_rad: Annotated[tuple[_Zero, ...], Length(NUM_MOTORS, NUM_MOTORS)] = (
        0.0,
    ) * NUM_MOTORS
    zeroed: _Text | None = None
    board_id: Annotated[str, Length(0, 64), Added()] = ""
    wiggle: WiggleRecord | None = None
    latency: LatencyRecord | None = None

    def check(self) -> None:
        """Refuse values that no file may have: it could not be read back.

        Raises:
            RunError: Names the field.
        """
        self._encoded()

    def check_board(self, board_id: str) -> None:
        """Refuse the file on another robot than its own; ``board_id`` is "" if it is not known.

        Raises:
            RunError: Names both boards.
        """
        if self.board_id and board_id and board_id != self.board_id:
            raise RunError(
                f"the robot file is that of {self.name}, whose board is {self.board_id}, and this "
                f"board is {board_id}: take this robot's file; if its board was replaced, remove "
                "the file and run `minitaur zero`"
            )

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all.

        Raises:
            RunError: A value is out of its bounds; names the field.
            OSError: It cannot be written.
        """
        write_json(path, self._encoded())

    def _encoded(self) -> Any:
        data = json.loads(json.dumps(dataclasses.asdict(self)))
        try:
            json_values.decode(RobotFile, data, "robot file")
        except ValueError as error:
            raise RunError(str(error)) from error
        return data


def update_robot_file(path: Path, board_id: str, **changes: Any) -> None:
    """Change some fields of a file, which is made if need be, and note the board it belongs to.

    Args:
        path: The file.
        board_id: Number of the board that was just seen; "" if it has none.
        changes: New values by field.

    Raises:
        RunError: The file is malformed or another robot's, or a value is out of its bounds.
        OSError: It cannot be read or written.
    """
    before = read_robot_file(path)
    before.check_board(board_id)
    dataclasses.replace(before, board_id=board_id or before.board_id, **changes).save(path)


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
