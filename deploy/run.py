"""Run a policy on a robot: `minitaur run --help`, or `make run`.

The composition root: here a robot, a clock, a policy and the loop meet.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

import tyro

from deploy import arming
from deploy.bringup.robot_file import read_robot_file
from deploy.command_sources import open_command
from deploy.errors import ContractError, RunError
from deploy.files import write_somewhere
from deploy.loop.clock import RealTimeSetup, realtime
from deploy.loop.loop import ControlLoop, RunFault, Tick
from deploy.loop.modes import Durations, LoopMode
from deploy.loop.reactions import DEFAULT_RULES, Level, ReactionRules, read_rules
from deploy.options import PHYSICAL, Options
from deploy.policy.controller import Controller
from deploy.policy.onnx_policy import OnnxPolicy
from deploy.record import plots
from deploy.record.report import Reaction, RunReport, summarise
from deploy.record.run_files import RunFiles, prove
from deploy.record.thermal import in_words
from deploy.robots import Rig, open_robot
from deploy.steering import Choosable, CommandSource
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
# A tick in the flight log, uncompressed, is at most this long with an observation of 200 numbers.
_LOG_BYTES_PER_TICK = 1500


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
        DeployError: Bad input, or nobody agreed to arm; no motor was armed.
        BridgeError: The robot is not there or refuses.
        KeyboardInterrupt: A signal asked for an end, before the loop began or after its report and
            log were written.
    """
    options.check()
    policies = _load(options)
    rules = DEFAULT_RULES if options.reactions is None else read_rules(options.reactions)
    paths = (options.policy, *options.also)
    commands = open_command(
        options.request,
        [
            Choosable(path.stem, policy.contract.velocity_command)
            for path, policy in zip(paths, policies, strict=True)
        ],
    )
    facts = _facts(options, policies, commands, rules)
    ticks = options.seconds / policies[0].contract.control_period_s
    with options.files() as files:
        prove(files, round(ticks * _LOG_BYTES_PER_TICK))
        with contextlib.closing(open_robot(options)) as rig:
            period_s = rig.period_s or policies[0].contract.control_period_s
            with contextlib.closing(StatusLine(sys.stderr, period_s, options.dry)) as status:
                loop = _loop(options, policies, rig, period_s, commands, rules, status)
                if options.arm:
                    _ask_to_arm(options, rig, period_s, rules)
                report, written = _execute(loop, options, rig, commands, status, files, facts)
            print(_summary(report, [path for path in written if path is not None]))
            if options.plot and plots.available():
                _draw(files.plot, lambda path: plots.draw(loop.log(), report, path))
            elif options.plot:
                print("no plot: it needs matplotlib, pip install '.[plot]'")
            film = rig.film
            if files.film is not None and film is not None:
                _draw(files.film, lambda path: film(path, loop.log()))
    return report, written == [files.report, files.log]


def _load(options: Options) -> list[OnnxPolicy]:
    """Load the policies of a run, the first one first.

    Raises:
        DeployError: One cannot be loaded, or differs from the first one in what a run has once.
    """
    policies = [OnnxPolicy.load(options.policy, MINITAUR)]
    for path in options.also:
        policy = OnnxPolicy.load(path, MINITAUR)
        try:
            policy.contract.check_beside(policies[0].contract)
        except ContractError as error:
            raise ContractError(f"--also {path}: {error}") from error
        policies.append(policy)
    return policies


def _loop(
    options: Options,
    policies: Sequence[OnnxPolicy],
    rig: Rig,
    period_s: float,
    commands: CommandSource | None,
    rules: ReactionRules,
    status: StatusLine,
) -> ControlLoop:
    """Return the loop, which refuses a policy that does not fit the robot."""
    controller, *also = (Controller(policy.contract, policy, MINITAUR) for policy in policies)
    return ControlLoop(
        rig.robot,
        rig.clock,
        controller,
        Durations(run_s=options.seconds, stand_up_s=rig.stand_up_s),
        odometry=rig.odometry,
        period_s=period_s,
        commands=commands,
        also=also,
        rules=rules,
        dry_run=options.dry,
        observer=status,
    )


def _ask_to_arm(options: Options, rig: Rig, period_s: float, rules: ReactionRules) -> None:
    """Show the checklist of a limp robot, and return once a person has typed yes.

    Raises:
        RunError: Something stops, or nobody said yes.
        BridgeError: The robot is gone.
    """
    if rig.link is None:
        raise RunError("--arm needs a robot on a serial line: leave it out")
    print(f"looking at the robot for {arming.LOOK_S:g} s; its motors are off", flush=True)
    seen = arming.look(rig.robot, rig.clock, rig.link, rig.pose_fault)
    delay_ns = rig.robot.command_limits.state_delay_ns
    file = None if options.robot_file is None else read_robot_file(options.robot_file)
    items = arming.checklist(seen, rig.robot.description, period_s, delay_ns, rules)
    arming.confirm(
        (*items, *arming.bring_up(file)),
        f"Hands clear of the legs. Type {arming.YES} to energise the motors and run "
        f"{options.policy.stem} for {options.seconds:g} s; {arming.OTHERWISE}",
        sys.stdin,
    )


def _execute(
    loop: ControlLoop,
    options: Options,
    rig: Rig,
    commands: CommandSource | None,
    status: StatusLine,
    files: RunFiles,
    facts: dict[str, Any],
) -> tuple[RunReport, list[Path | None]]:
    """Run the loop; its report and flight log are written however it ends.

    A signal is a request to the loop all the while, so nothing of this is cut short.
    """
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
            saved = write_somewhere(files.log, loop.log().save)
        facts = {**facts, "steering_lost": loop.steering_lost}
        report = summarise(
            loop.log(),
            _explained(loop.faults, rig),
            policy=str(options.policy),
            robot=options.robot,
            interrupted=loop.interrupted,
            saturations=dataclasses.asdict(loop.saturations),
            setup={**facts, **rig.setup, **dataclasses.asdict(setup)},
            link=None if rig.link is None else rig.link(),
            dry_run=options.dry,
        )
        written = [write_somewhere(files.report, report.save), saved]
        if loop.crash is not None:
            save_traceback(loop.crash, files.traceback)
    return report, written


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


def _facts(
    options: Options,
    policies: Sequence[OnnxPolicy],
    commands: CommandSource | None,
    rules: ReactionRules,
) -> dict[str, Any]:
    """Return what explains and reproduces a run, beside its plant."""
    return {
        "policy_sha256": policies[0].digest,
        "also": [
            {"policy": str(path), "policy_sha256": policy.digest}
            for path, policy in zip(options.also, policies[1:], strict=True)
        ],
        "robot_hash": MINITAUR.hash(),
        "version": importlib.metadata.version("minitaur-sim-to-real"),
        "realtime": options.paced,
        "dry_run": options.dry,
        "seed": options.seed,
        "command": None if commands is None else options.request,
        "reactions": dataclasses.asdict(rules),
    }


def _summary(report: RunReport, written: list[Path]) -> str:
    """Return the run in a few lines for people."""
    good = "interrupted" if report.interrupted else "no fault"
    end = "fell" if report.fell else ", ".join(report.faults) or good
    dry = report.setup["dry_run"]
    what = f"{report.robot}, dry run" if dry else report.robot
    lines = [f"{what}: {report.seconds:.2f} s, {end}", *report.fault_details]
    if report.would_send is not None:
        lines.append(f"dry      nothing was sent; {report.would_send.describe()}")
    lines += [f"reacted  {line}" for line in _reactions(report)]
    if (lost := report.setup["steering_lost"]) is not None:
        lines.append(f"nobody steered any more: {lost}")
    steered = report.yaw_rate_error_rad_s is not None
    if steered and report.heading_speed_mps is not None:
        lines.append(f"speed    {report.heading_speed_mps:.2f} m/s along its heading")
    elif report.speed_mps is not None:
        lines.append(f"speed    {report.speed_mps:.2f} m/s over {report.distance_m:.2f} m")
    if steered:
        speed = "-" if report.speed_error_mps is None else f"{report.speed_error_mps:.3f} m/s"
        lines.append(f"steering mean error {speed}, {report.yaw_rate_error_rad_s:.3f} rad/s")
    if report.mean_power_w is not None and not dry:  # legs that nobody drives
        borne = "" if report.bearable_s is None else f", {in_words(report.bearable_s)}"
        lines.append(f"power    {report.mean_power_w:.0f} W mean mechanical{borne}")
    if report.toe_clearance_m is not None and report.body_clearance_m is not None and not dry:
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
    if dry and report.ok and report.robot in PHYSICAL:
        lines.append(
            "next     --arm (ARM=1) energises the motors, after a checklist and a typed yes"
        )
    lines.append(f"written  {', '.join(str(path) for path in written) or 'nothing'}")
    return "\n".join(lines)


def _reactions(report: RunReport) -> list[str]:
    """Return one line for each signal that had a level: the worst one, when it first came."""
    worst: dict[str, Reaction] = {}
    for each in report.reactions:
        before = worst.get(each.signal)
        if before is None or Level[each.level.upper()] > Level[before.level.upper()]:
            worst[each.signal] = each
    return [
        f"{each.level} at {each.t_s:.2f} s, {name}: {each.detail}" for name, each in worst.items()
    ]


class StatusLine:
    """Shows the ticks it is given, some times a second; silent where there is no terminal.

    It is written between two ticks by the loop's own thread: a second thread would take the
    interpreter's lock for up to 5 ms at a time, most of a control period. The terminal is opened
    anew in non-blocking mode, so a slow or stopped one loses lines instead of stopping a robot.
    """

    def __init__(self, stream: TextIO, period_s: float, dry: bool = False) -> None:
        self._fd: int | None = None
        self._mark = "dry  " if dry else ""
        self._every = max(1, round(1.0 / (_LINES_PER_S * period_s)))
        if os.name == "posix" and stream.isatty():
            with contextlib.suppress(OSError):  # hung up by now
                name = os.ttyname(stream.fileno())
                self._fd = os.open(name, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)

    def __call__(self, tick: Tick) -> None:
        """Show this tick if it is time; never waits."""
        if self._fd is not None and tick.ticks % self._every == 0:
            self._write(f"\r\x1b[K{self._mark}{describe(tick)}")

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
    number = f" {tick.policy + 1}" if tick.mode is LoopMode.RUN and tick.policy else ""
    parts = [
        f"{tick.mode.words + number:<8} {tick.elapsed_s:5.1f} s",
        f"roll {roll:+.2f} pitch {pitch:+.2f} rad",
        f"battery {tick.state.battery_v:.1f} V",
    ]
    if tick.velocity_command is not None:
        parts.append(
            f"command {tick.velocity_command[0]:+.2f} m/s {tick.velocity_command[1]:+.2f} rad/s"
        )
    if tick.reaction:
        parts.append(f"({tick.reaction})")
    if tick.base_position_m is not None:
        parts.insert(1, f"x {tick.base_position_m[0]:+6.2f} m")
    return "  ".join(parts)


if __name__ == "__main__":
    sys.exit(main())
