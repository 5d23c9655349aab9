"""Measure how late a command moves a motor: `minitaur latency --help`, or `make latency`.

The delay is the time from sending a command to the first motion that it causes, as the states show
it: the command's way, the board, its sensors, and what the state's time stamp does not know of the
way back. A policy sees that motion when it reads the state, so the age of the newest state comes on
top. Both together are what the plant's ``policy_latency_s`` stands for.
"""

from __future__ import annotations

import contextlib
import datetime
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tyro
from numpy.typing import NDArray

from deploy.bringup.nudge import nudge
from deploy.bringup.person import Person, TerminalPerson
from deploy.bringup.rig import (
    LIFE_NS,
    STAND_RAD,
    Driver,
    RobotOptions,
    check_motor,
    follow,
    pose_trouble,
    still_pose,
)
from deploy.bringup.robot_file import (
    LatencyRecord,
    WiggleRecord,
    read_robot_file,
    update_robot_file,
)
from deploy.bringup.verdict import Verdict, judge, lines
from deploy.errors import RunError, SafetyStop
from deploy.files import prove_writable
from deploy.loop.clock import realtime
from deploy.robots import Rig, open_robot
from robot_firmware_bridge.command_line import EXIT_FAULT, EXIT_OK, command
from robot_firmware_bridge.messages import RobotState

Array = NDArray[np.float64]

NOMINAL_LATENCY_S, TABLE1_LATENCY_S = 0.015, (0.0, 0.040)
"""The plant's ``policy_latency_s``, nominal and in Table I of Tan et al. 2018."""

_GAIN, _RAMP_NS = 0.5, 700_000_000
# A step of 6 degrees, up and down again; the leg has come to rest long before the next one.
_STEP_RAD, _REST_NS, _SEEN_NS = 0.1, 150_000_000, 150_000_000
# Farther from its target no motor may be: a step is the farthest.
_ASTRAY_RAD = 0.15
# The part of a step by which its beginning is found, and how late that may be.
_RISE, _LATEST_S, _GRID_S = 0.6, 0.120, 0.0001
_LEAST_SAMPLES = 12
# A latency that is above the nominal one by less is no other one.
_NEAR_S = 0.005


@dataclass(frozen=True, slots=True)
class Options(RobotOptions):
    """Measure the delay from a command to the motion of a motor, and the age of states.

    Robot on a stand, legs in the air and bent, wired rightly (`minitaur wiggle`). After a typed yes
    one motor is nudged: where its own encoder does not see that, or in the wrong direction, it ends
    there. Then this motor is held, and makes some steps of 6 degrees; the others only brake. Each
    step begins at another time within the control period. The first motion of all steps together is
    extrapolated back to where it began: a drive that gets a step of duty turns by the square of the
    time. The delay is the time from sending the command to that point, by the time stamps of the
    states. The age of the newest state, when it is read, comes on top: both together are the
    latency that the simulator calls policy_latency_s.

    Exit codes: 0 measured, and within Table I, 1 outside of it, or ended by a fault, 2 bad input,
    or the robot cannot be reached or must not be stepped.
    """

    motor: int = 0
    """Number of the motor that steps, 0 to 7."""
    steps: int = 20
    """How many steps it makes, 4 to 1000."""


@dataclass(frozen=True, slots=True)
class Latency:
    """What was measured.

    Attributes:
        delay_s: From sending a command to the motion that it causes.
        spread_s: Standard deviation of that from step to step.
        age_s: Mean age of the newest state when it is read.
        steps: How many steps.
    """

    delay_s: float
    spread_s: float
    age_s: float
    steps: int

    @property
    def loop_s(self) -> float:
        """What a policy sees of its own commands comes so late."""
        return self.delay_s + self.age_s


@dataclass(frozen=True, slots=True)
class Step:
    """One step of one motor.

    Attributes:
        times_s: Time of each state since the command was sent, shape (N,).
        part: How far the motor was then, 0 before it moved and 1 at its target, shape (N,).
    """

    times_s: Array
    part: Array


def begin_of_motion(times_s: Array, part: Array) -> float:
    """Return when a motion began that grows from there with the square of the time, s.

    The part ``p`` of the step that is done is ``a s^2 + b s^3`` for a time ``s`` since the
    beginning; the cube is for a torque that falls as the motor turns. The beginning with the least
    squares of errors is looked for.

    Args:
        times_s: Since the command, shape (N,), of one step or of several.
        part: Of the step that is done, shape (N,).

    Raises:
        RunError: Too few states show the motion.
    """
    risen = part >= _RISE
    first_full_s = times_s[risen].min(initial=math.inf)
    use = times_s < first_full_s
    if not risen.any() or use.sum() < _LEAST_SAMPLES:
        raise RunError("the motor does not follow its steps: is it powered, and its leg free?")
    t, p = times_s[use], part[use]

    def error(begin_s: float) -> float:
        since = np.maximum(t - begin_s, 0.0)
        terms = np.stack((since**2, since**3), axis=1)
        fit, *_ = np.linalg.lstsq(terms, p, rcond=None)
        return float(((terms @ fit - p) ** 2).sum())

    grid = np.arange(0.0, min(_LATEST_S, first_full_s), _GRID_S)
    return float(grid[int(np.argmin([error(float(begin)) for begin in grid]))])


def measure(rig: Rig, motor: int, count: int) -> Latency:
    """Step a motor of a robot that hangs still; its motors are safe at the end.

    Args:
        rig: The robot.
        motor: Its number.
        count: How many steps it makes.

    Raises:
        SafetyStop: The robot must not go on, or a motor went astray.
        WiringError: The motor is wired wrongly.
        RunError: The legs are not ready, or the motor does not follow.
        BridgeError: The robot cannot be reached, or refuses.
    """
    _await_legs(rig)
    _check_wiring(rig, motor)
    _await_legs(rig)
    stepper = _Stepper(rig, motor)
    with stepper.driver.armed():
        steps = stepper.run(count)
    delay_s = begin_of_motion(*_together(steps))
    singles = _single_delays(steps, delay_s)
    # The stamp of a state that is new may be a little ahead, as far as two clocks part.
    age_s = max(0.0, float(np.mean(stepper.ages_s)))
    return Latency(delay_s, float(np.std(singles)), age_s, len(steps))


class WiringError(RunError):
    """A motor is wired wrongly, so that its loop must not be closed.

    Attributes:
        verdict: What a nudge found of it.
    """

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(f"{verdict.line()}: mend it first, see `minitaur wiggle`")
        self.verdict = verdict


def _await_legs(rig: Rig) -> None:
    """Wait until the legs rest.

    Raises:
        RunError: They do not, or no motor should be moved from there.
    """
    pose = still_pose(rig.robot, rig.clock, patience_s=2.0)
    trouble = "the legs do not rest" if pose is None else pose_trouble(rig.robot, pose)
    if trouble:
        raise RunError(f"the legs are not ready: {trouble}")


def _check_wiring(rig: Rig, motor: int) -> None:
    """Nudge the motor, and refuse one whose loop must not be closed.

    Raises:
        WiringError: It is wired wrongly.
    """
    verdict = judge(nudge(Driver(rig), motor), None)
    if not verdict.ok:
        raise WiringError(verdict)


class _Stepper:
    """Holds one motor and steps it; the others brake.

    Attributes:
        driver: Drives the robot, which is armed by whoever calls.
        ages_s: How old each state was when it was read.
    """

    def __init__(self, rig: Rig, motor: int) -> None:
        self.driver = Driver(rig)
        self.ages_s: list[float] = []
        self._motor = motor

    def run(self, count: int) -> list[Step]:
        """Return so many steps, of which every second one goes back."""
        state = self.driver.tick()
        self._pose = state.motor_position_rad.copy()
        angle = float(self._pose[self._motor])
        self._hold(angle, _RAMP_NS, lambda done: _GAIN * done)
        steps = []
        for number in range(count):
            target = angle - (_STEP_RAD if number % 2 == 0 else 0.0)  # first up, against gravity
            self.driver.delay_ns(round(number / count * self.driver.period_ns))
            steps.append(self._step(target))
        self._hold(angle, _RAMP_NS, lambda done: _GAIN * (1.0 - done))
        return steps

    def _step(self, target: float) -> Step:
        """Step to a target; return what was seen."""
        seen: list[RobotState] = [self._tick(target)]
        start_ns = self.driver.clock.now_ns()
        self._send(seen[0], target, _GAIN)
        sent_ns = self.driver.written_ns
        while self.driver.clock.now_ns() - start_ns < _SEEN_NS:
            state = self._tick(target)
            if state.t_ns != seen[-1].t_ns:
                seen.append(state)
            self._send(state, target, _GAIN)
        final = self._hold(target, _REST_NS, lambda _: _GAIN)
        angles = np.array([each.motor_position_rad[self._motor] for each in seen])
        span = final.motor_position_rad[self._motor] - angles[0]
        if abs(span) < 0.5 * _STEP_RAD:
            raise RunError("the motor does not follow its steps: is it powered, and its leg free?")
        times = np.array([(each.t_ns - sent_ns) * 1e-9 for each in seen])
        return Step(times, (angles - angles[0]) / span)

    def _hold(self, target: float, length_ns: int, gain: Callable[[float], float]) -> RobotState:
        """Hold a target for a time, with a gain by the part of it that is done."""
        begin_ns = self.driver.clock.now_ns()
        while True:
            state = self._tick(target)
            done = (self.driver.clock.now_ns() - begin_ns) / length_ns
            self._send(state, target, gain(min(done, 1.0)))
            if done >= 1.0:
                return state

    def _send(self, state: RobotState, target: float, gain: float) -> None:
        targets = follow(state)
        targets[self._motor] = target
        self.driver.send(targets, gain)

    def _tick(self, target: float) -> RobotState:
        state = self.driver.tick()
        self.ages_s.append((self.driver.clock.now_ns() - state.t_ns) * 1e-9)
        wanted = self._pose.copy()
        wanted[self._motor] = target
        astray = np.abs(state.motor_position_rad - wanted)
        if astray.max() > _ASTRAY_RAD:
            name = self.driver.robot.description.motor_names[int(np.argmax(astray))]
            raise SafetyStop(
                "astray",
                f"motor {name} is {math.degrees(astray.max()):.0f} degrees from where it should "
                "be: look whether its leg is free and stays where it is put, and at its wiring",
            )
        return state


def _together(steps: Sequence[Step]) -> tuple[Array, Array]:
    return (
        np.concatenate([step.times_s for step in steps]),
        np.concatenate([step.part for step in steps]),
    )


def _single_delays(steps: Sequence[Step], delay_s: float) -> list[float]:
    """Return the delay of each step: by how much its rise is later than that of all together."""
    t, p = _together(steps)
    order = np.argsort(t)
    t, p = t[order], p[order]
    delays = []
    for step in steps:
        rise = (step.part > 0.1) & (step.part < 0.8) & (step.times_s < delay_s + 0.08)
        if rise.any():
            # When the others were where this one was, on average.
            usual = np.interp(step.part[rise], np.maximum.accumulate(p), t)
            delays.append(delay_s + float(np.mean(step.times_s[rise] - usual)))
    return delays or [delay_s]


def advice(latency: Latency) -> str:
    """Return how a latency compares with what policies were trained for, and what to do."""
    loop_ms, nominal_ms, most_ms = (
        round(each * 1e3) for each in (latency.loop_s, NOMINAL_LATENCY_S, TABLE1_LATENCY_S[1])
    )
    if latency.loop_s > TABLE1_LATENCY_S[1]:
        return (
            f"{loop_ms} ms is beyond Table I, up to {most_ms} ms, for which policies are trained: "
            "look for what holds bytes back (adapter, hub, baud rate, load of this computer), or "
            "train on a plant with such a policy_latency_s"
        )
    if latency.loop_s <= NOMINAL_LATENCY_S + _NEAR_S:
        return f"{loop_ms} ms is within the simulator's nominal {nominal_ms} ms, or near it"
    return (
        f"{loop_ms} ms is above the simulator's nominal {nominal_ms} ms, and within Table I, up to "
        f"{most_ms} ms: a policy that was trained with Table I bears it; evaluate yours with "
        "RANDOMIZATION=table1, or train on a plant with this policy_latency_s"
    )


def latency(options: Options, rig: Rig, today: str) -> bool:
    """Measure, print, and write to the robot file; return whether it is within Table I.

    A motor that is found to be wired wrongly goes to the file as well.

    Raises:
        As of :func:`measure`.
        OSError: The file cannot be written.
    """
    try:
        found = measure(rig, options.motor, options.steps)
    except WiringError as error:
        if options.robot_file is not None:
            wrong = lines({options.motor: error.verdict})
            record = WiggleRecord(today, ok=False, seen=False, motors=wrong)
            update_robot_file(options.robot_file, rig.board_id, wiggle=record)
        raise
    link = None if rig.link is None else rig.link()
    trip = None if link is None else link.round_trip_us
    if trip is not None:
        print(f"round trip     {trip.p50 / 1e3:6.1f} ms from a command to a state that echoes it")
    print(
        f"delay          {found.delay_s * 1e3:6.1f} ms from a command to its motion, "
        f"{found.steps} steps, spread {found.spread_s * 1e3:.1f} ms"
    )
    print(f"age of states  {found.age_s * 1e3:6.1f} ms when they are read, on average")
    print(f"latency        {found.loop_s * 1e3:6.1f} ms until a policy sees what it did")
    print(advice(found))
    if options.robot_file is not None:
        values = (found.delay_s, found.spread_s, found.age_s, found.loop_s)
        measured = LatencyRecord(today, *(round(value * 1e3, 2) for value in values))
        update_robot_file(options.robot_file, rig.board_id, latency=measured)
        print(f"written  {options.robot_file}")
    return TABLE1_LATENCY_S[0] <= found.loop_s <= TABLE1_LATENCY_S[1]


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    options = tyro.cli(Options, args=arguments, prog="minitaur latency")
    check_motor(options.motor)
    if not 4 <= options.steps <= 1000:
        raise RunError(f"steps must be in [4, 1000], is {options.steps}")
    run_options = options.run_options(stand=STAND_RAD)
    if options.robot_file is not None:
        read_robot_file(options.robot_file)
        prove_writable(options.robot_file)
    person: Person = TerminalPerson(yes=options.yes)
    question = "Robot on a stand, legs in the air and bent, hands clear? A motor will move."
    if not person.agrees(question):
        return EXIT_FAULT
    with contextlib.closing(open_robot(run_options, LIFE_NS)) as rig:
        try:
            with realtime():
                good = latency(options, rig, datetime.date.today().isoformat())
        except SafetyStop as stop:
            print(f"ended, motors safe: {stop}")
            return EXIT_FAULT
    return EXIT_OK if good else EXIT_FAULT


if __name__ == "__main__":
    sys.exit(main())
