"""How well a plant predicts the next 100 ms of a record, beside two guesses that need no plant.

The guesses are that nothing moves, and that all speeds stay. Where the simulator does not clearly
beat them, it does not know the robot, or the record is wrong: then it is tried whether two channels
are exchanged, or one has the wrong sign.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calibration.errors import RecordError
from calibration.predict import Predictions, errors_of, predict
from calibration.record import MotorCommands, MotorSeries, Record
from calibration.stimulus import Stimulus, stimulus_of
from calibration.windows import HORIZONS_MS, Windows, cut, spread
from robot_firmware_bridge.robot import MINITAUR, NUM_LEGS, NUM_MOTORS
from sim.plant.plant import Plant

Array = NDArray[np.float64]

# At this horizon the figures of single motors and all verdicts are taken.
VERDICT_MS = 50
_VERDICT = HORIZONS_MS.index(VERDICT_MS)
# A pause of this length separates two runs of one record.
_PAUSE_S = 1.0
# Offsets in time that are tried, and windows for each.
OLDER_MS = (-10, -5, -2, 0, 2, 5, 10, 15)
OFFSET_WINDOWS = 60
# All channels are suspected if the simulator's error is more than this share of that of holding
# still; the two motors of a leg always are, since a leg that is mirrored moves much as it should.
_POOR = 0.5
# What is wrong with some is believed if it leaves less than these shares of the error: of the
# motors in question, and of all.
_BELIEVED, _BELIEVED_OF_ALL = 0.75, 0.9
# Windows by which every suspicion is tried, then the best few of them, and then the best.
_TRIAL_WINDOWS, _FINAL_WINDOWS, _CHECK_WINDOWS = 7, 21, 50
_FINALISTS = 4
# Length of the example, and time between its predictions.
_EXAMPLE_S, _EXAMPLE_STEP_S = 2.0, 0.1


@dataclass(frozen=True, slots=True)
class Errors:
    """Root mean square errors of one way to predict, at each horizon.

    Attributes:
        angles_rad: Over all motors.
        pitch_rad: Of the pitch.
        roll_rad: Of the roll.
        motors_rad: Of each motor at 50 ms, shape (8,).
    """

    angles_rad: tuple[float, ...]
    pitch_rad: tuple[float, ...]
    roll_rad: tuple[float, ...]
    motors_rad: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class RunErrors:
    """One run of a record that holds several.

    Attributes:
        from_s: First window.
        to_s: Last window.
        windows: How many.
        angles_50ms_rad: Root mean square error of the simulator.
        pitch_100ms_rad: The same, of the pitch.
    """

    from_s: float
    to_s: float
    windows: int
    angles_50ms_rad: float
    pitch_100ms_rad: float


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """Predictions of a record's windows.

    Attributes:
        driven_by: What drove the plant, for people.
        horizons_ms: Times after the measured state.
        windows: Windows predicted.
        left_out: Windows that were left out since they begin in a fall.
        simulator: Errors of the plant.
        holding: Errors of the guess that nothing moves.
        constant_speed: Errors of the guess that all speeds stay.
        runs: Errors of each run, where the record has more than one.
        older_ms: Offsets in time that were tried: how much older the measured angles are taken to
            be, against what drives the motors, than by the parameters.
        older_angles_rad: Root mean square errors of the angles at 50 ms with each of them.
        findings: Channels that look exchanged or flipped; a sentence each.
    """

    driven_by: str
    horizons_ms: tuple[int, ...]
    windows: int
    left_out: int
    simulator: Errors
    holding: Errors
    constant_speed: Errors
    runs: tuple[RunErrors, ...]
    older_ms: tuple[int, ...]
    older_angles_rad: tuple[float, ...]
    findings: tuple[str, ...]

    @property
    def gain(self) -> float:
        """How many times smaller the angles' error at 50 ms is than that of the better guess."""
        guesses = self.holding.angles_rad[_VERDICT], self.constant_speed.angles_rad[_VERDICT]
        return min(guesses) / max(1e-9, self.simulator.angles_rad[_VERDICT])

    @property
    def best_older_ms(self) -> int:
        """The offset in time with the smallest error."""
        return self.older_ms[int(np.argmin(self.older_angles_rad))]


@dataclass(frozen=True, slots=True)
class Example:
    """Two seconds of a record with predictions, for a picture.

    Attributes:
        t_s: Times of the measurements, shape (T,).
        position_rad: Measured motor angles, shape (T, 8).
        pitch_rad: Measured, shape (T,).
        windows: Where the predictions start.
        predicted_rad: Motor angles at the horizons, shape (W, H, 8).
        predicted_pitch_rad: Shape (W, H).
    """

    t_s: Array
    position_rad: Array
    pitch_rad: Array
    windows: Windows
    predicted_rad: Array
    predicted_pitch_rad: Array


def predictable(record: Record) -> bool:
    """Return whether a record has what windows need; see ``calibration.windows.cut``."""
    motors, attitude = record.motors, record.attitude
    driven = record.commands is not None or (motors is not None and motors.duty is not None)
    return attitude is not None and motors is not None and driven


def window_count(windows: int) -> int:
    """Return about how many windows are simulated for a judgement by some."""
    return windows + len(OLDER_MS) * min(windows, OFFSET_WINDOWS)


def judge(
    record: Record, plant: Plant, windows: int, ticked: Callable[[], None] = lambda: None
) -> tuple[OpenLoop, Example]:
    """Predict windows of a record; return the judgement, and an example for a picture.

    Args:
        record: With motor angles at 50 Hz or more, attitude, and duties or commands.
        plant: Reset with the parameters that are judged.
        windows: How many at most, spread evenly over the record.
        ticked: Called after each window of ``window_count``.

    Raises:
        RecordError: The record cannot be predicted.
    """
    stimulus, every = stimulus_of(record), cut(record)
    used = _spread(every, windows)
    angles, attitude = predict(plant, stimulus, used, ticked=ticked)
    found = errors_of(used, angles, attitude)
    guesses = errors_of(used, *used.held()), errors_of(used, *used.at_constant_speed())

    few = _spread(used, OFFSET_WINDOWS)
    shifted = [
        errors_of(few, *predict(plant, stimulus, few, 1e-3 * older_ms, ticked))
        for older_ms in OLDER_MS
    ]
    simulator, holding, constant = (_errors(each) for each in (found, *guesses))
    judgement = OpenLoop(
        driven_by="recorded duties"
        if _has_duties(record)
        else "recorded commands and the board's law",
        horizons_ms=HORIZONS_MS,
        windows=len(used),
        left_out=every.left_out,
        simulator=simulator,
        holding=holding,
        constant_speed=constant,
        runs=_runs(used, found),
        older_ms=OLDER_MS,
        older_angles_rad=tuple(float(each.rms_position_rad[_VERDICT]) for each in shifted),
        findings=channel_findings(record, plant, legs_only=_is_good(simulator, holding)),
    )
    return judgement, _example(record, plant, stimulus, every)


def wrong_channels(record: Record, plant: Plant, windows: int) -> tuple[str, ...]:
    """Return the findings of :func:`judge` without the rest of it; same arguments and errors."""
    stimulus, used = stimulus_of(record), cut(record, windows)
    simulator = _errors(errors_of(used, *predict(plant, stimulus, used)))
    holding = _errors(errors_of(used, *used.held()))
    return channel_findings(record, plant, legs_only=_is_good(simulator, holding))


def _is_good(simulator: Errors, holding: Errors) -> bool:
    """Return whether a simulator predicts all motors too well for channels to be wrong."""
    ours, held = np.array(simulator.motors_rad), np.array(holding.motors_rad)
    is_poor = simulator.angles_rad[_VERDICT] > _POOR * holding.angles_rad[_VERDICT]
    return not is_poor and not bool((ours > held).any())


def _spread(windows: Windows, count: int) -> Windows:
    """Return some windows, spread evenly over all."""
    if len(windows) <= count:
        return windows
    return windows.chosen(spread(len(windows), count))


def _errors(found: Predictions) -> Errors:
    pitch, roll = found.rms_rp_rad[:, 1], found.rms_rp_rad[:, 0]
    motors = np.sqrt(np.mean(found.position_rad[:, _VERDICT] ** 2, axis=0))
    return Errors(
        *(tuple(map(float, each)) for each in (found.rms_position_rad, pitch, roll, motors))
    )


def _runs(windows: Windows, found: Predictions) -> tuple[RunErrors, ...]:
    """Return the errors of each run; none if there is one only."""
    borders = np.flatnonzero(np.diff(windows.t_s) > _PAUSE_S) + 1
    parts = np.split(np.arange(len(windows)), borders)
    if len(parts) == 1:
        return ()
    return tuple(
        RunErrors(
            from_s=float(windows.t_s[rows[0]]),
            to_s=float(windows.t_s[rows[-1]]),
            windows=len(rows),
            angles_50ms_rad=float(np.sqrt(np.mean(found.position_rad[rows, _VERDICT] ** 2))),
            pitch_100ms_rad=float(np.sqrt(np.mean(found.rp_rad[rows, -1, 1] ** 2))),
        )
        for rows in parts
    )


def _example(record: Record, plant: Plant, stimulus: Stimulus, every: Windows) -> Example:
    """Predict the two seconds of a record that have the most windows."""
    motors, imu = record.motors, record.attitude
    assert motors is not None
    assert imu is not None
    # Of equals, the one in the middle: at the ends, robots start and stop.
    held = np.searchsorted(every.t_s, every.t_s + _EXAMPLE_S) - np.arange(len(every))
    fullest = np.flatnonzero(held >= held.max() - 1)
    first_s = float(every.t_s[fullest[len(fullest) // 2]])
    wanted_s = np.arange(first_s, first_s + _EXAMPLE_S - 1e-9, _EXAMPLE_STEP_S)
    rows = np.minimum(np.searchsorted(every.t_s, wanted_s - 1e-9), len(every) - 1)
    # Where there is no window, there is no prediction.
    rows = np.unique(rows[np.abs(every.t_s[rows] - wanted_s) < 0.2 * _EXAMPLE_STEP_S])
    windows = every.chosen(rows)
    angles, attitude = predict(plant, stimulus, windows)
    shown = motors.ok & (motors.t_s >= first_s)
    shown &= motors.t_s <= first_s + _EXAMPLE_S + 1e-3 * HORIZONS_MS[-1]
    t_s = motors.t_s[shown]
    pitch = np.interp(t_s, imu.t_s[imu.ok], imu.rpy_rad[imu.ok, 1])
    return Example(t_s, motors.position_rad[shown], pitch, windows, angles, attitude[:, :, 1])


def channel_findings(record: Record, plant: Plant, *, legs_only: bool = False) -> tuple[str, ...]:
    """Return which channels look exchanged or turned round: at most one sentence.

    Every pair of motors, and of legs, is exchanged in the record, and the sign of every motor
    turned; what helps most is believed if it helps a lot in more windows, too.

    Args:
        record: What was recorded.
        plant: Reset with the parameters that are judged.
        legs_only: Only look whether the two motors of a leg are exchanged, which is quick.
    """
    suspicions = list(_mirrored_legs(record))
    rounds = [(_FINAL_WINDOWS, 1)]
    if not legs_only:
        suspicions += _mended(record)
        rounds.insert(0, (_TRIAL_WINDOWS, _FINALISTS))
    for count, keep in rounds:
        # By medians: one window of a fall or a slip outweighs the few others.
        suspicions.sort(
            key=lambda each: _rms(np.median(_squares_50ms(each.mended, plant, count), axis=0))
        )
        suspicions = suspicions[:keep]
    (suspicion,) = suspicions
    before, after = (
        _squares_50ms(each, plant, _CHECK_WINDOWS).mean(axis=0)
        for each in (record, suspicion.mended)
    )
    theirs = list(suspicion.motors)
    was, is_now = _rms(before[theirs]), _rms(after[theirs])
    if not is_now < _BELIEVED * was or not _rms(after) < _BELIEVED_OF_ALL * _rms(before):
        return ()
    return (
        f"{suspicion.text} Put right, the error of these motors at {VERDICT_MS} ms is "
        f"{is_now:.3f} instead of {was:.3f} rad.",
    )


@dataclass(frozen=True, slots=True)
class _Suspicion:
    """What may be wrong with the channels of a record.

    Attributes:
        text: A question to the user.
        motors: The motors in question.
        mended: The record put right.
    """

    text: str
    motors: tuple[int, ...]
    mended: Record


def _mirrored_legs(record: Record) -> Iterator[_Suspicion]:
    """Yield each leg with its two motors exchanged."""
    motors = MINITAUR.motor_names
    for i, leg in enumerate(MINITAUR.leg_names):
        pair = (2 * i, 2 * i + 1)
        yield _Suspicion(
            f"Motor {motors[pair[0]]} moves as {motors[pair[1]]} should: are the two motors of the "
            f"{leg} leg exchanged, with all that belongs to them?",
            pair,
            reordered(record, _exchanged(pair), "both"),
        )


def _mended(record: Record) -> Iterator[_Suspicion]:
    """Yield what else may be wrong with the channels of a record."""
    motors, legs = MINITAUR.motor_names, MINITAUR.leg_names
    what_drives = "duties" if _has_duties(record) else "commands"
    both = f"angles and {what_drives}"
    for i, j in itertools.combinations(range(NUM_MOTORS), 2):
        for what, name in (("angles", "angles"), ("duties", what_drives), ("both", both)):
            if what == "both" and i // 2 == j // 2:
                continue  # see _mirrored_legs
            yield _Suspicion(
                f"Motor {motors[i]} moves as {motors[j]} should: are the {name} of the two "
                "exchanged?",
                (i, j),
                reordered(record, _exchanged((i, j)), what),
            )
    for i, j in itertools.combinations(range(NUM_LEGS), 2):
        yield _Suspicion(
            f"The {legs[i]} leg moves as the {legs[j]} leg should: are the two exchanged, with all "
            "that belongs to them?",
            (2 * i, 2 * i + 1, 2 * j, 2 * j + 1),
            reordered(record, _exchanged((2 * i, 2 * j), (2 * i + 1, 2 * j + 1)), "both"),
        )
    if record.motors is None or record.motors.duty is None:
        return
    yield _Suspicion(
        "All motors move against what drives them: are the signs of the duties turned round?",
        tuple(range(NUM_MOTORS)),
        replace(record, motors=replace(record.motors, duty=-record.motors.duty)),
    )
    for i, motor in enumerate(motors):
        signs = np.where(np.arange(NUM_MOTORS) == i, -1.0, 1.0)
        turned = replace(record.motors, duty=record.motors.duty * signs)
        yield _Suspicion(
            f"Motor {motor} moves against what drives it: is the sign of its angle or of its duty "
            "turned round?",
            (i,),
            replace(record, motors=turned),
        )


def _has_duties(record: Record) -> bool:
    return record.motors is not None and record.motors.duty is not None


def _exchanged(*pairs: tuple[int, int]) -> list[int]:
    """Return the order of motors in which pairs are exchanged."""
    order = list(range(NUM_MOTORS))
    for i, j in pairs:
        order[i], order[j] = j, i
    return order


def _squares_50ms(record: Record, plant: Plant, count: int) -> Array:
    """Return the square errors of the motors at 50 ms in some windows, shape (W, 8)."""
    try:
        windows = cut(record, count, (VERDICT_MS,))
    except RecordError:  # of legs that cannot be
        return np.full((1, NUM_MOTORS), np.inf)
    found = errors_of(windows, *predict(plant, stimulus_of(record), windows))
    return np.asarray(found.position_rad[:, 0] ** 2)


def _rms(squares: Array) -> float:
    return float(np.sqrt(squares.mean()))


def reordered(record: Record, order: list[int], what: str) -> Record:
    """Return a record whose motor channels are taken in another order.

    Args:
        record: What was recorded.
        order: The channel that becomes each motor's, 8 numbers.
        what: "angles", "duties" (or commands where no duties were recorded), or "both".
    """
    motors, commands = record.motors, record.commands
    if motors is None:
        return record
    angles, duties = what in ("angles", "both"), what in ("duties", "both")

    def taken(values: Array | None, turned: bool) -> Array | None:
        return values[:, order].copy() if turned and values is not None else values

    position = motors.position_rad
    series = MotorSeries(
        t_s=motors.t_s,
        ok=motors.ok,
        position_rad=position[:, order].copy() if angles else position,
        velocity_rad_s=taken(motors.velocity_rad_s, angles),
        duty=taken(motors.duty, duties),
        torque_nm=taken(motors.torque_nm, duties),
        current_a=taken(motors.current_a, duties),
    )
    if duties and isinstance(commands, MotorCommands):
        commands = replace(commands, target_rad=commands.target_rad[:, order].copy())
    return replace(record, motors=series, commands=commands)
