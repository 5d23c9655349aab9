"""A run at a glance: one PNG with motion, attitude, legs, torque, power and timing.

matplotlib is optional on a robot computer; it is imported when a picture is drawn, never before.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deploy.errors import RunError
from deploy.loop.modes import LoopMode
from deploy.loop.safety import STALE_PERIODS
from deploy.record.flight_log import FlightLog
from deploy.record.metrics import (
    following,
    forward_steps,
    moving_rates,
    turn_steps,
    window_s,
)
from deploy.record.report import RunReport
from robot_firmware_bridge.geometry import MOTOR_TO_LEG
from robot_firmware_bridge.limits import LIMITS
from robot_firmware_bridge.robot import NUM_LEGS
from robot_firmware_bridge.user_cache import cache_folder

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The policy's time is shown whole where things evolve, and this much of it where they oscillate.
_WINDOW_S = 1.0
_POWER_MEAN_S = 0.5

# Okabe and Ito's colours, which colour-blind readers can tell apart.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")
GREY = "#888888"
_BLUE, _ORANGE, _GREEN, _RED, *_ = COLOURS
# Backgrounds of the modes in which the policy does not act alone.
_SHADES = {
    LoopMode.STAND_UP: ("#dbe9f6", "stand up"),
    LoopMode.FINISH: ("#fdf0d5", "finish: back to the stance"),
    LoopMode.SWITCH: ("#fae3c0", "switch: back to the stance"),
    LoopMode.STAND: ("#e2f0e0", "stand"),
    LoopMode.DAMP: ("#e4e4e4", "damp"),
}


def available() -> bool:
    """Return whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def new_figure(width_in: float, height_in: float) -> Figure:
    """Return an empty figure; matplotlib keeps its fonts where this user can write."""
    if "MPLCONFIGDIR" not in os.environ and "matplotlib" not in sys.modules:
        os.environ["MPLCONFIGDIR"] = str(cache_folder("matplotlib"))
    from matplotlib.figure import Figure

    return Figure(figsize=(width_in, height_in), layout="constrained")


def draw(log: FlightLog, report: RunReport, path: Path) -> None:
    """Draw a run and write it as PNG.

    Raises:
        RunError: matplotlib is not installed.
    """
    if not available():
        raise RunError("a plot needs matplotlib: pip install '.[plot]'")
    panels = [_position, _height, _speed, attitude, _power, _timing]
    if log.dry_run:  # it has no motion, no torque and no power
        panels = [attitude, state_age, _battery, _timing]
    elif log.steered:
        panels[2:4] = [_speed, _yaw_rate, _path, attitude]
    rows, of_legs = len(panels) // 2, _LEG_PANELS[:1] if log.dry_run else _LEG_PANELS
    figure = new_figure(13.0, 2.6 * rows + 2.8 * len(of_legs))
    grid = figure.add_gridspec(
        1 + len(of_legs), 1, height_ratios=(2.6 * rows, *(2.8 for _ in of_legs))
    )
    top, *legs = (figure.add_subfigure(grid[part]) for part in range(1 + len(of_legs)))
    if len(log):
        for axis, panel in zip(top.subplots(rows, 2).flat, panels, strict=True):
            panel(axis, log)
            if panel not in (_timing, _path):
                mark_modes(axis, log, report.faults)
        for part, (title, leg_panel) in zip(legs, of_legs, strict=True):
            part.suptitle(title(log), x=0.01, ha="left", fontsize=11)
            axes = part.subplots(1, NUM_LEGS, sharey=True)
            for leg, axis in enumerate(axes):
                leg_panel(axis, log, leg)
            lines, labels = axes[0].get_legend_handles_labels()
            part.legend(lines, labels, loc="upper right", fontsize=8, frameon=False, ncols=3)
    for axis in top.axes:
        if axis.get_legend_handles_labels()[0]:
            axis.legend(
                loc="lower right",
                bbox_to_anchor=(1.0, 0.98),
                fontsize=8,
                frameon=False,
                ncols=4,
                columnspacing=1.2,
                handlelength=1.4,
            )
    figure.suptitle(_headline(log, report), fontsize=12, fontweight="bold")
    if handles := _key(log, report):
        figure.legend(
            handles=handles, loc="outside lower center", ncols=5, frameon=False, fontsize=9
        )
    save(figure, path)


def styled(figure: Figure) -> Figure:
    """Give a figure the look of all of this project's; return it."""
    for axis in figure.axes:
        axis.grid(color="#e6e6e6", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def save(figure: Figure, path: Path, dpi: int = 110) -> None:
    """Style a figure and write it as PNG, at so many dots per inch."""
    styled(figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=dpi)


def _headline(log: FlightLog, report: RunReport) -> str:
    parts = [f"{Path(report.policy).name} on {report.robot}", f"{report.seconds:.1f} s"]
    steered = log.steered
    speed = report.heading_speed_mps if steered else report.speed_mps
    if speed is not None:
        along = "its heading" if steered else "the start heading"
        parts.append(f"{speed:.2f} m/s along {along}")
    if report.mean_power_w is not None:
        parts.append(f"{report.mean_power_w:.0f} W mechanical")
    parts.append(", ".join(report.faults) if report.faults else "no fault")
    return "   |   ".join(parts)


def _key(log: FlightLog, report: RunReport) -> list[Artist]:
    """Return what explains backgrounds and lines of all panels."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Artist] = [
        Patch(facecolor=colour, label=label)
        for mode, (colour, label) in _SHADES.items()
        if (log.mode == mode).any()
    ]
    if handles:
        handles.insert(
            1, Patch(facecolor="white", edgecolor="#cccccc", label="run: the policy acts")
        )
    if report.faults:
        handles.append(Line2D([], [], color=_RED, label=f"fault: {', '.join(report.faults)}"))
    return handles


def _position(axis: Axes, log: FlightLog) -> None:
    _label(axis, "Body position from the start of the run", "m")
    if not _known(axis, log):
        return
    moved = log.base_position_m - log.base_position_m[log.run.start]
    axis.plot(log.t_s, moved[:, 0], color=_BLUE, label="along the start heading")
    axis.plot(log.t_s, moved[:, 1], color=_ORANGE, label="to the left")


def _height(axis: Axes, log: FlightLog) -> None:
    _label(axis, "Height of the body over the floor", "m")
    if _known(axis, log):
        axis.plot(log.t_s, log.base_position_m[:, 2], color=_BLUE, linewidth=0.8)
        low, high = axis.get_ylim()
        axis.set_ylim(min(low, 0.0), max(high, 0.25))


def _path(axis: Axes, log: FlightLog) -> None:
    _label(axis, "Path over the floor, from above", "left, m", x="along the start heading, m")
    if _known(axis, log):
        moved = (log.base_position_m - log.base_position_m[log.run.start])[log.run]
        axis.plot(moved[:, 0], moved[:, 1], color=_BLUE)
        axis.plot(moved[:1, 0], moved[:1, 1], "o", color=_BLUE, label="start")
        axis.set_aspect("equal", adjustable="datalim")


def _known(axis: Axes, log: FlightLog) -> bool:
    """Return whether the robot's position is known; say so where it is not."""
    known = not np.isnan(log.base_position_m).all()
    if not known:
        axis.text(
            0.5,
            0.5,
            "unknown: no odometry",
            transform=axis.transAxes,
            ha="center",
            color=GREY,
        )
    return known


def attitude(axis: Axes, log: FlightLog) -> None:
    """Draw roll, pitch and tilt of a run, in degrees."""
    _label(axis, "Attitude, as measured", "deg")
    degrees = np.degrees(log.rpy_rad)
    axis.plot(log.t_s, degrees[:, 0], color=_BLUE, linewidth=0.8, label="roll")
    axis.plot(log.t_s, degrees[:, 1], color=_ORANGE, linewidth=0.8, label="pitch")
    tilt = np.degrees(np.arccos(np.cos(log.rpy_rad[:, 0]) * np.cos(log.rpy_rad[:, 1])))
    axis.plot(log.t_s, tilt, color=GREY, linewidth=0.8, label="tilt")
    bound = float(np.degrees(log.robot.max_tilt_rad))
    if np.nanmax(tilt) > 0.5 * bound:
        axis.axhline(bound, color=_RED, linestyle="--", linewidth=1.0, label="tilt limit")


def state_age(axis: Axes, log: FlightLog) -> None:
    """Draw how old the state was that each tick of a run began with, in ms."""
    _label(axis, "Age of the newest state", "ms")
    age_ms = np.maximum((log.woke_ns - log.state_t_ns) / 1e6, 0.0)
    axis.plot(log.t_s, age_ms, ".", color=_BLUE, markersize=2.0, label="in each tick")
    bound_ms = STALE_PERIODS * log.period_s * 1e3
    axis.axhline(
        bound_ms,
        color=_RED,
        linestyle="--",
        linewidth=1.0,
        label=f"{STALE_PERIODS} control periods: too old",
    )
    axis.set_ylim(0.0, max(1.25 * bound_ms, 1.05 * float(age_ms.max())))


def _battery(axis: Axes, log: FlightLog) -> None:
    _label(axis, "Battery", "V")
    axis.plot(log.t_s, log.battery_v, color=_BLUE, linewidth=0.8)
    axis.axhline(
        LIMITS.undervoltage_v, color=_RED, linestyle="--", linewidth=1.0, label="stops the run"
    )


def leg_angles(axis: Axes, log: FlightLog, leg: int) -> None:
    """Draw swing and extension of a leg, measured and targets, in rad.

    Args:
        axis: Where.
        log: The run. Of a dry one all is shown, since hands may move a leg; else the end.
        leg: Its number, from 0 to 3.
    """
    where, name = _window(log), log.robot.leg_names[leg].replace("_", " ")
    _label(axis, f"{name} leg", "rad" if leg == 0 else "")
    for row, colour, label in ((leg, _BLUE, "swing"), (NUM_LEGS + leg, _ORANGE, "extension")):
        target = log.target_rad[where] @ MOTOR_TO_LEG[row]
        measured = log.motor_position_rad[where] @ MOTOR_TO_LEG[row]
        faint = 0.4 if log.dry_run else 1.0
        axis.plot(log.t_s[where], target, ":", color=colour, linewidth=1.1, alpha=faint)
        axis.plot(log.t_s[where], measured, color=colour, linewidth=1.6 - 0.5 * faint, label=label)
    axis.plot([], [], color=GREY, linestyle=":", label="target")


def _angle_title(log: FlightLog) -> str:
    if log.dry_run:
        return "Angles of the legs, as measured; dotted are the targets that were not sent"
    title = "Angles of the legs at the end of the run"
    run = log.run
    lag = following(log.target_rad[run], log.motor_position_rad[run], log.period_s)
    if lag is not None:
        title += (
            f"\nThey lag {lag.delay_s * 1e3:.0f} ms behind the targets (motors, load, sensors): "
            f"rms difference {lag.rms_rad:.2f} rad, from the target of that time ago "
            f"{lag.rms_delayed_rad:.2f} rad"
        )
    return title


def _leg_torques(axis: Axes, log: FlightLog, leg: int) -> None:
    where = _window(log)
    _label(axis, f"{log.robot.leg_names[leg].replace('_', ' ')} leg", "Nm" if leg == 0 else "")
    for motor, colour in ((2 * leg, _BLUE), (2 * leg + 1, _ORANGE)):
        label = f"motor {log.robot.motor_names[motor].removeprefix(log.robot.leg_names[leg])}"
        torque = log.motor_torque_nm[where, motor]
        axis.plot(log.t_s[where], torque, color=colour, linewidth=0.9, label=label)
    axis.axhline(0.0, color=GREY, linewidth=0.6)


def _torque_title(_log: FlightLog) -> str:
    return "Torque of the motors at the end of the run"


_LEG_PANELS = ((_angle_title, leg_angles), (_torque_title, _leg_torques))


def _power(axis: Axes, log: FlightLog) -> None:
    _label(axis, "Mechanical power", "W")
    power = np.abs(log.motor_torque_nm * log.motor_velocity_rad_s).sum(axis=1)
    axis.plot(log.t_s, power, color=_BLUE, linewidth=0.4, alpha=0.5)
    width = max(1, round(_POWER_MEAN_S / log.period_s))
    if len(power) >= width:
        mean = np.convolve(power, np.full(width, 1.0 / width), mode="valid")
        axis.plot(
            log.t_s[width - 1 :], mean, color=_BLUE, label=f"mean of the last {_POWER_MEAN_S} s"
        )


def _timing(axis: Axes, log: FlightLog) -> None:
    _label(axis, "Loop timing", "ticks", x="time, us (logarithmic)")
    # Below a tenth of a microsecond there is nothing to see, and no logarithm of zero.
    bins = np.geomspace(0.1, 1e5, 91)
    for values_ns, colour, label in (
        (log.woke_ns - log.deadline_ns, _BLUE, "wake-up jitter"),
        (log.compute_ns, _ORANGE, "compute and I/O"),
    ):
        values_us = np.clip(values_ns[log.run] / 1e3, bins[0], bins[-1])
        if values_ns[log.run].any():  # on a clock of its own, a plant knows no jitter
            p99 = float(np.percentile(values_us, 99))
            label = f"{label}: p99 {p99:.0f} us"
            axis.hist(values_us, bins=list(bins), color=colour, alpha=0.6, label=label)
    axis.axvline(log.period_s * 1e6, color=_RED, linestyle="--", linewidth=1.0, label="period")
    axis.set_xscale("log")
    axis.set_yscale("symlog")


def _speed(axis: Axes, log: FlightLog) -> None:
    _label(axis, "Speed along the heading, moving mean", "m/s")
    if _known(axis, log):
        _followed(axis, log, 0, forward_steps(log.base_position_m[:, :2], log.heading_rad))


def _yaw_rate(axis: Axes, log: FlightLog) -> None:
    _label(axis, "Yaw rate, moving mean", "rad/s")
    _followed(axis, log, 1, turn_steps(log.heading_rad))


def _followed(axis: Axes, log: FlightLog, column: int, steps: NDArray[np.float64]) -> None:
    """Plot a column of the velocity command and the motion that followed."""
    if len(steps):
        dt_s = np.diff(log.deadline_ns) / 1e9
        rates = moving_rates(steps, dt_s, window_s(log.contract.action))
        # A mean is shown in the middle of its window.
        first = (len(log) - len(rates)) // 2
        axis.plot(log.t_s[first : first + len(rates)], rates, color=_BLUE, label="measured")
    if log.steered:
        command = log.velocity_command[:, column]
        axis.plot(log.t_s, command, color=_ORANGE, linestyle="--", label="commanded")


def _label(axis: Axes, title: str, y: str, x: str = "time, s") -> None:
    axis.set_title(title, loc="left", fontsize=11)
    axis.set_xlabel(x, fontsize=9)
    axis.set_ylabel(y, fontsize=9)


def mark_modes(axis: Axes, log: FlightLog, faults: Sequence[str]) -> None:
    """Shade the time in which the policy does not act alone, and mark what ended the run badly.

    Args:
        axis: A panel over time.
        log: The run.
        faults: What ended it badly; empty for nothing.
    """
    edges = np.flatnonzero(np.diff(log.mode)) + 1
    for ticks in np.split(np.arange(len(log)), edges):
        mode = LoopMode(log.mode[ticks[0]])
        if mode in _SHADES:
            end = min(int(ticks[-1]) + 1, len(log) - 1)
            colour, _ = _SHADES[mode]
            axis.axvspan(float(log.t_s[ticks[0]]), float(log.t_s[end]), color=colour, linewidth=0)
    if faults:
        damped = np.flatnonzero(log.mode == LoopMode.DAMP)
        at_s = float(log.t_s[damped[0] if len(damped) else -1])
        axis.axvline(at_s, color=_RED, linewidth=1.2)


def _window(log: FlightLog) -> slice:
    """Return the last ticks of RUN, few enough to see single steps; all without a RUN, or dry."""
    if log.dry_run:
        return slice(0, len(log))
    run = log.run if log.run.stop else slice(0, len(log))
    return slice(max(run.start, run.stop - round(_WINDOW_S / log.period_s)), run.stop)
