"""How well the simulator predicts a robot of which there is a record.

``minitaur explain --log robot.log`` reads a record and judges the simulator by it, in up to two
ways. *Open loop*: the plant is put into measured states of the robot, and driven by what drove the
robot's motors; after 10 to 100 ms, its motor angles and its attitude are compared with the measured
ones. This needs fast records with attitude. *Closed loop*: the recorded commands are replayed from
the first to the last through the control law of the recorded board, and the two robots are compared
in way, attitude, power and currents. This needs records with commands.

It prints a verdict and a table, and writes ``explain.json`` and ``explain.png``.
"""

from __future__ import annotations

import dataclasses
import platform
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.progress import BarColumn, Progress, TimeRemainingColumn

from calibration import closed_loop, figures, open_loop
from calibration.closed_loop import ClosedLoop, Motion
from calibration.errors import CalibrationError, RecordError
from calibration.open_loop import OFFSET_WINDOWS, VERDICT_MS, Errors, OpenLoop
from calibration.predict import with_battery
from calibration.readers import read_record
from calibration.record import Reason, Record
from calibration.summary import describe
from deploy.files import prove_writable, write_json, write_somewhere
from deploy.record import plots
from robot_firmware_bridge.command_line import (
    EXIT_FAULT,
    EXIT_INTERRUPTED,
    EXIT_OK,
    command,
)
from robot_firmware_bridge.installed import versions
from robot_firmware_bridge.json_values import Length
from robot_firmware_bridge.robot import MINITAUR, NUM_MOTORS
from sim.plant.params import PlantParams, Value, differing
from sim.plant.params_file import read_params
from sim.plant.plant import Plant
from sim.plant.registry import default_plant, make_plant

_JSON, _PICTURE = "explain.json", "explain.png"
_FOLDER = Path("build/explain")
# Fewer windows say little; more than that are more than any record of an hour has.
_FEWEST_WINDOWS, _MOST_WINDOWS = 10, 100_000
# A window costs about as much as this many milliseconds of a replay.
_WINDOW_TICKS = 100
# Of the picture's headline.
_LINE = 105
# Plants that can be placed into a measured state, and model the robot's own drives and contact.
_ENGINES = ("pybullet", "mujoco")
_PACKAGES = ("minitaur-sim-to-real", "numpy", "pybullet", "mujoco")
# A simulator is said to know a robot from this many times better than a guess on.
_KNOWS = 1.5
# Motor angles that are farther apart (rms) are not those of the same gait: on the walk of 2019 0.22
# rad where the simulated robot walks as the real one does, 0.63 where its legs fold.
_OTHER_GAIT_RAD = 0.45


@dataclass(frozen=True, slots=True)
class Explain:
    """Judge the simulator by records of real robots, and write a report and a picture.

    Attributes:
        log: Records: a log of the stock mainboard, an .npz file of a walk under motion capture, or
            the folder of a run of this stack (or its run.npz). Several are judged one by one.
        params: Parameters of the plant: a file that `minitaur calibrate` wrote, or the name of a
            calibrated plant that ships. The nominal robot if left out. Where a record reports its
            battery, that is taken.
        plant: Physics engine: pybullet or mujoco. By default pybullet, where it is installed.
        out: Folder of explain.json and explain.png; with several records, of a folder for each.
            build/explain/NAME-OF-THE-RECORD if left out.
        windows: How many states of a record to predict from. More take longer and say more.
    """

    log: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE [FILE ...]")] = ()
    params: Annotated[str | None, tyro.conf.arg(metavar="FILE|NAME")] = None
    plant: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    windows: int = 300

    def check(self) -> None:
        """Refuse what cannot be judged.

        Raises:
            CalibrationError: Names the option and what it can be.
        """
        if not self.log:
            raise CalibrationError(
                "no record is named: minitaur explain --log FILE, or make explain LOG=FILE"
            )
        if self.plant not in (None, *_ENGINES):
            raise CalibrationError(
                f"unknown plant {self.plant!r}; a record is explained on {' or '.join(_ENGINES)}"
            )
        if not _FEWEST_WINDOWS <= self.windows <= _MOST_WINDOWS:
            raise CalibrationError(
                f"--windows must be in [{_FEWEST_WINDOWS}, {_MOST_WINDOWS}], is {self.windows}"
            )

    def folders(self) -> list[Path]:
        """Return the folder of each record's report."""
        names: list[str] = []
        for log in self.log:
            # The logs of all runs of this stack are called run.npz.
            path = log.resolve()
            name = path.parent.name if path.name == "run.npz" else path.stem
            count = sum(each == name or each.startswith(f"{name}-") for each in names)
            names.append(f"{name}-{count + 1}" if count else name)
        if self.out is not None and len(names) == 1:
            return [self.out]
        return [(self.out or _FOLDER) / name for name in names]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What was found of one record: the content of ``explain.json``.

    Attributes:
        verdict: The result in sentences, the most important first.
        record: Name of the file.
        sha256: Digest of the file.
        board: Kind of board.
        seconds: Length of the record.
        flags: What was wrong in the record, and how often.
        plant: The engine.
        params_from: Where the parameters come from.
        params: Those that are not nominal, the record's battery included.
        open_loop: Short windows; None if the record cannot be predicted so.
        closed_loop: The replay; None if the record has no commands.
        versions: Of this program, its libraries and Python.
    """

    verdict: tuple[str, ...]
    record: str
    sha256: Annotated[str, Length(64, 64)]
    board: str
    seconds: float
    flags: Mapping[str, int]
    plant: str
    params_from: str
    params: Mapping[str, float | tuple[float, ...]]
    open_loop: OpenLoop | None
    closed_loop: ClosedLoop | None
    versions: Mapping[str, str]


def explain(
    record: Record,
    plant: Plant,
    params: PlantParams,
    windows: int,
    step: Callable[[int], None] = lambda ticks: None,
) -> tuple[figures.Open | None, figures.Closed | None]:
    """Judge a plant by a record; return what was found open loop and closed loop.

    Args:
        record: Of a robot.
        plant: Of any state.
        params: Those that are judged.
        windows: How many states to predict from.
        step: Called with the milliseconds that were simulated; :func:`work_ticks` in all.

    Raises:
        RecordError: The record says nothing about the simulator.
    """
    opened = closed = None
    if open_loop.predictable(record):
        plant.reset(params)
        opened = open_loop.judge(record, plant, windows, lambda: step(_WINDOW_TICKS))
    if record.commands is not None:
        closed = closed_loop.compare(record, plant, params, step)
    return opened, closed


def check_record(record: Record) -> None:
    """Refuse a record that says nothing about this simulator.

    Raises:
        RecordError: It is of another robot, or has neither attitude and duties nor commands.
    """
    name = record.source.name
    if record.robot.hash() != MINITAUR.hash():
        theirs, ours = (dataclasses.asdict(each) for each in (record.robot, MINITAUR))
        field = next(key for key in ours if ours[key] != theirs[key])
        raise RecordError(
            f"{name}: a log of another robot: its {field} is {str(theirs[field])[:100]}, the "
            f"simulator's {str(ours[field])[:100]}"
        )
    if record.commands is None and not open_loop.predictable(record):
        lacks = [
            what
            for what, there in (
                ("attitude", record.attitude),
                ("commands", record.commands),
            )
            if there is None
        ]
        raise RecordError(
            f"{name}: nothing to judge a simulator by: it lacks {' and '.join(lacks)}; record "
            "angles with attitude and duties, or commands"
        )


def work_ticks(record: Record, windows: int) -> int:
    """Return about how many milliseconds the judgement of a record simulates."""
    ticks = 0
    if open_loop.predictable(record):
        ticks += _WINDOW_TICKS * open_loop.window_count(windows)
    if record.commands is not None:
        ticks += closed_loop.replay_ticks(record)
    return ticks


# ---------------------------------------------------------------------------------------- sentences


def verdict(record: Record, opened: OpenLoop | None, closed: ClosedLoop | None) -> tuple[str, ...]:
    """Return the result in sentences that need no table."""
    sentences = []
    if opened is not None:
        sentences.append(_open_verdict(opened))
        sentences += opened.findings
    if closed is not None:
        sentences.append(_closed_verdict(closed))
    jumps = record.flagged(Reason.CLOCK_RESET) + record.flagged(Reason.WRONG_TIME)
    if jumps:
        times = "once" if jumps == 1 else f"{jumps} times"
        sentences.append(f"The record's clock jumps {times}; nothing is predicted across a jump.")
    return tuple(sentences)


def _open_verdict(opened: OpenLoop) -> str:
    at = opened.horizons_ms.index(VERDICT_MS)
    error, gain = opened.simulator.angles_rad[at], opened.gain
    guess = (
        "holding still"
        if opened.holding.angles_rad[at] <= opened.constant_speed.angles_rad[at]
        else "constant speed"
    )
    what = f"predicts the motors {VERDICT_MS} ms ahead to {error:.3f} rad"
    if gain < 1.0:
        return (
            f"This robot is at odds with the simulator, which {what}, worse than {guess} "
            f"({error * gain:.3f} rad): check the order, signs and zeros of the motors."
        )
    if gain < _KNOWS:
        return (
            f"The simulator hardly knows this robot: it {what}, {gain:.1f} times better than "
            f"{guess}."
        )
    return f"The simulator {what}, {gain:.1f} times better than {guess}."


def _closed_verdict(closed: ClosedLoop) -> str:
    robot, ours = closed.robot, closed.simulator
    if closed.fell_after_s is not None:
        return (
            "Under the recorded commands the simulated robot falls after "
            f"{closed.fell_after_s:.1f} of {closed.seconds:.1f} s."
        )
    parts = []
    if robot.forward_m is not None and ours.forward_m is not None:
        parts.append(f"goes {ours.forward_m:.2f} m (the robot: {robot.forward_m:.2f} m)")
    elif robot.distance_m is not None:
        parts.append(f"goes {ours.distance_m:.2f} m (the robot: {robot.distance_m:.2f} m)")
    else:
        parts.append(f"goes {ours.distance_m:.2f} m (how far the robot, nobody knows)")
    if robot.power_w is not None:
        parts.append(f"takes {ours.power_w:.1f} W (the robot: {robot.power_w:.1f} W)")
    sentence = (
        f"Under the recorded commands of {closed.seconds:.1f} s the simulated robot "
        f"{' and '.join(parts)}."
    )
    apart = closed.angles_rms_rad
    if apart is not None and apart > _OTHER_GAIT_RAD:
        sentence += f" But its legs do something else: the motor angles are {apart:.2f} rad apart."
    return sentence


def table(explanation: Explanation) -> str:
    """Return all figures as text."""
    blocks = []
    if (opened := explanation.open_loop) is not None:
        blocks.append(_open_table(opened))
    if (closed := explanation.closed_loop) is not None:
        blocks.append(_closed_table(closed))
    return "\n\n".join(blocks)


def _open_table(opened: OpenLoop) -> str:
    at = opened.horizons_ms.index(VERDICT_MS)
    left_out = f"; {opened.left_out} left out, they begin in a fall" if opened.left_out else ""
    lines = [
        f"open loop: {opened.windows} windows under {opened.driven_by}{left_out}",
        _row("rms error after, ms", [f"{each}" for each in opened.horizons_ms]),
    ]
    for title, name in (
        ("motor angles, rad", "angles_rad"),
        ("pitch, rad", "pitch_rad"),
        ("roll, rad", "roll_rad"),
    ):
        for guess, errors in _predictors(opened):
            values = getattr(errors, name)
            lines.append(_row(f"{title}: {guess}", [f"{each:.3f}" for each in values]))
    lines.append("")
    who = [each for each, _ in _predictors(opened)]
    lines.append(_row(f"rms error after {VERDICT_MS} ms, rad", who, 15))
    for motor, name in enumerate(MINITAUR.motor_names):
        values = [errors.motors_rad[motor] for _, errors in _predictors(opened)]
        lines.append(_row(f"  {name}", [f"{each:.3f}" for each in values], 15))
    lines.append("")
    for number, run in enumerate(opened.runs, 1):
        lines.append(
            f"run {number}, {run.from_s:.1f} to {run.to_s:.1f} s, {run.windows} windows: angles "
            f"{run.angles_50ms_rad:.3f} rad at 50 ms, pitch {run.pitch_100ms_rad:.3f} rad at 100 ms"
        )
    older = opened.best_older_ms
    best, now = min(opened.older_angles_rad), opened.older_angles_rad[opened.older_ms.index(0)]
    if older == 0:
        lines.append(f"timing: angles fit best with the parameters' own latency ({now:.3f} rad)")
    else:
        way = "older" if older > 0 else "younger"
        lines.append(
            f"timing: angles fit best if they are {abs(older)} ms {way} than by the parameters "
            f"({best:.3f} instead of {now:.3f} rad at {opened.horizons_ms[at]} ms, over "
            f"{min(opened.windows, OFFSET_WINDOWS)} of the windows)"
        )
    return "\n".join(lines)


def _predictors(opened: OpenLoop) -> tuple[tuple[str, Errors], ...]:
    return (
        ("simulator", opened.simulator),
        ("nothing moves", opened.holding),
        ("speeds stay", opened.constant_speed),
    )


def _closed_table(closed: ClosedLoop) -> str:
    rows: list[tuple[str, Callable[[Motion], float | None], int]] = [
        ("net distance, m", lambda each: each.distance_m, 3),
        ("  along the start heading, m", lambda each: each.forward_m, 3),
        ("mean speed, m/s", lambda each: each.speed_mps, 3),
        ("turn, rad", lambda each: each.turn_rad, 2),
        ("pitch about its mean, rms, rad", lambda each: each.pitch_rms_rad, 4),
        ("roll about its mean, rms, rad", lambda each: each.roll_rms_rad, 4),
        ("range of pitch, rad", lambda each: each.pitch_range_rad, 3),
        ("range of roll, rad", lambda each: each.roll_range_rad, 3),
        ("mean power, sum |torque x speed|, W", lambda each: each.power_w, 1),
    ]
    lines = [
        f"closed loop: {closed.law}, {closed.seconds:.1f} s",
        _row("", ["robot", "simulator"], 11),
    ]
    for title, value, digits in rows:
        both = [value(each) for each in (closed.robot, closed.simulator)]
        lines.append(_row(title, [_number(each, digits) for each in both], 11))
    if closed.robot.current_a is not None:
        for motor in range(NUM_MOTORS):
            both = [
                None if each.current_a is None else each.current_a[motor]
                for each in (closed.robot, closed.simulator)
            ]
            title = f"mean |current|, {MINITAUR.motor_names[motor]}, A"
            lines.append(_row(title, [_number(each, 2) for each in both], 11))
    if closed.angles_rms_rad is not None:
        lines.append(_row("motor angles, rms difference, rad", [f"{closed.angles_rms_rad:.3f}"]))
    if closed.fell_after_s is not None:
        lines.append(f"the simulated robot falls after {closed.fell_after_s:.2f} s")
    return "\n".join(lines)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _row(title: str, cells: list[str], width: int = 8) -> str:
    return f"{title:<37}" + "".join(f"{cell:>{width}}" for cell in cells)


# ------------------------------------------------------------------------------------------ command


def _explained(
    record: Record,
    engine: str,
    params_from: str,
    params: PlantParams,
    opened: OpenLoop | None,
    closed: ClosedLoop | None,
) -> Explanation:
    overrides: dict[str, Value] = differing(params)
    return Explanation(
        verdict=verdict(record, opened, closed),
        record=record.source.name,
        sha256=record.source.sha256,
        board=str(record.source.board),
        seconds=record.seconds,
        flags={str(flag.reason): flag.samples for flag in record.flags},
        plant=engine,
        params_from=params_from,
        params=overrides,
        open_loop=opened,
        closed_loop=closed,
        versions={"python": platform.python_version(), **versions(_PACKAGES)},
    )


@contextmanager
def _progress(console: Console, name: str, ticks: int) -> Iterator[Callable[[int], None]]:
    """Show a bar for an amount of work; yield the function that moves it."""
    columns = "{task.description}", BarColumn(), TimeRemainingColumn()
    shown = console.is_terminal  # elsewhere it would leave an empty line before an error
    with Progress(*columns, console=console, transient=True, disable=not shown) as progress:
        task = progress.add_task(f"explaining {name}", total=ticks)
        yield lambda done: progress.update(task, advance=done)


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code.

    0 when it ran, however well the simulator did; 1 when a file is not where it should be; 2 when a
    record was refused; 130 when interrupted.
    """
    job = tyro.cli(Explain, args=arguments, prog="minitaur explain")
    job.check()
    console = Console(stderr=True)
    given = "nominal robot" if job.params is None else job.params
    params = PlantParams() if job.params is None else read_params(job.params).params
    engine = job.plant or default_plant()
    records = [read_record(path) for path in job.log]
    for record in records:
        check_record(record)
    code = EXIT_OK
    plant = make_plant(engine)
    try:
        folders = job.folders()
        for folder in folders:
            prove_writable(folder / _JSON)
        for record, folder in zip(records, folders, strict=True):
            used = with_battery(params, record)
            ticks = work_ticks(record, job.windows)
            with _progress(console, record.source.name, ticks) as step:
                opened, closed = explain(record, plant, used, job.windows, step)
            explanation = _explained(
                record,
                engine,
                given,
                used,
                opened[0] if opened else None,
                closed[0] if closed else None,
            )
            print("\n".join(explanation.verdict), describe(record), sep="\n\n", end="\n\n")
            print(table(explanation), end="\n\n")
            code = max(code, _write(explanation, opened, closed, folder))
    except KeyboardInterrupt:
        console.print("interrupted: nothing more is written")
        return EXIT_INTERRUPTED
    finally:
        plant.close()
    return code


def _write(
    explanation: Explanation,
    opened: figures.Open | None,
    closed: figures.Closed | None,
    folder: Path,
) -> int:
    """Write report and picture; return the exit code: 0 if both are where they should be."""
    data: dict[str, Any] = dataclasses.asdict(explanation)
    name = f"{explanation.record} on {explanation.plant}, {explanation.params_from}"
    # No line ends between a number and its unit.
    text = re.sub(r"(?<=\d) (?=[a-zA-Z]+\b)", "\N{NO-BREAK SPACE}", " ".join(explanation.verdict))
    headline = "\n".join((name, *textwrap.wrap(text, _LINE)))
    saves: dict[Path, Callable[[Path], None]] = {
        folder / _JSON: lambda place: write_json(place, data)
    }
    if plots.available():
        saves[folder / _PICTURE] = lambda place: figures.draw(headline, opened, closed, place)
    else:
        print("no picture: matplotlib is not installed: pip install '.[plot]'", file=sys.stderr)
    code = EXIT_OK
    for path, save in saves.items():
        written = write_somewhere(path, save)
        if written is not None:
            print(f"wrote {written}")
        code = code if written == path else EXIT_FAULT
    return code


if __name__ == "__main__":
    sys.exit(main())
