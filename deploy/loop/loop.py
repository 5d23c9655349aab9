"""The control loop: read, observe, infer, targets, limit, write, record, at absolute deadlines.

The loop knows a robot, a clock and an odometry by their protocols only. It does no I/O of its own.
Whichever way the loop ends, making the motors safe is the last thing it does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deploy.command_sources import CommandSource
from deploy.errors import PolicyError, RunError, SafetyStop
from deploy.loop.modes import Durations, LoopMode, ModeMachine
from deploy.loop.safety import Safety
from deploy.policy.controller import Controller, Saturations
from deploy.policy.velocity_command import STOP
from deploy.record.flight_log import FlightLog, Recorder
from robot_firmware_bridge.errors import BridgeError, RobotFaultError
from robot_firmware_bridge.interface import Clock, Odometry, Robot
from robot_firmware_bridge.messages import MotorCommand, RobotState

# A robot without a newer command for this long damps by itself: some ticks may be lost, a stride
# not. With the delay of the wire and of the board it damps within 100 ms of the last command.
COMMAND_LIFE_NS = 80_000_000
# How long a robot may take to send its first state of now.
START_PERIODS = 20


@dataclass(frozen=True, slots=True)
class RunFault:
    """Why a run was ended.

    Attributes:
        name: Stable name: one of ``deploy.loop.safety``'s, "robot_link" (the robot cannot be
            reached, or is no longer the one that was armed) or "policy_error".
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


class ControlLoop:
    """One run of one policy on one robot.

    Args:
        robot: Robot to control; must match the contract of the controller.
        clock: Time to run on.
        controller: The policy at work.
        durations: Length of each mode.
        odometry: Where the robot is, for the log; None where nobody knows.
        period_s: Control period; the contract's if None.
        commands: Source of requested velocities; None for a policy that takes none.
        dry_run: Read and compute as always, but never arm the motors and never write.
        observer: Called after each tick, in the slack before the next; must return at once.

    Raises:
        ContractError: The contract is for another robot.
        RunError: The control period is too long for the life of a command.
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
        dry_run: bool = False,
        observer: Callable[[Tick], None] | None = None,
    ) -> None:
        contract = controller.contract
        description = robot.description
        contract.check_robot(description)
        self._robot, self._clock, self._odometry = robot, clock, odometry
        self._controller = controller
        self._commands, self._dry_run, self._observer = commands, dry_run, observer
        period_s = contract.control_period_s if period_s is None else period_s
        self._period_s, self._period_ns = period_s, round(period_s * 1e9)
        if 2 * self._period_ns > COMMAND_LIFE_NS:
            raise RunError(
                f"a control period of {period_s} s is too long: a command lives "
                f"{COMMAND_LIFE_NS / 1e9} s and must outlast a lost tick"
            )
        self._kp, self._kd = contract.kp, contract.kd
        self._safety = Safety(description, period_s)
        self._modes = ModeMachine(durations, description.stance_pose_rad)
        self._recorder = Recorder(
            contract, description, controller.observation_size, period_s, durations.longest_s
        )
        self._damping = MotorCommand(
            description.stance_pose_rad, 0.0, description.kd, COMMAND_LIFE_NS
        )
        self._stop_requests = 0
        self.faults: list[RunFault] = []

    @property
    def saturations(self) -> Saturations:
        """Ticks in which something was saturated."""
        return self._controller.saturations

    @property
    def interrupted(self) -> bool:
        """Whether a stop was requested."""
        return self._stop_requests > 0

    def log(self) -> FlightLog:
        """Return the flight log so far."""
        return self._recorder.log()

    def request_stop(self) -> None:
        """End the run gently; the second request damps at once. Safe in a signal handler."""
        self._stop_requests += 1

    def run(self) -> None:
        """Run once, from arming to safe motors; afterwards see ``faults`` and ``log()``.

        Whatever is raised in between, a KeyboardInterrupt too, the motors are made safe first.
        """
        try:
            self._start()
            self._cycle()
        except SafetyStop as stop:
            self.faults.append(RunFault(stop.name, str(stop)))
        except RobotFaultError as error:
            self.faults.append(RunFault("robot_fault", f"robot_fault: {error}"))
        except BridgeError as error:
            self.faults.append(RunFault("robot_link", f"robot_link: {error}"))
        finally:
            self._robot.deactivate()

    def _start(self) -> None:
        """Look before arming: a robot that must not move is refused while it is still limp."""
        state = self._first_state()
        self._safety.check_state(state, self._clock.now_ns(), armed=False)
        self._safety.check_first_pose(state.motor_position_rad)
        if not self._dry_run:
            self._robot.activate()
        self._controller.reset(self._period_s)

    def _first_state(self) -> RobotState:
        """Return a state of now, if one comes within some periods; else the newest there is.

        While this process collected garbage and locked its pages, nobody read the line. What waits
        there is old.
        """
        for _ in range(START_PERIODS):
            state = self._robot.read()
            now_ns = self._clock.now_ns()
            if not self._safety.is_stale(state, now_ns):
                return state
            self._clock.sleep_until_ns(now_ns + self._period_ns)
        return self._robot.read()

    def _begin(self, state: RobotState, tick_ns: int) -> None:
        """Stand up from where the robot is now: it is limp while it is being armed, and sinks."""
        self._safety.check_first_pose(state.motor_position_rad)
        self._controller.last_target_rad = state.motor_position_rad.copy()
        self._modes.begin(tick_ns, state.motor_position_rad)

    def _cycle(self) -> None:
        deadline_ns = self._clock.now_ns()
        begun = False
        while True:
            self._clock.sleep_until_ns(deadline_ns)
            woke_ns = self._clock.now_ns()
            began_ns = time.perf_counter_ns()
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
            self._record(deadline_ns, woke_ns, compute_ns, state, sent)
            deadline_ns = next_deadline_ns(deadline_ns, self._period_ns, self._clock.now_ns())

    def _decide(self, state: RobotState, now_ns: int, tick_ns: int) -> MotorCommand | None:
        """Return the command for this tick; None when the run is over."""
        mode = self._modes.update(tick_ns, self._stop_requests)
        if mode is LoopMode.DONE:
            return None
        if mode is LoopMode.DAMP:
            return self._damping
        try:
            self._safety.check_state(state, now_ns, armed=not self._dry_run)
            if mode is LoopMode.STAND_UP:
                target, gain = self._modes.stand_up(tick_ns)
            else:
                target, gain = self._step_policy(state, self._modes.policy_s(tick_ns)), 1.0
            if mode is LoopMode.FINISH:
                target = self._modes.fade(target, tick_ns)
            target = self._controller.limit(target)
        except SafetyStop as stop:
            return self._damp(RunFault(stop.name, str(stop)), tick_ns)
        except PolicyError as error:
            return self._damp(RunFault("policy_error", f"policy_error: {error}"), tick_ns)
        return MotorCommand(target, gain * self._kp, self._kd, COMMAND_LIFE_NS)

    def _step_policy(self, state: RobotState, t_s: float) -> NDArray[np.float64]:
        """Return the motor targets of the policy at its time ``t_s``, shape (8,), rad."""
        controller = self._controller
        if self._commands is not None:
            running = self._modes.mode is LoopMode.RUN
            controller.requested_velocity = self._commands.requested(t_s) if running else STOP
        observation = controller.observe(state, t_s)
        action = controller.infer(observation)
        self._recorder.record_policy(t_s, controller.velocity_command, observation, action)
        return controller.targets(action, t_s)

    def _damp(self, fault: RunFault, tick_ns: int) -> MotorCommand:
        self.faults.append(fault)
        self._modes.damp(tick_ns)
        return self._damping

    def _record(
        self, deadline_ns: int, woke_ns: int, compute_ns: int, state: RobotState, sent: MotorCommand
    ) -> None:
        mode = self._modes.mode
        base = None if self._odometry is None else self._odometry.base_position_m()
        self._recorder.record(mode, deadline_ns, woke_ns, compute_ns, state, sent, base)
        if self._observer is not None:
            elapsed_s = self._modes.elapsed_s(woke_ns)
            command = None if self._commands is None else self._controller.velocity_command
            self._observer(Tick(mode, elapsed_s, len(self._recorder), state, base, command))


def next_deadline_ns(deadline_ns: int, period_ns: int, now_ns: int) -> int:
    """Return the first deadline after this one that is not past: missed ones are skipped."""
    periods = max(1, -((deadline_ns - now_ns) // period_ns))
    return deadline_ns + periods * period_ns
