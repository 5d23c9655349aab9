"""Run a policy on a robot: `python -m deploy.run --help`, or `make run`.

The composition root: here a robot, a clock, a policy and the loop meet.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import tyro

from deploy.command_sources import CommandSource, open_command
from deploy.errors import DeployError
from deploy.loop.clock import RealTimeSetup, realtime
from deploy.loop.loop import ControlLoop, RunFault, Tick
from deploy.loop.modes import Durations, LoopMode
from deploy.options import Options
from deploy.policy.controller import Controller
from deploy.policy.onnx_policy import OnnxPolicy
from deploy.record import plots
from deploy.record.report import RunReport, summarise
from deploy.robots import ROBOTS, Rig
from robot_firmware_bridge.errors import BridgeError
from robot_firmware_bridge.robot import MINITAUR

EXIT_OK, EXIT_FAULT, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 0, 1, 2, 130
_LINES_PER_S = 5  # of the live line


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
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
    """Run, write every requested file, and print a summary.

    Raises:
        DeployError: Bad input; no motor was armed.
        BridgeError: The robot is not there or refuses.
    """
    options.check()
    policy = OnnxPolicy.load(options.policy, MINITAUR)
    commands = open_command(options.command, policy.contract.velocity_command)
    rig = ROBOTS[options.robot](options)
    with contextlib.closing(rig):
        loop, setup = _execute(options, policy, rig, commands)
        report = summarise(
            loop.log(),
            _explained(loop.faults, rig),
            policy=str(options.policy),
            robot=options.robot,
            interrupted=loop.interrupted,
            saturations=dataclasses.asdict(loop.saturations),
            setup={**_facts(options), **rig.setup, **dataclasses.asdict(setup)},
            link=None if rig.link is None else rig.link(),
        )
        report.save(options.report)
        written = [options.report, options.report.with_suffix(".npz")]
        if options.plot and plots.available():
            written.append(options.report.with_suffix(".png"))
            plots.draw(loop.log(), report, written[-1])
        if options.video != "none" and rig.film is not None:
            written.append(Path(options.video))
            print(f"drawing {options.video} ...", file=sys.stderr)
            rig.film(written[-1])
    print(_summary(report, setup, written, options.plot))
    return report


def _execute(
    options: Options, policy: OnnxPolicy, rig: Rig, commands: CommandSource | None
) -> tuple[ControlLoop, RealTimeSetup]:
    """Run the loop under signal handlers; its flight log is saved however it ends."""
    period_s = rig.period_s or policy.contract.control_period_s
    status = StatusLine(sys.stderr, period_s)
    loop = ControlLoop(
        rig.robot,
        rig.clock,
        Controller(policy.contract, policy, MINITAUR),
        Durations(run_s=options.seconds, stand_up_s=rig.stand_up_s),
        odometry=rig.odometry,
        period_s=period_s,
        commands=commands,
        dry_run=options.dry_run,
        observer=status,
    )
    punctual = realtime() if options.paced else contextlib.nullcontext(RealTimeSetup())
    listening = contextlib.nullcontext() if commands is None else commands.listen()
    try:
        # A signal is a request by then, so the terminal of a keyboard is always given back.
        with _signals(loop), listening, punctual as setup:
            loop.run()
    finally:
        status.close()
        loop.log().save(options.report.with_suffix(".npz"))
    return loop, setup


def _explained(faults: Sequence[RunFault], rig: Rig) -> list[RunFault]:
    """Return the faults; a lost link with the robot's own last words, where it has some."""
    explain = rig.cause_of_death or (lambda: None)
    return [
        RunFault(fault.name, f"{fault.name}: {cause}")
        if fault.name == "robot_link" and (cause := explain())
        else fault
        for fault in faults
    ]


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
    """Return what explains and reproduces a run, beside its plant."""
    return {
        "policy_sha256": hashlib.sha256(options.policy.read_bytes()).hexdigest(),
        "robot_hash": MINITAUR.hash(),
        "version": importlib.metadata.version("minitaur-sim-to-real"),
        "realtime": options.paced,
        "dry_run": options.dry_run,
        "seed": options.seed,
        "command": options.command,
    }


def _summary(report: RunReport, setup: RealTimeSetup, written: list[Path], plot: bool) -> str:
    """Return the run in a few lines for people."""
    good = "interrupted" if report.interrupted else "no fault"
    end = "fell" if report.fell else ", ".join(report.faults) or good
    dry = ", dry run" if report.setup["dry_run"] else ""
    lines = [f"{report.robot}{dry}: {report.seconds:.2f} s, {end}", *report.fault_details]
    if report.speed_mps is not None:
        lines.append(f"speed    {report.speed_mps:.2f} m/s over {report.distance_m:.2f} m")
    if report.yaw_rate_error_rad_s is not None:
        speed = "-" if report.speed_error_mps is None else f"{report.speed_error_mps:.3f} m/s"
        lines.append(f"steering mean error {speed}, {report.yaw_rate_error_rad_s:.3f} rad/s")
    if report.mean_power_w is not None:
        lines.append(f"power    {report.mean_power_w:.0f} W mean mechanical")
    if report.jitter_us is not None and report.compute_us is not None:
        lines.append(
            f"loop     {report.ticks} ticks of {report.period_s * 1e3:.1f} ms, "
            f"{report.overruns} overruns, compute p99 {report.compute_us.p99:.0f} us, "
            f"jitter p99 {report.jitter_us.p99:.0f} us ({setup.scheduler})"
        )
    if report.link is not None:
        lines.append(f"link     {report.link.describe()}")
    lines.append(f"written  {', '.join(str(path) for path in written)}")
    if plot and not plots.available():
        lines.append("no plot: it needs matplotlib, pip install '.[plot]'")
    return "\n".join(lines)


class StatusLine:
    """Shows the ticks it is given, some times a second; silent where there is no terminal.

    It is written between two ticks by the loop's own thread: a second thread would take the
    interpreter's lock for up to 5 ms at a time, most of a control period. The terminal is opened
    anew in non-blocking mode, so a slow or stopped one loses lines instead of stopping a robot.
    """

    def __init__(self, stream: TextIO, period_s: float) -> None:
        self._fd: int | None = None
        self._every = max(1, round(1.0 / (_LINES_PER_S * period_s)))
        if os.name == "posix" and stream.isatty():
            name = os.ttyname(stream.fileno())
            self._fd = os.open(name, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)

    def __call__(self, tick: Tick) -> None:
        """Show this tick if it is time; never waits."""
        if self._fd is not None and tick.ticks % self._every == 0:
            self._write(f"\r\x1b[K{describe(tick)}")

    def close(self) -> None:
        """Clear the line. Idempotent."""
        if self._fd is not None:
            self._write("\r\x1b[K")
            os.close(self._fd)
            self._fd = None

    def _write(self, text: str) -> None:
        if self._fd is not None:
            # A terminal that is not keeping up loses this line.
            with contextlib.suppress(BlockingIOError):
                os.write(self._fd, text.encode())


def describe(tick: Tick) -> str:
    """Return one line about a tick."""
    roll, pitch = tick.state.rpy_rad[:2]
    name = LoopMode(tick.mode).name.lower().replace("_", " ")
    parts = [
        f"{name:<8} {tick.elapsed_s:5.1f} s",
        f"roll {roll:+.2f} pitch {pitch:+.2f} rad",
        f"battery {tick.state.battery_v:.1f} V",
    ]
    if tick.velocity_command is not None:
        parts.append(
            f"command {tick.velocity_command[0]:+.2f} m/s {tick.velocity_command[1]:+.2f} rad/s"
        )
    if tick.base_position_m is not None:
        parts.insert(1, f"x {tick.base_position_m[0]:+6.2f} m")
    return "  ".join(parts)


if __name__ == "__main__":
    sys.exit(main())
