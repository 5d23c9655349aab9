"""A run at a glance: one PNG with motion, attitude, joint tracking, torque, power and timing.

matplotlib is optional on a robot computer; it is imported when a picture is drawn, never before.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deploy.errors import RunError
from deploy.loop.modes import LoopMode
from deploy.record.flight_log import FlightLog
from deploy.record.metrics import forward_steps, stride_rates, turn_steps
from deploy.record.report import RunReport
from robot_firmware_bridge.user_cache import cache_folder

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The policy's time is shown whole where things evolve, and this much of it where they oscillate.
_WINDOW_S = 1.5
_POWER_MEAN_S = 0.5

# Okabe and Ito's colours, which colour-blind readers can tell apart.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")
GREY = "#888888"
_BLUE, _ORANGE, _GREEN, _RED, *_ = COLOURS


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
    panels = [_position, _attitude, _tracking, _torque, _power, _timing]
    if log.contract.velocity_command is not None:
        panels += [_speed, _yaw_rate]
    rows = len(panels) // 2
    figure = new_figure(13.0, 3.0 * rows)
    for axis, panel in zip(figure.subplots(rows, 2).flat, panels, strict=True):
        if len(log):
            panel(axis, log)
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
    figure.suptitle(_headline(report), fontsize=12, fontweight="bold")
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Give a figure the look of all of this project's and write it as PNG."""
    for axis in figure.axes:
        axis.grid(color="#e6e6e6", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _headline(report: RunReport) -> str:
    parts = [f"{Path(report.policy).name} on {report.robot}", f"{report.seconds:.1f} s"]
    if report.speed_mps is not None:
        parts.append(f"{report.speed_mps:.2f} m/s")
    if report.mean_power_w is not None:
        parts.append(f"{report.mean_power_w:.0f} W")
    parts.append(", ".join(report.faults) if report.faults else "no fault")
    return "   |   ".join(parts)


def _position(axis: Axes, log: FlightLog) -> None:
    _label(axis, "Body position", "m")
    _shade_modes(axis, log)
    if np.isnan(log.base_position_m).all():
        axis.text(0.5, 0.5, "no odometry", transform=axis.transAxes, ha="center", color=GREY)
        return
    moved = log.base_position_m - log.base_position_m[log.run.start]
    axis.plot(log.t_s, moved[:, 0], color=_BLUE, label="forward")
    axis.plot(log.t_s, moved[:, 1], color=_ORANGE, label="left")
    axis.plot(log.t_s, log.base_position_m[:, 2], color=_GREEN, label="height")


def _attitude(axis: Axes, log: FlightLog) -> None:
    _label(axis, "Attitude, as measured", "deg")
    _shade_modes(axis, log)
    degrees = np.degrees(log.rpy_rad)
    axis.plot(log.t_s, degrees[:, 0], color=_BLUE, linewidth=0.8, label="roll")
    axis.plot(log.t_s, degrees[:, 1], color=_ORANGE, linewidth=0.8, label="pitch")
    tilt = np.degrees(np.arccos(np.cos(log.rpy_rad[:, 0]) * np.cos(log.rpy_rad[:, 1])))
    axis.plot(log.t_s, tilt, color=GREY, linewidth=0.8, label="tilt")
    bound = float(np.degrees(log.robot.max_tilt_rad))
    if np.nanmax(tilt) > 0.5 * bound:
        axis.axhline(bound, color=_RED, linestyle="--", linewidth=1.0, label="tilt limit")


def _tracking(axis: Axes, log: FlightLog) -> None:
    where = _window(log)
    error = log.target_rad[log.run] - log.motor_position_rad[log.run]
    rms = f", rms error {np.sqrt(np.mean(error**2)):.2f} rad" if error.size else ""
    _label(axis, f"Tracking, {log.robot.leg_names[0].replace('_', ' ')}{rms}", "rad")
    for motor, colour in ((0, _BLUE), (1, _ORANGE)):
        name = log.robot.motor_names[motor]
        axis.plot(
            log.t_s[where], log.target_rad[where, motor], color=colour, linestyle=":", linewidth=1.2
        )
        axis.plot(log.t_s[where], log.motor_position_rad[where, motor], color=colour, label=name)
    axis.plot([], [], color=GREY, linestyle=":", label="target")


def _torque(axis: Axes, log: FlightLog) -> None:
    where = _window(log)
    _label(axis, "Motor torque", "Nm")
    for leg, colour in enumerate((_BLUE, _ORANGE, _GREEN, _RED)):
        pair = log.motor_torque_nm[where, 2 * leg : 2 * leg + 2]
        lines = axis.plot(log.t_s[where], pair, color=colour, linewidth=0.9, alpha=0.85)
        lines[0].set_label(log.robot.leg_names[leg].replace("_", " "))


def _power(axis: Axes, log: FlightLog) -> None:
    _label(axis, "Mechanical power", "W")
    _shade_modes(axis, log)
    power = np.abs(log.motor_torque_nm * log.motor_velocity_rad_s).sum(axis=1)
    axis.plot(log.t_s, power, color=_BLUE, linewidth=0.4, alpha=0.5)
    width = max(1, round(_POWER_MEAN_S / log.period_s))
    if len(power) >= width:
        mean = np.convolve(power, np.full(width, 1.0 / width), mode="valid")
        axis.plot(
            log.t_s[width - 1 :], mean, color=_BLUE, label=f"mean of the last {_POWER_MEAN_S} s"
        )


def _timing(axis: Axes, log: FlightLog) -> None:
    _label(axis, "Loop timing", "ticks", x="us")
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
    _label(axis, "Forward speed, mean of a stride", "m/s")
    _followed(axis, log, 0, forward_steps(log.base_position_m[:, :2], log.rpy_rad[:, 2]))


def _yaw_rate(axis: Axes, log: FlightLog) -> None:
    _label(axis, "Yaw rate, mean of a stride", "rad/s")
    _followed(axis, log, 1, turn_steps(log.rpy_rad[:, 2]))


def _followed(axis: Axes, log: FlightLog, column: int, steps: NDArray[np.float64]) -> None:
    """Plot a column of the velocity command and the motion that followed."""
    _shade_modes(axis, log)
    if len(steps):
        dt_s = np.diff(log.deadline_ns) / 1e9
        rates = stride_rates(steps, dt_s, log.contract.action.gait)
        # A mean is shown in the middle of its stride.
        first = (len(log) - len(rates)) // 2
        axis.plot(log.t_s[first : first + len(rates)], rates, color=_BLUE, label="measured")
    axis.plot(
        log.t_s, log.velocity_command[:, column], color=_ORANGE, linestyle="--", label="commanded"
    )


def _label(axis: Axes, title: str, y: str, x: str = "time, s") -> None:
    axis.set_title(title, loc="left")
    axis.set_xlabel(x)
    axis.set_ylabel(y)


def _shade_modes(axis: Axes, log: FlightLog) -> None:
    """Grey out the time in which the policy does not act."""
    edges = np.flatnonzero(np.diff(log.mode)) + 1
    for ticks in np.split(np.arange(len(log)), edges):
        if len(ticks) and log.mode[ticks[0]] != LoopMode.RUN:
            end = min(int(ticks[-1]) + 1, len(log) - 1)
            axis.axvspan(
                float(log.t_s[ticks[0]]), float(log.t_s[end]), color="#f2f2f2", linewidth=0
            )


def _window(log: FlightLog) -> slice:
    """Return the last ticks of RUN, few enough to see single steps; all without a RUN."""
    run = log.run if log.run.stop else slice(0, len(log))
    return slice(max(run.start, run.stop - round(_WINDOW_S / log.period_s)), run.stop)
