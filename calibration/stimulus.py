"""What drives a plant as a record says: recorded duties, or recorded commands and their law.

Each is told a time and lets the plant run a millisecond, so that the same code serves windows of
100 ms and whole records.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from calibration.errors import RecordError
from calibration.record import FootCommands, MotorCommands, MotorSeries, Record, held_rows
from calibration.windows import leg_length_m
from robot_firmware_bridge.geometry import LEG_TO_MOTOR, MOTOR_TO_LEG
from robot_firmware_bridge.robot import NUM_LEGS
from sim.plant.params import TICK_S, PlantParams
from sim.plant.plant import Plant

Array = NDArray[np.float64]

# Bound on the duty of the boards with foot commands: 60 A of winding current at 16 V.
FOOT_BOARD_MAX_DUTY = 0.70
# What a command of this stack takes from the host's clock to the drives. Logs of the emulated board
# are predicted best with 0.5 ms if they were made in lockstep, and with 2 ms in real time.
BOARD_LINE_S = 0.0015
# Robots of this kind, in reports of runs, have no board.
SIMULATED = "sim"


class Stimulus(Protocol):
    """Drives a plant by a record."""

    def age_s(self, params: PlantParams) -> float:
        """Return how old the recorded states are, against the clock of what drives the motors."""

    def run(self, plant: Plant, start_s: float, ticks: int) -> None:
        """Let the plant run some milliseconds from a time of the record on."""


class Duties:
    """The duties that a board commanded, open loop.

    A board logs the angles that its controller saw, together with the duty that it computed of
    them, so the angles are as old as the controller's.
    """

    def __init__(self, motors: MotorSeries) -> None:
        if motors.duty is None:
            raise RecordError("no duties were recorded")
        self._t_s, self._duty = motors.t_s[motors.ok], motors.duty[motors.ok]

    def age_s(self, params: PlantParams) -> float:
        """Return the age of what the motor controller sees."""
        return params.pd_latency_s

    def run(self, plant: Plant, start_s: float, ticks: int) -> None:
        """Apply the duties, linear between two samples."""
        middle_s = start_s + TICK_S * (np.arange(ticks) + 0.5)
        after = np.clip(np.searchsorted(self._t_s, middle_s), 1, len(self._t_s) - 1)
        before_s, after_s = self._t_s[after - 1], self._t_s[after]
        share = np.clip((middle_s - before_s) / (after_s - before_s), 0.0, 1.0)[:, None]
        for duty in self._duty[after - 1] * (1.0 - share) + self._duty[after] * share:
            plant.drive(duty)


class MotorTargets:
    """The commands that this stack sent, through the control law of the plant's own drives.

    The policy's computer logs the command when it sends it. A simulated robot obeys at once, and
    shows the policy states of the policy's latency. A board sends what its own controller sees, and
    gets the command a little later.

    Args:
        commands: What was sent.
        at_once: Whether there is no board: see above.
    """

    def __init__(self, commands: MotorCommands, *, at_once: bool = False) -> None:
        self._commands, self._at_once = commands, at_once

    def age_s(self, params: PlantParams) -> float:
        """Return the age of the states, and what commands take to the board."""
        return params.policy_latency_s if self._at_once else params.pd_latency_s + BOARD_LINE_S

    def run(self, plant: Plant, start_s: float, ticks: int) -> None:
        """Command the motors, each command until the next.

        A tick in which a command comes has the mean over its time of both: the motion then depends
        smoothly on when the command came.
        """
        edges_s = _times(start_s, ticks + 1)
        rows = np.maximum(held_rows(self._commands.t_s, edges_s), 0)
        done = 0
        for tick in (*np.flatnonzero(np.diff(rows)), ticks):
            if tick > done:
                plant.command(*self._values(rows[done]))
                plant.advance(int(tick - done))
            if tick < ticks:
                plant.command(*self._mean(rows[tick], rows[tick + 1], edges_s[tick]))
                plant.advance(1)
            done = tick + 1

    def _values(self, row: int) -> tuple[Array, float, float]:
        """Return target and gains of a command."""
        commands = self._commands
        return commands.target_rad[row], float(commands.kp[row]), float(commands.kd[row])

    def _mean(self, first: int, last: int, start_s: float) -> tuple[Array, float, float]:
        """Return the means of target and gains over a tick in which some commands come."""
        came_s = np.clip(self._commands.t_s[first + 1 : last + 1], start_s, start_s + TICK_S)
        shares = np.diff(came_s, prepend=start_s, append=start_s + TICK_S) / TICK_S
        commands, of = self._commands, slice(first, last + 1)
        target: Array = shares @ commands.target_rad[of]
        return target, float(shares @ commands.kp[of]), float(shares @ commands.kd[of])


class FootTargets:
    """Commanded feet through the leg-space PD of the board, the length of a leg in metres."""

    def __init__(self, commands: FootCommands) -> None:
        self._commands = commands
        self._swing, self._length = commands.leg_targets()

    def age_s(self, params: PlantParams) -> float:
        """Return the age of what the motor controller sees."""
        return params.pd_latency_s

    def run(self, plant: Plant, start_s: float, ticks: int) -> None:
        """Compute the duties of each millisecond from what the controller sees."""
        rows = held_rows(self._commands.t_s, _times(start_s, ticks))
        for row in np.maximum(rows, 0):
            seen = plant.controller_view(held=False)
            position, velocity = seen.motor_position_rad, seen.motor_velocity_rad_s
            plant.drive(self.duty(self._swing[row], self._length[row], position, velocity))

    def duty(self, swing: Array, length: Array, position: Array, velocity: Array) -> Array:
        """Return the duties of the board's law, shape (8,); see ``record.FootGains``.

        Args:
            swing: Commanded swing, shape (4,), rad.
            length: Commanded length from hip to toe, shape (4,), m.
            position: Motor angles, shape (8,), rad.
            velocity: Motor speeds, shape (8,), rad/s.
        """
        gains = self._commands.gains
        leg, rate = MOTOR_TO_LEG @ position, MOTOR_TO_LEG @ velocity
        now_m, slope = leg_length_m(leg[NUM_LEGS:], gains)
        extend = slope * (
            gains.length_kp * (length - now_m) - gains.length_kd * slope * rate[NUM_LEGS:]
        )
        turn = gains.angle_kp * (swing - leg[:NUM_LEGS]) - gains.angle_kd * rate[:NUM_LEGS]
        duty: Array = LEG_TO_MOTOR @ np.concatenate((turn, extend))
        return np.clip(duty, -FOOT_BOARD_MAX_DUTY, FOOT_BOARD_MAX_DUTY)


def stimulus_of(record: Record) -> Stimulus:
    """Return what drove a robot, as directly as the record knows it.

    Raises:
        RecordError: Neither duties nor commands were recorded.
    """
    if record.motors is not None and record.motors.duty is not None:
        return Duties(record.motors)
    return commanded(record)


def commanded(record: Record) -> Stimulus:
    """Return the commands of a record through the control law of its board.

    Raises:
        RecordError: No commands were recorded.
    """
    if isinstance(record.commands, FootCommands):
        return FootTargets(record.commands)
    if isinstance(record.commands, MotorCommands):
        return MotorTargets(record.commands, at_once=record.source.robot == SIMULATED)
    raise RecordError(
        f"{record.source.name}: neither duties nor commands were recorded: nobody can say what "
        "drove the motors"
    )


def _times(start_s: float, ticks: int) -> Array:
    """Return the times at which some ticks begin, shape (ticks,)."""
    times: Array = start_s + TICK_S * np.arange(ticks, dtype=np.float64)
    return times
