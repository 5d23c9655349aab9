"""What ``minitaur explain`` found, as one picture.

On top measured curves with predictions over them: the predictions start on the curve every 100 ms,
and show where the simulator leaves the robot. Below, how errors grow, beside the two guesses that
need no simulator; then way and attitude of the replayed commands.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from calibration.closed_loop import ClosedLoop, Track
from calibration.open_loop import Example, OpenLoop
from deploy.record.plots import COLOURS, GREY, new_figure, save
from robot_firmware_bridge.robot import MINITAUR

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

_BLUE, _ORANGE, _GREEN, _RED, *_ = COLOURS
_ROBOT, _SIMULATOR = "#222222", _RED
# Attitude and angles are shown over this much of a replay; more is a band of ink. A slow record has
# a slow gait, or too few samples to be read in less.
_DETAIL_S, _SLOW_DETAIL_S = 2.0, 6.0
_SLOW_HZ = 50.0

Array = NDArray[np.float64]
Open = tuple[OpenLoop, Example]
Closed = tuple[ClosedLoop, Track, Track]


def draw(headline: str, opened: Open | None, closed: Closed | None, path: Path) -> None:
    """Draw what was found of one record and write it as PNG; one part at least is there."""
    heights = ([7.2] if opened else []) + ([5.6] if closed else [])
    figure = new_figure(12.0, sum(heights) + 0.9)
    parts = _rows(figure, heights)
    if opened is not None:
        _open_loop(parts.pop(0), *opened)
    if closed is not None:
        _closed_loop(parts.pop(0), *closed)
    figure.suptitle(headline, fontsize=12, fontweight="bold")
    save(figure, path)


def _rows(figure: Figure, heights: list[float]) -> list[SubFigure]:
    grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    return [figure.add_subfigure(grid[row]) for row in range(len(heights))]


def _open_loop(part: SubFigure, judgement: OpenLoop, example: Example) -> None:
    grid = part.add_gridspec(3, 3, width_ratios=(2.1, 2.1, 1.7))
    motors = np.array(judgement.simulator.motors_rad)
    usual, worst = np.argsort(motors)[[len(motors) // 2, -1]]
    curves = [
        (f"{MINITAUR.motor_names[usual]}: a usual motor", usual),
        (f"{MINITAUR.motor_names[worst]}: the motor that is predicted worst", worst),
        ("pitch, nose down positive", None),
    ]
    first_s = example.t_s[0]
    starts_s = example.windows.t_s - first_s
    later_s = np.concatenate(((0.0,), 1e-3 * example.windows.horizons_ms))
    for row, (title, motor) in enumerate(curves):
        axis = part.add_subplot(grid[row, :2])
        if motor is None:
            measured, begin = example.pitch_rad, example.windows.rpy_rad[:, 1]
            predicted = example.predicted_pitch_rad
        else:
            measured = example.position_rad[:, motor]
            begin = example.windows.position_rad[:, motor]
            predicted = example.predicted_rad[:, :, motor]
        axis.plot(example.t_s - first_s, measured, color=_ROBOT, linewidth=1.2, label="measured")
        for w, start_s in enumerate(starts_s):
            axis.plot(
                start_s + later_s,
                (begin[w], *predicted[w]),
                color=_SIMULATOR,
                linewidth=2.0,
                alpha=0.8,
                label="predicted, 100 ms from each dot" if w == 0 else None,
            )
        axis.plot(starts_s, begin, linestyle="", marker="o", markersize=3.5, color=_SIMULATOR)
        _label(axis, title, "rad", "time, s" if row == 2 else "")
        _keep_readable(axis, measured)
        if row == 0:
            axis.legend(
                loc="lower right", bbox_to_anchor=(1.0, 0.98), fontsize=8, frameon=False, ncols=2
            )
    for row, (title, name) in enumerate(
        (("Motor angles: error", "angles_rad"), ("Pitch: error", "pitch_rad"))
    ):
        axis = part.add_subplot(grid[row, 2])
        for what, errors, colour, dash in (
            ("simulator", judgement.simulator, _SIMULATOR, "-"),
            ("nothing moves", judgement.holding, GREY, "--"),
            ("all speeds stay", judgement.constant_speed, GREY, ":"),
        ):
            values = getattr(errors, name)
            axis.plot(judgement.horizons_ms, values, dash, color=colour, marker=".", label=what)
        # The guess of constant speeds leaves every scale; the other one is worth seeing.
        room = 1.25 if row else 1.7  # for the legend
        axis.set_ylim(0.0, room * max(getattr(judgement.holding, name)))
        _label(axis, f"{title}, root mean square", "rad", "predicted ahead, ms" if row else "")
        if row == 0:
            axis.legend(fontsize=8, frameon=False, loc="upper left")
    axis = part.add_subplot(grid[2, 2])
    at = np.arange(len(motors))
    axis.bar(at - 0.2, motors, 0.4, color=_SIMULATOR, label="simulator")
    axis.bar(at + 0.2, judgement.holding.motors_rad, 0.4, color="#bbbbbb", label="nothing moves")
    axis.set_xticks(at, [_short(name) for name in MINITAUR.motor_names], fontsize=7)
    axis.set_ylim(0.0, 1.3 * max(*motors, *judgement.holding.motors_rad))  # for the legend
    axis.legend(fontsize=8, frameon=False, loc="upper left", ncols=2)
    _label(axis, "Each motor, 50 ms ahead", "rad", "")


def _short(name: str) -> str:
    """Return a motor's name as its initials: front_leftL becomes FLL."""
    leg, side = name[:-1], name[-1]
    return "".join(word[0] for word in leg.split("_")).upper() + side


def _keep_readable(axis: Axes, measured: Array) -> None:
    """Bound the vertical axis by what was measured: a prediction that flies away may leave it."""
    low, high = float(np.min(measured)), float(np.max(measured))
    room = max(0.05, 0.35 * (high - low))
    axis.set_ylim(low - room, high + room)


def _closed_loop(part: SubFigure, closed: ClosedLoop, robot: Track, simulator: Track) -> None:
    part.suptitle(f"Replay of the {closed.law}", x=0.01, ha="left", fontsize=11)
    (way, motor), (pitch, roll) = part.subplots(2, 2)
    is_signed = closed.robot.forward_m is not None or robot.way_m is None
    _label(way, "Way along the start heading" if is_signed else "Distance from the start", "m", "")
    if robot.way_m is not None:
        way.plot(robot.way_t_s, robot.way_m, color=_ROBOT, label="robot")
    if simulator.way_m is not None:
        way.plot(simulator.way_t_s, simulator.way_m, color=_SIMULATOR, label="simulator")
    way.legend(fontsize=8, frameon=False)
    is_fast = len(robot.motor_t_s) > _SLOW_HZ * closed.seconds
    length_s = _DETAIL_S if is_fast else _SLOW_DETAIL_S
    begin_s = max(0.0, 0.5 * (closed.seconds - length_s))
    for axis, column, name in ((pitch, 1, "Pitch"), (roll, 0, "Roll")):
        _label(axis, f"{name} about its mean", "rad")
        for track, colour in ((robot, _ROBOT), (simulator, _SIMULATOR)):
            if track.roll_pitch_rad is None:
                continue
            values = track.roll_pitch_rad[:, column]
            shown = _within(track.attitude_t_s, begin_s, length_s)
            axis.plot(track.attitude_t_s[shown], values[shown] - values.mean(), color=colour)
    if robot.motor_rad is None or closed.angles_rms_by_motor_rad is None:
        motor.set_visible(False)
        return
    worst = int(np.argmax(closed.angles_rms_by_motor_rad))
    _label(motor, f"{MINITAUR.motor_names[worst]}: the motor that differs most", "rad", "")
    for track, style in (
        (robot, {"color": _ROBOT, "marker": ".", "markersize": 4.0, "linewidth": 0.8}),
        (simulator, {"color": _SIMULATOR}),
    ):
        if track.motor_rad is not None:
            shown = _within(track.motor_t_s, begin_s, length_s)
            motor.plot(track.motor_t_s[shown], track.motor_rad[shown, worst], **style)


def _within(t_s: Array, begin_s: float, length_s: float) -> NDArray[np.bool_]:
    shown: NDArray[np.bool_] = (t_s >= begin_s) & (t_s < begin_s + length_s)
    return shown


def _label(axis: Axes, title: str, y: str, x: str = "time, s") -> None:
    axis.set_title(title, loc="left", fontsize=10)
    axis.set_xlabel(x, fontsize=9)
    axis.set_ylabel(y, fontsize=9)
