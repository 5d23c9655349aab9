"""A run in a few lines for people, as its command prints them at the end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deploy.loop.reactions import Level
from deploy.options import PHYSICAL
from deploy.record.report import Reaction, RunReport
from deploy.record.thermal import in_words


def summary(report: RunReport, written: Sequence[Path]) -> str:
    """Return the run in a few lines for people."""
    good = "interrupted" if report.interrupted else "no fault"
    end = "fell" if report.fell else ", ".join(report.faults) or good
    dry = report.setup["dry_run"]
    what = f"{report.robot}, dry run" if dry else report.robot
    lines = [f"{what}: {report.seconds:.2f} s, {end}", *report.fault_details]
    if report.would_send is not None:
        lines.append(f"dry      nothing was sent; {report.would_send.describe()}")
    lines += [f"reacted  {line}" for line in _reactions(report)]
    if (lost := report.setup["steering_lost"]) is not None:
        lines.append(f"nobody steered any more: {lost}")
    steered = report.yaw_rate_error_rad_s is not None
    if steered and report.heading_speed_mps is not None:
        lines.append(f"speed    {report.heading_speed_mps:.2f} m/s along its heading")
    elif report.speed_mps is not None:
        lines.append(f"speed    {report.speed_mps:.2f} m/s over {report.distance_m:.2f} m")
    if steered:
        speed = "-" if report.speed_error_mps is None else f"{report.speed_error_mps:.3f} m/s"
        lines.append(f"steering mean error {speed}, {report.yaw_rate_error_rad_s:.3f} rad/s")
    if report.mean_power_w is not None and not dry:  # legs that nobody drives
        borne = "" if report.bearable_s is None else f", {in_words(report.bearable_s)}"
        lines.append(f"power    {report.mean_power_w:.0f} W mean mechanical{borne}")
    if report.toe_clearance_m is not None and report.body_clearance_m is not None and not dry:
        lines.append(
            f"feet     lifted by {report.toe_clearance_m * 1e3:.0f} mm, the body "
            f"{report.body_clearance_m * 1e3:.0f} mm above them"
        )
    if report.jitter_us is not None and report.compute_us is not None:
        ticks = f"loop     {report.ticks} ticks of {report.period_s * 1e3:.1f} ms"
        lines.append(
            f"{ticks}, {report.overruns} overruns, compute p99 {report.compute_us.p99:.0f} us, "
            f"jitter p99 {report.jitter_us.p99:.0f} us ({report.setup['scheduler']})"
            if report.setup["realtime"]
            else f"{ticks}, not in real time"
        )
    if report.link is not None:
        lines.append(f"link     {report.link.describe()}")
    if report.black_box is not None and report.black_box.ticks_lost:
        lines.append(f"log      {report.black_box.describe()}")
    if dry and report.ok and report.robot in PHYSICAL:
        lines.append(
            "next     --arm (ARM=1) energises the motors, after a checklist and a typed yes"
        )
    lines.append(f"written  {', '.join(str(path) for path in written) or 'nothing'}")
    return "\n".join(lines)


def _reactions(report: RunReport) -> list[str]:
    """Return one line for each signal that had a level: the worst one, when it first came."""
    worst: dict[str, Reaction] = {}
    for each in report.reactions:
        before = worst.get(each.signal)
        if before is None or Level[each.level.upper()] > Level[before.level.upper()]:
            worst[each.signal] = each
    return [
        f"{each.level} at {each.t_s:.2f} s, {name}: {each.detail}" for name, each in worst.items()
    ]
