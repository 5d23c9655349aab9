"""What every reader checks in the same way: times, ranges, encoders that jump, wrapped angles."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calibration.errors import RecordError
from calibration.record import (
    LONGEST_GAP_PERIODS,
    Array,
    Flag,
    Mask,
    MotorSeries,
    Reason,
    count_flags,
)
from robot_firmware_bridge.robot import MINITAUR

# A pause of this length separates two runs of one file.
PAUSE_S = 1.0
# A run after a reset of the clock is put this long after the run before it.
RESET_GAP_S = 10.0
# More of the samples than this with wrong times, and the clock itself is broken.
_MOST_WRONG_TIMES = 0.1
# A motor without load turns at battery voltage over torque constant: 16.8 V of a full battery.
_FASTEST_RAD_S = 16.8 / MINITAUR.motor.torque_constant_nm_per_a
# An encoder that is off by pi must be seen even in samples so far apart that a motor can turn that
# far; past this time nothing can be said.
_LARGEST_STEP_RAD = math.pi / 2
_LONGEST_STEP_S = 0.025
# Angles that a board reports are in one turn about zero, give or take its zero offset.
_LARGEST_ANGLE_RAD = 3.0 * math.pi
# Unwrapped angles are brought as close as whole turns allow to a stance of all boards.
_USUAL_ANGLE_RAD = 1.5
LARGEST_DUTY = 1.05
_LARGEST_ROLL_RAD = math.pi + 0.1
_LARGEST_PITCH_RAD = math.pi / 2 + 0.1
_LEAST_S = 0.5
_LEAST_MOTION_RAD = 0.05


@dataclass(frozen=True, slots=True)
class CleanTimes:
    """Times that increase strictly.

    Attributes:
        t_s: Times of the rows kept, shape (K,), from 0.
        keep: Rows kept, shape (T,).
        counts: What was found, by reason.
    """

    t_s: Array
    keep: Mask
    counts: list[tuple[Reason, int]]


def clean_times(path: Path, t_s: Array) -> CleanTimes:
    """Make times increase: leave repeats and outliers out, move what follows a reset of the clock.

    Args:
        path: The file, for messages.
        t_s: Finite times in the order of the file, shape (T,), T > 0.

    Raises:
        RecordError: Too many times are wrong.
    """
    keep = np.ones(len(t_s), bool)
    keep[1:] = np.diff(t_s) != 0.0
    rows = np.flatnonzero(keep)
    repeated = len(t_s) - len(rows)
    t = t_s[rows]
    wrong = np.zeros(len(t), bool)
    if len(t) > 2:
        before, here, after = t[:-2], t[1:-1], t[2:]
        together = (after > before) & (after - before <= PAUSE_S)
        wrong[1:-1] = together & ~((before < here) & (here < after))
    keep[rows[wrong]] = False
    t = t_s[keep]
    gaps = np.diff(t)
    is_reset = gaps <= 0.0
    resets = int(is_reset.sum())
    if wrong.sum() + resets > max(3.0, _MOST_WRONG_TIMES * len(t_s)):
        raise RecordError(
            f"{path}: the clock jumps in {wrong.sum() + resets} of {len(t_s)} records, so "
            "nothing tells when they were true"
        )
    late_s = np.cumsum(np.where(is_reset, RESET_GAP_S - gaps, 0.0))
    t = t - t[0] + np.concatenate(([0.0], late_s))
    gaps = np.diff(t)
    pauses = int((gaps > PAUSE_S).sum()) - resets
    longest = LONGEST_GAP_PERIODS * float(np.median(gaps)) if len(gaps) else 0.0
    counts = [
        (Reason.REPEATED_TIME, repeated),
        (Reason.WRONG_TIME, int(wrong.sum())),
        (Reason.CLOCK_RESET, resets),
        (Reason.GAP, int(((gaps > longest) & (gaps <= PAUSE_S)).sum())),
        (Reason.PAUSE, pauses),
    ]
    return CleanTimes(t, keep, counts)


def in_range(values: Array, largest: float) -> Mask:
    """Return the rows of (T, N) without a value beyond a bound; NaN is not judged."""
    with np.errstate(invalid="ignore"):
        beyond = np.abs(values) > largest
    within: Mask = np.logical_not(beyond.any(axis=1))
    return within


def finite(*columns: Array | None) -> Mask:
    """Return the rows in which every value of every column, (T,) or (T, N), is finite."""
    masks = [
        np.isfinite(each.reshape(len(each), -1)).all(axis=1) for each in columns if each is not None
    ]
    good: Mask = np.logical_and.reduce(masks)
    return good


def attitude_in_range(rpy_rad: Array) -> Mask:
    """Return the rows of roll, pitch and yaw, (T, 3), that an attitude can have."""
    roll_and_yaw = in_range(rpy_rad[:, ::2], _LARGEST_ROLL_RAD)
    good: Mask = roll_and_yaw & in_range(rpy_rad[:, 1:2], _LARGEST_PITCH_RAD)
    return good


def hide(values: Array, ok: Mask) -> Array:
    """Return a copy of (T,) or (T, N) with NaN in the rows that are not good."""
    hidden = np.array(values, np.float64)
    hidden[~ok] = np.nan
    return hidden


def clean_angles(
    t_s: Array, position_rad: Array, ok: Mask
) -> tuple[Array, Mask, list[tuple[Reason, int]]]:
    """Flag impossible motor angles and encoder jumps, and take the wraps out of the rest.

    Args:
        t_s: Times that increase strictly, shape (T,).
        position_rad: Motor angles in motor space, wrapped or not, shape (T, 8).
        ok: Rows that are good so far, shape (T,).

    Returns:
        Angles with NaN in the bad rows, good rows, and what was found.
    """
    possible = in_range(position_rad, _LARGEST_ANGLE_RAD)
    counts = [(Reason.ANGLE_RANGE, int((ok & ~possible).sum()))]
    ok = ok & possible
    angles: Array = np.full(position_rad.shape, np.nan)
    jumped = np.zeros(len(t_s), bool)
    borders = np.flatnonzero(np.diff(t_s) > PAUSE_S) + 1
    for run in np.split(np.arange(len(t_s)), borders):
        rows = run[ok[run]]
        for motor in range(position_rad.shape[1]):
            jumped[rows[_jumps(t_s[rows], position_rad[rows, motor])]] = True
        rows = rows[~jumped[rows]]
        if len(rows):
            whole = np.unwrap(position_rad[rows], axis=0)
            turns = np.round((np.median(whole, axis=0) - _USUAL_ANGLE_RAD) / math.tau)
            angles[rows] = whole - math.tau * turns
    counts.append((Reason.ENCODER_JUMP, int(jumped.sum())))
    return angles, ok & ~jumped, counts


def _jumps(t_s: Array, angle_rad: Array) -> Mask:
    """Return which samples of one encoder cannot be, shape (T,).

    The samples are cut where the angle steps faster than a motor can turn. The longest piece is
    believed, and so is each other piece that goes on where the believed ones end.
    """
    jumped = np.zeros(len(angle_rad), bool)
    if len(angle_rad) < 3:
        return jumped
    step, gap = np.abs(_wrap(np.diff(angle_rad))), np.diff(t_s)
    limit = np.minimum(_FASTEST_RAD_S * gap, _LARGEST_STEP_RAD)
    cuts = np.flatnonzero((step > limit) & (gap <= _LONGEST_STEP_S)) + 1
    if not len(cuts):
        return jumped
    pieces = np.split(np.arange(len(angle_rad)), cuts)
    longest = max(range(len(pieces)), key=lambda i: len(pieces[i]))
    for others, last, near, far in (
        (pieces[longest + 1 :], pieces[longest][-1], 0, -1),
        (pieces[:longest][::-1], pieces[longest][0], -1, 0),
    ):
        for piece in others:
            is_beyond_cut = abs(piece[near] - last) == 1
            step = abs(_wrap(angle_rad[piece[near]] - angle_rad[last]))
            if is_beyond_cut or step > _LARGEST_STEP_RAD:
                jumped[piece] = True
            else:
                last = piece[far]
    return jumped


def _wrap(angle_rad: Array) -> Array:
    """Return angles brought to [-pi, pi)."""
    wrapped: Array = (angle_rad + math.pi) % math.tau - math.pi
    return wrapped


def require_motion(path: Path, motors: MotorSeries) -> None:
    """Refuse a record from which nothing can be learned.

    Raises:
        RecordError: No sample is good, the good ones are too few, or no motor moves.
    """
    spans = motors.stretches()
    if not spans:
        raise RecordError(
            f"{path}: not one of its {len(motors)} samples can be used: angles in rad and duties "
            "that are finite and possible are needed, with the motors on"
        )
    seconds = sum(float(motors.t_s[each.stop - 1] - motors.t_s[each.start]) for each in spans)
    if seconds < _LEAST_S:
        raise RecordError(
            f"{path}: too short: its good samples cover {seconds:.2f} s, and {_LEAST_S} s are "
            "needed; record longer"
        )
    moved = max(float(np.ptp(motors.position_rad[each], axis=0).max()) for each in spans)
    if moved < _LEAST_MOTION_RAD:
        raise RecordError(
            f"{path}: no motion, so nothing can be identified: no motor turns by more than "
            f"{moved:.3f} rad; record a robot that walks"
        )


def flags_of(*counts: list[tuple[Reason, int]]) -> tuple[Flag, ...]:
    """Return the flags of several checks."""
    return count_flags([pair for each in counts for pair in each])
