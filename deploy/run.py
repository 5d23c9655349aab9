"""Run a policy on a robot: `minitaur run --help`, or `make run`.

The composition root: here a robot, a clock, a policy and the loop meet.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

import policies as shipped
from deploy import arming
from deploy.command_sources import open_command
from deploy.errors import ContractError, RunError
from deploy.files import write_somewhere
from deploy.loop.clock import RealTimeSetup, realtime
from deploy.loop.loop import ControlLoop, RunFault
from deploy.loop.modes import Durations
from deploy.loop.reactions import DEFAULT_RULES, ReactionRules, read_rules
from deploy.options import Options
from deploy.policy.controller import Controller
from deploy.policy.onnx_policy import OnnxPolicy
from deploy.record import plots
from deploy.record.flight_log import FlightLog
from deploy.record.report import RunReport, summarise
from deploy.record.run_files import RunFiles, prove
from deploy.record.run_recorder import KEPT_S, RunRecorder
from deploy.record.summary import summary
from deploy.robots import Rig, open_robot
from deploy.status_line import StatusLine
from deploy.steering import Choosable, CommandSource
from deploy.view.live_view import LiveView
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

# A tick is at most this long in both logs together, with an observation of 200 numbers.
_LOG_BYTES_PER_TICK = 2500
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
        DeployError: Bad input, or nobody agreed to arm; no motor was armed.
        BridgeError: The robot is not there or refuses.
        KeyboardInterrupt: A signal asked for an end, before the loop began or after its report and
            log were written.
    """
    options.check()
    policies = _load(options)
    rules = DEFAULT_RULES if options.reactions is None else read_rules(options.reactions)
    commands = _commands(options, policies)
    contracts = [policy.contract for policy in policies]
    period_s = contracts[0].control_period_s
    with options.files() as files, contextlib.ExitStack() as open_now:
        prove(files, round(options.seconds / period_s * _LOG_BYTES_PER_TICK))
        recorder = RunRecorder(contracts, MINITAUR, period_s)
        open_now.enter_context(contextlib.closing(recorder))
        view = open_now.enter_context(_view(options, recorder))
        rig = open_now.enter_context(contextlib.closing(open_robot(options)))
        period_s = rig.period_s or period_s
        status = StatusLine(sys.stderr, period_s, options.dry)
        open_now.enter_context(contextlib.closing(status))
        it = _Run(options, files, rig, period_s, rules, commands, recorder, status, view)
        loop = it.loop(policies)
        facts = {
            **_facts(options, policies, commands, rules),
            "durations": dataclasses.asdict(it.durations),
            **rig.setup,
        }
        if options.arm:
            _ask_to_arm(options, rig, period_s, rules)
        log, report, written = it.execute(loop, facts)
        print(summary(report, [path for path in written if path is not None]))
        it.draw(log, report)
    return report, written[:2] == [files.report, files.log]


@dataclass(frozen=True, slots=True)
class _Run:
    """What a run consists of, once all of it is open."""

    options: Options
    files: RunFiles
    rig: Rig
    period_s: float
    rules: ReactionRules
    commands: CommandSource | None
    recorder: RunRecorder
    status: StatusLine
    view: LiveView | None

    @property
    def durations(self) -> Durations:
        """How long the modes of this run last."""
        return Durations(run_s=self.options.seconds, stand_up_s=self.rig.stand_up_s)

    def loop(self, policies: Sequence[OnnxPolicy]) -> ControlLoop:
        """Return the loop, which looks at robot and policies, and everyone who watches it."""
        controller, *also = (Controller(policy.contract, policy, MINITAUR) for policy in policies)
        loop = ControlLoop(
            self.rig.robot,
            self.rig.clock,
            controller,
            self.durations,
            odometry=self.rig.odometry,
            period_s=self.period_s,
            commands=self.commands,
            also=also,
            rules=self.rules,
            dry_run=self.options.dry,
            observers=(self.status, self.recorder, *([self.view] if self.view is not None else [])),
            on_tick=self.recorder.box.put,
            kept_s=KEPT_S,
        )
        if self.view is not None:
            self.view.begin(loop, self.period_s, self.rig.counters)
        return loop

    def execute(
        self, loop: ControlLoop, facts: dict[str, Any]
    ) -> tuple[FlightLog, RunReport, list[Path | None]]:
        """Run the loop; its report and logs are written however it ends.

        A signal is a request to the loop all the while, so nothing of this is cut short.

        Args:
            loop: The loop.
            facts: What explains and reproduces the run.

        Returns:
            The flight log, the report, and where report, log and black box are; None for what could
            be written nowhere.
        """
        options, rig, commands, files = self.options, self.rig, self.commands, self.files
        # After the loop has looked at robot and policy: a run that is refused has no file.
        named = {"policy": str(options.policy), "robot": options.robot, **facts}
        self.recorder.begin(files.black_box, loop, self.period_s, named, rig.counters)
        punctual = realtime() if options.paced else contextlib.nullcontext(RealTimeSetup())
        listening = contextlib.nullcontext() if commands is None else commands.listen()
        if commands is not None and commands.instructions is not None:
            print(commands.instructions)
        with stop_signals(lambda _signal, _frame: loop.request_stop()):
            try:
                with listening, punctual as setup:
                    loop.run()
            finally:
                self.status.close()
                if self.view is not None:
                    self.view.end(loop)
                log, boxed = self.recorder.end(loop)
                saved = write_somewhere(files.log, log.save)
            facts = {**facts, "steering_lost": loop.steering_lost}
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

    def draw(self, log: FlightLog, report: RunReport) -> None:
        """Draw the plot and the film that were asked for."""
        if self.options.plot and plots.available():
            _draw(self.files.plot, lambda path: plots.draw(log, report, path))
        elif self.options.plot:
            print("no plot: it needs matplotlib, pip install '.[plot]'")
        film = self.rig.film
        if self.files.film is not None and film is not None:
            _draw(self.files.film, lambda path: film(path, log))


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


def _commands(options: Options, policies: Sequence[OnnxPolicy]) -> CommandSource | None:
    """Return who steers the policies; None for nobody.

    Raises:
        RunError: Nobody can steer them like that.
    """
    paths = (options.policy, *options.also)
    return open_command(
        options.request,
        [
            Choosable(path.stem, policy.contract.velocity_command)
            for path, policy in zip(paths, policies, strict=True)
        ],
    )


@contextlib.contextmanager
def _view(options: Options, recorder: RunRecorder) -> Iterator[LiveView | None]:
    """Show the run while this context lasts, if that was asked for, and say where.

    Raises:
        RunError: It cannot be shown there.
    """
    address = options.view_address
    if address is None:
        yield None
        return
    view = LiveView(
        address,
        recorder.box,
        MINITAUR,
        kind=options.robot,
        policies=[path.stem for path in (options.policy, *options.also)],
        dry_run=options.dry,
        flat=options.terrain == "flat",
    )
    with contextlib.closing(view):
        seen_by = " (everyone on the network sees it)" if view.address.public else ""
        print(f"view     {view.address.url}{seen_by}", flush=True)
        yield view


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
    items = arming.checklist(seen, rig.robot.description, period_s, delay_ns, rules)
    arming.confirm(
        (*items, *arming.bring_up(rig.robot_file)),
        f"Hands clear of the legs. Type {arming.YES} to energise the motors and run "
        f"{options.policy.stem} for {options.seconds:g} s; {arming.OTHERWISE}",
        sys.stdin,
    )


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
        "policy_file": _file_of(options.policy),
        "policy_sha256": policies[0].digest,
        "also": [
            {"policy": str(path), "policy_file": _file_of(path), "policy_sha256": policy.digest}
            for path, policy in zip(options.also, policies[1:], strict=True)
        ],
        "robot_hash": MINITAUR.hash(),
        "version": importlib.metadata.version("minitaur-sim-to-real"),
        "commit": _commit(),
        "realtime": options.paced,
        "dry_run": options.dry,
        "seed": options.seed,
        "command": None if commands is None else options.request,
        "reactions": dataclasses.asdict(rules),
    }


def _file_of(policy: Path) -> str:
    """Return where the file of a policy is, which may be named by its name alone."""
    return str(shipped.find(policy).resolve())


def _commit() -> str | None:
    """Return the commit of this code, ``-dirty`` where files differ; None where nobody knows."""
    if not (_ROOT / ".git").exists():
        return None
    describe = ["git", "-C", str(_ROOT), "describe", "--always", "--abbrev=40", "--dirty"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(describe, capture_output=True, text=True, timeout=2.0, check=True)
        return done.stdout.strip()
    return None


if __name__ == "__main__":
    sys.exit(main())
