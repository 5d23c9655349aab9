"""What a run left, read back: its report, its flight log and its film."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.errors import LogError, RunError
from deploy.record.flight_log import FlightLog
from deploy.record.page.html import Card, find_film
from deploy.record.read_log import read_log as read_log_file
from deploy.record.report import summarise
from robot_firmware_bridge.command_line import describe

LOG_SUFFIXES = (".npz", ".mcap")

# Of a key figure: its name, its path in a report, a factor, how it is written, and words about it.
Figure = tuple[str, tuple[str, ...], float, str, str]


@dataclass(frozen=True, slots=True)
class Recording:
    """The files of one run.

    Attributes:
        report: The report's JSON. Where there is none, what the log alone says, with None for what
            it does not: ``faults``, ``policy``, ``robot``.
        log: The flight log; None where there is none.
        film: A film that browsers play; None where there is none.
    """

    report: Mapping[str, Any]
    log: FlightLog | None
    film: Path | None


def read_recording(path: Path) -> Recording:
    """Read the run of which a path is the report or the flight log; the other may lie beside it.

    Raises:
        RunError: A file of it cannot be read.
    """
    report_path = path.with_suffix(".json")
    beside = (path.with_suffix(suffix) for suffix in LOG_SUFFIXES)
    log_path = path if path.suffix in LOG_SUFFIXES else next(filter(Path.is_file, beside), None)
    log = None if log_path is None else read_log(log_path)
    if report_path.is_file():
        report = read_object(report_path)
    elif log is not None:
        report = dataclasses.asdict(summarise(log, (), policy="", robot=""))
        report.update(faults=None, policy=None, robot=None)
    else:
        raise RunError(f"{path}: there is no such file")
    return Recording(report, log, find_film(path.with_suffix(end) for end in (".mp4", ".gif")))


def read_log(path: Path) -> FlightLog:
    """Read a flight log, of either kind.

    Raises:
        RunError: It is damaged, of another version, or no flight log.
    """
    try:
        return read_log_file(path)
    except OSError as error:
        raise RunError(f"cannot read {describe(error)}") from error
    except LogError as error:
        raise RunError(
            f"{path} is no flight log that this version reads: name the .npz or .mcap that "
            f"`minitaur run` wrote ({error})"
        ) from error


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that has an object.

    Raises:
        RunError: It cannot be read, or has something else.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(f"cannot read {describe(error)}") from error
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is no JSON: {error}") from error
    if not isinstance(data, dict):
        raise RunError(f"{path} has no JSON object")
    return data


def number(report: Mapping[str, Any], *names: str) -> float | None:
    """Return the number under some names, one in the other; None where there is none."""
    value: Any = report
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known else None


def cards_of(report: Mapping[str, Any], figures: Iterable[Figure]) -> list[Card]:
    """Return the cards of those figures that a report has."""
    return [
        Card(name, text.format(value * factor), about)
        for name, path, factor, text, about in figures
        if (value := number(report, *path)) is not None
    ]


def texts(value: object) -> list[str]:
    """Return the texts of a list in a report; none where it is no list."""
    return [str(each) for each in value] if isinstance(value, list | tuple) else []
