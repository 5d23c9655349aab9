"""The control loop: read, observe, infer, targets, limit, write, record, at absolute deadlines.

The loop knows a robot, a clock and an odometry by their protocols only. It does no I/O of its own.
Whichever way the loop ends, making the motors safe is the last thing it does.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deploy.errors import PolicyError, RunError, SafetyStop
from deploy.loop.modes import Durations, LoopMode, ModeMachine
from deploy.loop.pace import Pace
from deploy.loop.reactions import DEFAULT_RULES, Level, ReactionRules, Reactions
from deploy.loop.safety import LOOK_STATES, Safety
from deploy.policy.contract import Contract
from deploy.policy.controller import Controller, Saturations
from deploy.policy.velocity_command import STOP
from deploy.record.flight_log import FlightLog, Recorder
from deploy.steering import STAND, UNATTENDED, CommandSource
from robot_firmware_bridge.errors import BridgeError, MotorsOnError, RobotFaultError
from robot_firmware_bridge.interface import Clock, Odometry, Robot
from robot_firmware_bridge.messages import (
    CommandLimits,
    Fault,
    MotorCommand,
    RobotState,
    fault_names,
)

# A robot without a newer command for this long damps by itself: some ticks may be lost, a stride
# not. With the delay of the wire and of the board it damps within 100 ms of the last command.
COMMAND_LIFE_NS = 80_000_000
# How long a robot may take to send its first state of now.
START_PERIODS = 20
# Gains cross the wire as float32; the robot's limit comes back with that rounding.
_ROUNDING = 1e-6
# A shipped policy for each motor controller, for the error that refuses another.
_SHIPPED = {"core": "walk", "stock": "steer-stock"}
# A watchdog that bites after a delay of the loop by half of its time bites because of that delay.
_EXCUSE_NS = COMMAND_LIFE_NS // 2


@dataclass(frozen=True, slots=True)
class RunFault:
    """Why a run was ended.

    Attributes:
        name: Stable name: of ``deploy.loop.safety.STOPS``, or of a reaction, such as battery_sit.
        detail: One line for people.
    """

    name: str
    detail: str


@dataclass(frozen=True, slots=True)
class Tick:
    """What an observer sees between two ticks."""

    mode: LoopMode
    elapsed_s: float
    ticks: int
    state: RobotState
    base_position_m: NDArray[np.float64] | None
    velocity_command: NDArray[np.float64] | None = None
    policy: int = 0  # index of the policy at work, or STAND
    reaction: str = ""


class ControlLoop:
    """One run of a policy on a robot, or of several policies of which one works at a time.

    Args:
        robot: Robot to control; must match the contract of the controller.
        clock: Time to run on.
        controller: The policy at work; with others beside it, the first one.
        durations: Length of each mode.
        odometry: Where the robot is, for the log; None where nobody knows.
        period_s: Control period; the contract's if None.
        commands: Source of requested velocities, and of the choice of a policy; None for a policy
            that takes none.
        also: The other policies of the run, for the same board, period and gains.
        rules: What is done about trouble before it is a stop.
        dry_run: Read and compute as always, but never arm the motors and never write.
        observers: Called after each tick, in the slack before the next; must return at once.
        on_tick: Gets the row of each tick, as ``deploy.record.flight_log.Recorder`` says.
        kept_s: Time for which the flight log in memory keeps ticks; the whole run if None.

    Attributes:
        reactions: Levels and events of ``deploy.loop.reactions``.
        faults: What ended the run; empty for a good one.
        crash: The error behind "internal_error", with its traceback; None without.

    Raises:
        ContractError: A contract is for another robot, or does not fit the first one.
        RunError: The policy is for another motor controller, its gains are above what this one
            carries out, or the control period is too long for the life of a command.
        BridgeError: The robot cannot be reached.
    """

    def __init__(
        self,
        robot: Robot,
        clock: Clock,
        controller: Controller,
        durations: Durations,
        *,
        odometry: Odometry | None = None,
        period_s: float | None = None,
        commands: CommandSource | None = None,
        also: Sequence[Controller] = (),
        rules: ReactionRules = DEFAULT_RULES,
        dry_run: bool = False,
        observers: Sequence[Callable[[Tick], object]] = (),
        on_tick: Callable[[NDArray[np.uint8]], None] | None = None,
        kept_s: float | None = None,
    ) -> None:
        contract = controller.contract
        description = robot.description
        self._controllers = (controller, *also)
        for each in self._controllers:
            each.contract.check_robot(description)
            each.contract.check_beside(contract)
        self._robot, self._clock, self._odometry = robot, clock, odometry
        self._controller = controller
        self._commands, self._dry_run, self._observers = commands, dry_run, observers
        period_s = contract.control_period_s if period_s is None else period_s
        self._period_s, self._period_ns = period_s, round(period_s * 1e9)
        self._kp, self._kd = contract.kp, contract.kd
        self._life_ns = _command_life_ns(robot.command_limits, contract, self._period_ns)
        self._pace = Pace(self._period_ns)
        delay_ns = robot.command_limits.state_delay_ns
        self._safety = Safety(description, period_s, delay_ns)
        self.reactions = Reactions(rules, description, period_s, delay_ns)
        self._modes = ModeMachine(durations, description.stance_pose_rad)
        longest_s = durations.longest_s
        kept_s = longest_s if kept_s is None else min(kept_s, longest_s)
        self._recorder = Recorder(
            [each.contract for each in self._controllers],
            description,
            period_s,
            kept_s,
            on_tick,
        )
        self._damping = MotorCommand(
            description.stance_pose_rad, 0.0, description.kd, self._life_ns
        )
        self._stop_requests = 0
        self._sits = False
        self._steering = UNATTENDED
        self.faults: list[RunFault] = []
        self.crash: Exception | None = None

    @property
    def saturations(self) -> Saturations:
        """Ticks in which something was saturated."""
        return self._controller.saturations

    @property
    def interrupted(self) -> bool:
        """Whether a stop was requested, or nobody steered any more."""
        return self._stops > 0

    @property
    def steering_lost(self) -> str | None:
        """Why nobody steered any more, in one line; None if nothing of that kind happened."""
        return self._steering.lost

    @property
    def _stops(self) -> int:
        """Stop requests so far: signals and buttons. Lost steering is one, but no second one."""
        return self._stop_requests + self._steering.stops or int(self._steering.lost is not None)

    @property
    def ticks(self) -> int:
        """How many ticks there were so far."""
        return len(self._recorder)

    def log(self) -> FlightLog:
        """Return a copy of the flight log so far, or of the ticks of the last ``kept_s``."""
        events = tuple(self.reactions.events)
        return dataclasses.replace(self._recorder.log(), events=events, dry_run=self._dry_run)

    def request_stop(self) -> None:
        """End the run gently; the second request damps at once. Safe in a signal handler."""
        self._stop_requests += 1

    def run(self) -> None:
        """Run once, from arming to safe motors; afterwards see ``faults`` and ``log()``.

        Whatever goes wrong in between, a KeyboardInterrupt too, the motors are made safe first.
        Every error becomes a fault. Only what is not an ``Exception`` is raised.
        """
        try:
            if self._start():
                self._cycle()
        except SafetyStop as stop:
            self.faults.append(RunFault(stop.name, str(stop)))
        except RobotFaultError as error:
            self.faults.append(RunFault("robot_fault", f"robot_fault: {error}"))
        except BridgeError as error:
            self.faults.append(RunFault("robot_link", f"robot_link: {error}"))
        except Exception as error:
            no_memory = isinstance(error, MemoryError)
            cure = "close other programs" if no_memory else "a bug, report it with its traceback"
            self._crashed(error, cure)
        finally:
            self._make_safe()

    def _make_safe(self) -> None:
        try:
            trouble = self._robot.deactivate()
        except Exception as error:
            self._crashed(error, "the robot could not be disarmed, cut its power")
            return
        if trouble:
            self.faults.append(RunFault("motors_on", f"motors_on: {MotorsOnError(trouble)}"))

    def _crashed(self, error: Exception, cure: str) -> None:
        what = " ".join(f"{type(error).__name__} {error}".split())
        self.crash = self.crash or error
        self.faults.append(RunFault("internal_error", f"internal_error: {what}: {cure}"))

    def _start(self) -> bool:
        """Look before arming: a robot that must not move is refused while it is still limp.

        Returns:
            Whether the run may begin: False if a stop is requested by now, and nothing was armed.
        """
        states = self._look()
        self._safety.check_first_pose(states[-1].motor_position_rad)
        self.reactions.check_start(states)
        if self._commands is not None:
            self._steering = self._commands.poll()
        if self._stops:
            return False
        if not self._dry_run:
            self._robot.activate()
        for controller in self._controllers:
            controller.reset(self._period_s)
        return True

    def _look(self) -> list[RobotState]:
        """Return ``LOOK_STATES`` new states in a row that are good, the last one of now.

        While this process collected garbage and locked its pages, nobody read the line. What waits
        there is old, and is read past for some periods.

        Raises:
            SafetyStop: A state is bad, or too few new ones came.
        """
        seen: list[RobotState] = []
        for _ in range(START_PERIODS + LOOK_STATES):
            state, now_ns = self._robot.read(), self._clock.now_ns()
            if self._safety.is_stale(state, now_ns):
                seen.clear()
            elif state.t_ns not in (each.t_ns for each in seen):
                self._safety.check_state(state, now_ns, armed=False)
                seen.append(state)
            if len(seen) == LOOK_STATES:
                return seen
            self._clock.sleep_until_ns(now_ns + self._period_ns)
        self._safety.check_state(self._robot.read(), self._clock.now_ns(), armed=False)
        raise SafetyStop(
            "stale_state",
            f"only {len(seen)} of {LOOK_STATES} new states came before arming: check cable and "
            "adapter",
        )

    def _begin(self, state: RobotState, tick_ns: int) -> None:
        """Stand up from where the robot is now: it is limp while it is being armed, and sinks."""
        self._safety.check_first_pose(state.motor_position_rad)
        self._controller.last_target_rad = state.motor_position_rad.copy()
        self._modes.begin(tick_ns, state.motor_position_rad)

    def _cycle(self) -> None:
        deadline_ns = self._clock.now_ns()
        self._pace.begin(deadline_ns)
        begun = False
        while True:
            self._clock.sleep_until_ns(deadline_ns)
            woke_ns = self._clock.now_ns()
            began_ns = time.perf_counter_ns()
            self._pace.tick(deadline_ns, woke_ns)
            state = self._robot.read()
            # The schedule's own time: free of jitter, yet not behind when whole ticks were lost.
            tick_ns = woke_ns - (woke_ns - deadline_ns) % self._period_ns
            if not begun:
                self._begin(state, tick_ns)
                begun = True
            command = self._decide(state, woke_ns, tick_ns)
            if command is None:
                return
            sent = command if self._dry_run else self._robot.write(command)
            compute_ns = time.perf_counter_ns() - began_ns
            self._controller.last_target_rad = sent.target_rad  # after the robot's own limits
            self._record(deadline_ns, woke_ns, compute_ns, state, command, sent)
            deadline_ns = next_deadline_ns(deadline_ns, self._period_ns, self._clock.now_ns())

    def _decide(self, state: RobotState, now_ns: int, tick_ns: int) -> MotorCommand | None:
        """Return the command for this tick; None when the run is over."""
        if self._commands is not None:
            self._steering = self._commands.poll()
        stops = max(self._stops, self._sits)
        mode = self._modes.update(tick_ns, stops, self._steering.choice)
        if mode is LoopMode.DONE:
            return None
        if mode is LoopMode.DAMP:
            self._note_fault(state)
            return self._damping
        try:
            self._pace.check()
            self._safety.check_state(state, now_ns, armed=not self._dry_run)
            self._react(state, now_ns)
            gain = 1.0
            if mode is LoopMode.STAND_UP:
                target, gain = self._modes.stand_up(tick_ns)
            elif mode is LoopMode.STAND:
                target = self._controller.stance_rad
            else:
                target = self._step_policy(state, self._modes.policy_s(tick_ns))
            if mode in (LoopMode.SWITCH, LoopMode.FINISH):
                target = self._modes.fade(target, tick_ns)
            target = self._controller.limit(target)
        except SafetyStop as stop:
            return self._damp(RunFault(stop.name, f"{stop}{self._excuse(stop, state)}"), tick_ns)
        except PolicyError as error:
            return self._damp(RunFault("policy_error", f"policy_error: {error}"), tick_ns)
        return MotorCommand(target, gain * self._kp, self._kd, self._life_ns)

    def _react(self, state: RobotState, now_ns: int) -> None:
        """Answer to trouble that the robot still bears: slow it, let it sit, or damp.

        Raises:
            SafetyStop: A signal that asks for damping.
        """
        policy = self._modes.policy
        steerable = policy == STAND or (
            self._commands is not None
            and self._controllers[policy].contract.velocity_command is not None
        )
        level = self.reactions.update(state, now_ns, self._pace.missed_share, steerable)
        if level is Level.DAMP:
            raise self.reactions.stop()
        if level is Level.SIT and self._modes.mode is not LoopMode.FINISH and not self._sits:
            self._sits = True
            stop = self.reactions.stop()
            self.faults.append(RunFault(stop.name, f"{stop}{self._excuse(stop, state)}"))

    def _step_policy(self, state: RobotState, t_s: float) -> NDArray[np.float64]:
        """Return the motor targets of the policy at its time ``t_s``, shape (8,), rad."""
        if t_s == 0.0:  # it takes over in this tick
            before, self._controller = self._controller, self._controllers[self._modes.policy]
            self._controller.take_over(before)
        controller = self._controller
        if self._commands is not None:
            running = self._modes.mode is LoopMode.RUN
            requested = self._commands.requested(t_s) if running else STOP
            controller.requested_velocity = self.reactions.slowed(requested)
        observation = controller.observe(state, t_s)
        action = controller.infer(observation)
        self._recorder.record_policy(
            self._modes.policy, t_s, controller.velocity_command, observation, action
        )
        return controller.targets(action, t_s)

    def _damp(self, fault: RunFault, tick_ns: int) -> MotorCommand:
        self.faults.append(fault)
        self._modes.damp(tick_ns)
        return self._damping

    def _note_fault(self, state: RobotState) -> None:
        """Add what the robot itself reports while it damps, if no fault has said so yet."""
        named = any(fault.name == "robot_fault" for fault in self.faults)
        if state.fault is not Fault.NONE and not named:
            stop = SafetyStop(
                "robot_fault",
                f"while damping, the motor controller reports {fault_names(state.fault)}",
            )
            self.faults.append(RunFault(stop.name, f"{stop}{self._excuse(stop, state)}"))

    def _excuse(self, stop: SafetyStop, state: RobotState) -> str:
        """Return that this computer was late, where that explains the stop; "" elsewhere."""
        if stop.name in ("stale_state", "link_sit", "link_damp"):
            return self._pace.excuse(2 * self._period_ns)
        timed_out = stop.name == "robot_fault" and Fault.COMMAND_TIMEOUT in state.fault
        return self._pace.excuse(_EXCUSE_NS) if timed_out or stop.name == "robot_mode" else ""

    def _record(
        self,
        deadline_ns: int,
        woke_ns: int,
        compute_ns: int,
        state: RobotState,
        command: MotorCommand,
        sent: MotorCommand,
    ) -> None:
        mode = self._modes.mode
        base = None if self._odometry is None else self._odometry.base_position_m()
        self._recorder.record(mode, deadline_ns, woke_ns, compute_ns, state, command, sent, base)
        if self._observers:
            elapsed_s = self._modes.elapsed_s(woke_ns)
            controller, ticks = self._controller, len(self._recorder)
            steered = (
                self._commands is not None and controller.contract.velocity_command is not None
            )
            velocity = controller.velocity_command if steered else None
            policy, label = self._modes.policy, self.reactions.label
            tick = Tick(mode, elapsed_s, ticks, state, base, velocity, policy, label)
            for observer in self._observers:
                observer(tick)


def next_deadline_ns(deadline_ns: int, period_ns: int, now_ns: int) -> int:
    """Return the first deadline after this one that is not past: missed ones are skipped."""
    periods = max(1, -((deadline_ns - now_ns) // period_ns))
    return deadline_ns + periods * period_ns


def _command_life_ns(limits: CommandLimits, contract: Contract, period_ns: int) -> int:
    """Return how long commands live on a robot with these limits.

    Raises:
        RunError: The policy is for another motor controller, or the robot would cut the policy's
            gains, or commands that outlast a lost tick.
    """
    if limits.board is not None and limits.board != contract.board:
        # A robot of somebody else's may name a board for which nothing ships.
        shipped = _SHIPPED.get(limits.board)
        raise RunError(
            f"contract.board is {contract.board}, this robot's motor controller is {limits.board}: "
            f"take a policy that was trained for {limits.board}"
            + (f", such as {shipped}" if shipped else "")
        )
    for name, wanted, most in (("kp", contract.kp, limits.kp), ("kd", contract.kd, limits.kd)):
        if wanted > most * (1.0 + _ROUNDING):
            raise RunError(
                f"contract.{name} is {wanted:g}, the motor controller carries out {most:g} at "
                "most: train or export the policy with a smaller gain"
            )
    life_ns = min(COMMAND_LIFE_NS, limits.valid_for_ns)
    if 2 * period_ns > life_ns:
        raise RunError(
            f"a control period of {period_ns / 1e9} s is too long: a command lives "
            f"{life_ns / 1e9} s and must outlast a lost tick"
        )
    return life_ns
