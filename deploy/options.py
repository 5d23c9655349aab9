"""The options of a run, and the checks of them before anything is opened."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from deploy.command_sources import AHEAD
from deploy.errors import RunError
from deploy.record.run_files import RunFiles, new_folder
from deploy.view.address import Address, check_installed

LONGEST_RUN_S = 3600.0
MOST_ALSO = 8  # the keys 1 to 9 choose
FILMS = ("mp4", "gif")
PHYSICAL = ("serial", "minitaur")


@dataclass(frozen=True, slots=True)
class Options:
    """Run a policy on a robot in real time and report how it went.

    The robot stands up, the policy runs for SECONDS, the robot is brought back to its stance,
    damped and released. Ctrl-C ends the run gently, a second Ctrl-C damps at once. A motor
    controller without a command for 80 ms damps by itself and stays so until --clear-fault. The
    Minitaur's own mainboard does not: a second process kills its motors then.
    A report, a flight log and a plot are written, and while the run lasts a black box (.mcap),
    which survives a kill.

    A run on a physical robot (serial, minitaur) is a dry run, which energises nothing, unless --arm
    is given. With it, a checklist looks at the limp robot first, and a typed yes arms it. A script
    pipes the answer: echo yes | minitaur run --arm ...

    Exit codes: 0 good run, 1 fell, stopped by a fault or ended by a reaction, or the report or log
    is not in its place, 2 bad input, or not armed by checklist or answer, 130 interrupted. Ctrl-C,
    SIGTERM, SIGQUIT and a terminal that hangs up ask for the same end.
    """

    policy: Path = Path("walk")
    """Policy file, as `make export` writes it, or a shipped policy: walk, trot, gallop, steer,
    trot-stock or steer-stock."""
    also: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="POLICY")] = ()
    """More policies of this run, at most 8, for the same board, control period and gains. The keys
    1 to 9 of --command keyboard, or buttons of the gamepad, switch between them; key 0 stands. The
    robot comes back to its stance first. SECONDS are for all of them together."""
    robot: Literal["sim", "emulator", "serial", "minitaur"] = "sim"
    """Simulator in this process; emulated motor controller (a process of its own, reached over a
    serial line, pip install '.[sim]'); a real motor controller with this stack's firmware on a
    serial port; or a Minitaur with its own mainboard on one."""
    board: Literal["core", "stock"] = "core"
    """Firmware of the emulated motor controller: this stack's, or that of the Minitaur's own
    mainboard (emulator)."""
    port: str | None = None
    """Serial port of the motor controller (serial, minitaur); left out with serial, the USB serial
    ports are searched."""
    baud: int | None = None
    """Bits per second on that port; left out, 921600. The Minitaur's own mainboard knows 115200
    only (serial, emulator)."""
    clear_fault: bool = False
    """Clear the motor controller's latched fault first; look for its cause before (serial)."""
    robot_file: Path | None = None
    """File of this very robot, with its motor zeros, as `minitaur zero` writes it (emulator,
    serial, minitaur)."""
    wiring: str = ""
    """What is wired wrongly on the emulated board, e.g. "swap 0 1, flip 5"; `minitaur board --help`
    lists the mistakes (emulator)."""
    stand: float | None = None
    """Hold the body of the emulated robot on a stand, with the legs in the air, bent to this
    extension, rad (emulator)."""
    compensate_battery: bool = False
    """Let the motor controller scale duties by nominal over measured voltage (serial, emulator)."""
    command: str | None = None
    """Steer: ahead (the greatest speed, straight on), SPEED,YAW_RATE (m/s and rad/s, left is
    positive), the path of a script, keyboard (arrows or WASD), or gamepad (sticks,
    which count while the right shoulder button is held), gamepad:/dev/input/js1 for one of several.
    Without it, a policy that can be steered goes ahead on a simulated robot, and steps in place on
    a real one."""
    reactions: Path | None = None
    """What is done about a low battery, hot or stalled motors, a bad line and a slow computer
    before they are a stop: a TOML file with thresholds in the place of the defaults, which
    docs/real-robot.md has in a table. `warn` is shown and reported, `slow` scales the requested
    velocity by `slow_share`, `sit` ends the run gently with exit code 1, `damp` damps at once."""
    seconds: float = 10.0
    """How long the policy runs; standing up comes before, damping after."""
    logdir: Path = Path("runs-robot")
    """Folder of run folders. A run writes its report, log and pictures to a new one,
    LOGDIR/<time>-ROBOT-POLICY; LOGDIR/last points to the newest."""
    report: Path | None = None
    """Report (JSON) to write instead of a new folder. The black box (.mcap), the flight log (.npz)
    and the plot (.png) go beside it, by the same name."""
    plot: bool = True
    """Draw the plot; a slow computer may rather not."""
    video: str = "none"
    """Film of the run: none, mp4 or gif (beside the report), PATH.mp4 or PATH.gif (sim)."""
    video_height: int = 360
    """Rows of the film's pictures, 16 columns to 9 rows; drawing takes a time that grows with the
    square: 0.1 s a picture of 360 rows on a slow computer (sim)."""
    realtime: bool = True
    """Hold the period on the wall clock; without (sim only) run as fast as possible, repeatably."""
    gui: bool = False
    """Watch in a window (sim). Drawing takes what time it takes, so the plant's clock rules."""
    view: Annotated[tuple[()] | tuple[str] | None, tyro.conf.arg(metavar="[HOST:PORT]")] = None
    """Show the run in web browsers while it lasts: the robot in 3D, velocities, battery, windings,
    timing, link. A process of its own draws, so that no tick waits for it. It listens on 127.0.0.1,
    so only this computer sees it, on port 8080 or the next that is free; 0.0.0.0:8080 shows it to
    everyone on the network."""
    arm: bool = False
    """Energise the motors of a physical robot, after the checklist and a typed yes (serial,
    minitaur)."""
    dry_run: bool = False
    """Read and compute all as usual, but never arm the motors and never send a command. Physical
    robots are run so unless --arm is given."""
    params: Annotated[str | None, tyro.conf.arg(metavar="FILE|NAME")] = None
    """Calibrated plant in the place of the nominal robot: a file that `make calibrate` wrote, or
    the name of one that ships (sim, emulator)."""
    randomization: str = "none"
    """Draw the plant's parameters from these ranges: none, table1, beyond, original or measured
    (the intervals of PARAMS), or what no training draws: weak, load2, unmodelled and the others of
    `minitaur eval --help`; the control period too in sim, whose plant lives by it, where the ranges
    have one (sim, emulator)."""
    seed: int = 0
    """Seed of that draw, of the sensor noise and of the pushes (sim, emulator)."""
    plant: Literal["pybullet", "mujoco"] | None = None
    """Physics of the simulated robot; left out, PyBullet or, where it is not installed, MuJoCo
    (sim, emulator)."""
    push: float = 0.0
    """Push the body with this force for 60 ms every 1.2 s in a random direction, N (sim,
    emulator)."""
    terrain: str = "flat"
    """Ground to walk on: flat, blocks20 (up to 20 mm), sill30, waves40 or stairs20 (mm), patches25
    (% of the friction), slope10-up, slope10-down or slope10-across (degrees), ice, or some with +
    between them (sim, emulator)."""

    @property
    def request(self) -> str | None:
        """What a policy that can be steered is told; None for nothing, which stops it."""
        if self.command is None and not self.physical:
            return AHEAD
        return self.command

    @property
    def physical(self) -> bool:
        """Whether the robot is a real one."""
        return self.robot in PHYSICAL

    @property
    def dry(self) -> bool:
        """Whether nothing is energised: what was asked for, and what a real robot begins with."""
        return self.dry_run or (self.physical and not self.arm)

    @property
    def stock(self) -> bool:
        """Whether the motor controller is the Minitaur's own mainboard, real or emulated."""
        return self.robot == "minitaur" or self.board == "stock"

    @property
    def view_address(self) -> Address | None:
        """Where the live view listens; None without one.

        Raises:
            RunError: That is no address.
        """
        if self.view is None:
            return None
        return Address.parse(self.view[0]) if self.view else Address()

    @property
    def paced(self) -> bool:
        """Whether the loop lives on the wall clock."""
        return self.realtime and not self.gui

    @contextlib.contextmanager
    def files(self) -> Iterator[RunFiles]:
        """Decide where this run writes; make its folder, unless a report was named.

        Raises:
            RunError: The folder cannot be made.
        """
        if self.report is not None:
            yield RunFiles(self.report, self.film(self.report))
            return
        with new_folder(self.logdir, self.robot, self.policy.stem) as folder:
            report = folder / "run.json"
            yield RunFiles(report, self.film(report))

    def film(self, report: Path) -> Path | None:
        """Return where the film of the run of a report goes; None for no film."""
        if self.video == "none":
            return None
        return report.with_suffix(f".{self.video}") if self.video in FILMS else Path(self.video)

    def check(self) -> None:
        """Refuse what can be seen to be wrong before anything is opened.

        Raises:
            RunError: Names the option and what it must be.
        """
        if not (math.isfinite(self.seconds) and 0.0 < self.seconds <= LONGEST_RUN_S):
            raise RunError(f"seconds must be in (0, {LONGEST_RUN_S:.0f}], not {self.seconds}")
        if self.seed < 0:
            raise RunError(f"seed must not be negative, is {self.seed}")
        if not (math.isfinite(self.push) and self.push >= 0.0):
            raise RunError(f"push must be a force of 0 N or more, is {self.push}")
        if not 90 <= self.video_height <= 1080:
            raise RunError(f"video-height must be in [90, 1080], is {self.video_height}")
        if len(self.also) > MOST_ALSO:
            raise RunError(f"also takes {MOST_ALSO} policies at most, has {len(self.also)}")
        if self.baud is not None and self.baud <= 0:
            raise RunError(f"baud must be positive, is {self.baud}")
        if self.report is not None and self.report.suffix != ".json":
            raise RunError(f"report {self.report} must end in .json")
        if self.view_address is not None:
            check_installed()
        self._check_robot()
        if self.gui and sys.platform == "linux" and not os.environ.get("DISPLAY"):
            raise RunError("--gui needs a display, and DISPLAY is not set")

    def _check_robot(self) -> None:
        """Refuse options that this kind of robot would silently ignore."""
        if self.robot != "sim" and (self.video != "none" or self.gui or not self.realtime):
            raise RunError(f"--video, --gui and --no-realtime need ROBOT=sim, not {self.robot}")
        if not self.physical and self.port is not None:
            raise RunError(f"--port needs ROBOT=serial or ROBOT=minitaur, not {self.robot}")
        if self.robot != "serial" and self.clear_fault:
            raise RunError(f"--clear-fault needs ROBOT=serial, not {self.robot}")
        if self.arm and self.dry_run:
            raise RunError("--arm energises the motors and --dry-run does not: leave one out")
        if self.arm and not self.physical:
            raise RunError(
                f"--arm is not needed with ROBOT={self.robot}, a simulated robot: leave it out"
            )
        if self.robot == "sim" and self.robot_file is not None:
            raise RunError("--robot-file needs a motor controller: ROBOT=emulator or a real robot")
        if self.robot_file is not None and not self.robot_file.exists():
            raise RunError(
                f"no robot file {self.robot_file}: look at its name; `minitaur zero` makes one"
            )
        if self.robot != "emulator" and (self.wiring or self.stand is not None):
            raise RunError(f"--wiring and --stand need ROBOT=emulator, not {self.robot}")
        if self.robot == "minitaur" and self.port is None:
            raise RunError(
                "ROBOT=minitaur needs its port, PORT=/dev/...: that mainboard answers no question, "
                "so it cannot be searched for"
            )
        if self.stock and self.baud is not None:
            raise RunError(
                "--baud is not for the Minitaur's own mainboard, which knows 115200 only"
            )
        if self.board != "core" and self.robot != "emulator":
            raise RunError(f"--board needs ROBOT=emulator, not {self.robot}")
        drawn = self.randomization != "none" or self.params is not None
        altered = self.push != 0.0 or self.terrain != "flat"
        if self.physical and (drawn or altered or self.plant is not None):
            raise RunError(
                "--params, --randomization, --plant, --push and --terrain need a simulated robot: "
                "ROBOT=sim or ROBOT=emulator"
            )
        if self.compensate_battery and (self.robot == "sim" or self.stock):
            raise RunError(
                "--compensate-battery needs ROBOT=serial or ROBOT=emulator, and this stack's "
                "firmware on it"
            )
