"""Replay the log of a run through its policy: `minitaur replay --help`, or `make replay`.

A log has all that a policy decides from: states, times and velocity commands, and the targets that
were really sent. So the very controller and network that ran can be fed with it again, and must do
again what they did, tick by tick. Another policy shows what it would have done in its place.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray

import policies
from deploy.errors import ContractError, LogError, PolicyError, SafetyStop
from deploy.files import write_atomically
from deploy.loop.modes import Durations, LoopMode, minimum_jerk
from deploy.policy.contract import Contract
from deploy.policy.controller import Controller, Network
from deploy.policy.onnx_policy import OnnxPolicy
from deploy.record.flight_log import FlightLog
from deploy.record.read_log import RunLog, read_run_log
from robot_firmware_bridge.command_line import EXIT_FAULT, EXIT_OK, command
from robot_firmware_bridge.messages import RobotState
from robot_firmware_bridge.robot import RobotDescription

# What counts as equal: rounding of a network on another processor, in float32.
TOLERANCE = 1e-6
# A target that differs by so much is another motion.
DIVERGED_RAD = 0.01

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Options:
    """Feed the log of a run through its policy again, and compare what comes out, tick by tick.

    Without --policy, or with the very policy of the run, observations, actions and targets must be
    those of the log. The first tick that differs is named. With another policy, what it would have
    done with the same states is compared with what was done; nothing is demanded then.

    `minitaur replay` also takes the dump of a training or an evaluation that met a number that is
    not finite, or the folder of such a training. It has no options, and needs the simulator.

    Exit codes: 0 equal, or another policy; 1 the replay differs; 2 bad input.
    """

    log: Annotated[Path, tyro.conf.Positional]
    """Log of a run, run.mcap or run.npz, or the folder of the run."""
    policy: Path | None = None
    """Policy file or name of a shipped policy; left out, the policies of the run, which are found
    by the SHA-256 in its log."""
    out: Path | None = None
    """Table (CSV) to write: what the replay's targets are ahead of the log's, tick by tick."""


@dataclass(frozen=True, slots=True)
class Step:
    """What a replay computed in one tick.

    Attributes:
        row: Row of the tick in the log.
        observation: Network input, shape (O,).
        action: Network output, shape (A,).
        target_rad: Motor targets, shape (8,); NaN where the tick sent none of the policy's.
        stopped: Why the controller refused to go on; "" if it did not.
    """

    row: int
    observation: NDArray[np.float32]
    action: NDArray[np.float32]
    target_rad: Array
    stopped: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """The first value of a replay that is not that of the log."""

    row: int
    what: str
    index: int
    logged: float
    replayed: float


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    options = tyro.cli(Options, args=arguments, prog="minitaur replay")
    run = read_run_log(options.log)
    steps, own = replay_run(run, options.policy)
    if options.out is not None:
        write_table(options.out, run, steps)
    if run.cut:
        print(f"the file is cut off or damaged: {len(run.log)} ticks are there ({run.cut})")
    if not own:
        print(describe_other(run, steps))
        return EXIT_OK
    difference = first_difference(run.log, steps)
    if difference is None:
        print(
            f"equal: observation, action and target of {len(steps)} ticks of the policy, of "
            f"{len(run.log)} in the log"
        )
        return EXIT_OK
    print(describe_difference(run, difference))
    return EXIT_FAULT


def replay_run(run: RunLog, named: Path | None = None) -> tuple[list[Step], bool]:
    """Step policies through a run; return what they compute, and whether they are those of the run.

    Args:
        run: The run.
        named: File or name of the policy to take; None for those of the run.

    Raises:
        LogError: Ticks are missing, no policy ran, or another one is named and several ran.
        PolicyError: A policy cannot be read, or one of the run is not found.
        ContractError: The policy named could not have run in the place of the one that did.
    """
    check_complete(run)
    found, own = find_policies(run, named)
    if not own:
        check_fits(found[0].contract, run.log)
    return list(replay(run, [(policy.contract, policy) for policy in found], own=own)), own


def check_complete(run: RunLog) -> None:
    """Refuse a log from which the policy's state cannot be known.

    Raises:
        LogError: The log has no tick of the policy, begins within its run, or lacks ticks.
    """
    stepped = np.flatnonzero(np.isfinite(run.log.policy_t_s))
    if not len(stepped):
        raise LogError("the policy did not run in this log: there is nothing to replay")
    first = int(stepped[0])
    if run.log.policy_t_s[first] != 0.0:
        raise LogError(
            f"the log begins {run.log.policy_t_s[first]:.1f} s after the policy took over, and what"
            " came before decides what it does: take the run's .mcap file"
        )
    gaps = np.flatnonzero(np.diff(run.tick) != 1)
    if len(gaps):
        last = int(run.tick[gaps[0]])
        raise LogError(
            f"the log lacks ticks after tick {last}, and what a policy does follows from all "
            "before: take the run's .npz file, if it is complete"
        )


def find_policies(run: RunLog, named: Path | None) -> tuple[list[OnnxPolicy], bool]:
    """Return the policies to replay, the first one first, and whether they are those of the run.

    Args:
        run: The run.
        named: The policy to take; None for those of the run.

    Raises:
        PolicyError: One cannot be read, or one of the run is not found.
        ContractError: It is for another robot.
        LogError: Another policy is named, and several ran.
    """
    facts: list[dict[str, Any]] = [run.facts, *run.facts.get("also", [])]
    if named is None:
        return [_find(each, run.log.robot) for each in facts], True
    policy = OnnxPolicy.load(named, run.log.robot)
    if run.log.also:
        raise LogError("several policies ran in this log: replay them without --policy (POLICY)")
    digest = run.facts.get("policy_sha256")
    own = policy.contract == run.log.contract if digest is None else policy.digest == digest
    return [policy], own


def _find(facts: dict[str, Any], robot: RobotDescription) -> OnnxPolicy:
    """Return the policy of a run of which these facts are known."""
    digest = facts.get("policy_sha256")
    if digest is None:
        raise PolicyError(
            "the log does not say which policy ran, and no report is beside it: name the policy "
            "with --policy (POLICY)"
        )
    paths = [Path(str(facts[key])) for key in ("policy_file", "policy") if key in facts]
    for path in (*paths, *map(Path, policies.names())):
        if policies.find(path).is_file():
            try:
                policy = OnnxPolicy.load(path, robot)
            except (PolicyError, ContractError):
                continue  # another file has this name by now
            if policy.digest == digest:
                return policy
    raise PolicyError(
        f"the policy of this run, {paths[-1] if paths else 'a file'} with the SHA-256 "
        f"{digest[:12]}..., is not there any more: name a copy of it with --policy (POLICY)"
    )


def check_fits(contract: Contract, log: FlightLog) -> None:
    """Refuse a policy that could not have run in the place of the one that did.

    Raises:
        ContractError: Names the field that does not fit.
    """
    contract.check_robot(log.robot)
    ours, theirs = contract.control_period_s, log.contract.control_period_s
    if ours != theirs:
        raise ContractError(f"contract.control_period_s is {ours:g}, that of the run {theirs:g}")
    if contract.board != log.contract.board:
        raise ContractError(
            f"contract.board is {contract.board}, that of the run {log.contract.board}"
        )
    if contract.velocity_command is not None and log.contract.velocity_command is None:
        raise ContractError(
            "contract.velocity_command is there, and the policy of the run took none: the log does "
            "not say where to go"
        )


def replay(run: RunLog, ran: Sequence[tuple[Contract, Network]], *, own: bool) -> Iterator[Step]:
    """Step policies through the states of a run, and yield what they compute in their ticks.

    Args:
        run: The run, complete.
        ran: Contract and network of each policy, in the order of the log.
        own: They are the policies of the run, so that the targets sent in the log were their own.
            The targets of another follow one another, as if all had been sent.
    """
    log = run.log
    controllers = [
        Controller(contract, network, log.robot, log.period_s) for contract, network in ran
    ]
    controller = controllers[0]
    period_ns = round(log.period_s * 1e9)
    finish_s = float(run.facts.get("durations", {}).get("finish_s", Durations(1.0).finish_s))
    fades_ns: int | None = None  # since when the targets fade into the stance
    controller.last_target_rad = log.motor_position_rad[0].copy()
    for row, mode in enumerate(log.mode.tolist()):
        t_s = float(log.policy_t_s[row])
        woke_ns, deadline_ns = int(log.woke_ns[row]), int(log.deadline_ns[row])
        tick_ns = woke_ns - (woke_ns - deadline_ns) % period_ns
        if mode not in (LoopMode.SWITCH, LoopMode.FINISH):
            fades_ns = None
        elif fades_ns is None:
            fades_ns = tick_ns
        if np.isfinite(t_s):
            if t_s == 0.0:  # it takes over in this tick
                before, controller = controller, controllers[int(log.policy[row])]
                controller.take_over(before)
            controller.requested_velocity = tuple(log.velocity_command[row].tolist())
            done = 0.0 if fades_ns is None else (tick_ns - fades_ns) / 1e9 / finish_s
            yield (step := _step(controller, log, row, t_s, min(1.0, done)))
            if step.stopped and not own:
                return
        if own or not np.isfinite(t_s):
            controller.last_target_rad = log.target_rad[row]


def _step(controller: Controller, log: FlightLog, row: int, t_s: float, faded: float) -> Step:
    """Return what a controller does in one tick; a share of its target gives way to the stance."""
    action = np.full(controller.contract.action.size, np.nan, np.float32)
    observation = np.full(controller.observation_size, np.nan, np.float32)
    target = np.full(len(log.target_rad[row]), np.nan)
    try:
        observation = controller.observe(state_of(log, row), t_s).copy()
        action = controller.infer(observation).copy()
        wanted = controller.targets(action, t_s)
        if log.mode[row] != LoopMode.DAMP:
            stance = log.robot.stance_pose_rad
            target = controller.limit(wanted + minimum_jerk(faded) * (stance - wanted)).copy()
    except (SafetyStop, PolicyError) as error:
        return Step(row, observation, action, target, str(error))
    return Step(row, observation, action, target)


def state_of(log: FlightLog, row: int) -> RobotState:
    """Return the state that a tick read."""
    return RobotState(
        int(log.state_t_ns[row]),
        log.motor_position_rad[row],
        log.motor_velocity_rad_s[row],
        log.motor_torque_nm[row],
        log.rpy_rad[row],
        log.angular_rate_rad_s[row],
        float(log.battery_v[row]),
        winding_temperature_c=log.winding_temperature_c[row],
    )


def asked_rad(log: FlightLog) -> Array:
    """Return the targets that the controller asked for, shape (T, 8), rad.

    A log of an older version has those after the robot's own limits only. All robots but that with
    the stock mainboard send what they are asked to.
    """
    asked = log.controller_target_rad
    return np.where(np.isfinite(asked), asked, log.target_rad)


def first_difference(log: FlightLog, steps: Sequence[Step]) -> Difference | None:
    """Return the first value that differs from the log by more than ``TOLERANCE``; None if none."""
    targets = asked_rad(log)
    for step in steps:
        pairs: tuple[tuple[str, NDArray[Any], NDArray[Any]], ...] = (
            ("observation", log.observation[step.row], step.observation),
            ("action", log.action[step.row], step.action),
            ("target", targets[step.row], step.target_rad),
        )
        for what, logged, replayed in pairs:
            if what == "target" and log.mode[step.row] == LoopMode.DAMP:
                continue  # the tick that ended the run sent no target of the policy
            logged = logged[: len(replayed)]  # where policies differ in size, the rest is NaN
            same = np.isclose(replayed, logged, rtol=0.0, atol=TOLERANCE, equal_nan=True)
            if not same.all():
                index = int(np.argmin(same))
                return Difference(
                    step.row, what, index, float(logged[index]), float(replayed[index])
                )
    return None


def describe_difference(run: RunLog, difference: Difference) -> str:
    """Return one line that says where a replay parts from the log, and by how much."""
    d = difference
    by = abs(d.replayed - d.logged)
    return (
        f"differs first at tick {run.tick[d.row]}, {run.log.policy_t_s[d.row]:.3f} s: {d.what} "
        f"{d.index} is {d.replayed:.9g}, in the log {d.logged:.9g}, which is {by:.3g} off (at most "
        f"{TOLERANCE:g})"
    )


def describe_other(run: RunLog, steps: Sequence[Step]) -> str:
    """Return some lines on how another policy's targets differ from those of the log."""
    apart = _apart(run.log, steps)
    rms = np.sqrt(np.nanmean(np.square(apart), axis=0))
    lines = [
        f"another policy, {len(steps)} ticks: its targets differ from those of the run by "
        f"{np.sqrt(np.nanmean(np.square(apart))):.4f} rad rms, at most "
        f"{np.nanmax(np.abs(apart)):.4f} rad",
        *(
            f"  {name:<14} {value:.4f} rad rms"
            for name, value in zip(run.log.robot.motor_names, rms.tolist(), strict=True)
        ),
    ]
    off = np.flatnonzero((np.abs(apart) > DIVERGED_RAD).any(axis=1))
    if len(off):
        step = steps[int(off[0])]
        motor = int(np.nanargmax(np.abs(apart[off[0]])))
        lines.append(
            f"first by more than {DIVERGED_RAD:g} rad at tick {run.tick[step.row]}, "
            f"{run.log.policy_t_s[step.row]:.3f} s: {run.log.robot.motor_names[motor]} by "
            f"{apart[off[0], motor]:+.4f} rad"
        )
    else:
        lines.append(f"never by more than {DIVERGED_RAD:g} rad")
    if steps[-1].stopped:
        lines.append(f"it would have been stopped: {steps[-1].stopped}")
    return "\n".join(lines)


def write_table(path: Path, run: RunLog, steps: Sequence[Step]) -> None:
    """Write by how much the replay's targets are ahead of the log's, one line a tick.

    Raises:
        OSError: It cannot be written.
    """
    lines: list[list[Any]] = [["tick", "t_s", *(f"{n}_rad" for n in run.log.robot.motor_names)]]
    for step, apart in zip(steps, _apart(run.log, steps).tolist(), strict=True):
        lines.append([int(run.tick[step.row]), float(run.log.policy_t_s[step.row]), *apart])
    text = "\n".join(",".join(map(str, line)) for line in lines)
    write_atomically(path, f"{text}\n".encode())


def _apart(log: FlightLog, steps: Sequence[Step]) -> Array:
    """Return by how much the targets of a replay are ahead of the log's, shape (S, 8), rad."""
    rows = [step.row for step in steps]
    return np.array([step.target_rad for step in steps]) - asked_rad(log)[rows]


if __name__ == "__main__":
    sys.exit(main())
