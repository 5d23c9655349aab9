"""Logs that the stock mainboard writes to its memory card ("OpenLog").

Two lines of text, the names of the columns and a format of Python's ``struct`` module, then frames
at 100 Hz: AA BB and a packed record, little endian. Several runs may follow each other in one file.
Nothing protects a frame, and AA BB may occur in a record. So a frame counts if AA BB, or the end of
the file, is also where the next frame must begin; else the search goes on behind it.

Source of the format, and of units and signs: public repository robomechanics/Minitaur and the log
of a bounding robot in it. Checked in that log: a duty in motor space accelerates its motor (all
eight correlate by +0.4 to +0.7); where front legs are compressed the logged pitch is positive, and
feet that carry the robot move behind their hips at its speed when swings are taken as in
``geometry.py``.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np

from calibration.errors import RecordError
from calibration.readers.checks import (
    LARGEST_DUTY,
    attitude_in_range,
    clean_angles,
    clean_times,
    finite,
    flags_of,
    hide,
    in_range,
    require_motion,
)
from calibration.readers.files import read_bytes, refuse_large
from calibration.record import (
    Array,
    AttitudeSeries,
    BatterySeries,
    Board,
    Mask,
    MotorSeries,
    Reason,
    Record,
    Source,
    SpeedSeries,
)
from robot_firmware_bridge.robot import MINITAUR, NUM_MOTORS

_SYNC = b"\xaa\xbb"
# An hour of records.
LARGEST_LOG_BYTES = 2**25
_LONGEST_LINE = 1000
_LARGEST_RECORD = 1000
_NAMES = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(,[A-Za-z_][A-Za-z0-9_]*)+")
_NAMES_CUT_OFF = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(,[A-Za-z0-9_]*)+")
_FORMAT = re.compile(r"<?((\d{0,3}[bBhHiIlLqQfd])+)")
_ANGLES = tuple(f"q{motor}" for motor in range(NUM_MOTORS))
_DUTIES = tuple(f"u{motor}" for motor in range(NUM_MOTORS))
_ATTITUDE = ("r", "p", "y")
_RATES = ("rd", "pd", "yd")
_NEEDED = ("t", *_ATTITUDE, *_ANGLES, *_DUTIES)
# The board logs duties as the stall torques that they would give at the nominal voltage, in the
# direction of the drive; motor space turns the other way for the left legs.
_MOTOR = MINITAUR.motor
_LOGGED_PER_DUTY = (
    _MOTOR.torque_constant_nm_per_a * _MOTOR.nominal_voltage_v / _MOTOR.resistance_ohm
)
_DRIVE_TO_MOTOR_SPACE = -MINITAUR.directions
_LARGEST_RATE_RAD_S = 60.0
_LARGEST_SPEED_MPS = 10.0
_LARGEST_BATTERY_V = 30.0
_MODE_OFF = 0


def read_openlog(path: Path) -> Record:
    """Return what a log of the stock mainboard holds.

    Duties are those commanded. Motor speeds, torques and commands are not in such a log. Turn rates
    and the battery are in those of later firmware.

    Raises:
        RecordError: The file is no such log, or nothing in it can be used.
    """
    return openlog_of(path, read_bytes(path))


def openlog_of(path: Path, data: bytes) -> Record:
    """Return the record of a log that was read.

    Raises:
        RecordError: As for :func:`read_openlog`.
    """
    refuse_large(path, data, LARGEST_LOG_BYTES)
    columns, counts = _columns(path, data)
    times = clean_times(path, columns["t"] / 1e3)
    columns = {name: values[times.keep] for name, values in columns.items()}
    t_s = times.t_s

    position, duty, attitude = (
        _side_by_side(columns, each) for each in (_ANGLES, _DUTIES, _ATTITUDE)
    )
    duty = duty / _LOGGED_PER_DUTY * _DRIVE_TO_MOTOR_SPACE
    is_finite, is_duty, is_on = finite(position, duty), in_range(duty, LARGEST_DUTY), _on(columns)
    angles, ok, angle_counts = clean_angles(t_s, position, is_finite & is_duty & is_on)
    motors = MotorSeries(t_s, ok, angles, duty=hide(duty, ok))
    require_motion(path, motors)
    if not duty[ok].any():
        raise RecordError(f"{path}: all duties are 0, so nothing tells what drove the motors")

    rates = _side_by_side(columns, _RATES) if set(_RATES) <= columns.keys() else None
    is_attitude = attitude_in_range(attitude)
    if rates is not None:
        is_attitude &= in_range(rates, _LARGEST_RATE_RAD_S)
    upright = is_attitude & finite(attitude, rates)
    counts += [
        (Reason.NOT_FINITE, int((~(is_finite & finite(attitude, rates))).sum())),
        (Reason.DUTY_RANGE, int((~is_duty).sum())),
        (Reason.ATTITUDE_RANGE, int((~is_attitude).sum())),
        (Reason.MOTORS_OFF, int((~is_on).sum())),
    ]
    return Record(
        source=Source.of(path.name, data, Board.MAINBOARD),
        motors=motors,
        attitude=AttitudeSeries(
            t_s,
            upright,
            _without_wraps(attitude, upright),
            None if rates is None else hide(rates, upright),
        ),
        battery=_battery(t_s, columns),
        speed=_speed(t_s, columns),
        flags=flags_of(counts, times.counts, angle_counts),
    )


def looks_like_openlog(data: bytes) -> bool:
    """Return whether bytes begin with the names of columns, of which one is the time."""
    line = data[:_LONGEST_LINE].split(b"\n", 1)[0].decode("ascii", "replace").strip()
    return _NAMES_CUT_OFF.fullmatch(line) is not None and "t" in line.split(",")


def _columns(path: Path, data: bytes) -> tuple[dict[str, Array], list[tuple[Reason, int]]]:
    """Return the values of all whole records by column, each of shape (T,), and what was found."""
    names, record, begin = _header(path, data)
    at, damaged, cut_off = _frames(data, begin, len(_SYNC) + record.itemsize)
    if not at:
        raise RecordError(f"{path}: there is not one whole record behind its two header lines")
    packed = b"".join(data[i + len(_SYNC) : i + len(_SYNC) + record.itemsize] for i in at)
    rows = np.frombuffer(packed, record)
    with np.errstate(invalid="ignore"):  # a signalling NaN
        columns = {name: rows[name].astype(np.float64) for name in names}
    is_timed = np.isfinite(columns["t"])
    columns = {name: values[is_timed] for name, values in columns.items()}
    if not len(columns["t"]):
        raise RecordError(f"{path}: no record has a time")
    damaged += int((~is_timed).sum())
    return columns, [(Reason.DAMAGED, damaged), (Reason.CUT_OFF, cut_off)]


def _header(path: Path, data: bytes) -> tuple[tuple[str, ...], np.dtype[np.void], int]:
    """Return the names of the columns, the packed record, and where the frames begin."""
    lines = data[: 2 * _LONGEST_LINE].split(b"\n", 2)
    first = lines[0].decode("ascii", "replace").strip()
    whole = len(lines) == 3
    if (_NAMES if whole else _NAMES_CUT_OFF).fullmatch(first) is None:
        raise RecordError(
            f"{path} is no log of the stock mainboard: its first line must name the columns, as in "
            "t,r,p,y,q0,..."
        )
    if not whole:
        raise RecordError(f"{path}: it ends within its two header lines, so nothing was logged")
    second = lines[1].decode("ascii", "replace").strip()
    matched = _FORMAT.fullmatch(second)
    codes = re.findall(r"(\d*)([a-zA-Z])", matched[1]) if matched else []
    fields = [code for count, code in codes for _ in range(int(count or 1))]
    names = tuple(first.split(","))
    if matched is None or len(set(names)) != len(names) or len(fields) != len(names):
        raise RecordError(
            f"{path}: its second line must be a struct format of one number for each of the "
            f"{len(names)} columns, not {second[:60]!r}"
        )
    if missing := [name for name in _NEEDED if name not in names]:
        raise RecordError(f"{path}: its log lacks the columns {', '.join(missing)}")
    if struct.calcsize("<" + "".join(fields)) > _LARGEST_RECORD:
        raise RecordError(f"{path}: a record has more than {_LARGEST_RECORD} bytes")
    # NumPy's codes for l and L are those of the machine, not the 4 bytes of struct.
    types = ["<" + {"l": "i", "L": "I"}.get(code, code) for code in fields]
    record = np.dtype(list(zip(names, types, strict=True)))
    return names, record, len(lines[0]) + len(lines[1]) + 2


def _frames(data: bytes, begin: int, size: int) -> tuple[list[int], int, int]:
    """Return where whole frames begin, how many were damaged, and whether the last is cut off."""
    at: list[int] = []
    damaged = 0
    is_lost = False
    i, end = begin, len(data)
    while i + size <= end:
        following = i + size
        if data.startswith(_SYNC, i) and (
            # The last frame may be followed by the beginning of one that was cut off.
            data.startswith(_SYNC, following) or _SYNC.startswith(data[following : following + 2])
        ):
            at.append(i)
            i, is_lost = following, False
            continue
        damaged += not is_lost  # once for each place, however long
        is_lost = True
        i = data.find(_SYNC, i + 1)
        if i < 0:
            return at, damaged, 0
    return at, damaged, int(i < end and not is_lost)


def _side_by_side(columns: dict[str, Array], names: tuple[str, ...]) -> Array:
    return np.stack([columns[name] for name in names], axis=1)


def _on(columns: dict[str, Array]) -> Mask:
    """Return where the motors were on. A log that knows one mode only does not tell."""
    mode = columns.get("mo")
    if mode is None or (mode == _MODE_OFF).all():
        return np.ones(len(columns["t"]), bool)
    is_on: Mask = mode != _MODE_OFF
    return is_on


def _without_wraps(rpy_rad: Array, ok: Mask) -> Array:
    """Return attitudes whose yaw goes on where it would wrap; NaN where they are not good."""
    whole = hide(rpy_rad, ok)
    if ok.any():
        whole[ok, 2] = np.unwrap(rpy_rad[ok, 2])
    return whole


def _battery(t_s: Array, columns: dict[str, Array]) -> BatterySeries | None:
    if (voltage := columns.get("Vb")) is None:
        return None
    ok = np.isfinite(voltage) & (voltage > 0.0) & (voltage < _LARGEST_BATTERY_V)
    return BatterySeries(t_s, ok, hide(voltage, ok)) if ok.any() else None


def _speed(t_s: Array, columns: dict[str, Array]) -> SpeedSeries | None:
    if (speed := columns.get("xd")) is None:
        return None
    ok = np.isfinite(speed) & (np.abs(speed) < _LARGEST_SPEED_MPS)
    return SpeedSeries(t_s, ok, hide(speed, ok)) if ok.any() else None
