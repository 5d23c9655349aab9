"""What stands between a physical robot and its first torque: a checklist and a typed yes.

:func:`look` watches the limp robot for a second, :func:`checklist` judges what it saw, and
:func:`confirm` shows the items and asks. The bounds of STOP are those of ``deploy.loop.safety``, by
whose checks the control loop looks again, after the answer and before it arms, and those of
``deploy.loop.reactions`` that would end a run at once.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from deploy.bringup.person import ask
from deploy.bringup.robot_file import RobotFile
from deploy.errors import RunError, SafetyStop
from deploy.loop.reactions import DEFAULT_RULES, NO_REACTIONS, ReactionRules, Reactions
from deploy.loop.safety import LOOK_STATES, POSE_MARGIN_RAD, Safety
from deploy.record.report import LinkReport
from robot_firmware_bridge.geometry import motor_to_leg
from robot_firmware_bridge.interface import Clock, Robot
from robot_firmware_bridge.limits import LIMITS
from robot_firmware_bridge.messages import Mode, RobotState
from robot_firmware_bridge.robot import NUM_LEGS, NUM_MOTORS, RobotDescription

Array = NDArray[np.float64]

LOOK_S = 1.0
_POLL_NS = 2_000_000
YES = "yes"
# The end of the question: what is printed after it is of the run.
OTHERWISE = "anything else ends here."

# From here on a person should look. These are judgements: nothing is refused by them.
_LOST_SHARE = 0.01
_SPARE_V = 1.0
_MOVED_RAD_S = 0.1
_ODD_LEG_RAD = math.radians(20.0)
# Legs in their stance, of a robot that is held there by hand or by a stand.
_IN_STANCE_RAD = 0.5


class Verdict(enum.Enum):
    """What an item of the checklist comes to."""

    OK = "ok"
    LOOK = "LOOK"  # it may be armed, but a person should know
    STOP = "STOP"  # it is not armed


@dataclass(frozen=True, slots=True)
class Item:
    """One line of the checklist.

    Attributes:
        name: What was looked at.
        verdict: What that comes to.
        text: What was found and, where the verdict is not ok, the cure.
    """

    name: str
    verdict: Verdict
    text: str

    def __str__(self) -> str:
        return f"  {self.verdict.value:<5} {self.name:<12} {self.text}"


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of a limp robot.

    Attributes:
        states: The states that were read, each once, oldest first; at least one.
        gap_s: Median time between two new ones; infinite without a second.
        seconds: Time that was looked, or the time between the first and the last state if longer.
        received: States that came meanwhile, read or not.
        lost: States that should have come, and did not.
        pose_fault: Why this motor controller cannot start from this pose; "" for no reason.
    """

    states: tuple[RobotState, ...]
    gap_s: float
    seconds: float
    received: int
    lost: int
    pose_fault: str = ""


def look(
    robot: Robot,
    clock: Clock,
    link: Callable[[], LinkReport],
    pose_fault: Callable[[], str] | None = None,
    seconds: float = LOOK_S,
) -> Look:
    """Watch a robot that is not armed for some seconds; sends nothing.

    Args:
        robot: The robot.
        clock: The clock that stamps its states.
        link: Returns the counters of its line.
        pose_fault: Returns why its motor controller cannot start from where it is; None for one
            that can start from anywhere.
        seconds: How long to look.

    Raises:
        BridgeError: The robot is gone.
    """
    states = [robot.read()]
    before, began_ns = link(), clock.now_ns()
    seen_ns = [began_ns]
    while (now_ns := clock.now_ns()) - began_ns < seconds * 1e9:
        clock.sleep_until_ns(now_ns + _POLL_NS)
        state = robot.read()
        if state.t_ns != states[-1].t_ns:
            states.append(state)
            seen_ns.append(clock.now_ns())
    after = link()
    # What had waited on the line was made before the look began, and is counted in it.
    spanned_ns = max(now_ns - began_ns, states[-1].t_ns - states[0].t_ns)
    return Look(
        states=tuple(states),
        gap_s=float(np.median(np.diff(seen_ns))) / 1e9 if len(seen_ns) > 1 else math.inf,
        seconds=spanned_ns / 1e9,
        received=after.states - before.states,
        lost=after.states_lost - before.states_lost,
        pose_fault="" if pose_fault is None else pose_fault(),
    )


def checklist(
    seen: Look,
    robot: RobotDescription,
    period_s: float,
    state_delay_ns: int = 0,
    rules: ReactionRules = DEFAULT_RULES,
) -> tuple[Item, ...]:
    """Judge what was seen of a limp robot.

    Args:
        seen: What was seen.
        robot: The robot that it should be.
        period_s: Control period of the run to come.
        state_delay_ns: How old a state may be when all is well, see ``CommandLimits``.
        rules: When the run reacts to trouble: it would not arm a robot that it must end at once.
    """
    safety = Safety(robot, period_s, state_delay_ns)
    position_rad = np.median([state.motor_position_rad for state in seen.states], axis=0)
    return (
        _states(seen, safety, period_s),
        _board(seen, safety),
        _battery(seen, safety, robot, rules),
        _attitude(seen, safety),
        _encoders(seen, safety),
        *(_leg(leg, position_rad, robot) for leg in range(NUM_LEGS)),
        _pose(seen, safety, position_rad, robot),
        _windings(seen, robot, rules),
    )


def bring_up(robot: RobotFile | None) -> tuple[Item, ...]:
    """Judge what the robot's file says of its zeros and wiring; None for a run without a file."""
    return _zeros(robot), _wiring(robot)


def _zeros(robot: RobotFile | None) -> Item:
    cure = "`minitaur zero --robot-file FILE` measures what each encoder reads too much"
    if robot is None or robot.zeroed is None:
        what = "no robot file" if robot is None else f"{robot.name} was never zeroed"
        return Item("zeros", Verdict.LOOK, f"{what}: {cure}")
    largest = math.degrees(max(robot.motor_zeros_rad, key=abs))
    text = f"{robot.name}, zeroed on {robot.zeroed}, the largest {largest:+.1f} degrees"
    return Item("zeros", Verdict.OK, text)


def _wiring(robot: RobotFile | None) -> Item:
    cure = "`minitaur wiggle --robot-file FILE` finds wrong plugs and signs before the robot moves"
    wiggled = None if robot is None else robot.wiggle
    if wiggled is None:
        what = "no robot file" if robot is None else "never wiggled"
        return Item("wiring", Verdict.LOOK, f"{what}: {cure}")
    if not wiggled.ok and wiggled.right + wiggled.untried == NUM_MOTORS:
        what = f"the wiggle of {wiggled.date} tried {wiggled.right} of {NUM_MOTORS} motors"
        return Item("wiring", Verdict.STOP, f"{what}: wiggle all of them")
    if not wiggled.ok:
        what = f"the wiggle of {wiggled.date} did not find all eight motors right"
        return Item("wiring", Verdict.STOP, f"{what}: mend that, and wiggle again")
    if not wiggled.seen:
        what = f"right on {wiggled.date}, by encoders only"
        return Item("wiring", Verdict.LOOK, f"{what}: wiggle with a person")
    return Item("wiring", Verdict.OK, f"right on {wiggled.date}, by wiggle")


def confirm(items: Sequence[Item], question: str, answers: TextIO | None) -> None:
    """Show a checklist, and return only if it has no STOP and the next line of input is yes.

    Args:
        items: The checklist.
        question: What a yes does.
        answers: Where the answer comes from; None where there is no standard input.

    Raises:
        RunError: Something stops, or the answer is another one, or none came.
        KeyboardInterrupt: A signal asked for an end.
    """
    print("\n".join(map(str, items)), flush=True)
    if stops := [item for item in items if item.verdict is Verdict.STOP]:
        more = f" (and {', '.join(item.name for item in stops[1:])})" if stops[1:] else ""
        raise RunError(f"nothing is armed: {stops[0].name}{more}: {stops[0].text}")
    looks = [item.name for item in items if item.verdict is Verdict.LOOK]
    if looks:
        print(f"look first at: {', '.join(looks)}")
    answer = ask(f"{question}\n", answers)
    if not answer:
        raise RunError(
            f"nothing is armed: the input ended without an answer: type {YES}, or pipe it: "
            f"echo {YES} | minitaur run --arm ..."
        )
    if answer.removesuffix("\n") != YES:
        raise RunError(f"nothing is armed: the answer was not {YES}")


# --- the items ------------------------------------------------------------------------------------


def _stop(check: Callable[[RobotState], None], states: Sequence[RobotState]) -> str:
    """Return why a check stops at one of the states, cause and cure; "" if it does not."""
    try:
        for state in states:
            check(state)
    except SafetyStop as stop:
        return str(stop).removeprefix(f"{stop.name}: ")
    return ""


def _item(name: str, stop: str, worth_a_look: str, fine: str) -> Item:
    """Return the item of the gravest text that is not empty."""
    if stop:
        return Item(name, Verdict.STOP, stop)
    return Item(name, Verdict.LOOK if worth_a_look else Verdict.OK, worth_a_look or fine)


def _states(seen: Look, safety: Safety, period_s: float) -> Item:
    stop = _stop(safety.check_values, seen.states)
    mean_ms = 1e3 * seen.seconds / max(1, seen.received)
    bound_ms = safety.stale_ns / 1e6
    if seen.received == 0 or mean_ms > bound_ms:
        stop = (
            f"{seen.received} states in {seen.seconds:.1f} s, and a run needs one every "
            f"{bound_ms:.0f} ms: check cable and adapter"
        )
    found = f"{seen.received / seen.seconds:.0f} a second, {seen.lost} lost"
    doubt = ""
    if seen.lost > _LOST_SHARE * (seen.received + seen.lost):
        doubt = f"{found}: look at cable, ground and baud rate"
    elif 1e3 * seen.gap_s > mean_ms + 1e3 * period_s:
        doubt = (
            f"{found}, but they come in bursts every {1e3 * seen.gap_s:.0f} ms: set the adapter's "
            "latency timer to 1 ms, or stop other programs"
        )
    return _item("states", stop, doubt, found)


def _board(seen: Look, safety: Safety) -> Item:
    stop = _stop(lambda state: safety.check_controller(state, armed=False), seen.states)
    mode = seen.states[-1].mode
    if not stop and mode in (Mode.READY, Mode.ACTIVE):
        stop = f"it is {mode.name} already: another program commands it, end that"
    return _item("board", stop, "", f"{mode.name.lower()}, no fault reported")


def _sits(rules: ReactionRules, states: Sequence[RobotState]) -> str:
    """Return why a run would end at once by these rules, cause and cure; "" if it would not."""
    return _stop(lambda _: Reactions(rules).check_start(states), states[-1:])


def _battery(seen: Look, safety: Safety, robot: RobotDescription, rules: ReactionRules) -> Item:
    stop = _stop(lambda state: safety.check_battery(state, LOOK_STATES), seen.states)
    stop = stop or _sits(replace(NO_REACTIONS, battery=rules.battery), seen.states)
    volts = float(np.median([state.battery_v for state in seen.states]))
    spare_v = volts - robot.min_battery_v
    found = f"{volts:.1f} V, {spare_v:.1f} V above the bound of {robot.min_battery_v} V"
    doubt = f"{found}: it sags when the robot walks, charge it" if spare_v < _SPARE_V else ""
    return _item("battery", stop, doubt, found)


def _attitude(seen: Look, safety: Safety) -> Item:
    stop = _stop(safety.check_tilt, seen.states)
    roll, pitch = np.degrees(np.median([state.rpy_rad[:2] for state in seen.states], axis=0))
    rates = np.array([state.angular_rate_rad_s for state in seen.states])
    moved_rad_s = float(np.sqrt(np.square(rates).sum(axis=1).mean()))
    found = f"roll {roll:+.1f}, pitch {pitch:+.1f} degrees"
    doubt = ""
    if not moved_rad_s <= _MOVED_RAD_S:
        doubt = (
            f"{found}, being moved by {math.degrees(moved_rad_s):.0f} degrees/s: hold it still; "
            "if it is, the gyroscope is wrong"
        )
    return _item("attitude", stop, doubt, f"{found}, still")


def _encoders(seen: Look, safety: Safety) -> Item:
    return _item("encoders", _stop(safety.check_jump, seen.states), "", "no angle jumps")


def _leg(leg: int, position_rad: Array, robot: RobotDescription) -> Item:
    """Return the item of one leg, from the angles of all motors, shape (8,)."""
    low, high = robot.motor_limits_rad
    angles = position_rad[2 * leg : 2 * leg + 2]
    poses = np.stack(np.split(motor_to_leg(position_rad), 2))
    swing, extension = np.degrees(poses[:, leg])
    motors = ", ".join(f"{angle:.0f}" for angle in np.degrees(angles))
    found = (
        f"swing {swing:+.0f}, extension {extension:.0f} degrees (stance 0, "
        f"{math.degrees(robot.stance_extension_rad):.0f}); motors {motors} of "
        f"{math.degrees(low):.0f} to {math.degrees(high):.0f}"
    )
    beyond_rad = float(np.maximum(low - angles, angles - high).max())
    odd_rad = float(np.abs(poses[:, leg] - np.median(poses, axis=1)).max())
    zero = "or the zero of an encoder is wrong"
    stop = doubt = ""
    if not beyond_rad <= POSE_MARGIN_RAD:
        stop = f"{found}: out of its range, {zero}"
    elif beyond_rad > 0.0:
        doubt = f"{found}: a little out of its range, {zero}"
    elif odd_rad > _ODD_LEG_RAD:
        doubt = f"{found}: {math.degrees(odd_rad):.0f} off the other legs: it is bent, {zero}"
    return _item(robot.leg_names[leg], stop, doubt, found)


def _pose(seen: Look, safety: Safety, position_rad: Array, robot: RobotDescription) -> Item:
    """Return whether the robot hangs, is held or lies, from the angles of all motors, shape (8,).

    Whether its toes bear weight cannot be known: no motor drives, so no torque is measured.
    """
    stop = _stop(lambda _: safety.check_first_pose(position_rad), seen.states[:1])
    swing, extension = np.split(motor_to_leg(position_rad), 2)
    folded_rad, stretched_rad = robot.extension_limits_rad
    folded = (np.abs(swing) > robot.swing_limit_rad) | (extension < folded_rad)
    found, doubt = "legs bent as in the stance: held there on a stand or by hand, or standing", ""
    if folded.all():
        doubt = (
            "legs are folded, as of a robot that lies: lift it until its legs hang straight down"
        )
    elif folded.any():
        names = ", ".join(robot.leg_names[leg] for leg in np.flatnonzero(folded))
        doubt = f"{names} alone folded or turned out: see what holds it, or set its encoders' zeros"
    elif (extension > stretched_rad).all():
        found = "legs hang straight: on a stand"
    elif np.abs(position_rad - robot.stance_pose_rad).max() > _IN_STANCE_RAD:
        doubt = "legs neither hang straight nor are in the stance: see what holds them"
    return _item("pose", stop or seen.pose_fault, doubt, found)


def _windings(seen: Look, robot: RobotDescription, rules: ReactionRules) -> Item:
    celsius = seen.states[-1].winding_temperature_c
    if not np.isfinite(celsius).any():
        return Item("windings", Verdict.OK, "this board does not know their temperature")
    motor = int(np.nanargmax(celsius))
    hottest_c = float(celsius[motor])
    found = (
        f"{hottest_c:.0f} C at most ({robot.motor_names[motor]}), bound {LIMITS.max_winding_c:.0f}"
    )
    cool = "let the motors cool"
    stop = f"{found}: {cool}" if hottest_c >= LIMITS.max_winding_c else ""
    stop = stop or _sits(replace(NO_REACTIONS, winding=rules.winding), seen.states)
    doubt = f"{found}: {cool}" if hottest_c >= LIMITS.max_housing_c else ""
    return _item("windings", stop, doubt, found)
