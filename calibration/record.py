"""What a robot did, whatever board it had and whatever file the record came from.

A :class:`Record` is made of small series, each with times of its own: boards and cameras report at
different rates. A series that a file lacks is None. All vectors are in the stack's own motor space,
order and frames: see ``robot_firmware_bridge/robot.py`` and ``messages.py``. Times are seconds from
an origin that all series of a record share, and increase strictly.

A sample that cannot be true stays in its series, so that times are not lost: its ``ok`` is False
and its values are NaN. Nobody can use it by mistake. :attr:`Record.flags` counts such samples, and
the records that had to be left out, by their reason.

Imports numpy and the bridge only. ``calibration/readers`` makes records of files.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from calibration.errors import RecordError
from robot_firmware_bridge.geometry import MOTOR_TO_LEG
from robot_firmware_bridge.robot import MINITAUR, NUM_LEGS, NUM_MOTORS, RobotDescription

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Two samples belong together if they are no farther apart than this many usual periods: one
# sample that is missing already breaks a stretch, and the jitter of an arrival does not.
LONGEST_GAP_PERIODS = 1.75


class Board(enum.StrEnum):
    """Which control law ran below the record."""

    MAINBOARD = "stock mainboard"
    FOOT_COMMANDS = "SDK board with foot commands"
    OWN = "board or simulator of this stack"


class Reason(enum.StrEnum):
    """Why a sample was flagged or left out."""

    DAMAGED = "damaged record, left out"
    CUT_OFF = "record cut off by the end of the file, left out"
    REPEATED_TIME = "time or state that came twice, left out"
    WRONG_TIME = "time that does not fit its neighbours, left out"
    CLOCK_RESET = "clock that began anew"
    OTHER_CLOCK = "state whose time does not fit the clock of the commands"
    GAP = "gap in which samples are missing"
    PAUSE = "pause of more than a second"
    NOT_FINITE = "value that is no finite number"
    ANGLE_RANGE = "motor angle that cannot be"
    DUTY_RANGE = "duty above 1.05"
    ATTITUDE_RANGE = "attitude that cannot be"
    ENCODER_JUMP = "encoder that jumped faster than a motor can turn"
    MOTORS_OFF = "motors off"


@dataclass(frozen=True, slots=True)
class Flag:
    """How often something was found.

    Attributes:
        reason: What it was.
        samples: Samples, or events, of that kind.
    """

    reason: Reason
    samples: int


@dataclass(frozen=True, slots=True)
class Source:
    """Where a record came from.

    Attributes:
        name: Name of the file, without its folder.
        sha256: Digest of the file, 64 hex digits.
        board: Board, and so the control law.
        robot: Kind of robot where the file says so: "sim", "emulator" or "serial"; "" otherwise.
    """

    name: str
    sha256: str
    board: Board
    robot: str = ""

    @staticmethod
    def of(name: str, data: bytes, board: Board, robot: str = "") -> Source:
        """Return the source for the bytes of a file."""
        return Source(name, hashlib.sha256(data).hexdigest(), board, robot)


def _check(
    series: object, t_s: Array, ok: Mask | None, **columns: tuple[Array | None, int]
) -> None:
    """Refuse times that do not increase, shapes that do not fit and good samples that are NaN.

    Args:
        series: Whose columns they are, for the message.
        t_s: Times, shape (T,).
        ok: Which samples are good, shape (T,); None if all are.
        columns: Values and their width by name; a width of 0 means shape (T,).

    Raises:
        RecordError: Names the column.
    """
    name = type(series).__name__
    if t_s.ndim != 1 or not np.isfinite(t_s).all() or (np.diff(t_s) <= 0.0).any():
        raise RecordError(f"{name}: times must be finite and increase strictly")
    if ok is not None and ok.shape != t_s.shape:
        raise RecordError(f"{name}: ok has shape {ok.shape}, its times {t_s.shape}")
    for column, (values, width) in columns.items():
        if values is None:
            continue
        shape = (len(t_s), width) if width else (len(t_s),)
        if values.shape != shape:
            raise RecordError(f"{name}: {column} has shape {values.shape}, not {shape}")
        good = values if ok is None else values[ok]
        if not np.isfinite(good).all():
            raise RecordError(f"{name}: {column} of a good sample is not finite")
    for each in fields(series):  # type: ignore[arg-type]
        value = getattr(series, each.name)
        if isinstance(value, np.ndarray):
            value.setflags(write=False)


@dataclass(frozen=True, slots=True)
class MotorSeries:
    """What the motors did, in motor space.

    Attributes:
        t_s: When it was true, shape (T,).
        ok: Samples that can be used, shape (T,); the others are NaN.
        position_rad: Angles without wraps, shape (T, 8).
        velocity_rad_s: Speeds as the board reports them, shape (T, 8), or None.
        duty: Duty commanded to the drives, shape (T, 8), or None.
        torque_nm: Torques as the board estimates them, shape (T, 8), or None.
        current_a: Measured currents, positive with positive torque, shape (T, 8), or None. NaN
            where the board reported none.
    """

    t_s: Array
    ok: Mask
    position_rad: Array
    velocity_rad_s: Array | None = None
    duty: Array | None = None
    torque_nm: Array | None = None
    current_a: Array | None = None

    def __post_init__(self) -> None:
        _check(
            self,
            self.t_s,
            self.ok,
            position_rad=(self.position_rad, NUM_MOTORS),
            velocity_rad_s=(self.velocity_rad_s, NUM_MOTORS),
            duty=(self.duty, NUM_MOTORS),
            torque_nm=(self.torque_nm, NUM_MOTORS),
        )
        if self.current_a is not None and self.current_a.shape != self.position_rad.shape:
            raise RecordError(f"MotorSeries: current_a has shape {self.current_a.shape}")

    def __len__(self) -> int:
        return len(self.t_s)

    @property
    def rate_hz(self) -> float:
        """Usual number of samples in a second."""
        return rate_hz(self.t_s)

    def stretches(self, min_s: float = 0.0) -> list[slice]:
        """Return the continuous stretches of good samples; see :func:`stretches`."""
        return stretches(self.t_s, self.ok, min_s)

    def speeds_rad_s(self) -> Array:
        """Return motor speeds, shape (T, 8): as reported, or finite differences of the angles.

        NaN where a sample is not good, and for a good sample that stands alone.
        """
        if self.velocity_rad_s is not None:
            return self.velocity_rad_s
        return finite_differences(self.t_s, self.position_rad, self.ok)

    def leg_space(self) -> tuple[Array, Array]:
        """Return swing and extension of the legs, each of shape (T, 4), rad."""
        leg = self.position_rad @ MOTOR_TO_LEG.T
        return leg[:, :NUM_LEGS], leg[:, NUM_LEGS:]


@dataclass(frozen=True, slots=True)
class AttitudeSeries:
    """Attitude of the body.

    Attributes:
        t_s: When it was true, shape (T,).
        ok: Samples that can be used, shape (T,); the others are NaN.
        rpy_rad: Roll (right side down is positive), pitch (nose down is positive), yaw without
            wraps, from any heading; shape (T, 3).
        rate_rad_s: Turn rates as the board reports them, shape (T, 3), or None.
    """

    t_s: Array
    ok: Mask
    rpy_rad: Array
    rate_rad_s: Array | None = None

    def __post_init__(self) -> None:
        _check(self, self.t_s, self.ok, rpy_rad=(self.rpy_rad, 3), rate_rad_s=(self.rate_rad_s, 3))

    def __len__(self) -> int:
        return len(self.t_s)

    @property
    def rate_hz(self) -> float:
        """Usual number of samples in a second."""
        return rate_hz(self.t_s)

    def stretches(self, min_s: float = 0.0) -> list[slice]:
        """Return the continuous stretches of good samples; see :func:`stretches`."""
        return stretches(self.t_s, self.ok, min_s)

    def rates_rad_s(self) -> Array:
        """Return the turn rates, shape (T, 3): as reported, or how fast roll, pitch and yaw change.

        The two are the same to first order in roll and pitch. NaN as in
        :meth:`MotorSeries.speeds_rad_s`.
        """
        if self.rate_rad_s is not None:
            return self.rate_rad_s
        return finite_differences(self.t_s, self.rpy_rad, self.ok)


@dataclass(frozen=True, slots=True)
class BatterySeries:
    """Battery voltage.

    Attributes:
        t_s: Shape (T,).
        ok: Samples that can be used, shape (T,).
        voltage_v: Shape (T,).
    """

    t_s: Array
    ok: Mask
    voltage_v: Array

    def __post_init__(self) -> None:
        _check(self, self.t_s, self.ok, voltage_v=(self.voltage_v, 0))

    def __len__(self) -> int:
        return len(self.t_s)


@dataclass(frozen=True, slots=True)
class SpeedSeries:
    """Forward speed as the board estimates it from its own legs: no measurement.

    Attributes:
        t_s: Shape (T,).
        ok: Samples that can be used, shape (T,).
        speed_mps: Shape (T,). The stock mainboard changes it once a stride.
    """

    t_s: Array
    ok: Mask
    speed_mps: Array

    def __post_init__(self) -> None:
        _check(self, self.t_s, self.ok, speed_mps=(self.speed_mps, 0))

    def __len__(self) -> int:
        return len(self.t_s)


@dataclass(frozen=True, slots=True)
class MotionCapture:
    """Where the body was, measured from outside, in a world whose z points up.

    Attributes:
        t_s: When it was true, up to a constant delay of the cameras; shape (T,).
        position_m: Shape (T, 3), of a point that is fixed to the body: that of the markers for
            cameras, the link origin for a simulator. Any origin and heading.
        quaternion: Orientation (x, y, z, w) of the marker frame, shape (T, 4), or None.
        mount_yaw_rad: Direction of the robot's x axis in the marker frame, by the right hand about
            z; None where nobody knows it.
    """

    t_s: Array
    position_m: Array
    quaternion: Array | None = None
    mount_yaw_rad: float | None = None

    def __post_init__(self) -> None:
        _check(
            self,
            self.t_s,
            None,
            position_m=(self.position_m, 3),
            quaternion=(self.quaternion, 4),
        )

    def __len__(self) -> int:
        return len(self.t_s)

    @property
    def rate_hz(self) -> float:
        """Usual number of samples in a second."""
        return rate_hz(self.t_s)

    @property
    def distance_m(self) -> float:
        """Net horizontal distance from the first to the last sample."""
        return float(np.hypot(*(self.position_m[-1] - self.position_m[0])[:2]))


@dataclass(frozen=True, slots=True)
class FootGains:
    """Gains of the board with foot commands, and the leg that it computes with.

    Duty of a motor is ``J (length_kp (R - r) - length_kd rdot)``, minus or plus
    ``angle_kp (theta - s) - angle_kd sdot`` as the swing enters that motor, where
    ``r = sqrt(lower^2 - (upper sin e)^2) - upper cos e`` and ``J = dr/de``. Source of the law and
    of its numbers: public repository resibots/minitaur_sdk, examples/CommandRobotRosXY.

    Attributes:
        angle_kp: Duty per rad.
        angle_kd: Duty per rad/s.
        length_kp: Duty per m, before J.
        length_kd: Duty per m/s, before J.
        upper_link_m: Driven link of the leg.
        lower_link_m: Link from the knee to the toe.
    """

    angle_kp: float = 0.9
    angle_kd: float = 0.03
    length_kp: float = 120.0
    length_kd: float = 3.0
    upper_link_m: float = MINITAUR.upper_link_m
    lower_link_m: float = MINITAUR.lower_link_m


@dataclass(frozen=True, slots=True)
class FootCommands:
    """Feet that were commanded, each until the next; law: PD in leg space, the length in metres.

    Attributes:
        t_s: When the command was given, shape (C,).
        x_m: Toe below the hip, shape (C, 4), legs in the stack's order.
        y_m: Toe ahead of the hip, along the robot's x axis, shape (C, 4).
        gains: Gains of the law.
    """

    t_s: Array
    x_m: Array
    y_m: Array
    gains: FootGains = field(default_factory=FootGains)

    def __post_init__(self) -> None:
        _check(self, self.t_s, None, x_m=(self.x_m, NUM_LEGS), y_m=(self.y_m, NUM_LEGS))

    def __len__(self) -> int:
        return len(self.t_s)

    def leg_targets(self) -> tuple[Array, Array]:
        """Return swing, rad, and length of the legs, m, each of shape (C, 4).

        A positive swing brings the toe behind the hip, as everywhere in this stack.
        """
        return np.arctan2(-self.y_m, self.x_m), np.hypot(self.x_m, self.y_m)


@dataclass(frozen=True, slots=True)
class MotorCommands:
    """Motor angles that were commanded, each until the next.

    Law: ``duty = clip(kp (target - position) - kd velocity, +-max_duty)``.

    Attributes:
        t_s: When the command was given, shape (C,).
        target_rad: Shape (C, 8).
        kp: Gain of each command, duty per rad, shape (C,).
        kd: Gain of each command, duty per rad/s, shape (C,).
        max_duty: Bound on the duty.
    """

    t_s: Array
    target_rad: Array
    kp: Array
    kd: Array
    max_duty: float = MINITAUR.max_duty

    def __post_init__(self) -> None:
        _check(
            self,
            self.t_s,
            None,
            target_rad=(self.target_rad, NUM_MOTORS),
            kp=(self.kp, 0),
            kd=(self.kd, 0),
        )

    def __len__(self) -> int:
        return len(self.t_s)


Commands = FootCommands | MotorCommands


@dataclass(frozen=True, slots=True)
class Record:
    """What a robot did.

    Motors and attitude have the same times where the board reports both at once: in logs of the
    stock mainboard and of this stack.

    Attributes:
        source: Where the record came from.
        motors: Angles and what goes with them.
        attitude: Attitude of the body.
        battery: Battery voltage.
        speed: Forward speed by the board's own estimate.
        mocap: True position of the body.
        commands: What was commanded, and by which law.
        flags: What was found wrong, by reason; a reason that does not occur is left out.
        robot: Description of the robot; that of the stack where the file has none.
    """

    source: Source
    motors: MotorSeries | None = None
    attitude: AttitudeSeries | None = None
    battery: BatterySeries | None = None
    speed: SpeedSeries | None = None
    mocap: MotionCapture | None = None
    commands: Commands | None = None
    flags: tuple[Flag, ...] = ()
    robot: RobotDescription = MINITAUR

    @property
    def span_s(self) -> tuple[float, float]:
        """First and last time of any series; (0, 0) without one."""
        every = [each.t_s for each in self._series() if len(each.t_s)]
        if not every:
            return 0.0, 0.0
        return float(min(t[0] for t in every)), float(max(t[-1] for t in every))

    @property
    def seconds(self) -> float:
        """Time from the first to the last sample of any series, pauses included."""
        first, last = self.span_s
        return last - first

    def stretches(self, min_s: float = 0.0) -> list[slice]:
        """Return the continuous stretches in which the motors are good; see :func:`stretches`.

        Where the attitude has the same times, it is good in them, too. Empty without motors.
        """
        if self.motors is None:
            return []
        ok = self.motors.ok
        if self.attitude is not None and np.array_equal(self.attitude.t_s, self.motors.t_s):
            ok = ok & self.attitude.ok
        return stretches(self.motors.t_s, ok, min_s)

    def flagged(self, reason: Reason) -> int:
        """Return how often something was found; 0 if never."""
        return sum(flag.samples for flag in self.flags if flag.reason is reason)

    def _series(
        self,
    ) -> list[
        MotorSeries | AttitudeSeries | BatterySeries | SpeedSeries | MotionCapture | Commands
    ]:
        every = (
            self.motors,
            self.attitude,
            self.battery,
            self.speed,
            self.mocap,
            self.commands,
        )
        return [each for each in every if each is not None]


def count_flags(counts: Iterable[tuple[Reason, int]]) -> tuple[Flag, ...]:
    """Return flags in the order of :class:`Reason`, one per reason that occurs."""
    totals = dict.fromkeys(Reason, 0)
    for reason, samples in counts:
        totals[reason] += int(samples)
    return tuple(Flag(reason, samples) for reason, samples in totals.items() if samples)


def rate_hz(t_s: Array) -> float:
    """Return the usual number of samples in a second: one over the median gap; 0 for under two."""
    return 1.0 / float(np.median(np.diff(t_s))) if len(t_s) > 1 else 0.0


def stretches(t_s: Array, ok: Mask, min_s: float = 0.0) -> list[slice]:
    """Return the continuous stretches of good samples.

    Args:
        t_s: Times that increase strictly, shape (T,).
        ok: Good samples, shape (T,).
        min_s: Least time from the first to the last sample of a stretch.

    Returns:
        Slices of the series, in order, none empty. Within one, every sample is good and no gap is
        longer than :data:`LONGEST_GAP_PERIODS` times the median gap of the series.
    """
    if not len(t_s):
        return []
    gaps = np.diff(t_s)
    longest = LONGEST_GAP_PERIODS * float(np.median(gaps)) if len(gaps) else 0.0
    joined = (gaps <= longest) & ok[1:] & ok[:-1]
    # A stretch begins at a good sample that is not joined to the one before it.
    begin = np.flatnonzero(ok & ~np.concatenate(([False], joined)))
    end = np.flatnonzero(ok & ~np.concatenate((joined, [False])))
    return [
        slice(int(first), int(last) + 1)
        for first, last in zip(begin, end, strict=True)
        if t_s[last] - t_s[first] >= min_s
    ]


def finite_differences(t_s: Array, values: Array, ok: Mask) -> Array:
    """Return the time derivative of values, of their shape.

    Central differences within each stretch of :func:`stretches`, one-sided at its two ends. NaN
    for samples that are not good, and for stretches of one sample.

    Args:
        t_s: Times that increase strictly, shape (T,).
        values: Shape (T,) or (T, N).
        ok: Good samples, shape (T,).
    """
    speeds: Array = np.full(values.shape, np.nan)
    for stretch in stretches(t_s, ok):
        if stretch.stop - stretch.start > 1:
            speeds[stretch] = np.gradient(values[stretch], t_s[stretch], axis=0)
    return speeds


def held_rows(t_s: Array, at_s: Array) -> NDArray[np.intp]:
    """Return which command holds at each time: the last one given by then; -1 before the first.

    Args:
        t_s: Times of the commands, increasing, shape (C,).
        at_s: Times asked for, shape (N,).
    """
    return np.searchsorted(t_s, at_s, side="right") - 1
