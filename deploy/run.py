"""Run a policy on a robot: `minitaur run --help`, or `make run`.

The composition root: here a robot, a clock, a policy and the loop meet.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import tyro

import policies
from deploy.command_sources import CommandSource, open_command
from deploy.errors import LogError
from deploy.files import write_somewhere
from deploy.loop.clock import RealTimeSetup, realtime
from deploy.loop.loop import ControlLoop, RunFault, Tick
from deploy.loop.modes import Durations, LoopMode
from deploy.options import Options
from deploy.policy.controller import Controller
from deploy.policy.onnx_policy import OnnxPolicy
from deploy.policy.pipeline import Pipeline
from deploy.record import plots
from deploy.record.black_box import BlackBox, BlackBoxReport
from deploy.record.flight_log import FlightLog
from deploy.record.read_log import read_log
from deploy.record.report import RunReport, summarise
from deploy.record.run_files import RunFiles, prove
from deploy.record.thermal import in_words
from deploy.record.tick_row import TickRow
from deploy.robots import ROBOTS, Rig
from robot_firmware_bridge.command_line import (
    EXIT_FAULT,
    EXIT_INTERRUPTED,
    EXIT_OK,
    command,
    save_traceback,
    stop_signals,
)
from robot_firmware_bridge.errors import MinitaurError
from robot_firmware_bridge.robot import MINITAUR

_LINES_PER_S = 5  # of the live line
# A tick is at most this long in both logs together, with an observation of 200 numbers.
_LOG_BYTES_PER_TICK = 2500
# A longer run is not kept in memory as a whole: its log is read back from the black box.
_KEPT_S = 300.0
_ROOT = Path(__file__).resolve().parent.parent


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    report, in_place = run(tyro.cli(Options, args=arguments, prog="minitaur run"))
    if not (report.ok and in_place):
        return EXIT_FAULT
    return EXIT_INTERRUPTED if report.interrupted else EXIT_OK


def run(options: Options) -> tuple[RunReport, bool]:
    """Run, write every requested file, and print a summary.

    Returns:
        The report, and whether it and the flight log are where they should be.

    Raises:
        DeployError: Bad input; no motor was armed.
        BridgeError: The robot is not there or refuses.
        KeyboardInterrupt: A signal asked for an end, before the loop began or after its report and
            log were written.
    """
    options.check()
    policy = OnnxPolicy.load(options.policy, MINITAUR)
    facts = _facts(options, policy)
    commands = open_command(options.request, policy.contract.velocity_command)
    ticks = options.seconds / policy.contract.control_period_s
    with options.files() as files:
        prove(files, round(ticks * _LOG_BYTES_PER_TICK))
        with (
            contextlib.closing(_black_box(policy)) as box,
            contextlib.closing(ROBOTS[options.robot](options)) as rig,
        ):
            log, report, written = _execute(options, policy, rig, commands, files, facts, box)
            print(_summary(report, [path for path in written if path is not None]))
            if options.plot and plots.available():
                _draw(files.plot, lambda path: plots.draw(log, report, path))
            elif options.plot:
                print("no plot: it needs matplotlib, pip install '.[plot]'")
            film = rig.film
            if files.film is not None and film is not None:
                _draw(files.film, lambda path: film(path, log))
    return report, written[:2] == [files.report, files.log]


def _execute(
    options: Options,
    policy: OnnxPolicy,
    rig: Rig,
    commands: CommandSource | None,
    files: RunFiles,
    facts: dict[str, Any],
    box: BlackBox,
) -> tuple[FlightLog, RunReport, list[Path | None]]:
    """Run the loop; its report and logs are written however it ends.

    A signal is a request to the loop all the while, so nothing of this is cut short.
    """
    period_s = rig.period_s or policy.contract.control_period_s
    status = StatusLine(sys.stderr, period_s)
    durations = Durations(run_s=options.seconds, stand_up_s=rig.stand_up_s)
    facts = {**facts, "durations": dataclasses.asdict(durations), **rig.setup}

    def observer(tick: Tick) -> None:
        status(tick)
        watch(tick)

    loop = ControlLoop(
        rig.robot,
        rig.clock,
        Controller(policy.contract, policy, MINITAUR),
        durations,
        odometry=rig.odometry,
        period_s=period_s,
        commands=commands,
        dry_run=options.dry_run,
        observer=observer,
        on_tick=box.put,
        kept_s=_KEPT_S,
    )
    # After the loop has looked at robot and policy: a run that is refused leaves no file.
    box.begin(files.black_box, _about(options, policy, period_s, facts))
    watch = Watch(box, loop.faults, rig.counters, period_s)
    punctual = realtime() if options.paced else contextlib.nullcontext(RealTimeSetup())
    listening = contextlib.nullcontext() if commands is None else commands.listen()
    if commands is not None and commands.instructions is not None:
        print(commands.instructions)
    with stop_signals(lambda _signal, _frame: loop.request_stop()):
        try:
            with listening, punctual as setup:
                loop.run()
        finally:
            status.close()
            watch.note_faults()
            boxed = box.close()
            log = _whole_log(loop, boxed)
            saved = write_somewhere(files.log, log.save)
        report = summarise(
            log,
            _explained(loop.faults, rig),
            policy=str(options.policy),
            robot=options.robot,
            interrupted=loop.interrupted,
            saturations=dataclasses.asdict(loop.saturations),
            setup={**facts, **dataclasses.asdict(setup)},
            link=None if rig.link is None else rig.link(),
            black_box=boxed,
        )
        written = [write_somewhere(files.report, report.save), saved]
        if boxed.ticks:
            written.append(files.black_box)
        if loop.crash is not None:
            save_traceback(loop.crash, files.traceback)
    return log, report, written


def _black_box(policy: OnnxPolicy) -> BlackBox:
    """Start the black box of a run, whose process gets ready while the robot is being opened."""
    contract = policy.contract
    row = TickRow.of(Pipeline(contract, MINITAUR).observation_size, contract.action.size)
    return BlackBox(row, contract.control_period_s)


def _about(
    options: Options, policy: OnnxPolicy, period_s: float, facts: Mapping[str, Any]
) -> dict[str, str]:
    """Return all that explains a run, for the metadata of its black box."""
    named = {
        "policy": str(options.policy),
        "policy_file": str(policies.find(options.policy).resolve()),
        "robot": options.robot,
    }
    return {
        "contract": policy.contract.to_json(),
        "robot": MINITAUR.to_json(),
        "period_s": repr(period_s),
        "facts": json.dumps({**named, **facts}),
    }


def _whole_log(loop: ControlLoop, boxed: BlackBoxReport) -> FlightLog:
    """Return the log of the whole run: from memory, or from the black box after a long run."""
    log = loop.log()
    if len(log) == loop.ticks:
        return log
    try:
        whole = read_log(Path(boxed.file))
        cause = boxed.describe()
    except (LogError, OSError) as error:
        whole, cause = log, str(error)
    if cause:
        log = max(log, whole, key=len)
        print(f"error: the log has {len(log)} of {loop.ticks} ticks: {cause}", file=sys.stderr)
        return log
    return whole


def _draw(path: Path, draw: Callable[[Path], None]) -> None:
    """Draw a picture or film of a run that has ended, which may take long.

    A run that was too short to film is no error: its report says why it was.
    """
    print(f"drawing {path} ...", file=sys.stderr)
    try:
        drawn = write_somewhere(path, draw)
    except MinitaurError as error:
        print(f"not drawn: {error}", file=sys.stderr)
        return
    if drawn is not None:
        print(f"drawn    {drawn}")


def _explained(faults: Sequence[RunFault], rig: Rig) -> list[RunFault]:
    """Return the faults; a lost link with the robot's own last words, where it has some."""
    explain = rig.cause_of_death or (lambda: None)
    return [
        RunFault(fault.name, f"{fault.name}: {cause}")
        if fault.name == "robot_link" and (cause := explain())
        else fault
        for fault in faults
    ]


def _facts(options: Options, policy: OnnxPolicy) -> dict[str, Any]:
    """Return what explains and reproduces a run, beside its plant."""
    return {
        "policy_sha256": policy.digest,
        "robot_hash": MINITAUR.hash(),
        "version": importlib.metadata.version("minitaur-sim-to-real"),
        "commit": _commit(),
        "realtime": options.paced,
        "dry_run": options.dry_run,
        "seed": options.seed,
        "command": None if policy.contract.velocity_command is None else options.request,
    }


def _commit() -> str | None:
    """Return the commit of this code, ``-dirty`` where files differ; None where nobody knows."""
    if not (_ROOT / ".git").exists():
        return None
    describe = ["git", "-C", str(_ROOT), "describe", "--always", "--abbrev=40", "--dirty"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(describe, capture_output=True, text=True, timeout=2.0, check=True)
        return done.stdout.strip()
    return None


def _summary(report: RunReport, written: list[Path]) -> str:
    """Return the run in a few lines for people."""
    good = "interrupted" if report.interrupted else "no fault"
    end = "fell" if report.fell else ", ".join(report.faults) or good
    dry = ", dry run" if report.setup["dry_run"] else ""
    lines = [f"{report.robot}{dry}: {report.seconds:.2f} s, {end}", *report.fault_details]
    steered = report.yaw_rate_error_rad_s is not None
    if steered and report.heading_speed_mps is not None:
        lines.append(f"speed    {report.heading_speed_mps:.2f} m/s along its heading")
    elif report.speed_mps is not None:
        lines.append(f"speed    {report.speed_mps:.2f} m/s over {report.distance_m:.2f} m")
    if steered:
        speed = "-" if report.speed_error_mps is None else f"{report.speed_error_mps:.3f} m/s"
        lines.append(f"steering mean error {speed}, {report.yaw_rate_error_rad_s:.3f} rad/s")
    if report.mean_power_w is not None:
        borne = "" if report.bearable_s is None else f", {in_words(report.bearable_s)}"
        lines.append(f"power    {report.mean_power_w:.0f} W mean mechanical{borne}")
    if report.toe_clearance_m is not None and report.body_clearance_m is not None:
        lines.append(
            f"feet     lifted by {report.toe_clearance_m * 1e3:.0f} mm, the body "
            f"{report.body_clearance_m * 1e3:.0f} mm above them"
        )
    if report.jitter_us is not None and report.compute_us is not None:
        ticks = f"loop     {report.ticks} ticks of {report.period_s * 1e3:.1f} ms"
        lines.append(
            f"{ticks}, {report.overruns} overruns, compute p99 {report.compute_us.p99:.0f} us, "
            f"jitter p99 {report.jitter_us.p99:.0f} us ({report.setup['scheduler']})"
            if report.setup["realtime"]
            else f"{ticks}, not in real time"
        )
    if report.link is not None:
        lines.append(f"link     {report.link.describe()}")
    if report.black_box is not None and report.black_box.ticks_lost:
        lines.append(f"log      {report.black_box.describe()}")
    lines.append(f"written  {', '.join(str(path) for path in written) or 'nothing'}")
    return "\n".join(lines)


class Watch:
    """Notes in the black box what its ticks do not say: faults at once, counters once a second."""

    def __init__(
        self,
        box: BlackBox,
        faults: Sequence[RunFault],
        counters: Callable[[], dict[str, int]] | None,
        period_s: float,
    ) -> None:
        self._box, self._faults, self._counters = box, faults, counters
        self._every = max(1, round(1.0 / period_s))
        self._noted = 0

    def __call__(self, tick: Tick) -> None:
        """Note what is new after this tick; never waits."""
        self.note_faults()
        if self._counters is not None and tick.ticks % self._every == 0:
            self._box.count(self._counters())

    def note_faults(self) -> None:
        """Note the faults that were not noted yet."""
        while self._noted < len(self._faults):
            self._box.note(self._faults[self._noted].detail, error=True)
            self._noted += 1


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
            with contextlib.suppress(OSError):  # hung up by now
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
            # A terminal that does not keep up, or that has gone away, loses this line.
            with contextlib.suppress(OSError):
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
