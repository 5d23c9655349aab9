"""The numbers beside the robot, as HTML: what an engineer looks at while it walks."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from deploy.loop.modes import LoopMode
from deploy.steering import STAND
from deploy.view.figures import WINDOW_S, Figures, Peak
from robot_firmware_bridge.messages import Fault, fault_names
from robot_firmware_bridge.robot import RobotDescription

_GOOD, _WARN, _BAD, _QUIET = "#0e8c96", "#c77700", "#d4302a", "#7b8794"
# A run without a new tick for so long is not well.
STALE_S = 0.25
# Counters of the serial line that are shown, by the names that links give them.
_LINK = {
    "states_lost": "states lost",
    "lost": "states lost",
    "commands_lost": "commands lost",
    "crc_errors": "CRC errors",
    "damaged": "damaged packets",
    "reconnects": "reconnects",
}
_COLOURS = {
    LoopMode.RUN: _GOOD,
    LoopMode.STAND: _GOOD,
    LoopMode.DAMP: _BAD,
    LoopMode.DONE: _QUIET,
}


@dataclass(slots=True)
class Notices:
    """What the loop says beside its ticks; the newest word counts.

    Attributes:
        kind: Kind of the robot, as ``--robot`` names it.
        policies: Names of the policies.
        dry_run: Nothing is energised.
        reaction: What is done about trouble; "" for none.
        faults: Why the run was ended, one line each.
        counters: Of the serial line; empty without one.
        period_s: Control period.
        over: The loop has had its last tick.
    """

    kind: str = ""
    policies: Sequence[str] = ()
    dry_run: bool = False
    reaction: str = ""
    faults: Sequence[str] = ()
    counters: Mapping[str, int] = field(default_factory=dict)
    period_s: float = 0.01
    over: bool = False

    def take(self, message: Mapping[str, Any]) -> None:
        """Take new values of some fields, by their names."""
        for name, value in message.items():
            setattr(self, name, value)


def waiting(notices: Notices) -> str:
    """Return the panel of a run that has no tick yet."""
    title = "over before it began" if notices.over else "waiting for the first tick"
    return _page(_badge(title, _QUIET), notices, [])


def panel(now: Figures, notices: Notices, robot: RobotDescription, silent_s: float) -> str:
    """Return the panel of a run.

    Args:
        now: Its figures.
        notices: What the loop said.
        robot: Names of its motors.
        silent_s: For how long there was no new tick.
    """
    name = notices.policies[now.policy] if 0 <= now.policy < len(notices.policies) else ""
    doing = f"{now.mode.words} {name}" if now.policy != STAND else now.mode.words
    if notices.over:
        doing = "over"
    colour = _BAD if notices.faults else _COLOURS.get(now.mode, _WARN)
    troubles = [(line, _BAD) for line in notices.faults]
    if now.robot_fault is not Fault.NONE:
        troubles.append((f"motor controller: {fault_names(now.robot_fault)}", _BAD))
    if notices.reaction:
        troubles.append((notices.reaction, _WARN))
    if silent_s > STALE_S and not notices.over:
        troubles.append((f"no new tick for {silent_s:.1f} s", _BAD))
    low = now.battery_v < robot.min_battery_v
    groups = [
        (
            "velocity",
            [
                ("command", _velocity(now.command), ""),
                ("measured", _or_none(now.speed_mps, "{:+.2f} m/s"), ""),
                ("from the start", _or_none(now.distance_m, "{:.2f} m"), ""),
                ("roll, pitch", f"{now.roll_rad:+.2f}, {now.pitch_rad:+.2f} rad", ""),
            ],
        ),
        (
            "power",
            [
                ("battery", f"{now.battery_v:.1f} V", _BAD if low else ""),
                ("hottest winding", _peak(now.winding_c, "{:.0f} °C", robot), ""),
                ("peak torque", _peak(now.torque_nm, "{:.1f} Nm", robot), ""),
                ("motor controller", now.robot_mode.name.lower(), ""),
            ],
        ),
        (
            f"timing, {1e3 * notices.period_s:g} ms a tick",
            [
                ("wake-up late", _p99_max(now.late_p99_us, now.late_max_us), ""),
                ("compute", _p99_max(now.compute_p99_us, now.compute_max_us), ""),
                ("missed ticks", str(now.missed), _WARN if now.missed else ""),
            ],
        ),
        ("link", _link(now, notices)),
    ]
    body = [_group(title, rows) for title, rows in groups]
    alarms = [_alarm(text, shade) for text, shade in troubles]
    clock = (
        f"<span style='float:right;font-variant-numeric:tabular-nums'>{now.elapsed_s:.1f} s</span>"
    )
    return _page(_badge(doing, colour) + clock, notices, [*alarms, *body])


def _link(now: Figures, notices: Notices) -> list[tuple[str, str, str]]:
    rows = [("state age", f"{now.state_age_ms:.1f} ms at most", "")]
    rows += [
        (label, str(notices.counters[name]), _WARN if notices.counters[name] else "")
        for name, label in _LINK.items()
        if name in notices.counters
    ]
    return rows


def _velocity(command: tuple[float, float] | None) -> str:
    return "none" if command is None else f"{command[0]:+.2f} m/s, {command[1]:+.2f} rad/s"


def _or_none(value: float | None, form: str) -> str:
    return "not measured" if value is None else form.format(value)


def _peak(peak: Peak | None, form: str, robot: RobotDescription) -> str:
    if peak is None:
        return "not measured"
    return f"{form.format(peak.value)} {robot.motor_names[peak.motor]}"


def _p99_max(p99_us: float, max_us: float) -> str:
    return f"{p99_us:.0f}, {max_us:.0f} us"


def _page(head: str, notices: Notices, parts: Sequence[str]) -> str:
    words = [notices.kind, *(["dry run: nothing is energised"] if notices.dry_run else [])]
    foot = f"p99 and greatest of the last {WINDOW_S:g} s. Orange lines: commanded legs."
    return (
        "<div style='padding:0.2em 0.9em 0.8em;font-size:0.86em;line-height:1.55'>"
        f"<div style='margin:0.5em 0 0.2em'>{head}</div>"
        f"<div style='color:{_QUIET}'>{html.escape(', '.join(filter(None, words)))}</div>"
        f"{''.join(parts)}<div style='color:{_QUIET};margin-top:0.9em;font-size:0.9em'>{foot}</div>"
        "</div>"
    )


def _badge(text: str, colour: str) -> str:
    return (
        f"<span style='background:{colour};color:white;border-radius:0.4em;padding:0.25em 0.7em;"
        f"font-weight:600'>{html.escape(text)}</span>"
    )


def _alarm(text: str, colour: str) -> str:
    return (
        f"<div style='border-left:3px solid {colour};color:{colour};padding:0.1em 0.6em;"
        f"margin-top:0.5em;font-weight:600;overflow-wrap:anywhere'>{html.escape(text)}</div>"
    )


def _group(title: str, rows: Sequence[tuple[str, str, str]]) -> str:
    lines = "".join(
        f"<div style='display:flex;justify-content:space-between;gap:1em'><span "
        f"style='color:{_QUIET}'>{html.escape(label)}</span><span style='text-align:right;"
        f"font-variant-numeric:tabular-nums;font-weight:500;color:{colour or 'inherit'}'>"
        f"{html.escape(value)}</span></div>"
        for label, value, colour in rows
    )
    return (
        "<div style='margin-top:0.8em;border-top:1px solid rgba(128,140,155,0.3);"
        f"padding-top:0.35em'><div style='font-weight:600'>{html.escape(title)}</div>{lines}</div>"
    )
