"""The page of a run: verdict, key figures, motion, legs, motors, timing, and what it was."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy.loop.modes import LoopMode
from deploy.loop.safety import STALE_PERIODS
from deploy.record.clearance import heights_m
from deploy.record.flight_log import FlightLog
from deploy.record.metrics import following, forward_steps, moving_rates, turn_steps, window_s
from deploy.record.page.charts import (
    BLUE,
    COLOURS,
    GREEN,
    GREY,
    ORANGE,
    Band,
    Charts,
    Line,
    Series,
)
from deploy.record.page.html import (
    Card,
    Html,
    Section,
    as_json,
    film,
    folded,
    joined,
    page,
    paragraph,
    table,
    two_by_two,
)
from deploy.record.page.recording import Recording, cards_of, number, texts
from deploy.record.page.verdict import bearable_words, run_verdict
from robot_firmware_bridge.geometry import MOTOR_TO_LEG
from robot_firmware_bridge.limits import LIMITS
from robot_firmware_bridge.robot import NUM_LEGS, NUM_MOTORS

Array = NDArray[np.float64]

# What the charts of single ticks show: that much of the policy's time before its end.
_CLOSE_S = 3.0
_POWER_MEAN_S = 0.5
# A toe this far above the lowest one does not stand.
_LIFTED_M = 0.005
_SHADES = {
    LoopMode.STAND_UP: BLUE,
    LoopMode.FINISH: ORANGE,
    LoopMode.SWITCH: ORANGE,
    LoopMode.STAND: GREEN,
    LoopMode.DAMP: GREY,
}
_MODES = {
    LoopMode.STAND_UP: "stands up",
    LoopMode.RUN: "the policy takes over",
    LoopMode.FINISH: "back to the stance",
    LoopMode.SWITCH: "back to the stance, as something else was chosen",
    LoopMode.STAND: "stands, without a policy",
    LoopMode.DAMP: "motors damp",
    LoopMode.DONE: "done",
}
# Of an event list, at most as many rows are shown.
_MOST_EVENTS = 200


def run_page(recording: Recording) -> str:
    """Return the page of a run."""
    report, log = recording.report, recording.log
    charts, sections = Charts(), []
    if (moving := film(recording.film)) != "":
        sections.append(Section("Film", moving))
    if log is not None and len(log):
        sections += _of_log(charts, log, report)
    sections.append(Section("Events", _events(report, log)))
    if isinstance(report.get("link"), Mapping):
        sections.append(Section("Link", _counters(report["link"])))
    sections.append(Section("Setup", _setup(report, log)))
    policy, robot = (report.get(name) or "unknown" for name in ("policy", "robot"))
    text = page(f"Run of {policy} on {robot}", run_verdict(report), _cards(report, log), sections)
    return charts.drawn(text)


def _of_log(charts: Charts, log: FlightLog, report: Mapping[str, Any]) -> list[Section]:
    """Return the sections that are drawn from a flight log with a tick or more."""
    mark = _end_s(log) if texts(report.get("faults")) else None
    bands = _bands(log)
    whole = charts.series(log.t_s, _whole(log), bands=bands, mark=mark)
    close = _close(log)
    near = charts.series(log.t_s[close], _near(log, close), most=len(log))
    return [
        Section("Motion", _motion(charts, whole, log)),
        Section("Attitude", _attitude(charts, whole, log)),
        Section("Legs", _legs(charts, whole, near, log)),
        Section("Gait", _gait(charts, near, log, close)),
        Section("Motors", _motors(charts, whole, near, log)),
        Section("Timing", _timing(charts, whole, log)),
    ]


# ---------------------------------------------------------------------------------- the columns


def _whole(log: FlightLog) -> dict[str, Array]:
    """Return the columns over the whole run, shape (T,) each."""
    step = np.diff(log.deadline_ns) / 1e9
    moved = log.base_position_m - log.base_position_m[log.run.start]
    degrees, rates = np.degrees(log.rpy_rad), np.degrees(log.angular_rate_rad_s)
    power = np.abs(log.motor_torque_nm * log.motor_velocity_rad_s)
    width = max(1, round(_POWER_MEAN_S / log.period_s))
    error = (log.target_rad - log.motor_position_rad) ** 2
    columns = {
        "speed": _rates(log, forward_steps(log.base_position_m[:, :2], log.heading_rad), step),
        "yaw_rate": _rates(log, turn_steps(log.heading_rad), step),
        "speed_command": log.velocity_command[:, 0],
        "yaw_rate_command": log.velocity_command[:, 1],
        "ahead": moved[:, 0],
        "left": moved[:, 1],
        "height": log.base_position_m[:, 2],
        "heading": np.degrees(_unwrapped(log.heading_rad)),
        "roll": degrees[:, 0],
        "pitch": degrees[:, 1],
        "tilt": _tilt_deg(log),
        "power": power.sum(axis=1),
        "power_mean": _mean(power.sum(axis=1), width),
        "battery": log.battery_v,
        "jitter": (log.woke_ns - log.deadline_ns) / 1e3,
        "compute": log.compute_ns / 1e3,
        "age": np.maximum(log.woke_ns - log.state_t_ns, 0) / 1e6,
        "missed": np.append(log.missed, 0).astype(np.float64),
        **{f"rate{i}": rates[:, i] for i in range(3)},
        **{f"motor_power{i}": _mean(power[:, i], width) for i in range(NUM_MOTORS)},
        **{f"winding{i}": log.winding_temperature_c[:, i] for i in range(NUM_MOTORS)},
    }
    for leg in range(NUM_LEGS):
        columns[f"error{leg}"] = np.sqrt(_mean(error[:, 2 * leg : 2 * leg + 2].mean(axis=1), width))
    return columns


def _near(log: FlightLog, close: slice) -> dict[str, Array]:
    """Return the columns over the last seconds of the policy's time, shape (T,) each."""
    columns = {f"torque{i}": log.motor_torque_nm[close, i] for i in range(NUM_MOTORS)}
    for name, angles in (("measured", log.motor_position_rad), ("target", log.target_rad)):
        legs = angles[close] @ MOTOR_TO_LEG.T
        for leg in range(NUM_LEGS):
            columns[f"{name}_swing{leg}"] = legs[:, leg]
            columns[f"{name}_extension{leg}"] = legs[:, NUM_LEGS + leg]
    for leg, height_m in enumerate(_lifted_m(log, close).T):
        columns[f"lifted{leg}"] = height_m * 1e3
    return columns


def _rates(log: FlightLog, steps: Array, dt_s: Array) -> Array:
    """Return the moving mean of motion, shape (T,), mid-window; NaN at the ends."""
    rates = np.full(len(log), np.nan)
    if len(steps):
        found = moving_rates(steps, dt_s, window_s(log.contract.action))
        first = (len(log) - len(found)) // 2
        rates[first : first + len(found)] = found
    return rates


def _mean(values: Array, width: int) -> Array:
    """Return the mean of the last ``width`` values, shape (T,); of fewer at the beginning.

    A value that is not known counts as zero.
    """
    sums = np.concatenate(((0.0,), np.cumsum(np.nan_to_num(values))))
    end = np.arange(1, len(values) + 1)
    begin = np.maximum(end - width, 0)
    means: Array = np.maximum(sums[end] - sums[begin], 0.0) / (end - begin)
    return means


def _unwrapped(angle_rad: Array) -> Array:
    """Return angles without jumps by whole turns, shape (T,); those not known stay so."""
    known = np.isfinite(angle_rad)
    unwrapped = np.full(len(angle_rad), np.nan)
    unwrapped[known] = np.unwrap(angle_rad[known])
    return unwrapped


def _tilt_deg(log: FlightLog) -> Array:
    """Return the angle between the body's up axis and the vertical, shape (T,)."""
    up = np.cos(log.rpy_rad[:, 0]) * np.cos(log.rpy_rad[:, 1])
    tilt: Array = np.degrees(np.arccos(np.clip(up, -1.0, 1.0)))
    return tilt


def _close(log: FlightLog) -> slice:
    """Return the last ticks of RUN, few enough to see single steps; all without a RUN."""
    run = log.run if log.run.stop else slice(0, len(log))
    return slice(max(run.start, run.stop - round(_CLOSE_S / log.period_s)), run.stop)


def _lifted_m(log: FlightLog, ticks: slice) -> Array:
    """Return how far each toe is above the lowest one, shape (T, 4)."""
    _, toes_m = heights_m(log.motor_position_rad[ticks], log.rpy_rad[ticks], log.robot)
    lifted: Array = toes_m - toes_m.min(axis=1, keepdims=True)
    return lifted


def _stretches(log: FlightLog) -> list[tuple[int, int, int]]:
    """Return first tick, tick after the last, and mode of each stretch of one mode."""
    edges = [0, *(np.flatnonzero(np.diff(log.mode)) + 1).tolist(), len(log)]
    return [(begin, end, int(log.mode[begin])) for begin, end in itertools.pairwise(edges)]


def _bands(log: FlightLog) -> list[Band]:
    """Return the time in which the policy does not act alone."""
    last = len(log) - 1
    return [
        Band(float(log.t_s[begin]), float(log.t_s[min(end, last)]), _SHADES[LoopMode(mode)])
        for begin, end, mode in _stretches(log)
        if mode in _SHADES
    ]


def _end_s(log: FlightLog) -> float:
    """Return when the motors began to damp, or the last time."""
    damped = np.flatnonzero(log.mode == LoopMode.DAMP)
    return float(log.t_s[damped[0] if len(damped) else -1])


# ----------------------------------------------------------------------------------- the sections


def _cards(report: Mapping[str, Any], log: FlightLog | None) -> list[Card]:
    """Return the key figures that are known."""
    shown = (
        ("speed", ("heading_speed_mps",), 1.0, "{:.2f} m/s", "along its heading, mean"),
        ("distance", ("distance_m",), 1.0, "{:.2f} m", "along the start heading"),
        ("time", ("seconds",), 1.0, "{:.1f} s", "of the policy"),
        ("power", ("mean_power_w",), 1.0, "{:.0f} W", "mechanical, mean"),
        ("speed error", ("speed_error_mps",), 1.0, "{:.3f} m/s", "against the command"),
        ("yaw rate error", ("yaw_rate_error_rad_s",), 1.0, "{:.3f} rad/s", "against the command"),
        ("feet lifted", ("toe_clearance_m",), 1e3, "{:.0f} mm", "in a stride"),
        ("body height", ("body_clearance_m",), 1e3, "{:.0f} mm", "above the lowest toe"),
    )
    timing = (
        ("compute", ("compute_us", "p99"), 1e-3, "{:.2f} ms", "99 of 100 ticks take less"),
        ("wake-up jitter", ("jitter_us", "p99"), 1e-3, "{:.2f} ms", "99 of 100 ticks have less"),
        ("ticks missed", ("overruns",), 1.0, "{:.0f}", f"of {report.get('ticks')}"),
    )
    setup = report.get("setup")
    paced = not isinstance(setup, Mapping) or setup.get("realtime") is not False
    found = cards_of(report, (*shown, *(timing if paced else ())))
    if (bearable := number(report, "bearable_s")) is not None:
        found.append(Card("motors bear it for", bearable_words(bearable), "from cold"))
    if log is not None and np.isfinite(log.rpy_rad).any() and np.isfinite(log.battery_v).any():
        tilt = f"{np.nanmax(_tilt_deg(log)):.0f}°"
        found.append(
            Card("greatest tilt", tilt, f"stops at {math.degrees(log.robot.max_tilt_rad):.0f}°")
        )
        found.append(Card("battery, least", f"{np.nanmin(log.battery_v):.1f} V", "under load"))
        if np.isfinite(log.winding_temperature_c).any():
            hottest = f"{np.nanmax(log.winding_temperature_c):.0f} °C"
            found.append(Card("hottest winding", hottest, "as the controller models it"))
    return found


def _motion(charts: Charts, whole: Series, log: FlightLog) -> Html:
    steered = log.contract.velocity_command is not None
    speed, turning = [Line("speed", "measured")], [Line("yaw_rate", "measured")]
    if steered:
        speed.append(Line("speed_command", "commanded", ORANGE, "dashed"))
        turning.append(Line("yaw_rate_command", "commanded", ORANGE, "dashed"))
    parts = [paragraph(_key(log, whole))]
    found = []
    if np.isfinite(log.base_position_m).any():
        found += [
            charts.lines(whole, "Speed along the heading", "m/s", speed),
            _path(charts, log),
            charts.lines(
                whole,
                "Position from the start of the run",
                "m",
                [Line("ahead", "along the start heading"), Line("left", "to the left", ORANGE)],
            ),
            charts.lines(whole, "Height of the body's origin", "m", [Line("height", "height")]),
        ]
    else:
        parts.append(paragraph("Speed and path are unknown: this run had no odometry."))
    found += [
        charts.lines(whole, "Heading, left is positive", "deg", [Line("heading", "heading")]),
        charts.lines(whole, "Yaw rate", "rad/s", turning),
    ]
    return joined([*parts, two_by_two(found)])


def _path(charts: Charts, log: FlightLog) -> Html:
    moved = (log.base_position_m - log.base_position_m[log.run.start])[log.run]
    return charts.path(
        moved[:, 0], moved[:, 1], "Path from above", "along the start heading, m", "left, m"
    )


def _key(log: FlightLog, whole: Series) -> str:
    """Return how to read the charts."""
    words = (
        "Time counts from when the policy takes over. Shaded: blue it stands up, orange it goes "
        "back to its stance, green it stands without a policy, grey the motors damp. Charts over "
        "time zoom together; click a name in a legend to hide its line. Speed and yaw rate are "
        "means over a stride."
    )
    if whole.group > 1:
        words += (
            f" The run is long: every two points are the least and the greatest of {whole.group} "
            f"ticks ({whole.group * log.period_s:.2f} s)."
        )
    return words


def _attitude(charts: Charts, whole: Series, log: FlightLog) -> Html:
    bound = float(np.degrees(log.robot.max_tilt_rad))
    tilted = bool((_tilt_deg(log) > 0.5 * bound).any())
    rates = [Line(f"rate{i}", name, COLOURS[i]) for i, name in enumerate(("x", "y", "z"))]
    angles = [Line("roll", "roll"), Line("pitch", "pitch", ORANGE), Line("tilt", "tilt", GREEN)]
    return joined(
        [
            paragraph(f"The robot stops at a tilt of {bound:.0f} degrees."),
            two_by_two(
                [
                    charts.lines(
                        whole,
                        "Attitude, as measured",
                        "deg",
                        angles,
                        limits=(bound,) * tilted,
                    ),
                    charts.lines(whole, "Turn rates of the body", "deg/s", rates),
                ]
            ),
        ]
    )


def _legs(charts: Charts, whole: Series, near: Series, log: FlightLog) -> Html:
    names = _leg_names(log)
    run = log.run
    lag = following(log.target_rad[run], log.motor_position_rad[run], log.period_s)
    words = f"The last {_CLOSE_S:.0f} s of the policy, every tick: dotted is the target."
    if lag is not None:
        words += (
            f" Angles lag {lag.delay_s * 1e3:.0f} ms behind their targets (motors, load, sensors); "
            f"rms difference {lag.rms_rad:.3f} rad, from the target of that time ago "
            f"{lag.rms_delayed_rad:.3f} rad."
        )
    found = [
        charts.lines(
            near,
            name,
            "rad",
            [
                Line(f"measured_swing{leg}", "swing"),
                Line(f"target_swing{leg}", "swing target", BLUE, "dotted"),
                Line(f"measured_extension{leg}", "extension", ORANGE),
                Line(f"target_extension{leg}", "extension target", ORANGE, "dotted"),
            ],
        )
        for leg, name in enumerate(names)
    ]
    errors = [Line(f"error{leg}", name, COLOURS[leg]) for leg, name in enumerate(names)]
    error = charts.lines(whole, "Tracking error, rms over 0.5 s", "rad", errors, start=0.0)
    return joined([paragraph(words), two_by_two(found), error])


def _gait(charts: Charts, near: Series, log: FlightLog, close: slice) -> Html:
    lifted = _lifted_m(log, close) > _LIFTED_M
    t_s, names = log.t_s[close], _leg_names(log)
    edges = np.append(t_s, t_s[-1] + log.period_s)
    rows = {name: stretches(lifted[:, leg], edges) for leg, name in enumerate(names)}
    shares = ", ".join(
        f"{name} {share:.0%}" for name, share in zip(names, lifted.mean(axis=0), strict=True)
    )
    heights = [Line(f"lifted{leg}", name, COLOURS[leg]) for leg, name in enumerate(names)]
    return joined(
        [
            paragraph(
                "From the motors' angles and the attitude: no sensor sees the ground. A bar is a "
                f"foot {_LIFTED_M * 1e3:.0f} mm or more above the lowest one. In the air for this "
                f"share of the time: {shares}."
            ),
            two_by_two(
                [
                    charts.bars(near, "Feet in the air", rows),
                    charts.lines(near, "Height over the lowest foot", "mm", heights),
                ]
            ),
        ]
    )


def stretches(on: NDArray[np.bool_], edges: Array) -> list[tuple[float, float]]:
    """Return where ``on``, shape (T,), is true, as begin and end on ``edges``, shape (T + 1,)."""
    changed = np.flatnonzero(np.diff(on.astype(np.int8), prepend=0, append=0))
    pairs: list[tuple[float, float]] = [tuple(pair) for pair in edges[changed].reshape(-1, 2)]
    return pairs


def _motors(charts: Charts, whole: Series, near: Series, log: FlightLog) -> Html:
    def lines(column: str) -> list[Line]:
        return [
            Line(f"{column}{i}", name, COLOURS[i // 2], "dashed" if i % 2 else "solid")
            for i, name in enumerate(_motor_names(log))
        ]

    power = [
        Line("power", "each tick", width=0.8, alpha=0.35),
        Line("power_mean", f"mean of the last {_POWER_MEAN_S} s"),
    ]
    found = [
        charts.lines(near, f"Torque, last {_CLOSE_S:.0f} s", "Nm", lines("torque")),
        charts.lines(whole, f"Power, mean of {_POWER_MEAN_S} s", "W", lines("motor_power")),
        charts.lines(whole, "Mechanical power of all motors", "W", power),
        charts.lines(whole, "Battery", "V", [Line("battery", "battery")]),
    ]
    parts = []
    if np.isfinite(log.winding_temperature_c).any():
        hot = np.nanmax(log.winding_temperature_c) > 0.7 * LIMITS.max_winding_c
        found.append(
            charts.lines(
                whole,
                "Winding temperature",
                "°C",
                lines("winding"),
                limits=(LIMITS.max_winding_c,) * bool(hot),
            )
        )
    else:
        parts.append(paragraph("The motor controller reports no winding temperature."))
    return joined([two_by_two(found), *parts, _motor_table(log)])


def _motor_table(log: FlightLog) -> Html:
    """Return what each motor bore in the policy's time."""
    run = log.run if log.run.stop else slice(0, len(log))
    torque, velocity = log.motor_torque_nm[run], log.motor_velocity_rad_s[run]
    columns = {
        "torque rms, Nm": np.sqrt((torque**2).mean(axis=0)),
        "greatest, Nm": np.abs(torque).max(axis=0),
        "greatest speed, rad/s": np.abs(velocity).max(axis=0),
        "power, W": np.abs(torque * velocity).mean(axis=0),
    }
    winding_c = log.winding_temperature_c[run]
    if np.isfinite(winding_c).all():
        columns["hottest winding, °C"] = winding_c.max(axis=0)
    rows = [
        [name, *(float(each[i]) for each in columns.values())]
        for i, name in enumerate(_motor_names(log))
    ]
    return table(("motor", *columns), rows)


def _timing(charts: Charts, whole: Series, log: FlightLog) -> Html:
    run, period_us = log.run, log.period_s * 1e6
    late_us, compute_us = (log.woke_ns - log.deadline_ns) / 1e3, log.compute_ns / 1e3
    durations = {"wake-up jitter": late_us[run], "compute and I/O": compute_us[run]}
    if not any(each.any() for each in durations.values()):
        return paragraph("This run was not in real time: it has no jitter.")
    found = [
        charts.histogram(
            f"Of {run.stop - run.start} ticks; dashed is the period",
            "us, logarithmic",
            {name: each for name, each in durations.items() if each.any()},
            np.geomspace(0.1, 1e5, 91),
            log=True,
            limit=period_us,
        ),
        charts.lines(
            whole,
            "Compute time and jitter",
            "us",
            [Line("jitter", "wake-up jitter"), Line("compute", "compute and I/O", ORANGE)],
        ),
    ]
    too_old_ms = STALE_PERIODS * log.period_s * 1e3
    found.append(
        charts.lines(
            whole,
            f"Age of the newest state; dashed is too old, {STALE_PERIODS} periods",
            "ms",
            [Line("age", "age")],
            limits=(too_old_ms,),
            start=0.0,
        )
    )
    if log.missed.any():
        skipped = [Line("missed", "skipped")]
        found.append(charts.lines(whole, "Ticks skipped after a tick", "ticks", skipped))
    words = (
        f"A tick is due every {log.period_s * 1e3:.1f} ms. Jitter is how much later it began; "
        "compute is from there to the command's being sent."
    )
    return joined([paragraph(words), two_by_two(found)])


def _events(report: Mapping[str, Any], log: FlightLog | None) -> Html:
    rows: list[tuple[str, str]] = []
    if log is not None and len(log):
        for begin, _, mode in _stretches(log):
            rows.append((f"{log.t_s[begin]:.3f} s", _MODES[LoopMode(mode)]))
        late = np.flatnonzero(log.missed)
        rows += [(f"{log.t_s[at]:.3f} s", f"ticks skipped: {log.missed[at]}") for at in late]
        rows += _reactions(report)
        rows.sort(key=lambda row: float(row[0].removesuffix(" s")))
    left_out = max(0, len(rows) - _MOST_EVENTS)
    rows = rows[:_MOST_EVENTS]
    at = f"{_end_s(log):.3f} s" if log is not None and len(log) else "-"
    rows += [(at, f"fault: {detail}") for detail in _fault_lines(report)]
    parts = [table(("time", "event"), rows)] if rows else []
    if left_out:
        parts.append(paragraph(f"{left_out} more events are left out."))
    saturations = report.get("saturations")
    if isinstance(saturations, Mapping) and any(saturations.values()):
        counted = ", ".join(f"{name} {count}" for name, count in saturations.items())
        parts.append(paragraph(f"Ticks in which something was saturated: {counted}."))
    return joined(parts or [paragraph("None is known.")])


def _fault_lines(report: Mapping[str, Any]) -> list[str]:
    return texts(report.get("fault_details")) or texts(report.get("faults"))


def _reactions(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return when a signal of trouble changed its level, and what was said of it."""
    listed = report.get("reactions")
    listed = listed if isinstance(listed, list | tuple) else ()
    reactions = [each for each in listed if isinstance(each, Mapping)]
    names = ("signal", "level", "detail")
    return [
        (f"{t_s:.3f} s", " ".join(str(each.get(name, "")) for name in names))
        for each in reactions
        if (t_s := number(each, "t_s")) is not None
    ]


def _counters(link: Mapping[str, Any]) -> Html:
    """Return the counters of the serial line; percentiles in one cell."""
    rows = []
    for name, value in link.items():
        if isinstance(value, Mapping):
            value = ", ".join(f"{part} {number(value, part):,.0f}" for part in value)
        rows.append((name, value))
    return table(("counter", "value"), rows)


def _setup(report: Mapping[str, Any], log: FlightLog | None) -> Html:
    setup = report.get("setup")
    flat = setup if isinstance(setup, Mapping) else {}
    rows = [("policy", report.get("policy")), ("robot", report.get("robot"))]
    rows += [(name, value) for name, value in flat.items() if not isinstance(value, Mapping | list)]
    parts = [table(("what", "value"), rows), folded("The whole report", as_json(dict(report)))]
    if log is not None:
        for name, text in (("policy's contract", log.contract), ("robot's description", log.robot)):
            parts.append(folded(f"The {name}", as_json(json.loads(text.to_json()))))
    return joined(parts)


def _leg_names(log: FlightLog) -> list[str]:
    return [name.replace("_", " ") for name in log.robot.leg_names]


def _motor_names(log: FlightLog) -> list[str]:
    """Return the names of the motors, that of the leg apart: "front left L"."""
    legs, motors = log.robot.leg_names, log.robot.motor_names
    return [
        f"{_leg_names(log)[i // 2]} {name.removeprefix(legs[i // 2])}"
        for i, name in enumerate(motors)
    ]
