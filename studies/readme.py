"""The generated tables of the documents: ``python -m studies.readme``.

They are made of the reports in ``policies/``, of the published table of the transfer study and of
the thresholds in ``deploy.loop``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deploy.files import write_atomically
from deploy.loop import reactions
from robot_firmware_bridge.command_line import EXIT_OK, command
from studies import figures
from studies.transfer import (
    CONDITIONS,
    SHIPPED,
    Condition,
    ground_conditions,
    held_out_conditions,
    on_both_engines,
    row,
)

DOCUMENTS = (
    Path("README.md"),
    Path("policies/README.md"),
    Path("docs/results.md"),
    Path("docs/real-robot.md"),
)
_TRANSFER = Path("docs/results/transfer.json")
_SHOVES = ("push130", "push175", "push220")
_SHOVED = ("trot", "steer", "gallop", "standing", "peer-gallop")
# Where a policy is beside its reference gait alone: on the engine on which it was not trained.
GAIT_ALONE = {
    "trot": "mujoco-table1",
    "trot-stock": "mujoco-table1",
    "steer": "mujoco-table1",
    "steer-stock": "mujoco-table1",
    "walk": "blocks20-table1",
}
_SPEED = "mean speed, m/s"
_WALKS: tuple[str, ...] = (
    _SPEED,
    "5th percentile",
    "mean power, W",
    "cost of transport",
)
_STEERS = ("speed error, m/s", "yaw-rate error, rad/s", "mean power, W")


# The conditions of the identified robot, by engine: what the speed is compared with.
_NOMINAL = {"pybullet": "nominal", "mujoco": "mujoco"}


def policy_table(
    policy: str, folder: Path = SHIPPED, conditions: Mapping[str, Condition] = CONDITIONS
) -> str:
    """Return the table of a shipped policy: a row for each of its reports.

    With reports on calibrated robots there are two columns more, the mean speed (where it is not
    there anyway) and its share of that on the identified robot in the same engine.
    """
    titles = {name: condition.title for name, condition in conditions.items()}
    if (condition := GAIT_ALONE.get(policy)) is not None:
        titles["reference"] = f"{titles[condition]}, its reference gait alone"
    paths = {name: folder / f"{policy}.{name}.json" for name in titles}
    reports = {name: json.loads(p.read_text()) for name, p in paths.items() if p.exists()}
    on_calibrated = any(report.get("params") for report in reports.values())
    rows, columns = [], _WALKS
    for name, report in reports.items():
        survived, _, *walked = row(report)
        if report["yaw_rate_error_rad_s"] is not None:
            columns = (_SPEED, *_STEERS) if on_calibrated else _STEERS
            errors = report["speed_error_mps"], report["yaw_rate_error_rad_s"]
            speed = walked[:1] if on_calibrated else []
            walked = [
                *speed,
                *(f"{error:.3f}" for error in errors),
                f"{report['mean_power_w']:.1f}",
            ]
        if on_calibrated:
            walked.append(_share(report, reports.get(_NOMINAL.get(report["plant"], ""))))
        rows.append((titles[name], survived, *walked))
    share = ("share of nominal",) if on_calibrated else ()
    return figures.table(("condition", "survived", *columns, *share), rows)


def _share(report: dict[str, Any], nominal: dict[str, Any] | None) -> str:
    """Return the mean speed in percent of that of another report; "-" without one."""
    if nominal is None:
        return "-"
    return f"{100.0 * report['speed_mps']['mean'] / nominal['speed_mps']['mean']:.0f} %"


def ground_table(policy: str, folder: Path = SHIPPED) -> str:
    """Return what a steered policy does straight on: a row for each ground, both engines in it."""
    rows = []
    for condition in (*ground_conditions(), *held_out_conditions()):
        if condition.plant != "pybullet":
            continue
        paths = [folder / f"{policy}.{each.name}.json" for each in on_both_engines(condition)]
        if not all(path.exists() for path in paths):
            continue
        pair = [json.loads(path.read_text()) for path in paths]
        cells = (
            [f"{report['survived']} of {report['episodes']}" for report in pair],
            [f"{report['overheated']}" for report in pair],
            [f"{report['speed_mps']['mean']:.2f}" for report in pair],
            [f"{report['speed_mps']['p5']:.2f}" for report in pair],
            [f"{report['mean_abs_drift_m']:.2f}" for report in pair],
            [f"{report['mean_power_w']:.0f}" for report in pair],
        )
        rows.append((condition.title, *(", ".join(pair) for pair in cells)))
    return figures.table(
        ("ground", "survived", "motors off", _SPEED, "5th percentile", "drift, m", "power, W"), rows
    )


def learning_table(folder: Path = SHIPPED) -> str:
    """Return figures of each policy and of its reference gait alone, in the same episodes."""
    rows = []
    for policy, condition in GAIT_ALONE.items():
        paths = (folder / f"{policy}.{name}.json" for name in (condition, "reference"))
        pair = [json.loads(path.read_text()) for path in paths]
        errors = [
            ", ".join("-" if report[name] is None else f"{report[name]:.3f}" for report in pair)
            for name in ("speed_error_mps", "yaw_rate_error_rad_s")
        ]
        rows.append(
            (
                f"`{policy}`",
                CONDITIONS[condition].title,
                ", ".join(str(report["survived"]) for report in pair),
                ", ".join(f"{report['speed_mps']['mean']:.2f}" for report in pair),
                *("-" if error == "-, -" else error for error in errors),
                ", ".join(f"{report['mean_power_w']:.0f}" for report in pair),
            )
        )
    columns = ("policy", "where", "survived", _SPEED, *_STEERS[:2], "power, W")
    return figures.table(columns, rows)


def shove_table(path: Path = _TRANSFER) -> str:
    """Return the survivors under pushes, by policy and force, of the published transfer table.

    What has not been run yet is "-".
    """
    results = {
        result["name"]: str(result["figures"]["survived"])
        for result in json.loads(path.read_text())["results"]
    }
    columns = ("policy", *(f"{CONDITIONS[name].push_n:g} N" for name in _SHOVES))
    rows = [
        (f"`{policy}`", *(results.get(f"{policy}.{name}", "-") for name in _SHOVES))
        for policy in _SHOVED
    ]
    return figures.table(columns, rows)


def up_to_date(path: Path) -> str:
    """Return a document with all of its generated tables made anew.

    Raises:
        StudyError: The document has a table that is unknown here.
        OSError, ValueError, LookupError: A report is missing or is none.
    """
    blocks = {
        name: policy_table(name)
        for name in ("trot", "trot-stock", "steer-stock", "steer", "gallop")
    }
    blocks |= {
        "walk": ground_table("walk"),
        "shoves": shove_table(),
        "learning": learning_table(),
        "reactions": reactions.table(),
    }
    return figures.with_blocks(path.read_text(), blocks)


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Bring the generated tables of the documents up to date; return the exit code."""
    for path in DOCUMENTS:
        write_atomically(path, up_to_date(path).encode())
        print(f"wrote the generated tables of {path}")
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
