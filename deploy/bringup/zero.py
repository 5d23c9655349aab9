"""Find the motor zeros of a robot: `minitaur zero --help`, or `make zero`."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from numpy.typing import NDArray

from deploy.bringup.person import Person, TerminalPerson
from deploy.bringup.rig import RobotOptions, new_states
from deploy.bringup.robot_file import read_robot_file, update_robot_file
from deploy.errors import RunError
from deploy.files import prove_writable
from deploy.robots import Rig, open_robot
from robot_firmware_bridge.command_line import EXIT_FAULT, EXIT_OK, command
from robot_firmware_bridge.robot import MINITAUR, NUM_LEGS, NUM_MOTORS, RobotDescription
from robot_firmware_bridge.zeroed import MOST_ZERO_RAD, most_zero_rad

Array = NDArray[np.float64]

_WATCH_S = 1.0
# A leg in a jig moves by less than this, an encoder's noise included.
_MOST_SPREAD_RAD = 0.02
# Two motors of one leg, each mounted a tooth of 24 off: 30 degrees.
_MOST_UNEVEN_RAD = 0.6
# An encoder that counts the other way, and whose zero is right, reads the pose with the other sign,
# give or take this. With another zero it may read anything: only a motion tells.
_MIRROR_RAD = 0.3
_TURN_RAD = 2.0 * math.pi


@dataclass(frozen=True, slots=True)
class Options(RobotOptions):
    """Find the motor zeros of a robot, and write them to its robot file. No motor is ever armed.

    Hold all legs in the stance in a jig: every motor at 2.0 rad, 114.6 degrees. The motors are
    limp. For a second the encoders are read. The zero of a motor is what it reads too much; it is
    measured against the motor controller's own angles, so an older robot file does not matter. A
    table shows every motor; after a typed yes the file is written, which
    `minitaur run --robot-file FILE` takes.

    Refused are a leg that moves, a zero above 46 degrees (7 on the Minitaur's own mainboard), a leg
    whose two zeros differ by more than 34 degrees, and a motor that is a whole turn off: a motor
    controller bounds the angles that it commands in its own angles, so those must be mended there.
    An encoder that counts the other way may read this one pose rightly: `minitaur wiggle` finds it.

    Exit codes: 0 written, 1 something is wrong with a leg, or nobody said yes, 2 bad input, or the
    robot cannot be reached.
    """

    pose_rad: tuple[float, ...] = (MINITAUR.stance_extension_rad,)
    """True angle of the motors in the jig: one for all, or eight, rad. An emulated robot's legs are
    held at the mean of them."""
    name: str | None = None
    """Name of this robot, for its file; left out, the one that is there."""

    def pose(self) -> Array:
        """Return the true angles, shape (8,).

        Raises:
            RunError: They are not one or eight possible angles.
        """
        low, high = MINITAUR.motor_limits_rad
        if len(self.pose_rad) not in (1, NUM_MOTORS):
            raise RunError(f"pose-rad must be 1 or {NUM_MOTORS} angles, not {len(self.pose_rad)}")
        if not all(low <= angle <= high for angle in self.pose_rad):  # NaN is refused, too
            raise RunError(f"pose-rad must be within [{low}, {high}] rad, is {self.pose_rad}")
        return np.broadcast_to(np.array(self.pose_rad), NUM_MOTORS).copy()


@dataclass(frozen=True, slots=True)
class Zeros:
    """What was measured in a jig.

    Attributes:
        zeros_rad: What each motor reads too much, shape (8,).
        spread_rad: How far each motor moved meanwhile, shape (8,).
        faults: What is wrong, one line each; none of the zeros may be used then.
    """

    zeros_rad: Array
    spread_rad: Array
    faults: tuple[str, ...]


def find_zeros(
    readings_rad: Array,
    pose_rad: Array,
    robot: RobotDescription = MINITAUR,
    most_rad: float = MOST_ZERO_RAD,
) -> Zeros:
    """Return the zeros of motors that were held in a pose.

    Args:
        readings_rad: Motor angles over time, shape (N, 8), N at least 1.
        pose_rad: Their true angles, shape (8,).
        robot: Whose motors they are.
        most_rad: Greatest zero that can be corrected for its motor controller.
    """
    mean = readings_rad.mean(axis=0)
    zeros, spread = mean - pose_rad, np.ptp(readings_rad, axis=0)
    faults = [
        f"{robot.motor_names[motor]} {fault}"
        for motor in range(NUM_MOTORS)
        if (fault := _fault(*map(float, (zeros[motor], mean[motor], spread[motor], most_rad))))
    ]
    for leg in range(NUM_LEGS):
        uneven = abs(float(zeros[2 * leg] - zeros[2 * leg + 1]))
        if uneven > _MOST_UNEVEN_RAD and np.abs(zeros[2 * leg : 2 * leg + 2]).max() < most_rad:
            faults.append(
                f"{robot.leg_names[leg]} is uneven: its two zeros differ by "
                f"{math.degrees(uneven):.0f} degrees: look whether the jig holds it, and how its "
                "links are mounted"
            )
    return Zeros(zeros, spread, tuple(faults))


def _fault(zero_rad: float, reading_rad: float, spread_rad: float, most_rad: float) -> str:
    """Return what is wrong with one motor, as the rest of a sentence; "" if nothing is."""
    if not math.isfinite(zero_rad):
        return "reads no number: look at its encoder's wiring"
    if spread_rad > _MOST_SPREAD_RAD:
        return f"moves, by {math.degrees(spread_rad):.1f} degrees: hold its leg still"
    turns = round(zero_rad / _TURN_RAD)
    if turns and abs(zero_rad - turns * _TURN_RAD) <= MOST_ZERO_RAD:
        count = "one whole turn" if abs(turns) == 1 else f"{abs(turns)} whole turns"
        return (
            f"is {count} off, and {math.degrees(zero_rad - turns * _TURN_RAD):+.1f} degrees: "
            "switch the board off, turn the motor into the jig, and switch it on again, or set its "
            "zero in the board"
        )
    if abs(zero_rad) <= most_rad:
        return ""
    if abs(zero_rad + 2.0 * (reading_rad - zero_rad)) <= _MIRROR_RAD:
        return "reads the pose with the other sign: is its encoder flipped? (`minitaur wiggle`)"
    return (
        f"is {math.degrees(zero_rad):+.1f} degrees off, more than "
        f"{math.degrees(most_rad):.1f}: look whether the jig holds its leg, whether it is "
        "that motor, and set its zero in the board"
    )


def table(zeros: Zeros, robot: RobotDescription = MINITAUR) -> str:
    """Return the zeros in degrees, one line a motor."""
    rows = zip(robot.motor_names, zeros.zeros_rad, zeros.spread_rad, strict=True)
    return "\n".join(
        [
            f"{'motor':<14}{'zero':>9}{'moved':>9}   degrees",
            *(f"{m:<14}{math.degrees(z):>+9.2f}{math.degrees(s):>9.2f}" for m, z, s in rows),
        ]
    )


def measure(rig: Rig, pose_rad: Array) -> Zeros:
    """Read a limp robot for a second; return its zeros.

    Raises:
        SafetyStop: A reading is no number, or states do not come.
        BridgeError: The robot cannot be reached.
    """
    states = new_states(rig.robot, rig.clock, _WATCH_S)
    readings = np.array([state.motor_position_rad for state in states])
    most_rad = most_zero_rad(rig.robot.command_limits)
    return find_zeros(readings, pose_rad, rig.robot.description, most_rad)


def zero(options: Options, rig: Rig, path: Path, person: Person, today: str) -> bool:
    """Measure, show, and write the robot file if the person agrees; return whether it was.

    Args:
        options: Pose and name.
        rig: The robot, without corrections by a file.
        path: The robot file.
        person: Who held the legs.
        today: Date for the file.

    Raises:
        RunError: The file is another robot's.
        SafetyStop: A reading is no number, or states do not come.
        BridgeError: The robot cannot be reached.
        OSError: The file cannot be written.
    """
    before = read_robot_file(path)
    before.check_board(rig.board_id)
    found = measure(rig, options.pose())
    print(table(found))
    for fault in found.faults:
        print(f"refused: {fault}")
    if found.faults or not person.agrees(f"Write these zeros to {path}?"):
        print("nothing is written")
        return False
    changes: dict[str, Any] = {
        "name": before.name if options.name is None else options.name,
        "motor_zeros_rad": tuple(found.zeros_rad.tolist()),
        "zeroed": today,
    }
    moved_rad = np.abs(found.zeros_rad - np.array(before.motor_zeros_rad)).max()
    if before.wiggle is not None and moved_rad > _MOST_SPREAD_RAD:
        changes["wiggle"] = None
        print(f"the wiggle of {before.wiggle.date} does not count any more: wiggle again")
    update_robot_file(path, rig.board_id, **changes)
    print(f"written  {path}")
    return True


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    options = tyro.cli(Options, args=arguments, prog="minitaur zero")
    options.pose()
    if options.robot_file is None:
        raise RunError("zero needs the file to write: --robot-file FILE, or make ROBOT_FILE=FILE")
    before = read_robot_file(options.robot_file)
    dataclasses.replace(before, name=before.name if options.name is None else options.name).check()
    prove_writable(options.robot_file)
    person = TerminalPerson(yes=options.yes)
    question = "Motors are limp. Is every leg held in the pose, and still?"
    if not person.agrees(question):
        return EXIT_FAULT
    jig_rad = float(options.pose().mean())
    bare = dataclasses.replace(options.run_options(stand=jig_rad), robot_file=None)
    with contextlib.closing(open_robot(bare)) as rig:
        today = datetime.date.today().isoformat()
        written = zero(options, rig, options.robot_file, person, today)
    return EXIT_OK if written else EXIT_FAULT


if __name__ == "__main__":
    sys.exit(main())
