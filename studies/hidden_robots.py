"""Calibrate robots whose parameters are hidden, and see whether the intervals hold them.

Each robot is simulated: its parameters are drawn from twice the ranges of Table I of Tan et al.
2018, with the noise and the latencies of that table. It walks by a shipped policy, in the control
loop, and leaves the log that any run leaves. The calibration sees the log alone, and starts from
the nominal robot. What is counted is how often a true value lies inside the interval of 95 % that
the calibration states, among the parameters that it says it knows.

Some parameters cannot be told from a log of motion, e.g. the mass apart from the motors' strength.
The calibration must say so; a wide interval is no success here, since it counts as unknown.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from tabulate import tabulate

from calibration.fit import Fit, Objective, Space, fit
from calibration.readers import read_record
from deploy.files import write_json
from deploy.loop.loop import ControlLoop
from deploy.loop.modes import Durations
from deploy.loop.reactions import NO_REACTIONS
from deploy.policy.controller import Controller
from deploy.policy.onnx_policy import OnnxPolicy
from robot_firmware_bridge.command_line import EXIT_OK, command
from sim.plant.params import PlantParams
from sim.plant.randomization import TABLE1, Ranges, sample, widened
from sim.plant.registry import make_plant
from sim.robot import SimClock, SimRobot

# Of Table I, what a log can tell; the control step is the policy's and known. The inertias stop
# where a body would have none.
_WIDENED = widened(
    {
        name: ends
        for name, ends in TABLE1.items()
        if name not in ("control_step_s", "base_inertia_scale", "leg_inertia_scale")
    },
    1.0,
)
HIDDEN: Ranges = {
    **_WIDENED,
    "base_inertia_scale": (0.1, 2.0),
    "leg_inertia_scale": (0.1, 2.0),
}
# What is fitted: that, less the battery, which the log reports, and the noise, which needs no fit.
FITTED = tuple(name for name in HIDDEN if name not in ("battery_v", "imu_noise_std"))


@dataclass(frozen=True, slots=True)
class Study:
    """Calibrate simulated robots with hidden parameters, and count what the intervals hold.

    Attributes:
        robots: How many.
        first: Number of the first robot.
        seconds: Length of a robot's log.
        policy: Policy that walks.
        plant: Physics engine of the robots and of the calibration.
        windows: Windows of a log.
        evaluations: Simulations of the search.
        workers: Robots at a time.
        report: Where to write the JSON report.
    """

    robots: int = 20
    first: int = 0
    seconds: float = 20.0
    policy: Path = Path("policies/trot.onnx")
    plant: str = "pybullet"
    windows: int = 80
    evaluations: int = 60
    workers: int = 2
    report: Annotated[Path, tyro.conf.arg(metavar="PATH")] = Path("build/hidden_robots.json")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One parameter of one robot.

    Attributes:
        robot: Number of the robot.
        parameter: Its name.
        true: The hidden value.
        found: The calibration's value.
        low: Lower end of the interval; None if it says that the log cannot tell.
        high: Upper end.
    """

    robot: int
    parameter: str
    true: float
    found: float
    low: float | None
    high: float | None

    @property
    def inside(self) -> bool | None:
        """Whether the interval holds the true value; None without an interval."""
        if self.low is None or self.high is None:
            return None
        return self.low <= self.true <= self.high


def hidden_params(robot: int, period_s: float) -> PlantParams:
    """Return the parameters of a robot by its number."""
    drawn = sample(HIDDEN, np.random.default_rng((21, robot)))
    return dataclasses.replace(drawn, control_step_s=period_s)


def write_log(
    params: PlantParams, policy: OnnxPolicy, engine: str, seconds: float, path: Path
) -> None:
    """Let a robot walk in the control loop, and write its log with the report beside it.

    The loop reacts to nothing: some of these batteries are so low that a run would end at once.
    """
    plant = make_plant(engine)
    plant.reset(params)
    clock = SimClock(plant)
    robot = SimRobot(plant, clock, trace_hz=0.0)
    durations = Durations(run_s=seconds, stand_up_s=0.5)
    loop = ControlLoop(
        robot,
        clock,
        Controller(policy.contract, policy),
        durations,
        odometry=robot,
        rules=NO_REACTIONS,
    )
    try:
        loop.run()
    finally:
        robot.close()
    loop.log().save(path)
    write_json(path.with_suffix(".json"), {"robot": "sim"})


def _make(path: Path, engine: str, windows: int) -> Objective:
    return Objective([read_record(path)], engine, windows)


def calibrate(study: Study, robot: int) -> list[Outcome]:
    """Write the log of a robot and fit a plant to it."""
    policy = OnnxPolicy.load(study.policy)
    params = hidden_params(robot, policy.contract.control_period_s)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.npz"
        write_log(params, policy, study.plant, study.seconds, path)
        make = functools.partial(_make, path, study.plant, study.windows)
        space = Space(FITTED, PlantParams())
        *_, found = fit(make, space, evaluations=study.evaluations, workers=0, seed=robot)
    if not isinstance(found, Fit):
        raise TypeError(found)
    outcomes = []
    for name in FITTED:
        low, high = found.intervals.get(name, (None, None))
        outcomes.append(
            Outcome(robot, name, getattr(params, name), getattr(found.params, name), low, high)
        )
    return outcomes


def table(outcomes: Sequence[Outcome]) -> str:
    """Return a table of the parameters over all robots, and the sum."""
    rows = []
    for name in (*FITTED, "all"):
        mine = [each for each in outcomes if name in (each.parameter, "all")]
        known = [each for each in mine if each.inside is not None]
        errors = [abs(each.found - each.true) for each in known]
        inside = sum(bool(each.inside) for each in known)
        rows.append(
            (
                name,
                f"{len(known)} of {len(mine)}",
                f"{inside} of {len(known)}",
                "" if name == "all" or not errors else f"{np.median(errors):.4f}",
                "" if name == "all" or not errors else f"{max(errors):.4f}",
            )
        )
    headers = ("parameter", "known", "true value inside", "median error", "greatest error")
    return str(tabulate(rows, headers=headers, tablefmt="github"))


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study, print its table and write its report."""
    study = tyro.cli(Study, args=arguments)
    outcomes: list[Outcome] = []
    begin_s = time.monotonic()
    robots = range(study.first, study.first + study.robots)
    with ProcessPoolExecutor(study.workers) as pool:
        for done in pool.map(functools.partial(calibrate, study), robots):
            outcomes += done
            known = [each for each in done if each.inside is not None]
            print(
                f"robot {done[0].robot}: {sum(bool(each.inside) for each in known)} of "
                f"{len(known)} known parameters inside, {time.monotonic() - begin_s:.0f} s",
                flush=True,
            )
            write_json(study.report, {"outcomes": [dataclasses.asdict(each) for each in outcomes]})
    print(table(outcomes))
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
