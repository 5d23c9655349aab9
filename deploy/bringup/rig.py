"""How a bring-up tool opens a robot, looks at it while it is limp, and drives it tick by tick.

Every tick passes the control loop's own checks (``deploy.loop.safety``). However driving ends, the
last thing done is to make the motors safe.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from deploy.errors import RunError, SafetyStop
from deploy.loop.safety import LOOK_STATES, Safety
from deploy.options import Options
from deploy.robots import Rig
from robot_firmware_bridge.command_line import stop_signals
from robot_firmware_bridge.errors import BridgeError, MotorsOnError
from robot_firmware_bridge.geometry import motor_to_leg
from robot_firmware_bridge.interface import Clock, Robot
from robot_firmware_bridge.messages import MotorCommand, RobotState
from robot_firmware_bridge.robot import NUM_LEGS, NUM_MOTORS

Array = NDArray[np.float64]

STAND_RAD = 1.8
"""Extension of the legs of an emulated robot on its stand: within what every board commands."""

LIFE_NS = 35_000_000
"""How long a command may act if no other comes: less than half of what a run gives it.

By then a motor whose wiring is wrong, and which is driven on where this computer stalls, has turned
by some degrees. A board with this stack's firmware stops by itself then. On the stock mainboard the
watchdog process kills the motors.
"""

# The stock mainboard hears a packet of 6 ms every 10 ms.
_PERIOD_NS, _STOCK_PERIOD_NS = 5_000_000, 10_000_000
# A state may be older than in a control loop of 6 ms: nothing here moves as fast as a gait.
_STALE_PERIOD_S = 0.010
# How long a robot may take to send its first state of now.
_PATIENCE_NS = 500_000_000
# A winding that is shorted brakes a leg within 30 ms. The gain only keeps the bridges closed. An
# unplugged encoder always says that its motor rests, so the brake lasts for the least of these
# times in any case. A leg whose weight sinks through the brake ends it after the most.
_BRAKE_GAIN, _BRAKE_NS, _LONGEST_BRAKE_NS = 0.02, 100_000_000, 500_000_000
_REST_RAD_S, _REST_TICKS = 0.3, 5
# Legs are still when no motor moves by more than this within this time.
STILL_RAD, _STILL_NS = 0.005, 150_000_000
# Legs from which a motor is moved: bent, and far from where one snaps over or a board is mistaken.
_BENT_RAD, _SWING_RAD = (0.6, 2.7), 0.9
# What is sent for a leg that is to stay where it is may part from that by this much: by the gain
# of a nudge, a third of the duty that moves a leg.
_ELSEWHERE_RAD = 0.06


@dataclass(frozen=True, slots=True)
class RobotOptions:
    """Which robot, and how to come by it."""

    robot: Literal["emulator", "serial", "minitaur"] = "emulator"
    """Emulated motor controller, to practise with; a real one with this stack's firmware on a
    serial port; or a Minitaur with its own mainboard on one."""
    board: Literal["core", "stock"] = "core"
    """Firmware of the emulated motor controller: this stack's, or that of the Minitaur's own
    mainboard (emulator)."""
    port: str | None = None
    """Serial port of the motor controller (serial, minitaur); left out with serial, the USB serial
    ports are searched."""
    baud: int | None = None
    """Bits per second on that port; left out, 921600. The Minitaur's own mainboard knows 115200
    only (serial, emulator)."""
    clear_fault: bool = False
    """Clear the motor controller's latched fault first; look for its cause before (serial)."""
    robot_file: Path | None = None
    """File of this very robot: its motor zeros are used, and what is found is written to it. It is
    made if it is not there."""
    wiring: str = ""
    """What is wired wrongly on the emulated board, e.g. "swap 0 1, flip 5"; `minitaur board --help`
    lists the mistakes (emulator)."""
    yes: bool = False
    """Answer yes to what is asked before something moves or is written: the robot is on its stand,
    and nobody's hands are near its legs."""

    def run_options(self, stand: float | None) -> Options:
        """Return the options that open this robot, checked; without a file that is yet to be made.

        Args:
            stand: Extension of the legs on an emulated robot's stand; None for no such stand.

        Raises:
            RunError: They contradict each other.
        """
        known = self.robot_file if self.robot_file and self.robot_file.exists() else None
        options = Options(
            robot=self.robot,
            board=self.board,
            port=self.port,
            baud=self.baud,
            clear_fault=self.clear_fault,
            robot_file=known,
            wiring=self.wiring,
            stand=stand if self.robot == "emulator" else None,
        )
        options.check()
        return options


def new_states(robot: Robot, clock: Clock, seconds: float) -> list[RobotState]:
    """Return the new states of some time, of a robot that is not armed; oldest first.

    Raises:
        SafetyStop: A value is NaN or infinite, or no new state comes.
        BridgeError: The robot cannot be reached.
    """
    safety = Safety(robot.description, _STALE_PERIOD_S, robot.command_limits.state_delay_ns)
    states: list[RobotState] = []
    newest_ns = clock.now_ns()
    end_ns = newest_ns + round(seconds * 1e9) + _PATIENCE_NS
    while clock.now_ns() < end_ns:
        state, now_ns = robot.read(), clock.now_ns()
        if not np.isfinite(state.motor_position_rad).all():
            raise SafetyStop(
                "non_finite_state", f"motor_position_rad is {state.motor_position_rad}"
            )
        if not safety.is_stale(state, now_ns) and (not states or state.t_ns != states[-1].t_ns):
            states.append(state)
            newest_ns = now_ns
        if states and state.t_ns - states[0].t_ns >= seconds * 1e9:
            return states
        if now_ns - newest_ns > _PATIENCE_NS:
            break
        clock.sleep_until_ns(now_ns + 1_000_000)
    raise SafetyStop(
        "stale_state", f"only {len(states)} new states came in time: check cable and adapter"
    )


def still_pose(robot: Robot, clock: Clock, patience_s: float) -> Array | None:
    """Return the motor angles, shape (8,), once limp legs hang still; None if they never do.

    Raises:
        SafetyStop: As of :func:`new_states`.
        BridgeError: The robot cannot be reached.
    """
    end_ns = clock.now_ns() + round(patience_s * 1e9)
    while True:
        states = new_states(robot, clock, _STILL_NS * 1e-9)
        positions = np.array([state.motor_position_rad for state in states])
        if np.ptp(positions, axis=0).max() <= STILL_RAD:
            mean: Array = positions.mean(axis=0)
            return mean
        if clock.now_ns() >= end_ns:
            return None


def pose_trouble(robot: Robot, position_rad: Array) -> str:
    """Return why no motor should be moved from these angles, shape (8,), and the cure; "" if not.

    A leg that is stretched may snap over. One that reads far off most often has a wrong zero.
    """
    description = robot.description
    low, high = description.motor_limits_rad
    for motor, angle_rad in enumerate(position_rad.tolist()):
        if not low <= angle_rad <= high:
            return (
                f"motor {description.motor_names[motor]} reads {math.degrees(angle_rad):.0f} "
                "degrees, where no bent leg is: `minitaur zero` tells what is wrong with its zero"
            )
    leg = motor_to_leg(position_rad)
    for i, name in enumerate(description.leg_names):
        swing, extension = float(leg[i]), float(leg[NUM_LEGS + i])
        if not (_BENT_RAD[0] <= extension <= _BENT_RAD[1] and abs(swing) <= _SWING_RAD):
            return (
                f"{name} is at swing {math.degrees(swing):.0f}, extension "
                f"{math.degrees(extension):.0f} degrees: bend it, knees out, until its toe is "
                "below its hip; lay something soft under the toe if it does not stay there"
            )
    return ""


class Driver:
    """Reads and commands an armed robot, one tick after the other.

    Args:
        rig: The robot and its clock.

    Attributes:
        period_ns: Time between two commands.
        written_ns: When the last command was sent.
    """

    def __init__(self, rig: Rig) -> None:
        self.robot, self.clock = rig.robot, rig.clock
        stock = self.robot.command_limits.board == "stock"
        self.period_ns = _STOCK_PERIOD_NS if stock else _PERIOD_NS
        self.written_ns = 0
        self._due_ns = 0
        self._asked_to_stop = False
        self._sent_rad: Array | None = None
        self._safety = Safety(
            self.robot.description, _STALE_PERIOD_S, self.robot.command_limits.state_delay_ns
        )

    @contextlib.contextmanager
    def armed(self) -> Iterator[None]:
        """Look at the robot while it is limp, arm it, and brake and disarm it, whatever came.

        A signal that asks for an end ends the next tick, and never what makes the robot safe.

        Raises:
            SafetyStop: A robot in such a state must not be armed.
            MotorsOnError: At the end nothing says that its motors are off.
            BridgeError: It refuses, or cannot be reached.
            KeyboardInterrupt: A signal asked for an end; the robot is safe.
        """
        for state in new_states(self.robot, self.clock, 0.05)[-LOOK_STATES:]:
            self._safety.check_state(state, self.clock.now_ns(), armed=False)
        self._asked_to_stop = False
        with stop_signals(lambda _signal, _frame: self._ask_to_stop()):
            try:
                self.robot.activate()
                self._due_ns = self.clock.now_ns()
                yield
            finally:
                try:
                    self._brake()
                finally:
                    if trouble := self.robot.deactivate():
                        raise MotorsOnError(trouble)
        self._end_if_asked()

    def _ask_to_stop(self) -> None:
        self._asked_to_stop = True

    def _end_if_asked(self) -> None:
        if self._asked_to_stop:
            raise KeyboardInterrupt

    def _brake(self) -> None:
        """Brake all motors until they rest, as far as the robot can be reached.

        Gains of zero open the bridges, and then nothing would brake a leg that swings.
        """
        begin_ns, resting = self.clock.now_ns(), 0
        with contextlib.suppress(BridgeError):
            while (braked_ns := self.clock.now_ns() - begin_ns) < _LONGEST_BRAKE_NS:
                state = self.robot.read()
                rests = np.abs(state.motor_velocity_rad_s).max() < _REST_RAD_S
                resting = resting + 1 if rests else 0
                if braked_ns >= _BRAKE_NS and resting >= _REST_TICKS:
                    return
                self.robot.write(MotorCommand(follow(state), _BRAKE_GAIN, 0.0, LIFE_NS))
                self.clock.sleep_until_ns(self.clock.now_ns() + self.period_ns)

    def tick(self) -> RobotState:
        """Wait for the next tick; return the newest state.

        Raises:
            SafetyStop: The robot must not go on in this state.
            BridgeError: It cannot be reached, or stopped by itself.
            KeyboardInterrupt: A signal asked for an end.
        """
        self._due_ns = max(self._due_ns + self.period_ns, self.clock.now_ns())
        self.clock.sleep_until_ns(self._due_ns)
        self._end_if_asked()
        state = self.robot.read()
        self._safety.check_state(state, self.clock.now_ns(), armed=True)
        return state

    def delay_ns(self, delay_ns: int) -> None:
        """Let the next ticks come later by a part of the period."""
        self._due_ns += delay_ns

    def send(self, target_rad: Array, kp: float) -> None:
        """Command motor angles, shape (8,), by a proportional gain alone, duty per rad.

        There is no damping: with a wrong sign it would drive a motor. A bridge whose duty is 0
        brakes.

        Raises:
            RunError: The board takes these angles for others.
            BridgeError: It cannot be sent.
        """
        self.written_ns = self.clock.now_ns()
        sent = self.robot.write(MotorCommand(target_rad, kp, 0.0, LIFE_NS))
        # While it doubts a state, the stock mainboard holds the command before.
        held = self._sent_rad is not None and np.array_equal(sent.target_rad, self._sent_rad)
        self._sent_rad = sent.target_rad
        off_rad = np.abs(sent.target_rad - target_rad)
        if sent.kp > 0.0 and not held and off_rad.max() > _ELSEWHERE_RAD:
            worst = int(np.argmax(off_rad))
            how = "more" if sent.target_rad[worst] < target_rad[worst] else "less"
            raise RunError(
                f"this board cannot command motor {self.robot.description.motor_names[worst]} to "
                f"{math.degrees(target_rad[worst]):.0f} degrees, only to "
                f"{math.degrees(sent.target_rad[worst]):.0f}: bend that leg {how}, its toe below "
                "its hip; if it is so, look at its zeros (`minitaur zero`)"
            )


def follow(state: RobotState) -> Array:
    """Return the target, shape (8,), that asks no motor for torque: where each one is."""
    return state.motor_position_rad.copy()


def check_motor(motor: int) -> None:
    """Refuse a number that is no motor's.

    Raises:
        RunError: Says which there are.
    """
    if not 0 <= motor < NUM_MOTORS:
        raise RunError(f"motor must be 0 to {NUM_MOTORS - 1}, is {motor}")
