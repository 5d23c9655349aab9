"""`minitaur calibrate`: a simulator fitted to records of a robot, with an interval for each number.

The file that it writes goes into `minitaur explain`, `eval`, `train` and `run` by `--params`.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import importlib.util
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from calibration.errors import CalibrationError, RecordError
from calibration.explain import check_record
from calibration.fit import BOX, Fit, Objective, Space, fit
from calibration.open_loop import wrong_channels
from calibration.predict import with_battery
from calibration.readers import read_record
from calibration.record import FootCommands, Record
from calibration.replay_errors import is_replayed
from calibration.stimulus import SIMULATED
from deploy.files import prove_writable, write_atomically
from robot_firmware_bridge.command_line import EXIT_OK, command
from sim.plant.params import PlantParams, Value, checked_value, entries
from sim.plant.params_file import CalibratedPlant, Provenance, params_text, read_params
from sim.plant.registry import PLANTS, default_plant, make_plant

# Fitted unless something else is asked for; what else there is, a record adds.
_DEFAULT = (
    "base_mass_scale",
    "leg_mass_scale",
    "base_inertia_scale",
    "leg_inertia_scale",
    "base_com_x_m",
    "motor_strength_scale",
    "motor_viscous_nm_s_per_rad",
    "motor_coulomb_nm",
    "knee_viscous_nm_s_per_rad",
    "knee_coulomb_nm",
    "winding_resistance_ohm",
    "battery_resistance_ohm",
    "contact_friction",
    "toe_stiffness_n_per_m",
    "toe_damping_n_s_per_m",
)
_WORKERS = 2
# In a file of output, a line says how far the search is.
_TELL_EVERY_S = 30.0
# Windows by which exchanged channels are found before the search.
_LOOK_WINDOWS = 60
# A load cannot be placed in a measured state, and ideal motors have nothing that can be fitted.
_ENGINES = tuple(each for each in PLANTS if each not in ("pybullet-duck", "pybullet-ideal"))


@dataclass(frozen=True, slots=True)
class Calibrate:
    """Fit the simulator to records of a robot.

    Each record is one that `minitaur explain` reads. Fitted are masses, inertias, the centre of
    mass, strength, resistance and friction of the motors, friction of the knees, sag of the
    battery, friction and softness of the toes, and how old the measured states are. The result
    names an interval of 95 % for each number, and the numbers that the records cannot tell.

    Two things help more than a longer search: a known mass (weigh the robot: a record of motion
    tells only the ratio of strength to mass), and a record with motion capture.

    Attributes:
        log: Records of one robot.
        out: File to write, for --params of the other commands.
        name: Name of the robot in that file; the file's own name if left out.
        plant: Physics engine: pybullet or mujoco. By default mujoco, where it is installed: it is
            three times as fast.
        params: Start from these: a file that this command wrote, or the name of a plant that ships.
        only: Fit these parameters and no others.
        also: Fit these as well, e.g. encoder_offset_rad, torque_constant_nm_per_a.
        known: Hold a parameter at a value that you know, NAME=VALUE.
        windows: How many short windows of the records to predict in each simulation.
        evaluations: Simulations of the search at most; the last, local part takes some more.
        workers: Processes; 0 for this one.
        seed: Of the search; the result depends on it a little, and not on the number of workers.
    """

    log: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE [FILE ...]")] = ()
    out: Annotated[Path, tyro.conf.arg(metavar="FILE.json")] = Path("params.json")
    name: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    plant: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    params: Annotated[str | None, tyro.conf.arg(metavar="FILE|NAME")] = None
    only: Annotated[tuple[str, ...], tyro.conf.arg(metavar="PARAMETER ...")] = ()
    also: Annotated[tuple[str, ...], tyro.conf.arg(metavar="PARAMETER ...")] = ()
    known: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE ...")] = ()
    windows: int = 120
    evaluations: int = 300
    workers: int = _WORKERS
    seed: int = 0

    def check(self) -> None:
        """Refuse what cannot be done.

        Raises:
            CalibrationError: Names the option and what it can be.
        """
        if not self.log:
            raise CalibrationError(
                "no record is named: minitaur calibrate --log FILE --out params.json, or make "
                "calibrate LOG=FILE OUT=params.json"
            )
        if self.out.suffix != ".json":
            raise CalibrationError(f"--out {self.out} must end in .json")
        bounds = {
            "windows": (10, 5000),
            "evaluations": (10, 1_000_000),
            "workers": (0, 256),
            "seed": (0, 2**31 - 2),
        }
        for option, (low, high) in bounds.items():
            if not low <= getattr(self, option) <= high:
                raise CalibrationError(
                    f"--{option} must be in [{low}, {high}], is {getattr(self, option)}"
                )
        if self.only and self.also:
            raise CalibrationError(
                "--only names all that is fitted: name these there, not in --also"
            )

    def engine(self) -> str:
        """Return the engine that is fitted.

        Raises:
            CalibrationError: There is none of this name.
        """
        if self.plant is None:
            return "mujoco" if importlib.util.find_spec("mujoco") else default_plant()
        if self.plant not in _ENGINES:
            raise CalibrationError(f"unknown plant {self.plant!r}; known: {', '.join(_ENGINES)}")
        return self.plant

    def values(self) -> dict[str, Value]:
        """Return the known parameters.

        Raises:
            CalibrationError: One of them is not NAME=VALUE.
            ParameterError: Unknown, or impossible.
        """
        values: dict[str, Value] = {}
        for text in self.known:
            name, _, number = text.partition("=")
            try:
                value = float(number)
            except ValueError:
                raise CalibrationError(
                    f"--known takes NAME=VALUE, e.g. base_mass_scale=1.0, not {text!r}"
                ) from None
            if name in values:
                raise CalibrationError(f"--known has {name} twice: name it once")
            values[name] = checked_value(name, value)
        return values

    def space(self, records: Sequence[Record]) -> Space:
        """Return what is searched, and from where.

        Raises:
            CalibrationError: A name cannot be fitted, or nothing is left to fit.
            ParameterError: The plant to start from is none.
        """
        start = PlantParams() if self.params is None else read_params(self.params).params
        for record in records:
            start = with_battery(start, record)
        known: dict[str, Any] = self.values()
        names = self.only or (*_DEFAULT, *_told_by(records), *self.also)
        unique = tuple(name for name in dict.fromkeys(names) if name not in known)
        return Space(unique, dataclasses.replace(start, **known))


def _told_by(records: Sequence[Record]) -> tuple[str, ...]:
    """Return the parameters that only some kinds of record have."""
    names: list[str] = []
    for record in records:
        own = record.commands is not None and not isinstance(record.commands, FootCommands)
        late = record.source.robot == SIMULATED or isinstance(record.commands, FootCommands)
        names.append("policy_latency_s" if late else "pd_latency_s")
        if own:
            names += ["imu_roll_bias_rad", "imu_pitch_bias_rad"]
    return tuple(names)


def _make(logs: tuple[Path, ...], engine: str, windows: int, names: tuple[str, ...]) -> Objective:
    """Make the objective, in a process of its own."""
    records = [read_record(log) for log in logs]
    return Objective(records, engine, windows, battery="battery_v" not in names)


def _check_records(records: Sequence[Record], engine: str) -> None:
    """Refuse records that no fit can be of.

    Raises:
        RecordError: Names the file and what is wrong with it, or the channels that look exchanged.
    """
    if len({each.source.sha256 for each in records}) < len(records):
        raise RecordError("a record is named twice: the same errors, counted twice, look surer")
    plant = make_plant(engine)
    try:
        for record in records:
            check_record(record)
            if is_replayed(record):
                continue
            plant.reset(with_battery(PlantParams(), record))
            if findings := wrong_channels(record, plant, _LOOK_WINDOWS):
                raise RecordError(f"{record.source.name}: {findings[0]}")
    finally:
        plant.close()


def _search(job: Calibrate, space: Space, engine: str, console: Console) -> Fit:
    """Fit with a bar that says how far it is, or a line now and then where no bar can be."""
    columns = (
        "{task.description}",
        BarColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("error {task.fields[loss]}"),
    )
    make = functools.partial(_make, job.log, engine, job.windows, space.names)
    shown = console.is_terminal
    with Bar(*columns, console=console, transient=True, disable=not shown) as bar:
        # About how many simulations the local part takes.
        planned = job.evaluations + 10 * (2 * len(space.labels) + 1)
        task = bar.add_task("fitting", total=planned, loss="-")
        told_s = time.monotonic()
        for found in fit(
            make, space, evaluations=job.evaluations, workers=job.workers, seed=job.seed
        ):
            if isinstance(found, Fit):
                return found
            share = _share(found.loss, found.start_loss)
            bar.update(task, completed=found.evaluations, loss=share)
            if not shown and time.monotonic() - told_s >= _TELL_EVERY_S:
                told_s = time.monotonic()
                line = f"{found.evaluations} of about {planned} simulations, errors {share}"
                console.print(line, soft_wrap=True, highlight=False)
    raise CalibrationError("the search ended without a result")


def _share(loss: float, start_loss: float) -> str:
    """Return what is left of the errors that the search began with."""
    share = np.sqrt(loss / start_loss) if start_loss > 0.0 else 1.0
    return f"{100.0 * share:.0f} % of the first"


def _calibrated(
    job: Calibrate, words: Sequence[str], records: Sequence[Record], engine: str, found: Fit
) -> CalibratedPlant:
    command_line = shlex.join(["minitaur", "calibrate", *words])
    return CalibratedPlant(
        name=job.name or job.out.stem,
        params=found.params,
        intervals=found.intervals,
        unknown=found.unknown,
        provenance=Provenance(
            records=_named(records),
            engine=engine,
            command=command_line[:1000],
            date=datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
            fit={
                "loss": found.loss,
                "start_loss": found.start_loss,
                "simulations": float(found.evaluations),
                "windows": float(job.windows),
                "seed": float(job.seed),
            },
        ),
    )


def _named(records: Sequence[Record]) -> dict[str, str]:
    """Return the digests of records by name; of equal names the later ones are numbered."""
    digests: dict[str, str] = {}
    for record in records:
        name, same = record.source.name, 1
        while name in digests:
            same += 1
            name = f"{record.source.name} ({same})"
        digests[name] = record.source.sha256
    return digests


def describe(found: Fit, space: Space) -> str:
    """Return the table of a fit: each parameter, its interval, or that the records cannot tell."""
    nominal = PlantParams()
    lines = [f"{'parameter':<30}{'found':>10}{'95 % interval':>24}{'nominal':>10}"]
    for name in space.names:
        values = entries(getattr(found.params, name))
        usual = entries(getattr(nominal, name))
        known = name in found.intervals
        ends = zip(*map(entries, found.intervals[name]), strict=True) if known else None
        for index, value in enumerate(values):
            interval = "the records cannot tell"
            if ends is not None:
                low, high = next(ends)
                interval = f"{low:.4g} to {high:.4g}"
            label = name if len(values) == 1 else f"{name}[{index}]"
            lines.append(f"{label:<30}{value:>10.4g}{interval:>24}{usual[index]:>10.4g}")
    return "\n".join(lines)


def _edges(found: Fit, space: Space) -> list[str]:
    """Return a line about parameters at the end of what is plausible."""
    at_end = [
        name
        for name in space.names
        if name in found.intervals and _at_edge(name, entries(getattr(found.params, name)))
    ]
    if not at_end:
        return []
    return [
        f"at the edge of what is plausible: {', '.join(at_end)}; what the model lacks may be "
        "hidden there"
    ]


def _at_edge(name: str, values: tuple[float, ...]) -> bool:
    low, high = BOX[name]
    if low == 0.0:  # no friction, no latency: an end that a robot may have
        low = -high
    margin = 0.01 * (high - low)
    return any(not low + margin < value < high - margin for value in values)


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Fit, print the table and write the file."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    job = tyro.cli(Calibrate, prog="minitaur calibrate", args=words)
    job.check()
    engine = job.engine()
    prove_writable(job.out)
    records = [read_record(log) for log in job.log]
    space = job.space(records)
    _check_records(records, engine)
    console = Console(stderr=True)
    found = _search(job, space, engine, console)
    plant = _calibrated(job, words, records, engine, found)
    write_atomically(job.out, params_text(plant).encode())
    print(describe(found, space))
    print(f"errors: {_share(found.loss, found.start_loss)}; {found.evaluations} simulations")
    for line in _edges(found, space):
        print(line)
    print(
        f"wrote {job.out}; see how well it explains: minitaur explain --params {job.out} --log ..."
    )
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
