"""The pictures of docs/real-robot.md, good beside bad: ``python -m studies.pictures``.

Every curve is of a run of `minitaur run` against an emulated board that is right, or wrong in one
way, and is drawn by the panels of a run's own plot. The poses are those of a limp robot in the
simulator. Needs no torch.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tyro
from numpy.typing import NDArray

from deploy.record import plots
from deploy.record.flight_log import FlightLog
from deploy.record.metrics import following
from robot_firmware_bridge.command_line import EXIT_OK, command
from robot_firmware_bridge.robot import NUM_LEGS
from sim.board.plant import on_stand
from sim.board.process import BoardProcess
from sim.plant.params import PlantParams
from sim.plant.registry import make_plant
from studies.study import StudyError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

Panel = Callable[["Axes", FlightLog, int], None]

# A computer that is busy spoils a run now and then.
_MOST_TRIES = 6
_SECONDS = 2.0
# Until a limp robot has come to rest, ms.
_HANG_TICKS, _LIE_TICKS = 6000, 1500
_DPI = 85
_GOOD, _BAD, _BAD_PANEL = "#00704f", "#b03a00", "#fdf0e8"


@dataclass(frozen=True, slots=True)
class Case:
    """A robot behind an emulated board, and what a reader is to see of it.

    Attributes:
        title: What is right or wrong with it, in a few words.
        look: What the picture shows of that; ``lost``, ``states`` and ``lag_ms`` of the run are
            filled in.
        board: Options of `minitaur board`.
        arm: Energise the motors.
        good: Whether all is right.
        faults: What the run may end with, one of these; "" for no fault.
        leg: The leg that shows it best.
    """

    title: str
    look: str
    board: tuple[str, ...] = ()
    arm: bool = False
    good: bool = False
    faults: tuple[str, ...] = ("",)
    leg: int = 1


@dataclass(frozen=True, slots=True)
class Flight:
    """A run of a case: its log, what there is to see in it, and what was said of its end if bad."""

    case: Case
    log: FlightLog
    look: str
    end: str


LEGS = (
    Case(
        "all four legs alike",
        "swing near 0 and extension near 2 rad, as your eyes see the legs",
        good=True,
    ),
    Case(
        "one encoder's zero is wrong by 34 degrees",
        "the back left leg hangs as the others do, and is measured 17 degrees away from them",
        board=("--wiring", "offset back_leftR 0.6"),
    ),
)
LINE = (
    Case(
        "a fresh state in every tick",
        "most dots on one line, under 4 ms; {lost} of {states} states are lost",
        good=True,
    ),
    Case(
        "an adapter holds bytes back for 16 ms",
        "the age climbs to 16 ms, again and again",
        board=("--at", "0 hold 16"),
        faults=("stale_state",),
    ),
    Case(
        "1 byte of 400 is lost",
        "single dots stand out: {lost} of {states} states are lost",
        board=("--at", "0 drop 0.0025"),
        faults=("", "stale_state"),
    ),
)
ARMED = (
    Case(
        "wired rightly",
        "level; the leg follows its target, {lag_ms:.0f} ms behind",
        arm=True,
        good=True,
    ),
    Case(
        "the line is 30 ms late, each way",
        "it walks, but the leg is {lag_ms:.0f} ms behind its target",
        board=("--wiring", "delay 30"),
        arm=True,
    ),
    Case(
        "an encoder counts the other way",
        "the leg runs away, the robot falls over",
        board=("--wiring", "flip-encoder back_leftR"),
        arm=True,
        faults=("tilt",),
    ),
    Case(
        "two encoders are swapped",
        "two legs turn over and jam",
        board=("--wiring", "swap-encoders front_leftL front_rightR"),
        arm=True,
        faults=("robot_fault", "stall_sit", "tilt", "encoder_jump"),
        leg=0,
    ),
)


def fly(case: Case, seconds: float = _SECONDS) -> Flight:
    """Return a run of the trot on the robot of a case, which ended as the case says.

    Raises:
        StudyError: It ended otherwise, again and again.
        SimError: The board does not start.
    """
    said = ""
    for _ in range(_MOST_TRIES):
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "run.json"
            board = BoardProcess("sim.board", case.board)
            try:
                words = ["run", "--robot=serial", f"--port={board.port}", "--policy=trot"]
                words += [f"--seconds={seconds}", "--no-plot", f"--report={report}"]
                done = subprocess.run(
                    [sys.executable, "-m", "minitaur", *words, *["--arm"] * case.arm],
                    input="yes\n",
                    capture_output=True,
                    text=True,
                )
            finally:
                board.stop()
            said = f"{done.stdout}\n{done.stderr}".strip()
            if not report.exists():
                continue
            found = json.loads(report.read_text())
            if next(iter(found["faults"]), "") in case.faults:
                log = FlightLog.load(report.with_suffix(".npz"))
                end = next(iter(found["fault_details"]), "").partition(",")[0]
                return Flight(case, log, _look(case, log, found["link"]), end)
    raise StudyError(f"no run of {case.title!r} ended as it should; the last one:\n{said}")


def _look(case: Case, log: FlightLog, link: Mapping[str, Any]) -> str:
    """Return what there is to see in a run."""
    run, lost = log.run, link["states_lost"]
    lag = following(log.target_rad[run], log.motor_position_rad[run], log.period_s)
    lag_ms = float("nan") if lag is None else lag.delay_s * 1e3
    return case.look.format(lost=lost, states=link["states"] + lost, lag_ms=lag_ms)


def draw_legs(flights: Sequence[Flight], path: Path) -> None:
    """Draw the angles of all legs, a row for each run; the leg of a bad one is marked."""
    figure = plots.new_figure(11.0, 2.6 * len(flights))
    parts = figure.subfigures(len(flights), 1, squeeze=False)[:, 0]
    for part, flight in zip(parts, flights, strict=True):
        _head(part, flight, 150, 2)
        axes = part.subplots(1, NUM_LEGS, sharey=True)
        for leg, axis in enumerate(axes):
            plots.leg_angles(axis, flight.log, leg)
            if leg == flight.case.leg and not flight.case.good:
                axis.set_facecolor(_BAD_PANEL)
            axis.set_ylim(-1.0, 2.8)
        part.legend(
            *axes[0].get_legend_handles_labels(),
            loc="upper right",
            fontsize=8,
            frameon=False,
            ncols=3,
        )
    plots.save(figure, path, _DPI)


def draw_columns(flights: Sequence[Flight], panels: Sequence[Panel], path: Path) -> None:
    """Draw some panels of every run, a column for each run, a row of common scale for each panel.

    Args:
        flights: The runs.
        panels: Draw on an axis: the log of the run, and the leg that its case shows.
        path: The PNG.
    """
    figure = plots.new_figure(3.3 * len(flights), 0.9 + 2.1 * len(panels))
    parts = figure.subfigures(1, len(flights), squeeze=False)[0]
    lines = 4 if any(flight.end for flight in flights) else 2
    columns: list[Any] = []
    for part, flight in zip(parts, flights, strict=True):
        _head(part, flight, 42, lines)
        columns.append(part.subplots(len(panels), 1, squeeze=False)[:, 0])
        for axis, panel in zip(columns[-1], panels, strict=True):
            panel(axis, flight.log, flight.case.leg)
            axis.set_ylabel(axis.get_ylabel() or "rad", fontsize=9)
            axis.legend(fontsize=7, frameon=False, ncols=4, loc="upper center", columnspacing=1.0)
    for row in zip(*columns, strict=True):
        limits = np.array([axis.get_ylim() for axis in row])
        low, high = limits[:, 0].min(), limits[:, 1].max()
        for axis in row:
            axis.set_ylim(low, high + 0.2 * (high - low))  # room for the legend
    plots.save(figure, path, _DPI)


def _head(part: FigureBase, flight: Flight, width: int, lines: int) -> None:
    """Write over a part of a figure whether its run is good, and what there is to see.

    Args:
        part: The part.
        flight: Its run.
        width: Letters of a line.
        lines: Lines that all heads of the figure have.
    """
    case = flight.case
    text = textwrap.wrap(f"{'GOOD' if case.good else 'BAD'}: {case.title}", width)
    text += textwrap.wrap(flight.look, width)
    if flight.end:
        text += textwrap.wrap(f"the run ends: {flight.end}", width)
    text += [" "] * (lines - len(text))
    part.suptitle("\n".join(text), x=0.02, ha="left", fontsize=9, color=_colour(case.good))


def _colour(good: bool) -> str:
    return _GOOD if good else _BAD


# ------------------------------------------------------------------------------------------ poses


def poses() -> list[tuple[bool, str, NDArray[np.uint8]]]:
    """Return whether a run may begin there, what the pose is, and a picture of it, of each pose.

    The picture of the robot that hangs is drawn with its toes a little over the floor.
    """
    from sim.view.scene import Scene

    plant, scene = make_plant("pybullet"), Scene()
    found: list[tuple[bool, str, NDArray[np.uint8]]] = []

    def seen(good: bool, words: str, lower_m: float = 0.0) -> None:
        truth = plant.truth()
        scene.show(
            truth.position_m - (0.0, 0.0, lower_m), truth.quaternion, plant.engine.joint_positions()
        )
        found.append((good, words, scene.camera(440, 330)))

    def limp(ticks: int) -> None:
        for _ in range(ticks):
            plant.drive(None)

    try:
        plant.reset(on_stand(PlantParams(seed=1), blocks_nm=0.0))
        limp(_HANG_TICKS)
        seen(True, "the legs hang straight down (on the stock mainboard bend them)", 0.2)
        plant.reset(PlantParams(seed=1))
        seen(True, "held in its stance, each motor at 2.0 rad, on any board")
        limp(_LIE_TICKS)
        seen(False, "it lies, as after a run: the legs are folded")
    finally:
        scene.close()
        plant.close()
    return found


def draw_poses(shown: Sequence[tuple[bool, str, NDArray[np.uint8]]], path: Path) -> None:
    """Draw pictures of poses beside each other."""
    figure = plots.new_figure(3.6 * len(shown), 3.0)
    axes = figure.subplots(1, len(shown), squeeze=False)[0]
    for axis, (good, words, picture) in zip(axes, shown, strict=True):
        axis.imshow(picture)
        title = "\n".join(textwrap.wrap(f"{'GOOD' if good else 'BAD'}: {words}", 42))
        axis.set_title(title, loc="left", fontsize=9.5, color=_colour(good))
        axis.set_axis_off()
    figure.savefig(path, dpi=_DPI, bbox_inches="tight", pad_inches=0.1)


# ------------------------------------------------------------------------------------ command line


@dataclass(frozen=True, slots=True)
class Options:
    """Make the pictures of docs/real-robot.md of new runs on emulated boards, and of limp robots.

    Exit codes: 0 made, 2 a run did not end as it should, or the simulator is not installed.
    """

    out: Path = Path("docs/pictures")
    """Folder of the pictures."""
    only: tuple[str, ...] = ()
    """Names of the pictures to make, such as "dry-run-line"; left out, all."""


def _state_age(axis: Axes, log: FlightLog, _leg: int) -> None:
    plots.state_age(axis, log)


def _attitude(axis: Axes, log: FlightLog, _leg: int) -> None:
    plots.attitude(axis, log)


PICTURES: dict[str, Callable[[Path], None]] = {
    "poses": lambda path: draw_poses(poses(), path),
    "dry-run-legs": lambda path: draw_legs([fly(case) for case in LEGS], path),
    "dry-run-line": lambda path: draw_columns([fly(case) for case in LINE], [_state_age], path),
    "armed-wrong": lambda path: draw_columns(
        [fly(case) for case in ARMED], [_attitude, plots.leg_angles], path
    ),
}


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    options = tyro.cli(Options, args=arguments, prog="python -m studies.pictures")
    for name in options.only or PICTURES:
        if name not in PICTURES:
            raise StudyError(f"no picture {name!r}: there are {', '.join(PICTURES)}")
        path = options.out / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        PICTURES[name](path)
        print(f"drawn    {path}")
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
