"""Find out whether every motor is wired rightly: `minitaur wiggle --help`, or `make wiggle`."""

from __future__ import annotations

import contextlib
import datetime
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import tyro

from deploy.bringup.nudge import nudge
from deploy.bringup.person import Person, TerminalPerson
from deploy.bringup.rig import (
    LIFE_NS,
    STAND_RAD,
    Driver,
    RobotOptions,
    check_motor,
    pose_trouble,
    still_pose,
)
from deploy.bringup.robot_file import WiggleRecord, read_robot_file, update_robot_file
from deploy.bringup.verdict import NAMES, Sight, Verdict, judge, lines
from deploy.errors import RunError, SafetyStop
from deploy.files import prove_writable
from deploy.loop.clock import realtime
from deploy.robots import Rig, open_robot
from robot_firmware_bridge.command_line import EXIT_FAULT, EXIT_OK, command
from robot_firmware_bridge.errors import BridgeError, MotorsOnError
from robot_firmware_bridge.robot import NUM_MOTORS

# An emulated robot is put back on its stand by then, one that is disarmed has come to rest.
_REST_S = 4.0
# How often a person is asked to put the legs right before one nudge.
_MOST_ASKED = 3
_LEGS = {"fl": 0, "bl": 2, "fr": 4, "br": 6}
_SIDES = {"l": 0, "r": 1}


@dataclass(frozen=True, slots=True)
class Options(RobotOptions):
    """Nudge one motor after the other, and say of each whether its drive and its encoder are right.

    Robot on a stand, legs in the air and bent, hands clear, a hand on the battery switch. After a
    typed yes the board is armed, one motor lifts its knee by some 5 degrees against gravity, and
    the board is disarmed again. Nothing is armed while you are asked what moved. All other motors
    only brake, and no position loop is closed, so that a wrong plug or sign makes nothing run away.
    A nudge is a duty of at most 4 % for at most 0.3 s, and ends when any encoder has moved by 3
    degrees. On the emulated boards a motor with a wrong plug or sign moved by 11 degrees at
    most, and one whose encoder is unplugged by 26.

    You answer with leg, side and direction of the knee: "fll up" is the front left leg's left
    motor, knee up. The others are flr, bll, blr, frl, frr, brl, brr; "none" if nothing moved,
    "again" to see it again, "stop" to end. On the left legs the knee of R points forwards,
    on the right legs that of L.

    Verdicts: ok, swapped with another motor (both plugs, the drive or the encoder), sign flipped
    (both, drive or encoder), did not move, or moved while the encoder saw nothing. A fault of the
    robot, a tilt, or a motor that moves by more than 20 degrees ends it all, motors safe.

    Exit codes: 0 every motor that was nudged is ok, 1 one is not, or it was ended, 2 bad input, or
    the robot cannot be reached.
    """

    motors: tuple[int, ...] = tuple(range(NUM_MOTORS))
    """Which motors to nudge, by number, such as those of a leg that was just repaired."""
    ask: bool = True
    """Ask what moved. With --no-ask only the encoders tell: a pair of motors of which both plugs
    are swapped looks right then, and so does a motor that turns the other way with its encoder."""

    def check_motors(self) -> None:
        """Refuse a list of motors that is empty, or has one twice, or a number that is no motor's.

        Raises:
            RunError: Says what is wrong.
        """
        for motor in self.motors:
            check_motor(motor)
        if not self.motors or len(set(self.motors)) < len(self.motors):
            raise RunError(
                f"motors must be numbers, each once, not {list(self.motors)}: leave it out for all"
            )


def parse_sight(text: str) -> Sight | None:
    """Return what an answer says was seen; None if it cannot be understood."""
    words = text.lower().replace("-", " ").split()
    if words in (["none"], ["nothing"], ["no"]):
        return Sight(None)
    if len(words) == 3:  # "fl l up"
        words = [words[0] + words[1], words[2]]
    if len(words) != 2 or len(words[0]) != 3 or words[1] not in ("up", "down", "u", "d"):
        return None
    leg, side = _LEGS.get(words[0][:2]), _SIDES.get(words[0][2])
    if leg is None or side is None:
        return None
    return Sight(leg + side, words[1].startswith("u"))


class Wiggle:
    """One series of nudges.

    Args:
        rig: The robot.
        person: Who watches; None for nobody.
        motors: Which to nudge, in this order.

    Attributes:
        verdicts: Of the motors so far, by number.
        ended: Why the series was ended early; "" if it was not.
    """

    def __init__(
        self,
        rig: Rig,
        person: Person | None,
        motors: Sequence[int] = tuple(range(NUM_MOTORS)),
    ) -> None:
        self._robot, self._clock = rig.robot, rig.clock
        self._driver = Driver(rig)
        self._person = person
        self._motors = motors
        self.verdicts: dict[int, Verdict] = {}
        self.ended = ""

    @property
    def ok(self) -> bool:
        """Whether every motor that was to be tried was, and is right."""
        tried = bool(self._motors) and set(self._motors) <= self.verdicts.keys()
        return tried and not self.ended and all(each.ok for each in self.verdicts.values())

    def run(self) -> None:
        """Try the motors, or as many of them as can be; the robot is disarmed at the end.

        Raises:
            MotorsOnError: Nothing says that it is: no person must be asked near its legs.
        """
        try:
            for motor in self._motors:
                verdict = self._try(motor)
                if verdict is None:
                    self.ended = "you ended it"
                    return
                self.verdicts[motor] = verdict
                print(verdict.line())
        except MotorsOnError:
            raise
        except (SafetyStop, RunError, BridgeError) as error:
            self.ended = str(error)

    def record(self, today: str) -> WiggleRecord:
        """Return what is known so far, for the robot file."""
        whole = self.ok and len(self.verdicts) == NUM_MOTORS
        return WiggleRecord(today, whole, self._person is not None, lines(self.verdicts))

    def _try(self, motor: int) -> Verdict | None:
        """Return the verdict on a motor; None if the person ends it."""
        while True:
            self._await_legs()
            print(f"{NAMES[motor]} is nudged ...", flush=True)
            found = nudge(self._driver, motor)
            if self._person is None:
                return judge(found, None)
            answer = self._answer(self._person)
            if answer == "stop":
                return None
            if isinstance(answer, Sight):
                return judge(found, answer)

    def _answer(self, person: Person) -> Sight | str:
        """Return what the person saw, or "again" or "stop"."""
        question = "What moved, and where did its knee go (fll up, ..., none, again, stop)?"
        while True:
            text = person.answer(question).lower()
            if text in ("again", "stop"):
                return text
            if (sight := parse_sight(text)) is not None:
                return sight
            question = "Leg, side and direction, such as `brl down`; or none, again, stop:"

    def _await_legs(self) -> None:
        """Wait until the legs hang still and bent, with the person's help if need be.

        Raises:
            RunError: They do not.
        """
        asked = 0
        while trouble := self._pose_trouble():
            print(trouble)
            if self._person is None or asked == _MOST_ASKED:
                break
            if self._person.answer("Enter when it is done, or stop:"):
                break
            asked += 1
        if trouble:
            raise RunError(f"the legs are not ready: {trouble}")

    def _pose_trouble(self) -> str:
        """Return why no motor should be moved from where the legs are now; "" if it may be."""
        pose = still_pose(self._robot, self._clock, _REST_S)
        return "the legs do not come to rest" if pose is None else pose_trouble(self._robot, pose)


def wiggle(options: Options, rig: Rig, person: Person, today: str) -> bool:
    """Try all motors, print what was found and write it to the robot file; return if all is ok.

    Args:
        options: Whether to ask, and the file.
        rig: The robot.
        person: Who watches.
        today: Date for the file.

    Raises:
        RunError: The file is another robot's.
        OSError: The file cannot be written.
    """
    series = Wiggle(rig, person if options.ask else None, options.motors)

    def note() -> None:
        if options.robot_file is not None:
            update_robot_file(options.robot_file, rig.board_id, wiggle=series.record(today))

    note()  # nothing is known any more of what an older record says, however this ends
    try:
        series.run()
    finally:
        note()
    print("\n".join(["", *lines(series.verdicts)]))
    if series.ended:
        print(f"ended, motors safe: {series.ended}")
    if series.ok:
        share = "" if len(options.motors) == NUM_MOTORS else f", {len(options.motors)} of 8 motors"
        print("wired rightly" + share + ("" if options.ask else ", as far as encoders tell"))
    if options.robot_file is not None:
        print(f"written  {options.robot_file}")
    return series.ok


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    options = tyro.cli(Options, args=arguments, prog="minitaur wiggle")
    run_options = options.run_options(stand=STAND_RAD)
    options.check_motors()
    if options.robot_file is not None:
        read_robot_file(options.robot_file)
        prove_writable(options.robot_file)
    person = TerminalPerson(yes=options.yes)
    question = "Robot on a stand, legs in the air and bent, hands clear? Motors will move."
    if not person.agrees(question):
        return EXIT_FAULT
    with contextlib.closing(open_robot(run_options, LIFE_NS)) as rig, realtime():
        ok = wiggle(options, rig, person, datetime.date.today().isoformat())
    return EXIT_OK if ok else EXIT_FAULT


if __name__ == "__main__":
    sys.exit(main())
