"""The page of an evaluation: who survived, how fast, at what power, and every fall with its plant.

Imports neither torch nor physics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy.record.page.charts import Charts
from deploy.record.page.html import (
    Card,
    Html,
    Section,
    Verdict,
    as_json,
    folded,
    joined,
    page,
    paragraph,
    table,
    two_by_two,
)
from deploy.record.page.recording import cards_of, number
from deploy.record.page.verdict import bearable_words

Array = NDArray[np.float64]

# Shares that survive: from the first on a policy is good, below the second it is bad.
_GOOD, _BAD = 0.95, 0.8
_MOST_BINS = 30
# Of falls that are many, so many have their plant in the page.
_MOST_FALLS = 100
# Of a fall's plant, what most often explains it.
_TELLING = (
    "base_mass_scale",
    "motor_strength_scale",
    "contact_friction",
    "battery_v",
    "policy_latency_s",
    "control_step_s",
    "push_force_high_n",
)


def evaluation_page(report: Mapping[str, Any], name: str) -> str:
    """Return the page of an evaluation's report; ``name`` is its file."""
    charts = Charts()
    policy = report.get("policy")
    return charts.drawn(
        page(
            f"Evaluation of {policy} on {report.get('plant')}",
            evaluation_verdict(report),
            _cards(report),
            [
                Section("Episodes", _episodes(charts, report)),
                Section("Steering", _steering(charts, report)),
                Section("Falls", _falls(report)),
                Section("Setup", _setup(report, name)),
            ],
        )
    )


def evaluation_verdict(report: Mapping[str, Any]) -> Verdict:
    """Return the verdict: how many robots came through, and how fast they were."""
    episodes, survived = (int(number(report, name) or 0) for name in ("episodes", "survived"))
    seconds, speed = number(report, "seconds"), number(report, "speed_mps", "mean")
    share = survived / episodes if episodes else 0.0
    what = "reference gait" if report.get("reference_only") else "policy"
    sentence = f"{survived} of {episodes} simulated robots came through {seconds or 0.0:g} s"
    if speed is not None:
        sentence += f", at {speed:.2f} m/s on average"
    ends = _object(report.get("causes")).items()
    lost = ", ".join(f"{cause} in {count}" for cause, count in ends)
    advice = f"The {what} failed so: {lost}. See Falls." if lost else ""
    tone: Any = "good" if share >= _GOOD else "bad" if share < _BAD else "plain"
    return Verdict(f"{sentence}.", advice, tone)


def _cards(report: Mapping[str, Any]) -> list[Card]:
    shown = (
        ("survived", ("survival_rate",), 100.0, "{:.0f} %", f"of {report.get('episodes')}"),
        (
            "speed, mean",
            ("speed_mps", "mean"),
            1.0,
            "{:.2f} m/s",
            "a fall counts as standing still",
        ),
        ("speed, slow ones", ("speed_mps", "p5"), 1.0, "{:.2f} m/s", "5 of 100 are slower"),
        ("speed, slowest", ("speed_mps", "min"), 1.0, "{:.2f} m/s", ""),
        ("power", ("mean_power_w",), 1.0, "{:.0f} W", "mechanical, mean"),
        ("cost of transport", ("cost_of_transport",), 1.0, "{:.2f}", "median"),
        ("motors off", ("overheated",), 1.0, "{:.0f}", "episodes that overheated"),
        ("drift", ("mean_abs_drift_m",), 1.0, "{:.2f} m", "sideways, mean"),
        ("speed error", ("speed_error_mps",), 1.0, "{:.3f} m/s", "against the command"),
        ("yaw rate error", ("yaw_rate_error_rad_s",), 1.0, "{:.3f} rad/s", "against the command"),
        ("feet lifted", ("toe_clearance_m",), 1e3, "{:.0f} mm", "in a stride, median"),
        ("body height", ("body_clearance_m",), 1e3, "{:.0f} mm", "above the lowest toe"),
    )
    found = cards_of(report, shown)
    if (bearable := number(report, "bearable_s")) is not None:
        found.append(Card("motors bear it for", bearable_words(bearable), "median, from cold"))
    return found


def _rows(report: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """Return the objects of a list in a report."""
    found = report.get(name)
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> Array:
    """Return a number of each row, shape (N,); NaN where it is not known."""
    values = (number(row, name) for row in rows)
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _episodes(charts: Charts, report: Mapping[str, Any]) -> Html:
    rows = _rows(report, "each_episode")
    if not rows:
        return paragraph(
            "This report has no figures of single episodes: versions before wrote none. Evaluate "
            "again to see how speed and power are distributed."
        )
    up = np.array([row.get("survived") is True for row in rows])
    speed, power = _column(rows, "speed_mps"), _column(rows, "mean_power_w")
    minutes = _column(rows, "bearable_s") / 60.0
    pairs = np.stack((speed, power), axis=1)
    found = [
        _spread(charts, "Speed", "m/s", speed, up),
        _spread(charts, "Mechanical power", "W", power, up),
        charts.dots(
            "Power over speed, of each episode",
            "speed, m/s",
            "power, W",
            {"came through": pairs[up], "did not": pairs[~up]},
        ),
        _spread(charts, "How long the motors bear it", "min", minutes, up),
    ]
    return two_by_two(found)


def _spread(charts: Charts, title: str, unit: str, values: Array, up: NDArray[np.bool_]) -> Html:
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    margin = 0.02 * (high - low) or 0.1
    count = min(_MOST_BINS, 4 + len(known) // 4)
    bins = np.linspace(low - margin, high + margin, count + 1)
    groups = {"came through": values[up], "did not": values[~up]}
    shown = {name: each for name, each in groups.items() if len(each)}
    return charts.histogram(title, unit, shown, bins, unit="episodes")


def _steering(charts: Charts, report: Mapping[str, Any]) -> Html:
    rows = _rows(report, "course_episodes")
    if not rows:
        return paragraph("This policy takes no velocity command: there is nothing to steer.")
    up = np.array([row.get("survived") is True for row in rows])
    names = (
        ("speed_error_mps", "m/s", "Mean error of the speed"),
        ("yaw_rate_error_rad_s", "rad/s", "Mean error of the yaw rate"),
    )
    found = [_spread(charts, title, unit, _column(rows, name), up) for name, unit, title in names]
    return joined(
        [
            paragraph(
                f"Errors against the velocity command on the course {report.get('course')}. "
                "The one that ships, steer.csv, is slowed to the ranges of the policy."
            ),
            two_by_two(found),
        ]
    )


def _falls(report: Mapping[str, Any]) -> Html:
    falls = _rows(report, "falls")
    if not falls:
        return paragraph("None.")
    counted = list(_object(report.get("causes")).items())
    first = falls[:_MOST_FALLS]
    plants = [_object(row.get("params")) for row in first]
    varied = [name for name in _TELLING if len({str(plant.get(name)) for plant in plants}) > 1]
    rows = [
        [
            row.get("index"),
            str(row.get("cause")),
            number(row, "seconds"),
            number(row, "distance_m"),
            *(plant.get(name) for name in varied),
        ]
        for row, plant in zip(first, plants, strict=True)
    ]
    head = ("episode", "cause", "after, s", "came, m", *(name.replace("_", " ") for name in varied))
    parts = [table(("cause", "episodes"), counted), table(head, rows)]
    if len(falls) > len(first):
        parts.append(paragraph(f"{len(falls) - len(first)} more are in the report."))
    parts.append(folded("Their plants, whole", as_json(dict(_indexed(first)))))
    return joined(parts)


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _indexed(falls: Sequence[Mapping[str, Any]]) -> list[tuple[str, Any]]:
    return [(f"episode {row.get('index')}", row.get("params")) for row in falls]


def _setup(report: Mapping[str, Any], name: str) -> Html:
    plain = {key: value for key, value in report.items() if not isinstance(value, list | dict)}
    rows = list(plain.items())
    short = {key: value for key, value in report.items() if not isinstance(value, list)}
    return joined(
        [
            paragraph(f"All of it, episodes included, is in {name}."),
            table(("what", "value"), rows),
            folded("The report without its lists", as_json(short)),
        ]
    )
