"""Run a policy on a robot: `python -m deploy.run --help`, or `make run`.

The composition root: here a robot, a clock, a policy and the loop meet. It is the only module of
this floor that knows of a simulator, and it imports that only when asked for it, so that a robot
computer needs none.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import tyro

from deploy import plots
from deploy.clock import RealTimeSetup, WallClock, realtime
from deploy.errors import DeployError, RunError
from deploy.loop import ControlLoop
from deploy.modes import Durations
from deploy.pipeline import Pipeline
from deploy.policy import OnnxPolicy
from deploy.report import RunReport, summarise
from deploy.status import StatusLine
from robot_firmware_bridge.errors import BridgeError
from robot_firmware_bridge.interface import Clock, Robot
from robot_firmware_bridge.robot import MINITAUR

EXIT_OK, EXIT_FAULT, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 0, 1, 2, 130

LONGEST_RUN_S = 3600.0


@dataclass(frozen=True, slots=True)
class Options:
    """Run a policy on a robot in real time and report how it went.

    The robot stands up, the policy runs for SECONDS, the robot is brought back to its stance,
    damped and released. Ctrl-C ends the run gently, a second Ctrl-C damps at once. A report, a
    flight log and a plot are written.

    Exit codes: 0 good run, 1 fell or stopped by a fault, 2 bad input, 130 interrupted.
    """

    policy: Path = Path("policies/trot.onnx")
    """Policy file, as `make export` writes it."""
    robot: Literal["sim", "emulator", "serial"] = "sim"
    """Simulated robot, emulated motor controller, or the real one on a serial port."""
    port: str | None = None
    """Serial port of the real robot."""
    seconds: float = 10.0
    """How long the policy runs; standing up comes before, damping after."""
    report: Path = Path("build/run.json")
    """Report (JSON). The flight log (.npz) and the plot (.png) go beside it, by the same name."""
    video: str = "none"
    """Film of the run, PATH.mp4 or PATH.gif, or none (sim)."""
    realtime: bool = True
    """Hold the period on the wall clock; without (sim only) run as fast as possible, repeatably."""
    gui: bool = False
    """Watch in a window (sim). Drawing takes what time it takes, so the plant's clock rules."""
    dry_run: bool = False
    """Read and compute all as usual, but never arm the motors and never send a command."""
    randomization: Literal["none", "table1"] = "none"
    """Draw the plant's parameters, the control period among them, from these ranges (sim)."""
    seed: int = 0
    """Seed of that draw and of the sensor noise (sim)."""

    @property
    def paced(self) -> bool:
        """Whether the loop lives on the wall clock."""
        return self.realtime and not self.gui


@dataclass(frozen=True, slots=True)
class Rig:
    """A robot ready to run, and what goes with its kind.

    Attributes:
        robot: The robot.
        clock: Time that it lives in.
        stand_up_s: Least time for standing up.
        period_s: Control period if the robot's kind imposes one; None for the contract's.
        setup: Facts for the report.
        film: Writes a film of the run to a path; None if there is nothing to film.
    """

    robot: Robot
    clock: Clock
    stand_up_s: float
    period_s: float | None
    setup: dict[str, Any]
    film: Callable[[Path], None] | None


def open_sim(options: Options) -> Rig:
    """The simulated robot, standing.

    Raises:
        RunError: The simulator is not installed, or refuses what was asked for.
    """
    try:
        import numpy as np

        from sim import video
        from sim.errors import SimError
        from sim.params import TICK_S, PlantParams
        from sim.plant import BulletPlant, control_ticks
        from sim.randomization import RANDOMIZATIONS, sample
        from sim.robot import SimClock, SimRobot
    except ImportError as error:
        raise RunError(f"ROBOT=sim needs {error.name}: pip install '.[sim]'") from error
    try:
        if options.video != "none":
            video.check(Path(options.video))
        params = PlantParams(seed=options.seed)
        if options.randomization != "none":
            rng = np.random.default_rng(options.seed)
            params = sample(RANDOMIZATIONS[options.randomization], rng)
        plant = BulletPlant(gui=options.gui)
        plant.reset(params)
    except SimError as error:
        raise RunError(str(error)) from error
    clock = SimClock(plant, WallClock() if options.paced else None)
    robot = SimRobot(plant, clock, trace_hz=25.0 if options.video != "none" else 0.0)
    return Rig(
        robot,
        clock,
        stand_up_s=0.5,
        period_s=control_ticks(params) * TICK_S if options.randomization != "none" else None,
        setup={"randomization": options.randomization, "plant": dataclasses.asdict(params)},
        film=lambda path: video.render(robot.trace, path),
    )


# How to come by each kind of robot; a new kind is a new line here.
ROBOTS: dict[str, Callable[[Options], Rig]] = {"sim": open_sim}


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    options = tyro.cli(Options, args=arguments, prog="python -m deploy.run")
    try:
        report = run(options)
    except (DeployError, BridgeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:  # before the loop began or after it ended; within, it is a request
        return EXIT_INTERRUPTED
    if not report.ok:
        return EXIT_FAULT
    return EXIT_INTERRUPTED if report.interrupted else EXIT_OK


def run(options: Options) -> RunReport:
    """Run, write every file that was asked for, and print a summary.

    Raises:
        DeployError: Bad input; no motor was armed.
        BridgeError: The robot is not there or refuses.
    """
    _check(options)
    policy = OnnxPolicy.load(options.policy, MINITAUR)
    rig = ROBOTS[options.robot](options)
    with contextlib.closing(rig.robot):
        loop, setup = _execute(options, policy, rig)
        report = summarise(
            loop.log(),
            loop.faults,
            policy=str(options.policy),
            robot=options.robot,
            interrupted=loop.interrupted,
            saturations=dataclasses.asdict(loop.counts),
            setup={**_facts(options), **rig.setup, **dataclasses.asdict(setup)},
        )
        report.save(options.report)
        written = [options.report, options.report.with_suffix(".npz")]
        if plots.available():
            written.append(options.report.with_suffix(".png"))
            plots.draw(loop.log(), report, written[-1])
        if options.video != "none" and rig.film is not None:
            written.append(Path(options.video))
            print(f"drawing {options.video} ...", file=sys.stderr)
            rig.film(written[-1])
    print(_summary(report, setup, written))
    return report


def _check(options: Options) -> None:
    """Refuse what can be seen to be wrong before anything is opened."""
    if options.robot not in ROBOTS:
        raise RunError(f"ROBOT={options.robot} is not part of this version yet: use ROBOT=sim")
    if not (math.isfinite(options.seconds) and 0.0 < options.seconds <= LONGEST_RUN_S):
        raise RunError(f"seconds must be in (0, {LONGEST_RUN_S:.0f}], not {options.seconds}")
    if options.seed < 0:
        raise RunError(f"seed must not be negative, is {options.seed}")
    if options.report.suffix != ".json":
        raise RunError(f"report {options.report} must end in .json")
    if options.robot != "sim" and (options.video != "none" or options.gui or not options.realtime):
        raise RunError(f"--video, --gui and --no-realtime need ROBOT=sim, not {options.robot}")
    if options.gui and sys.platform == "linux" and not os.environ.get("DISPLAY"):
        raise RunError("--gui needs a display, and DISPLAY is not set")
    try:
        options.report.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot write {options.report}: {error}") from error


def _execute(options: Options, policy: OnnxPolicy, rig: Rig) -> tuple[ControlLoop, RealTimeSetup]:
    """Run the loop under signal handlers; its flight log is saved however it ends."""
    period_s = rig.period_s or policy.contract.control_period_s
    status = StatusLine(sys.stderr, period_s)
    loop = ControlLoop(
        rig.robot,
        rig.clock,
        policy,
        Pipeline(policy.contract, MINITAUR),
        Durations(run_s=options.seconds, stand_up_s=rig.stand_up_s),
        period_s=period_s,
        dry_run=options.dry_run,
        observer=status,
    )
    punctual = realtime() if options.paced else contextlib.nullcontext(RealTimeSetup())
    try:
        with _signals(loop), punctual as setup:
            loop.run()
    finally:
        status.close()
        loop.log().save(options.report.with_suffix(".npz"))
    return loop, setup


@contextlib.contextmanager
def _signals(loop: ControlLoop) -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into requests to stop: the loop is never cut in mid-tick."""

    def ask(_signal: int, _frame: FrameType | None) -> None:
        loop.request_stop()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _facts(options: Options) -> dict[str, Any]:
    """What explains and reproduces a run, beside its plant."""
    return {
        "policy_sha256": hashlib.sha256(options.policy.read_bytes()).hexdigest(),
        "robot_hash": MINITAUR.hash(),
        "version": importlib.metadata.version("minitaur-sim-to-real"),
        "realtime": options.paced,
        "dry_run": options.dry_run,
        "seed": options.seed,
    }


def _summary(report: RunReport, setup: RealTimeSetup, written: list[Path]) -> str:
    """The run in a few lines for people."""
    good = "interrupted" if report.interrupted else "no fault"
    end = "fell" if report.fell else ", ".join(report.faults) or good
    dry = ", dry run" if report.setup["dry_run"] else ""
    lines = [f"{report.robot}{dry}: {report.seconds:.2f} s, {end}", *report.fault_details]
    if report.speed_mps is not None:
        lines.append(f"speed    {report.speed_mps:.2f} m/s over {report.distance_m:.2f} m")
    if report.mean_power_w is not None:
        lines.append(f"power    {report.mean_power_w:.0f} W mean mechanical")
    if report.jitter_us is not None and report.compute_us is not None:
        lines.append(
            f"loop     {report.ticks} ticks of {report.period_s * 1e3:.1f} ms, "
            f"{report.overruns} overruns, compute p99 {report.compute_us.p99:.0f} us, "
            f"jitter p99 {report.jitter_us.p99:.0f} us ({setup.scheduler})"
        )
    lines.append(f"written  {', '.join(str(path) for path in written)}")
    if not plots.available():
        lines.append("no plot: it needs matplotlib, pip install '.[plot]'")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
