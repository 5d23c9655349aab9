"""The report of an evaluation, its summary in one line, and the dumps of what diverged."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deploy.files import write_atomically, write_somewhere
from deploy.record.thermal import in_words
from robot_firmware_bridge.command_line import EXIT_FAULT, EXIT_OK
from robot_firmware_bridge.messages import Fault
from sim.plant.params_file import PlantFile
from sim.plant.terrain import FLAT
from training.errors import replay_command
from training.evaluation.job import DIVERGED, EpisodeResult, Evaluation
from training.rollout.dump import write_dump
from training.tasks.course import COURSE

# Dumps that an evaluation writes.
_MOST_DUMPS = 3
# What a report has of every episode, so that a page can show how it is distributed.
_OF_EACH = ("index", "survived", "speed_mps", "mean_power_w", "bearable_s")


def summarize(
    job: Evaluation, results: list[EpisodeResult], calibrated: PlantFile | None = None
) -> dict[str, Any]:
    """Return the report of an evaluation: figures over all episodes, every fall with its plant.

    ``calibrated`` is what the episodes were on; read here if left out.
    """
    read = calibrated or job.calibrated()
    speeds = np.array([result.speed_mps for result in results])
    survived = sum(result.survived for result in results)
    # What diverged tells nothing of power.
    ran = [result for result in results if result.cause != DIVERGED] or results
    steered = all(result.yaw_rate_error_rad_s is not None for result in results)
    errors = ("index", "survived", "speed_error_mps", "yaw_rate_error_rad_s")
    courses = [{name: getattr(result, name) for name in errors} for result in results]
    return {
        "policy": str(job.policy),
        "plant": job.plant,
        "model": job.model,
        "reference_only": job.reference_only,
        "randomization": job.randomization,
        "params": None if read is None else read.facts,
        "push_n": job.push,
        "terrain": job.terrain,
        "seed": job.seed,
        "seconds": job.seconds,
        "episodes": len(results),
        "survived": survived,
        "survival_rate": survived / len(results),
        "speed_mps": {
            "mean": float(speeds.mean()),
            "p5": float(np.percentile(speeds, 5)),
            "min": float(speeds.min()),
        },
        "mean_power_w": float(np.mean([result.mean_power_w for result in ran])),
        "cost_of_transport": float(np.median([result.cost_of_transport for result in ran])),
        "mean_abs_drift_m": _mean([None if r.drift_m is None else abs(r.drift_m) for r in results]),
        "course": (job.course or COURSE.name) if steered else None,
        "speed_error_mps": _mean([result.speed_error_mps for result in results]),
        "yaw_rate_error_rad_s": _mean([result.yaw_rate_error_rad_s for result in results]),
        "course_episodes": courses if steered else [],
        "bearable_s": float(np.median([result.bearable_s for result in results])),
        "toe_clearance_m": _typical([result.toe_clearance_m for result in results]),
        "body_clearance_m": _typical([result.body_clearance_m for result in results]),
        "overheated": sum(result.overheated for result in results),
        "causes": dict(Counter(ending(result.cause) for result in results if result.cause)),
        "each_episode": [{name: getattr(r, name) for name in _OF_EACH} for r in results],
        "falls": [_facts(result) for result in results if not result.survived],
    }


def _facts(result: EpisodeResult) -> dict[str, Any]:
    """Return a result without its dump, fit for JSON."""
    facts = dataclasses.asdict(dataclasses.replace(result, dump=None))
    del facts["dump"]
    return facts


def _mean(values: list[float | None]) -> float | None:
    """Return the mean; None where some values are None."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def _typical(values: list[float | None]) -> float | None:
    """Return the median of the values that are known; None where none is."""
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def ending(cause: str) -> str:
    """Return the short name of a cause: the loop's fault, with the motor controller's own."""
    name = cause.partition(":")[0]
    return " ".join((name, *(str(fault.name) for fault in Fault if str(fault.name) in cause)))


def write_dumps(results: Sequence[EpisodeResult], report: Path | None) -> Iterator[str]:
    """Write the dumps of the first simulations that diverged; yield a line on each.

    Args:
        results: Of the evaluation.
        report: The dumps lie beside it; without a report, in a folder for temporary files.
    """
    diverged = [(result.index, result.dump) for result in results if result.dump is not None]
    if not diverged:
        return
    folder = Path(tempfile.mkdtemp(prefix="minitaur-eval-")) if report is None else report.parent
    stem = "" if report is None else f"{report.stem}."
    for index, dump in diverged[:_MOST_DUMPS]:
        path = folder / f"{stem}episode{index}.npz"
        seen = f"see it again: {replay_command(path)}"
        try:
            write_dump(path, dump)
        except OSError as error:
            seen = f"no dump of it: {error}"
        yield f"episode {index}: {dump.facts['cause']}; {seen}"
    if (more := len(diverged) - _MOST_DUMPS) > 0:
        yield f"{more} more simulations diverged, of which there is no dump"


def save_report(report: dict[str, Any], path: Path) -> int:
    """Write a report; return the exit code: 0 if the path has it, 1 if something else has."""
    text = json.dumps(report, indent=2) + "\n"
    written = write_somewhere(path, lambda place: write_atomically(place, text.encode()))
    print(text if written is None else f"wrote {written}")
    return EXIT_OK if written == path else EXIT_FAULT


def describe(job: Evaluation, report: dict[str, Any]) -> str:
    """Return a report in one line."""
    speed, errors = report["speed_mps"], ""
    if report["yaw_rate_error_rad_s"] is not None:
        errors = (
            f"; mean errors {report['speed_error_mps']:.3f} m/s, "
            f"{report['yaw_rate_error_rad_s']:.3f} rad/s"
        )
    what = f"reference gait of {job.policy}" if job.reference_only else str(job.policy)
    robot = f" as {job.params}" if job.params else ""
    around = f", terrain {job.terrain}" if job.terrain != FLAT else ""
    around += f", pushes of {job.push:g} N" if job.push else ""
    ends = [f"{count} {cause}" for cause, count in report["causes"].items()]
    if report["overheated"] and "overheated" not in report["causes"]:
        ends.append(f"motors off in {report['overheated']}")
    lost = f" ({', '.join(ends)})" if ends else ""
    return (
        f"{what} on {job.plant}{robot}, randomization {job.randomization}{around}: "
        f"{report['survived']} of {report['episodes']} survived {job.seconds:g} s{lost}; "
        f"{speed['mean']:.3f} m/s mean, {speed['p5']:.3f} p5, {speed['min']:.3f} min; "
        f"{report['mean_power_w']:.1f} W, {in_words(report['bearable_s'])}; "
        f"cost of transport {report['cost_of_transport']:.2f}" + errors
    )
